"""Simultaneous confidence intervals for the probabilities of a multinomial law.

From counts k_1 .. k_V of n samples: intervals that contain all V probabilities at once with
probability 1 - alpha. Three methods:

``exact``       The binomial tail of each count inverted (Clopper and Pearson 1934) at alpha/V, at
                alpha for V = 2, where both counts say the same. The chance that some interval
                misses is at most the sum of the chances of each: at least 1 - alpha at every n and
                every law, which the other two do not promise.
``goodman``     Goodman, On simultaneous confidence intervals for multinomial proportions,
                Technometrics 7 (1965): Wilson's interval with the chi-squared quantile at alpha/V.
                Right as n grows; below 1 - alpha at small n.
``sison-glaz``  Sison and Glaz, Simultaneous confidence intervals and sample size determination for
                multinomial proportions, JASA 90 (1995): the widest box k_i - c .. k_i + c of less
                than 1 - alpha under the observed law, widened on the right by what is missing. The
                box's probability is computed exactly here, where they expand it: as V Poisson
                counts given their sum. Narrow where V is large; no promise at small n either, and
                least where outcomes are rare.

By enumeration of all outcomes of 30 samples in 3, alpha = .05, the least coverage over the uniform
law, one with two outcomes of .01 and 60 random ones is .97, .92 and .40 (tests/test_simultaneous).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.special import chdtri, gammaln

from icl_sim.errors import InputError
from icl_sim.execution.signatures import checked
from icl_sim.statistics.intervals import ALPHA, Array, clopper_pearson

MOST = 2**53
LEAST = 1e-200  # of alpha: its share of an outcome is still a number
METHODS = ("exact", "goodman", "sison-glaz")
WORK = 1e10  # multiply-adds of one box's probability


@checked
def simultaneous_intervals(
    counts: Any, *, alpha: float = ALPHA, method: str = "exact"
) -> tuple[Array, Array]:
    """Lower and upper limits of all probabilities of a multinomial law at once.

    Args:
      counts: how often each of V >= 2 outcomes was seen, integers [V].
      alpha: the chance that one of them is missed, in (0, 1).
      method: one of `METHODS`.

    Returns:
      (low, high), float64 [V] each.

    Raises:
      InputError: an argument out of range, or counts too many for ``sison-glaz``.

    >>> for method in METHODS:
    ...     low, high = simultaneous_intervals([23, 12, 44], method=method)
    ...     print(method, low.round(3), high.round(3))
    exact [0.176 0.07  0.417] [0.429 0.273 0.691]
    goodman [0.186 0.079 0.424] [0.424 0.272 0.682]
    sison-glaz [0.19  0.051 0.456] [0.413 0.274 0.679]
    """
    k = np.asarray(counts)
    if k.ndim != 1 or len(k) < 2 or k.dtype.kind not in "iu" or (k < 0).any() or not k.any():
        raise InputError(
            f"counts: expected a vector of at least 2 integers, none negative and not all 0, got "
            f"{k.dtype} {k.shape}"
        )
    if not LEAST <= alpha < 1:
        raise InputError(f"alpha: expected {LEAST} or more, and less than 1, got {alpha}")
    if method not in METHODS:
        raise InputError(f"method: expected one of {', '.join(METHODS)}, got {method!r}")
    if (n := sum(map(int, k))) > MOST:
        raise InputError(f"counts: expected at most {MOST} together, which float64 holds, got {n}")
    k, alpha = k.astype(np.int64), float(alpha)
    if method == "exact":
        return clopper_pearson(k, n, alpha=alpha if len(k) == 2 else alpha / len(k))
    if method == "goodman":
        return _goodman(k, n, alpha)
    return _sison_glaz(k, n, alpha)


def _goodman(k: Array, n: int, alpha: float) -> tuple[Array, Array]:
    """(B + 2 k -+ sqrt(B^2 + 4 k B (n - k)/n)) / (2 (n + B)), B the quantile at alpha/V."""
    B = float(chdtri(1, alpha / len(k)))
    spread = np.sqrt(B * B + 4 * k * B * (n - k) / n)
    return (
        np.maximum((B + 2 * k - spread) / (2 * (n + B)), 0),
        np.minimum((B + 2 * k + spread) / (2 * (n + B)), 1),
    )


def _sison_glaz(k: Array, n: int, alpha: float) -> tuple[Array, Array]:
    least, most = 0, n  # the box of c = n holds everything
    while least < most:
        c = (least + most) // 2
        least, most = (least, c) if box_probability(k, c) >= 1 - alpha else (c + 1, most)
    c = least - 1  # the last box with less than 1 - alpha; -1 if there is none
    below = box_probability(k, c) if c >= 0 else 0.0
    share = (1 - alpha - below) / (box_probability(k, c + 1) - below)
    c = max(c, 0)
    return np.maximum((k - c) / n, 0), np.minimum((k + c + 2 * share) / n, 1)


def box_probability(counts: Array, radius: int) -> float:
    """P(|c_i - k_i| <= radius for all i) for n samples of the observed law k/n.

    The multinomial law is that of independent Poisson(k_i) counts given their sum n.

    >>> round(box_probability(np.array([1, 1]), 0), 12)  # one of each: 2/4
    0.5
    """
    n = int(counts.sum())
    if len(counts) * float(n + 1) * (2 * radius + 1) > WORK:
        raise InputError(
            f"counts: {len(counts)} outcomes of {n:,} samples take more than {WORK:.0e} "
            "multiply-adds: use exact or goodman"
        )
    total = np.ones(1)
    low = 0
    for k in counts.tolist():
        first, last = max(0, k - radius), min(n, k + radius)
        c = np.arange(first, last + 1)
        mass = np.exp(c * math.log(k) - k - gammaln(c + 1)) if k else (c == 0).astype(float)
        low += first
        total = np.convolve(total, mass)[: n - low + 1]
    at_n = math.exp(n * math.log(n) - n - math.lgamma(n + 1))
    return float(total[n - low] / at_n) if 0 <= n - low < len(total) else 0.0
