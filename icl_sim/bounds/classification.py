"""Halfspaces (claims C3 and C4): sufficient and necessary sizes, and laws with closed-form errors.

Letters: d dimension (of homogeneous halfspaces; an affine one in R^d is homogeneous in d + 1); n
examples, labeled by a halfspace; err the probability of a wrong label on a fresh input; R largest
norm, g margin. Logarithms are natural.

A *basis law* draws unit vectors e_i with masses p_i; any labels are then realized by a halfspace,
and nothing that is seen tells anything about the rest: these laws give the lower bounds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from scipy.stats import binom

from icl_sim.bounds.arguments import (
    Exact,
    exact_fraction,
    exact_law,
    probability,
    radius_over_margin,
    require_table,
    whole,
)
from icl_sim.bounds.hash_bit import occupancies
from icl_sim.bounds.sequences import events_size
from icl_sim.errors import InputError


def halfspace_mean_bound(*, dim: int, n: int) -> float:
    """Upper bound d/(n+1) on E err of the hard-margin SVM, for every law that a halfspace labels.

    Leave one out of n + 1 examples. The SVM of all is w = sum a_i y_i x_i with a >= 0 on at most d
    linearly independent y_i x_i (Caratheodory); w is unique, so leaving out any other example
    changes nothing, and w has margin >= 1 on it. Hence at most d of the n + 1 choices err (ties
    counted as errors), and by exchangeability E err <= d/(n+1). No general position is needed.

    Args:
      dim: d >= 1.
      n: examples, n >= 0.

    >>> halfspace_mean_bound(dim=20, n=399)
    0.05

    Source: Vapnik and Chervonenkis 1974; statement C3.mean.
    """
    return whole(dim, name="dim", least=1) / (whole(n, name="n", least=0) + 1)


def halfspace_mean_size(*, dim: int, eps: Exact) -> int:
    """Examples for E err <= eps of the hard-margin SVM: ceil(d/eps), the abstract's size for C3.

    Args:
      dim: d >= 1.
      eps: in (0, 1).

    >>> halfspace_mean_size(dim=2, eps=0.05)
    40

    Source: `halfspace_mean_bound`; abstract of arXiv:2506.08060.
    """
    return math.ceil(whole(dim, name="dim", least=1) / probability(eps, name="eps"))


def halfspace_tail_size(*, dim: int, eps: Exact, delta: Exact) -> int:
    """Examples for err <= eps of the hard-margin SVM with probability 1 - delta.

    ceil(2 d + (2/eps)(d ln 4 + ln(1/delta))). Cut the sample in 2d blocks. The at most d support
    vectors miss d blocks, on which w, unchanged by leaving them out, makes no error: probability at
    most (1 - eps)^(n/2 - d) if err > eps. Union over C(2d, d) < 4^d choices of the blocks.

    Args:
      dim: d >= 1.
      eps, delta: in (0, 1).

    >>> halfspace_tail_size(dim=2, eps=0.05, delta=0.05)
    235

    Source: Bousquet, Hanneke, Moran, Zhivotovskiy, COLT 2020; statement C3.tail-corrected.
    """
    d, delta = whole(dim, name="dim", least=1), float(probability(delta, name="delta"))
    eps = float(probability(eps, name="eps"))
    return math.ceil(2 * d + 2 / eps * (d * math.log(4) - math.log(delta)))


def halfspace_necessary_mean(*, dim: int, eps: Exact) -> float:
    """Examples that every learner needs for E err <= eps on all basis laws: (d-1)/(2 e eps) - 1.

    Give d - 1 atoms mass 1/(n+1) each, the rest to one heavy atom, and random labels: E err >=
    (d-1)/(2 (n+1)) (1 - 1/(n+1))^n >= (d-1)/(2 e (n+1)). If n + 1 < d - 1, take d - 1 equal atoms:
    E err >= (1 - 1/(d-1))^(d-2)/2 >= 1/(2e) >= eps.

    Args:
      dim: d >= 2.
      eps: in (0, 1/(2e)].

    >>> round(halfspace_necessary_mean(dim=20, eps=0.05), 1)
    68.9

    Source: Ehrenfeucht et al. 1989, with constants; statement C3.
    """
    d, eps = whole(dim, name="dim", least=2), float(probability(eps, name="eps"))
    if eps > 1 / (2 * math.e):
        raise InputError(f"eps: expected at most 1/(2e) = 0.1839, where the proof holds, got {eps}")
    return (d - 1) / (2 * math.e * eps) - 1


def halfspace_necessary_tail(*, eps: Exact, delta: Exact) -> float:
    """Examples that every learner needs for P(err > eps) <= delta in d >= 2 dimensions.

    ln(1/(2 delta))/-ln(1 - eps): with P(e_2) = eps' > eps and a random label, e_2 stays unseen and
    is guessed wrong with probability (1 - eps')^n / 2, for every eps' > eps.

    Args:
      eps, delta: in (0, 1).

    >>> round(halfspace_necessary_tail(eps=0.05, delta=0.05), 1)
    44.9

    Source: statement C3.
    """
    eps, delta = float(probability(eps, name="eps")), float(probability(delta, name="delta"))
    return max(0.0, math.log(2 * delta) / math.log1p(-eps))


def perceptron_updates(*, radius: float, margin: float) -> float:
    """Most updates of the perceptron on data of norm <= R and margin >= g: (R/g)^2.

    Each update raises <w, w*> by at least g and ||w||^2 by at most R^2: g k <= ||w|| <= R sqrt(k).

    Args:
      radius: R > 0.
      margin: g in (0, R], for the unit vector w*.

    >>> perceptron_updates(radius=1.0, margin=0.5)
    4.0

    Source: Novikoff 1962.
    """
    return radius_over_margin(radius, margin) ** 2


def basis_mean_error(*, masses: Sequence[Exact], n: int, miss: float = 0.5) -> float:
    """E err on a basis law, exactly: miss * sum_i p_i (1 - p_i)^n.

    For random labels and any learner that fits what it has seen, an unseen atom is wrong with
    probability 1/2, and no learner does better; miss = 1 is the worst tie rule.

    Args:
      masses: p, d >= 2 probabilities.
      n: examples, n >= 0.
      miss: probability that an unseen atom is wrong.

    >>> basis_mean_error(masses=["1/2", "1/2"], n=1)
    0.25

    Source: statement C3, C4.
    """
    p = np.array([float(mass) for mass in exact_law(masses)])
    return float(miss * np.sum(p * (1 - p) ** whole(n, name="n", least=0)))


def basis_failure(*, light: int, light_mass: Exact, n: int, eps: Exact, miss: float = 0.5) -> float:
    """P(err > eps) on a heavy/light basis law, exactly, for a learner that fits what it has seen.

    One heavy atom of mass 1 - q, and `light` atoms that share q equally. The light draws are
    Binomial(n, q); among b of them occupancy gives the number of atoms seen; each unseen atom is
    wrong independently with probability `miss`.

    Args:
      light: number of light atoms, >= 1; d = light + 1, or d = light if q = 1. light_mass: q in (0,
      1]; 1 is the uniform law on `light` atoms. n: examples, n >= 0. eps: in (0, 1); ">" is strict.
      miss: probability that an unseen atom is wrong: 1/2 for random labels, 1 for the worst tie
      rule.

    >>> round(basis_failure(light=1, light_mass="0.0505", n=40, eps=0.05), 3)  # the two-point law
    0.063

    Source: statement C3.tail, C4.free-dimension.
    """
    light, n = whole(light, name="light", least=1), whole(n, name="n", least=0)
    q, eps = exact_fraction(light_mass, name="light_mass"), probability(eps, name="eps")
    if not (0 < q <= 1 and 0 <= miss <= 1):
        raise InputError(f"expected light_mass in (0, 1] and miss in [0, 1], got {q} and {miss}")
    require_table("the law of the draws", max(light, n))
    if_heavy_right = _wrong_tail(light, q, eps, miss)
    if_heavy_wrong = _wrong_tail(light, q, eps - (1 - q), miss)
    undrawn = miss * if_heavy_wrong + (1 - miss) * if_heavy_right  # the heavy atom is unseen too
    draws = binom.pmf(np.arange(n + 1), n, float(q))
    total = 0.0
    for b, seen in zip(range(n + 1), occupancies(light), strict=False):
        if draws[b] > 0:
            total += draws[b] * (seen @ (if_heavy_right if b < n else undrawn))
    return min(1.0, float(total))


def abstract_fixed_context_size(*, eps: Exact, delta: Exact) -> int:
    """The size that the abstract gives for classification in a fixed context, with constant 1.

    ceil(ln(1/delta)/eps^2). It names no dimension: enough for one bounded statistic once
    delta <= 1/2 (`statistic_size`), and below `halfspace_necessary_mean` once
    d > 1 + 2 e (ln(1/delta)/eps + eps).

    Args:
      eps, delta: in (0, 1).

    >>> abstract_fixed_context_size(eps=0.1, delta=0.05)
    300

    Source: abstract of arXiv:2506.08060.
    """
    eps, delta = float(probability(eps, name="eps")), float(probability(delta, name="delta"))
    return math.ceil(-math.log(delta) / eps**2)


def statistic_size(*, eps: Exact, delta: Exact) -> int:
    """Samples for one mean in [0, 1] to be within eps w.p. 1 - delta: ceil(ln(2/delta)/(2 eps^2)).

    Args:
      eps, delta: in (0, 1).

    >>> statistic_size(eps=0.1, delta=0.05)
    185

    Source: Hoeffding 1963; statement C4.statistic.
    """
    return events_size(events=1, eps=eps, delta=delta)


def margin_size(*, radius: float, margin: float, eps: Exact, delta: Exact) -> int:
    """Examples for err <= eps w.p. 1 - delta of any unit w with margin g on all: no d in it.

    ceil((2 R/g + sqrt(ln(1/delta)/2))^2/eps^2). The ramp loss, 1/g-Lipschitz and in [0, 1], lies
    above the 0/1 loss; its largest deviation has mean at most twice the Rademacher average
    R/(g sqrt(n)), and changing one example moves it by at most 1/n (McDiarmid).

    Args:
      radius: R > 0.
      margin: g in (0, R].
      eps, delta: in (0, 1).

    >>> margin_size(radius=1, margin=0.5, eps=0.1, delta=0.05)
    2729

    Source: Bartlett and Mendelson 2002; statement C4.margin.
    """
    eps, delta = float(probability(eps, name="eps")), float(probability(delta, name="delta"))
    root = 2 * radius_over_margin(radius, margin) + math.sqrt(-math.log(delta) / 2)
    return math.ceil(root**2 / eps**2)


def margin_mean_bound(*, dim: int, radius: float, margin: float, n: int) -> float:
    """Upper bound min(d, (R/g)^2)/(n+1) on E err of the hard-margin SVM.

    Leave one out again: if the SVM without x_p errs on it, its dual variable has a_p >= 1/R^2.
    (With D the dual optimum, D - D_p <= a_p^2 R^2/2 by setting a_p to 0, and D - D_p >= 1/(2 R^2)
    by raising it from 0.) But sum a_p = ||w||^2 <= 1/g^2, so at most (R/g)^2 of the n + 1 choices
    err.

    Args:
      dim: d >= 1.
      radius: R > 0.
      margin: g in (0, R] of the whole law.
      n: examples, n >= 0.

    >>> margin_mean_bound(dim=1000, radius=1, margin=0.5, n=399)
    0.01

    Source: Vapnik 1998, theorem 10.5; statement C4.margin.
    """
    ratio = radius_over_margin(radius, margin) ** 2
    return min(whole(dim, name="dim", least=1), ratio) / (whole(n, name="n", least=0) + 1)


def margin_markov_size(*, dim: int, radius: float, margin: float, eps: Exact, delta: Exact) -> int:
    """Examples for err <= eps w.p. 1 - delta of the hard-margin SVM, at fixed margin.

    ceil(min(d, (R/g)^2)/(eps delta)): `margin_mean_bound` and Markov's inequality. Of order 1/eps,
    so for small eps at fixed delta far below `margin_size`.

    Args:
      dim: d >= 1.
      radius: R > 0.
      margin: g in (0, R] of the whole law.
      eps, delta: in (0, 1).

    >>> margin_markov_size(dim=1000, radius=1, margin=0.5, eps=0.1, delta=0.1)
    400

    Source: statement C4.margin.
    """
    scale = float(probability(eps, name="eps") * probability(delta, name="delta"))
    bound = margin_mean_bound(dim=dim, radius=radius, margin=margin, n=0)
    return math.ceil(bound / scale)


def _wrong_tail(light: int, q: Fraction, eps: Fraction, miss: float) -> np.ndarray:
    """P(q/light * Binomial(light - seen, miss) > eps) for seen = 0..light: float64 [light + 1]."""
    most = math.floor(light * eps / q)  # the largest number of wrong atoms that is no failure
    return binom.sf(most, light - np.arange(light + 1), miss)
