"""P(TV > eps) of the empirical law at any law p: a certified two-sided enclosure.

Round p to a law r on the grid of steps 1/(n q), q steps per sample. For any counts,
|TV(c/n, p) - TV(c/n, r)| <= TV(p, r) = tau, so with counts that still follow p

    P( TV(c/n, r) > eps + tau )  <=  P( TV(c/n, p) > eps )  <=  P( TV(c/n, r) > eps - tau ).

Measured in steps, D = n q TV(c/n, r) = sum_i (q c_i - n q r_i)_+ is an integer, and both ends
follow from its law. If n q p is a vector of integers then tau = 0 and the ends agree. (Deviations
are in effect rounded up and down together; as r sums to one, the width is half of what rounding
every deviation up, then every one down, would give.)

D is followed symbol by symbol: given that R samples are left, symbol i takes
Binomial(R, p_i/(p_i + p_(i+1) + ...)) of them, which is the multinomial law. The state is (R, D).
Terms are never negative, so a D above the upper threshold has failed for good. Only non-negative
numbers are added, so rounding errors are relative; paths of negligible probability are dropped, and
what is dropped is added to the upper end.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial

import numpy as np
from scipy.special import gammaln

from icl_sim.bounds.arguments import Exact, exact_law, over_contexts, probability, whole
from icl_sim.errors import InputError
from icl_sim.execution.memory_guard import require

WORK = 2e9  # additions that the automatic choice of steps may spend: a few seconds
WORK_LIMIT = 1e11  # and that any call may spend: some minutes
ROUNDING = 1e-9  # covers binary rounding: V factors, each within about 1e-16 n ln n of its value
_DROPPED = 1e-30


@dataclass(frozen=True)
class Enclosure:
    """The probability lies in [low, high].

    Args:
      low: lower end.
      high: upper end.
      steps: grid steps per sample, q.
    """

    low: float
    high: float
    steps: int


def failure_enclosure(
    *,
    law: Sequence[Exact],
    n: int,
    eps: Exact,
    contexts: int = 1,
    steps: int | None = None,
) -> Enclosure:
    """Enclose 1 - (1 - P(TV > eps))^m for m contexts that share one law, n samples each.

    Args:
      law: V probabilities. Floats are read as the decimals that they print as.
      n: samples per context.
      eps: in (0, 1), taken as the decimal number that was written; ">" is strict.
      contexts: m.
      steps: grid steps per sample, q; the width falls about as 1/q and the work grows as q.
        By default the common denominator of the n p_i if that is affordable, and the enclosure is
        then exact up to rounding; otherwise as many as a few seconds allow.

    Raises:
      InputError: an argument out of range, more than WORK_LIMIT additions, or more than memory
        lasts for.

    >>> found = failure_enclosure(law=["1/2", "3/10", "1/5"], n=10, eps=0.25)
    >>> round(found.low, 6), round(found.high, 6), found.steps
    (0.172483, 0.172483, 1)
    """
    masses = [p for p in exact_law(law) if p > 0]  # an impossible symbol is never seen
    n, eps = whole(n, name="n", least=1), probability(eps, name="eps")
    contexts = whole(contexts, name="contexts", least=1)
    masses.sort(reverse=True)
    cost = _additions(masses, n) * float(n * eps)
    if steps is None:
        steps = math.lcm(*((n * p).denominator for p in masses))
        if cost * steps > WORK:
            steps = max(1, int(WORK / cost))
    steps = whole(steps, name="steps", least=1)
    if cost * steps > WORK_LIMIT:
        raise InputError(
            f"steps: expected at most {WORK_LIMIT:.0e} additions, but {len(masses)} symbols, "
            f"n {n}, {steps} steps need {cost * steps:.0e}; lower steps or n"
        )
    walk = _walk(masses, n, eps, steps)
    unsure = float(walk.held[max(0, walk.safe + 1) :].sum())
    return Enclosure(
        over_contexts(min(1.0, walk.failed * (1 - ROUNDING)), contexts),
        over_contexts(min(1.0, (walk.failed + unsure) * (1 + ROUNDING) + walk.dropped), contexts),
        steps,
    )


def lasting_failure(*, law: Sequence[Exact], n: int, eps: Exact, steps: int) -> tuple[float, float]:
    """Of n samples: a lower bound on P(TV > eps), and an upper one for n and all larger sizes.

    `convex_order_bound` at any law p. TV(c/n, r) is convex in the empirical law whatever the fixed
    law r is, so it is a reversed submartingale, and with r on the grid, for n' >= n and every k,

        P(TV(c/n', p) > eps) <= P(TV(c/n', r) > eps - tau) <= E (D - k)_+ / (n q (eps - tau) - k).

    E (D - k)_+ = E D - k + E (k - D)_+; the mean is a sum of binomial ones. The best k is taken.
    As E D and k cancel, nothing below about 1e-8 can be shown.

    Args:
      law, n, eps: as of `failure_enclosure`.
      steps: q.

    >>> low, lasting = lasting_failure(law=["1/2", "3/10", "1/5"], n=40, eps=0.2, steps=1)
    >>> round(low, 4), round(lasting, 4)
    (0.0097, 0.0399)
    """
    masses = [p for p in exact_law(law) if p > 0]
    n, eps = whole(n, name="n", least=1), probability(eps, name="eps")
    steps = whole(steps, name="steps", least=1)
    walk = _walk(masses, n, eps, steps)
    counts = np.arange(n + 1)
    log_factorials = gammaln(counts + 1.0)
    mean = 0.0
    for p, origin in zip(masses, walk.grid, strict=True):
        chance = _binomial(np.array([n]), counts, p, log_factorials)[0]
        mean += float(chance @ np.maximum(steps * counts - origin, 0))
    level = float(n * steps * eps - walk.error)
    k = np.arange(max(0, math.ceil(level)))
    short = np.concatenate([[0.0], np.cumsum(np.cumsum(walk.held))])[k]  # E (k - D)_+, from below
    excess = (mean + short) * (1 + ROUNDING) - k + k * walk.dropped
    return walk.failed * (1 - ROUNDING), float((excess / (level - k)).min(initial=1.0))


@dataclass(frozen=True)
class _Walk:
    """The law of D, cut above the highest threshold.

    grid: n q r. error: n q tau. failed: P(D > top), from below. held: P(D = 0..top), from below.
    dropped: what both may lack. safe: D up to it is a success, whatever was rounded.
    """

    grid: list[int]
    error: Fraction
    failed: float
    held: np.ndarray
    dropped: float
    safe: int


def _walk(masses: Sequence[Fraction], n: int, eps: Fraction, steps: int) -> _Walk:
    bytes_ = partial(enclosure_bytes, masses, steps * eps)
    require("an enclosure", bytes_, host=True, n=n)
    grid = _rounded([n * steps * p for p in masses])
    error = sum((abs(n * steps * p - r) for p, r in zip(masses, grid, strict=True)), Fraction()) / 2
    threshold = n * steps * eps
    failed, held, dropped = _follow(masses, grid, n, steps, math.floor(threshold + error))
    return _Walk(grid, error, failed, held, dropped, math.floor(threshold - error))


def enclosure_bytes(masses: Sequence[Fraction], rise: Fraction, n: int) -> int:
    """Memory of `failure_enclosure` at its peak; ``rise`` is the threshold over n, in steps.

    With the share r of the law still to come, the samples left lie within 12 standard deviations,
    2 * 12 sqrt(n r (1 - r)) rows. Five arrays of rows by samples left (the binomial probabilities,
    their logarithms and what these are made of), and three of rows by steps up to the threshold.
    """
    most, rest = 5 * (n + 1), Fraction(1)
    for p in masses[:-1]:
        rest -= p
        rows = min(n + 1, 24 * math.isqrt(math.ceil(n * rest * (1 - rest))) + 2)
        most = max(most, rows * (5 * min(n + 1, math.ceil(n * rest) + rows) + 3 * int(n * rise)))
    return 8 * most


def _rounded(values: Sequence[Fraction]) -> list[int]:
    """Integers next to `values` with the same sum, by largest remainders."""
    floors = [math.floor(v) for v in values]
    order = sorted(range(len(values)), key=lambda i: floors[i] - values[i])
    for i in order[: int(sum(values)) - sum(floors)]:
        floors[i] += 1
    return floors


def _additions(masses: Sequence[Fraction], n: int) -> float:
    """About how many additions each step up to the threshold costs."""
    rows = min(n + 1.0, 10 * math.sqrt(n) + 20)
    return sum(rows * min(n + 1.0, 10 * math.sqrt(n * float(p)) + 20) for p in masses)


def _follow(
    masses: Sequence[Fraction], grid: Sequence[int], n: int, steps: int, top: int
) -> tuple[float, np.ndarray, float]:
    """P(D > top), the probabilities of D = 0..top, and the probability dropped.

    alive[r, d] is the probability that first + r samples are left and D is d so far.
    """
    alive, first = np.zeros((1, top + 1)), n
    alive[0, 0] = 1.0
    log_factorials = gammaln(np.arange(n + 1) + 1.0)
    failed = dropped = 0.0
    rest = Fraction(1)
    for p, origin in zip(masses, grid, strict=True):
        left = np.arange(first, first + len(alive))  # [rows]
        taken = np.arange(left[-1] + 1)  # [most + 1]
        chance = _binomial(left, taken, p / rest, log_factorials)
        rest -= p
        weight = alive.sum(axis=1)[:, None] * chance
        kept = weight.max(axis=0) > _DROPPED
        dropped += float(weight[:, ~kept].sum())
        taken = taken[kept]
        after_first = max(0, int(left[0] - taken[-1]))
        after = np.zeros((int(left[-1] - taken[0]) + 1 - after_first, top + 1))
        beyond = np.cumsum(alive[:, ::-1], axis=1)  # [rows, t]: probability of D >= top - t
        for c in taken.tolist():
            begin = max(0, c - first)  # rows with at least c samples left
            share = chance[begin:, c : c + 1]
            rise = max(0, steps * c - origin)
            if rise:
                failed += float(share[:, 0] @ beyond[begin:, min(rise, top + 1) - 1])
            if rise <= top:
                start = first + begin - c - after_first
                rows = slice(start, start + len(share))
                after[rows, rise:] += share * alive[begin:, : top + 1 - rise]
        totals = after.sum(axis=1)
        used = np.flatnonzero(totals > _DROPPED)
        if not len(used):
            return failed, np.zeros(top + 1), dropped + float(totals.sum())
        dropped += float(totals[: used[0]].sum() + totals[used[-1] + 1 :].sum())
        alive, first = after[used[0] : used[-1] + 1], after_first + int(used[0])
    return failed, alive.sum(axis=0), dropped


def _binomial(
    trials: np.ndarray, successes: np.ndarray, hit: Fraction, log_factorials: np.ndarray
) -> np.ndarray:
    """Binomial probabilities [trials, successes], zero where successes exceed trials."""
    misses = trials[:, None] - successes
    if hit == 1:
        return (misses == 0).astype(np.float64)
    possible = np.maximum(misses, 0)
    logs = log_factorials[trials][:, None] - log_factorials[successes] - log_factorials[possible]
    logs += successes * math.log(hit) + possible * math.log(1 - hit)
    return np.where(misses >= 0, np.exp(logs), 0.0)
