"""Retrieval into a short prompt: claim C6.

Letters: V symbols; m contexts; n_c demonstrations of context c in the prompt, N in all; W tokens of
window. Errors are total variation for one token. Logarithms are natural.
"""

from __future__ import annotations

import math

from icl_sim.bounds.arguments import Exact, probability, whole
from icl_sim.bounds.tokens import log_events
from icl_sim.errors import InputError


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

    >>> round(certified_error(vocab=32, n=1024, delta=0.05), 4)
    0.1109

    Source: statement C1.token.
    """
    V, n = whole(vocab, name="vocab", least=2), whole(n, name="n", least=1)
    m = whole(contexts, name="contexts", least=1)
    L = math.log(m) - math.log(probability(delta, name="delta"))
    mcdiarmid = (math.sqrt(V - 1) / 2 + math.sqrt(L / 2)) / math.sqrt(n)
    return min(1.0, mcdiarmid, math.sqrt((log_events(V) + L) / (2 * n)))


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

    (1 - kappa) * `certified_error`(floor(r n_c)) + kappa. Misses that are independent of the
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

    >>> round(retrieval_error(vocab=8, retrieved=500, delta=0.05, recall=0.8, contaminated=0.1), 3)
    0.193

    Source: statement C6.retrieval, which adds kappa to the whole bound.
    """
    _require_fractions(recall, contaminated)
    n = math.floor(recall * whole(retrieved, name="retrieved", least=1) + 1e-9)
    if n == 0:
        return 1.0
    clean = certified_error(vocab=vocab, n=n, delta=delta, contexts=contexts)
    return (1 - contaminated) * clean + contaminated


def missed_error(
    *,
    vocab: int,
    stored: int,
    delta: Exact,
    recall: float,
    contaminated: float = 0.0,
    contexts: int = 1,
) -> float:
    """The same where what is missed may depend on the labels: with probability 1 - delta.

    (1 - kappa) * (`certified_error`(n_c) + 1 - r) + kappa. All n_c outputs have the law phat = r
    phat_shown + (1 - r) phat_missed, hence TV(phat_shown, phat) <= 1 - r, whoever chooses.

    Args:
      vocab: V >= 2.
      stored: n_c, demonstrations of the query's context in the store, shown or not.
      delta: in (0, 1).
      recall: r in [0, 1], the fraction of them that is shown.
      contaminated: kappa in [0, 1], the fraction of the prompt that belongs to other contexts.
      contexts: m queries, each with its own prompt, that must succeed together.

    Returns:
      The error; 1 where the bound says nothing.

    >>> round(missed_error(vocab=8, stored=500, delta=0.05, recall=0.8), 3)
    0.292

    Source: statement C6.misses.
    """
    _require_fractions(recall, contaminated)
    clean = certified_error(vocab=vocab, n=stored, delta=delta, contexts=contexts) + 1 - recall
    return min(1.0, (1 - contaminated) * clean + contaminated)


def _require_fractions(recall: float, contaminated: float) -> None:
    if not (0 <= recall <= 1 and 0 <= contaminated <= 1):
        raise InputError(
            f"expected recall and contaminated in [0, 1], got {recall} and {contaminated}"
        )


def softmax_leak(*, gap: float, total: int, matching: int) -> float:
    """Weight that softmax attention leaves on demonstrations of other contexts; a bound on TV.

    (N - n_c) e^-b/(n_c + (N - n_c) e^-b) if all others score b below the matching ones, less if
    more.

    Args:
      gap: b >= 0, in logits.
      total: N demonstrations in the prompt.
      matching: n_c of them of the query's context, 1 <= n_c <= N.

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

    >>> round(window_error(vocab=32, window=4096, overhead=0, tokens=4, delta=0.05), 3)
    0.111

    Source: statement C6.
    """
    n = window_fit(window=window, overhead=overhead, tokens=tokens)
    return certified_error(vocab=vocab, n=n, delta=delta) if n else 1.0
