"""Partial access to the data: claim C5.

Letters: V symbols; N demonstrations in a pool and n of them drawn without replacement. Errors are
total variation for one token. Logarithms are natural.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import gammaln

from icl_sim.bounds.arguments import Exact, probability, require_table, whole
from icl_sim.bounds.tokens import log_events
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

    >>> [round(subset_mean_error(vocab=8, pool=400, n=n), 4) for n in (200, 400)]
    [0.0662, 0.0]

    Source: statement C5.random.
    """
    V, N, n = _pool(vocab, pool, n)
    return math.sqrt((V - 1) / n * (N - n) / max(N - 1, 1)) / 2


def subset_expected_total_variation(*, pool: Sequence[int], n: int) -> float:
    """The exact mean of TV between the law of a random subset and the law of its pool.

    sum_i E|X_i/n - K_i/N| / 2, X_i hypergeometric: n draws from N of which K_i are symbol i.

    Args:
      pool: K, the count of each symbol; N = sum K >= 1.
      n: subset, 1 <= n <= N.

    >>> round(subset_expected_total_variation(pool=[2, 2], n=2), 6)  # 1/2 or 0, with 1/3 and 2/3
    0.166667

    Source: the definition; statement C5.random.
    """
    counts = [whole(count, name="pool", least=0) for count in pool]
    _, N, n = _pool(max(2, len(counts)), sum(counts), n)
    require_table("a hypergeometric law", min(n, max(counts)))
    total = 0.0
    for K in counts:
        x = np.arange(max(0, n - (N - K)), min(n, K) + 1)
        log_mass = _log_choose(K, x) + _log_choose(N - K, n - x) - _log_choose(N, np.array(n))
        total += float(np.exp(log_mass) @ np.abs(x / n - K / N))
    return total / 2


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
      vocab, pool, n, eps: as for `subset_failure_mcdiarmid`.

    Returns:
      The bound, at most 1; 0 at n = N.

    >>> round(subset_failure_serfling(vocab=8, pool=400, n=200, eps=0.12), 4)
    0.0027

    Source: Serfling, Ann. Statist. 2 (1974), corollary 1.1; statement C5.random.
    """
    V, N, n = _pool(vocab, pool, n)
    if n == N:
        return 0.0
    effective = n / (1 - (n - 1) / N)
    exponent = log_events(V) - 2 * effective * float(probability(eps, name="eps")) ** 2
    return min(1.0, math.exp(min(exponent, 0.0)))


def subset_size(*, vocab: int, pool: int, eps: Exact, delta: Exact) -> int:
    """Random demonstrations of a pool that bring TV to its law below eps with prob. 1 - delta.

    The least n at which one of the two failure bounds is at most delta; never above N.

    Args:
      vocab: V >= 2.
      pool: N >= 1.
      eps, delta: in (0, 1).

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
    rho times the TV of those two, and rho itself if they share no symbol. With all of it missing,
    whatever is answered gives some symbol at most 1/V: 1 - 1/V.

    Args:
      vocab: V >= 2.
      missing: rho in [0, 1].

    >>> missing_error(vocab=4, missing=0.1), missing_error(vocab=4, missing=1)
    (0.1, 0.75)

    Source: statement C5.missing.
    """
    V = whole(vocab, name="vocab", least=2)
    if not 0 <= missing <= 1:
        raise InputError(f"missing: expected a fraction in [0, 1], got {missing}")
    return 1 - 1 / V if missing == 1 else float(missing)


def _pool(vocab: int, pool: int, n: int) -> tuple[int, int, int]:
    N, n = whole(pool, name="pool", least=1), whole(n, name="n", least=1)
    if n > N:
        raise InputError(f"n: expected a subset of the pool of {N}, got {n}")
    return whole(vocab, name="vocab", least=2), N, n


def _log_choose(n: int, k: np.ndarray) -> np.ndarray:
    return gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
