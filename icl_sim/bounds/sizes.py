"""Sample sizes side by side: the formulas, the best necessary size, and the exact n*."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypedDict

import numpy as np
from scipy.special import betainc

from icl_sim.bounds import sequences, tokens
from icl_sim.bounds.arguments import Exact, per_context, probability, whole
from icl_sim.bounds.exact import (
    RELATIVE_ERROR,
    convex_order_bound,
    obstacle,
    uniform_tails,
    work,
)
from icl_sim.errors import InputError
from icl_sim.execution.signatures import checked

SEARCH_LIMIT = 2e11  # multiply-adds that the search for n* may take: about a minute on one core
COIN_LIMIT = 10**10  # n up to which two symbols' tails are known: beyond, betainc loses digits


class TooCostlyError(InputError):
    """An exact value that would take more than its stated limit of work."""


class Parameters(TypedDict):
    """What every size for one token depends on."""

    vocab: int
    eps: Exact
    delta: Exact
    contexts: int


@dataclass(frozen=True)
class SampleSize:
    """Demonstrations per context for claim C1, and what a length or a dimension adds.

    Args:
      mcdiarmid: sufficient for every law (McDiarmid around the mean).
      weissman: sufficient for every law (Weissman; Bretagnolle, Huber and Carol).
      abstract: the abstract's size with constant 1; sufficient if ln(m/delta) >= 1/2.
      lower: necessary, whatever the estimator, for the worst law.
      exact: n*, the empirical law's own size at the uniform law; None if too costly, see `note`.
      note: why `exact` is missing, else None.
      sequence_mean: per prefix context, for E TV <= eps of whole outputs of `length` tokens, by
        add-one smoothing: l (V-1)/(2 eps^2).
      sequence_tail: per prefix context (all m of them counted), with probability 1 - delta, by the
        empirical law: l (sqrt(V-1) + sqrt(L))^2/(2 eps^2).
      sequence_abstract: claim C2's size with constant 1, (l ln V/eps^2) ln(1/delta).
      linear_mean: claim C3's d/eps; sufficient for a mean error of at most eps (hard margin SVM).
      linear_tail: 2 d + (2/eps)(d ln 4 + ln(1/delta)), with probability 1 - delta.
      linear_lower: ln(1/(2 delta))/-ln(1 - eps), necessary with probability 1 - delta from d = 2.
      linear_abstract: claim C4's size with constant 1, ln(1/delta)/eps^2.
    """

    mcdiarmid: int
    weissman: int
    abstract: int
    lower: int
    exact: int | None
    note: str | None = None
    sequence_mean: int | None = None
    sequence_tail: int | None = None
    sequence_abstract: int | None = None
    linear_mean: int | None = None
    linear_tail: int | None = None
    linear_lower: int | None = None
    linear_abstract: int | None = None


@checked
def sample_size(
    *,
    vocab: int,
    eps: Exact,
    delta: Exact,
    contexts: int,
    length: int = 1,
    dim: int | None = None,
) -> SampleSize:
    """Every size for one choice of parameters, per context.

    Args:
      vocab: V >= 2 symbols.
      eps: the error allowed, in (0, 1).
      delta: the failure probability allowed, in (0, 1), over all contexts together.
      contexts: m >= 1.
      length: tokens per output; the sequence fields are filled if it is above 1.
      dim: dimension of linear classification; the linear fields are filled if it is given.

    >>> found = sample_size(vocab=32, eps=0.15, delta=0.1, contexts=1)
    >>> found.lower, found.exact, found.weissman, found.mcdiarmid, found.abstract
    (17, 304, 545, 662, 3275)
    """
    length = whole(length, name="length", least=1)
    common = Parameters(vocab=vocab, eps=eps, delta=delta, contexts=contexts)
    sizes: dict[str, Any] = {
        "mcdiarmid": tokens.mcdiarmid(**common),
        "weissman": tokens.weissman(**common),
        "abstract": tokens.abstract(**common),
        "lower": tokens.lower(**common),
    }
    if length > 1:
        sizes["sequence_mean"] = sequences.prefix_size(vocab=vocab, length=length, eps=eps)
        sizes["sequence_tail"] = sequences.prefix_tail_size(**common, length=length)
        sizes["sequence_abstract"] = sequences.abstract_sequence_size(
            vocab=vocab, length=length, eps=eps, delta=delta
        )
    if dim is not None:
        from icl_sim.bounds import classification  # imports scipy.stats, which is slow

        sizes["linear_mean"] = classification.halfspace_mean_size(dim=dim, eps=eps)
        sizes["linear_tail"] = classification.halfspace_tail_size(dim=dim, eps=eps, delta=delta)
        sizes["linear_abstract"] = classification.abstract_fixed_context_size(eps=eps, delta=delta)
        if dim >= 2:
            necessary = classification.halfspace_necessary_tail(eps=eps, delta=delta)
            sizes["linear_lower"] = math.ceil(necessary)
    try:
        return SampleSize(**sizes, exact=exact_sample_size(**common))
    except TooCostlyError as reason:
        return SampleSize(**sizes, exact=None, note=str(reason))


def exact_sample_size(*, vocab: int, eps: Exact, delta: Exact, contexts: int = 1) -> int:
    """n*: the smallest n from which on every n succeeds, at the uniform law.

    n succeeds if 1 - (1 - P(TV > eps))^m <= delta, up to a relative 1e-9 of the probability. This
    is not monotone in n, so success is first proved for all n from some n1 on
    (`convex_order_bound`, or the two-symbol law's Weissman size), and the scan goes down from there
    to the first failure.

    Returns:
      n*, at least 1.

    Raises:
      InputError: an argument out of range; its subclass TooCostlyError if the search goes beyond
        SEARCH_LIMIT.

    >>> exact_sample_size(vocab=32, eps=0.15, delta=0.1, contexts=1000)
    525
    """
    common = Parameters(vocab=vocab, eps=eps, delta=delta, contexts=contexts)
    proved = min(tokens.mcdiarmid(**common), tokens.weissman(**common))
    level = probability(eps, name="eps")
    if level >= 1 - Fraction(1, vocab):
        return 1  # the uniform law's TV never exceeds 1 - 1/V
    if why := _out_of_reach(vocab, proved):
        raise TooCostlyError(
            f"exact: not computed, the search up to n = {proved} {why}; raise eps or lower vocab"
        )
    allowed = per_context(float(probability(delta, name="delta")), contexts) * (1 + RELATIVE_ERROR)
    if vocab == 2:
        return _coins_needed(level, allowed, proved)
    high = _proved_size(vocab, level, allowed, proved)
    while high > 1:
        low = _chunk_start(vocab, high)
        sizes = range(low, high)
        failing = np.flatnonzero(uniform_tails(vocab, sizes, level) > allowed)
        if len(failing):
            return low + int(failing[-1]) + 1
        high = low
    return 1


def _out_of_reach(vocab: int, proved: int) -> str | None:
    """Why n* is not searched for up to a size; None if it is."""
    if vocab == 2:
        far = f"would go beyond {COIN_LIMIT:.0e}, where floats do not hold the probability to 1e-9"
        return far if proved > COIN_LIMIT else None
    if (cost := _search_work(vocab, proved)) > SEARCH_LIMIT:
        return f"would take {cost:.0e} multiply-adds, limit {SEARCH_LIMIT:.0e}"
    if why := obstacle(vocab, proved):
        return f"needs a probability there, which {why}"
    return None


def _coins_needed(eps: Fraction, allowed: float, proved: int) -> int:
    """n* of two symbols: one more than the last size that fails, which is a peak."""
    peaks = _coin_peaks(proved, eps)
    while sizes := list(itertools.islice(peaks, 4096)):
        failing = np.flatnonzero(_coin_tails(sizes, eps) > allowed)
        if len(failing):
            return sizes[failing[0]] + 1
    return 1


def _coin_peaks(high: int, eps: Fraction) -> Iterator[int]:
    """The n < high, from above, with k(n + 2) = k(n) + 2, where k(n) = floor(n (1/2 + eps)) + 1.

    The last n that fails is one of them. P(TV > eps) = 2 P(B_n >= k(n)), B_n ~ Binomial(n, 1/2).
    Elsewhere k(n + 2) = k + 1, and P(B_(n+2) >= k + 1) - P(B_n >= k) = (P(B_n = k - 1) -
    P(B_n = k))/4 >= 0, as k > n/2: if n fails, so does n + 2.

    With 1/2 + eps = a/b, n is one of them where n a mod b >= b - 2 eps b. A step from n to n - 2
    lowers that remainder by 2 eps b, so that the next one of the same parity is known at once.
    """
    share = Fraction(1, 2) + eps
    a, b = share.numerator, share.denominator
    step = int(2 * eps * b)  # an integer: 2 a - b

    def of_parity(n: int) -> Iterator[int]:
        left = n * a % b
        if left + step < b:
            n, left = n - 2 * (left // step + 1), left % step + b - step
        while n >= 1:
            yield n
            n, left = n - 2 * (left // step + 1), left % step + b - step

    return heapq.merge(of_parity(high - 1), of_parity(high - 2), reverse=True)


def _coin_tails(sizes: Sequence[int], eps: Fraction) -> np.ndarray:
    """P(TV > eps) at the uniform law on two symbols, for each n: float64 [len(sizes)]."""
    up = eps + Fraction(1, 2)
    least = np.array([n * up.numerator // up.denominator + 1 for n in sizes], dtype=np.float64)
    misses = np.array(sizes) - least
    return np.where(misses >= 0, 2 * betainc(least, np.maximum(misses, 0) + 1, 0.5), 0.0)


def _chunk_start(vocab: int, high: int) -> int:
    """The least of the sizes, up to high - 1, that one evaluation may serve.

    They share floor(n/V), and spread over half a standard deviation of the sum of V Poisson counts,
    so that one tilt suits them all.
    """
    return max(1, (high - 1) // vocab * vocab, high - 1 - math.isqrt(high) // 2)


def _proved_size(vocab: int, eps: Fraction, allowed: float, proved: int) -> int:
    """A size from which on every n succeeds, by bisection on `convex_order_bound`."""
    low, high = 0, proved
    while high - low > max(1, high // 1000):
        middle = (low + high) // 2
        if convex_order_bound(vocab, middle, eps) <= allowed:
            high = middle
        else:
            low = middle
    return high


def _search_work(vocab: int, proved: int) -> float:
    """About how many multiply-adds the search for n* takes.

    From `convex_order_bound` down to n* are at most a tenth of the sizes.
    """
    return (0.1 * proved / min(vocab, 1 + math.isqrt(proved) // 2) + 15) * work(vocab, proved)
