"""Partial access to the data (claim C5), and retrieval into a short prompt (claim C6).

Letters: V symbols; N demonstrations in a pool and n of them drawn without replacement; m contexts,
n_c demonstrations of context c in the prompt; W tokens of window.  Errors are total variation for
one token.  Logarithms are natural.
"""

import math

from icl_sim.bounds.arguments import Exact, probability, whole
from icl_sim.errors import InputError


def subset_mean_error(*, vocab: int, pool: int, n: int) -> float:
    """Upper bound on E TV between the law of a random subset and the law of its pool.

    sqrt((V-1)/n (N-n)/(N-1))/2: a count of the subset is hypergeometric, of variance
    n p (1-p) (N-n)/(N-1); then as with replacement (Jensen, Cauchy-Schwarz).

    Args:
      vocab: V >= 2.
      pool: N >= 1.
      n: subset, 1 <= n <= N.

    Returns:
      The bound; 0 at n = N.

    Raises:
      InputError: an argument out of range.

    >>> [round(subset_mean_error(vocab=8, pool=400, n=n), 4) for n in (200, 400)]
    [0.0662, 0.0]

    Source: statement C5.random.
    """
    V, N, n = _pool(vocab, pool, n)
    return math.sqrt((V - 1) / n * (N - n) / max(N - 1, 1)) / 2


def subset_failure_mcdiarmid(*, vocab: int, pool: int, n: int, eps: Exact) -> float:
    """Upper bound on P(TV > eps) between a random subset and its pool: mean plus concentration.

    exp(-2 t^2/B), t = eps - `subset_mean_error`, B = (N-n)/(n (N-1/2) (1 - 1/(2 max(n, N-n)))).
    Exchanging one drawn for one undrawn demonstration moves TV by at most 1/n.

    Args:
      vocab: V >= 2.
      pool: N >= 1.
      n: subset, 1 <= n <= N.
      eps: in (0, 1).

    Returns:
      The bound, 1 where it says nothing; 0 at n = N.

    Raises:
      InputError: an argument out of range.

    >>> round(subset_failure_mcdiarmid(vocab=8, pool=400, n=200, eps=0.12), 4)
    0.0998

    Source: El-Yaniv and Pechyony, J. Artif. Intell. Res. 35 (2009); statement C5.random.
    """
    V, N, n = _pool(vocab, pool, n)
    excess = float(probability(eps, name="eps")) - subset_mean_error(vocab=V, pool=N, n=n)
    if n == N:
        return 0.0
    if excess <= 0:
        return 1.0
    spread = (N - n) / (n * (N - 0.5) * (1 - 1 / (2 * max(n, N - n))))
    return math.exp(-2 * excess**2 / spread)


def subset_failure_serfling(*, vocab: int, pool: int, n: int, eps: Exact) -> float:
    """Upper bound on P(TV > eps) between a random subset and its pool: a union over events.

    (2^V - 2) exp(-2 n' eps^2), n' = n/(1 - (n-1)/N): Weissman's bound with Serfling's larger n.

    Args:
      vocab: V >= 2.
      pool: N >= 1.
      n: subset, 1 <= n <= N.
      eps: in (0, 1).

    Returns:
      The bound, at most 1; 0 at n = N.

    Raises:
      InputError: an argument out of range.

    >>> round(subset_failure_serfling(vocab=8, pool=400, n=200, eps=0.12), 4)
    0.0027

    Source: Serfling, Ann. Statist. 2 (1974), corollary 1.1; statement C5.random.
    """
    V, N, n = _pool(vocab, pool, n)
    if n == N:
        return 0.0
    effective = n / (1 - (n - 1) / N)
    exponent = _log_events(V) - 2 * effective * float(probability(eps, name="eps")) ** 2
    return min(1.0, math.exp(min(exponent, 0.0)))


def subset_size(*, vocab: int, pool: int, eps: Exact, delta: Exact) -> int:
    """Random demonstrations of a pool that bring TV to its law below eps with prob. 1 - delta.

    The least n at which one of the two failure bounds is at most delta; never above N.

    Args:
      vocab: V >= 2.
      pool: N >= 1.
      eps: in (0, 1).
      delta: in (0, 1).

    Raises:
      InputError: an argument out of range.

    >>> [subset_size(vocab=8, pool=N, eps=0.12, delta=0.05) for N in (400, 10**6)]
    [171, 297]

    Source: statement C5.random.
    """
    delta = float(probability(delta, name="delta"))
    low, high = 0, whole(pool, name="pool", least=1)  # high suffices, low does not
    while high - low > 1:  # both bounds fall with n
        n = (low + high) // 2
        best = min(
            subset_failure_mcdiarmid(vocab=vocab, pool=pool, n=n, eps=eps),
            subset_failure_serfling(vocab=vocab, pool=pool, n=n, eps=eps),
        )
        low, high = (low, n) if best <= delta else (n, high)
    return high


def missing_error(*, vocab: int, missing: float) -> float:
    """Largest TV that an adversary causes by withholding a fraction rho of a context's pool.

    rho for rho < 1: the pool's law is (1 - rho) (what is left) + rho (what is missing), so TV is
    rho times the TV of those two, and rho itself if they share no symbol.  With all of it missing,
    whatever is answered gives some symbol at most 1/V: 1 - 1/V.

    Args:
      vocab: V >= 2.
      missing: rho in [0, 1].

    Raises:
      InputError: an argument out of range.

    >>> missing_error(vocab=4, missing=0.1), missing_error(vocab=4, missing=1)
    (0.1, 0.75)

    Source: statement C5.missing.
    """
    V = whole(vocab, name="vocab", least=2)
    if not 0 <= missing <= 1:
        raise InputError(f"missing: expected a fraction in [0, 1], got {missing}")
    return 1 - 1 / V if missing == 1 else float(missing)


def certified_error(*, vocab: int, n: int, delta: Exact, contexts: int = 1) -> float:
    """The TV that n demonstrations of each context certify with probability 1 - delta.

    min of (sqrt(V-1)/2 + sqrt(L/2))/sqrt(n) and sqrt((ln(2^V - 2) + L)/(2 n)), L = ln(m/delta):
    McDiarmid's and Weissman's sizes of claim C1, solved for eps.

    Args:
      vocab: V >= 2.
      n: demonstrations of each context, n >= 1.
      delta: in (0, 1).
      contexts: m >= 1 that must succeed together.

    Returns:
      The error; 1 where the bounds say nothing.

    Raises:
      InputError: an argument out of range.

    >>> round(certified_error(vocab=32, n=1024, delta=0.05), 4)
    0.1109

    Source: statement C1.token.
    """
    V, n = whole(vocab, name="vocab", least=2), whole(n, name="n", least=1)
    m = whole(contexts, name="contexts", least=1)
    L = math.log(m) - math.log(probability(delta, name="delta"))
    mcdiarmid = (math.sqrt(V - 1) / 2 + math.sqrt(L / 2)) / math.sqrt(n)
    return min(1.0, mcdiarmid, math.sqrt((_log_events(V) + L) / (2 * n)))


def retrieval_error(
    *,
    vocab: int,
    retrieved: int,
    delta: Exact,
    recall: float = 1.0,
    contaminated: float = 0.0,
    contexts: int = 1,
) -> float:
    """The TV of a lookup in a prompt of retrieved demonstrations, with probability 1 - delta.

    (1 - kappa) * `certified_error`(floor(r n_c)) + kappa.  Misses that are independent of the
    labels leave r n_c fair samples; a fraction kappa of the prompt from elsewhere makes its law (1
    - kappa) phat + kappa q.

    Args:
      vocab: V >= 2.
      retrieved: n_c, demonstrations of the query's context in the store.
      delta: in (0, 1).
      recall: r in [0, 1], the fraction of them retrieved.
      contaminated: kappa in [0, 1], the fraction of the prompt that belongs to other contexts.
      contexts: m queries, each with its own prompt, that must succeed together.

    Returns:
      The error; 1 where the bound says nothing.

    Raises:
      InputError: an argument out of range.

    >>> round(retrieval_error(vocab=8, retrieved=500, delta=0.05, recall=0.8, contaminated=0.1), 3)
    0.193

    Source: statement C6.retrieval, which adds kappa to the whole bound.
    """
    if not (0 <= recall <= 1 and 0 <= contaminated <= 1):
        raise InputError(
            f"expected recall and contaminated in [0, 1], got {recall} and {contaminated}"
        )
    n = math.floor(recall * whole(retrieved, name="retrieved", least=1) + 1e-9)
    if n == 0:
        return 1.0
    clean = certified_error(vocab=vocab, n=n, delta=delta, contexts=contexts)
    return (1 - contaminated) * clean + contaminated


def softmax_leak(*, gap: float, total: int, matching: int) -> float:
    """Weight that softmax attention leaves on demonstrations of other contexts; a bound on TV.

    (N - n_c) e^-b/(n_c + (N - n_c) e^-b) if all others score b below the matching ones, less if
    more.

    Args:
      gap: b >= 0, in logits.
      total: N demonstrations in the prompt.
      matching: n_c of them of the query's context, 1 <= n_c <= N.

    Raises:
      InputError: an argument out of range.

    >>> round(softmax_leak(gap=5.0, total=400, matching=50), 4)
    0.045

    Source: statement C6.
    """
    N = whole(total, name="total", least=1)
    matching = whole(matching, name="matching", least=1)
    if matching > N:
        raise InputError(f"matching: expected at most total = {N}, got {matching}")
    if not gap >= 0:
        raise InputError(f"gap: expected a non-negative score difference, got {gap}")
    others = (N - matching) * math.exp(-gap)
    return others / (matching + others)


def window_fit(*, window: int, overhead: int, tokens: int) -> int:
    """Demonstrations that fit a prompt: floor((W - o)/tau).

    Args:
      window: W tokens.
      overhead: o tokens that are not demonstrations.
      tokens: tau tokens a demonstration.

    Raises:
      InputError: an argument out of range.

    >>> window_fit(window=4096, overhead=0, tokens=4)
    1024

    Source: statement C6.
    """
    W, o = whole(window, name="window", least=1), whole(overhead, name="overhead", least=0)
    return max(0, (W - o) // whole(tokens, name="tokens", least=1))


def window_error(*, vocab: int, window: int, overhead: int, tokens: int, delta: Exact) -> float:
    """eps_min: the TV that a window full of the query's own demonstrations certifies.

    (sqrt(V-1)/2 + sqrt(ln(1/delta)/2))/sqrt(n_fit), or Weissman's bound if that is smaller.

    Args:
      vocab: V >= 2.
      window: W tokens.
      overhead: o tokens that are not demonstrations.
      tokens: tau tokens a demonstration.
      delta: in (0, 1).

    Returns:
      The error; 1 if no demonstration fits.

    Raises:
      InputError: an argument out of range.

    >>> round(window_error(vocab=32, window=4096, overhead=0, tokens=4, delta=0.05), 3)
    0.111

    Source: statement C6.
    """
    n = window_fit(window=window, overhead=overhead, tokens=tokens)
    return certified_error(vocab=vocab, n=n, delta=delta) if n else 1.0


def _pool(vocab: int, pool: int, n: int) -> tuple[int, int, int]:
    N, n = whole(pool, name="pool", least=1), whole(n, name="n", least=1)
    if n > N:
        raise InputError(f"n: expected a subset of the pool of {N}, got {n}")
    return whole(vocab, name="vocab", least=2), N, n


def _log_events(V: int) -> float:
    """ln(2^V - 2), the events that are neither empty nor everything."""
    return V * math.log(2) + math.log1p(-(2.0 ** (1 - V)))
