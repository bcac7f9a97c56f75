"""Sub-probabilities on the integers, with the mass that was cut off them kept on account.

Everything here is a sum of products of non-negative numbers, so nothing cancels: a result is
accurate to about (number of operations in a row) * 2^-53, *relatively*, however small it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Mass:
    """A sub-probability below a law on the integers, pointwise.

    Args:
      first: the integer at which `values` starts.
      values: float64 [width], non-negative.
      lost: an upper bound on the law's total minus the sum of `values`.
    """

    first: int
    values: np.ndarray
    lost: float = 0.0

    @property
    def last(self) -> int:
        """The integer at which `values` ends."""
        return self.first + len(self.values) - 1


POINT = Mass(0, np.ones(1))


def trim(mass: Mass, cut: float) -> Mass:
    """Cut off both ends as far as they weigh at most `cut` each, and enter it as lost."""
    left = int(np.searchsorted(np.cumsum(mass.values), cut, side="right"))
    right = int(np.searchsorted(np.cumsum(mass.values[::-1]), cut, side="right"))
    if left + right >= len(mass.values):
        return mass
    kept = mass.values[left : len(mass.values) - right]
    return Mass(mass.first + left, kept, mass.lost + 2 * cut)


def convolve(a: Mass, b: Mass, cut: float) -> Mass:
    """The law of a sum of two independent integers.

    1 - (1 - s)(1 - t) <= s + t, so losses add.
    """
    return trim(Mass(a.first + b.first, np.convolve(a.values, b.values), a.lost + b.lost), cut)


def power(mass: Mass, exponent: int, cut: float) -> Mass:
    """The law of a sum of `exponent` independent integers, by repeated squaring."""
    result, square = POINT, mass
    while True:
        if exponent & 1:
            result = convolve(result, square, cut)
        exponent >>= 1
        if not exponent:
            return result
        square = convolve(square, square, cut)


def powers(mass: Mass, first: int, last: int, cut: float) -> list[Mass]:
    """The powers first, first + 1, ..., last; each after the first costs one convolution."""
    found = [power(mass, first, cut)]
    for _ in range(first, last):
        found.append(convolve(found[-1], mass, cut))
    return found


def _stirling_error(k: float) -> float:
    """Error of Stirling's formula, ln k! - ln( sqrt(2 pi k) (k/e)^k ), for integers k > 0."""
    if k < 16:
        return math.lgamma(k + 1) - (k + 0.5) * math.log(k) + k - 0.5 * math.log(2 * math.pi)
    s = 1 / (k * k)  # the next term of the series is below 1e-15 from k = 16 on
    return (1 / 12 - s * (1 / 360 - s * (1 / 1260 - s * (1 / 1680 - s / 1188)))) / k


def _deviance(k: float, rate: float) -> float:
    """Poisson's deviance k ln(k/rate) + rate - k, free of cancellation next to k = rate."""
    t = (k - rate) / (k + rate)
    if abs(t) > 0.1:
        return k * math.log(k / rate) + rate - k
    # ln(k/rate) = 2 artanh t, so the deviance is (k - rate) t + 2 k (t^3/3 + t^5/5 + ...).
    series = sum(t ** (2 * i + 1) / (2 * i + 1) for i in range(10, 0, -1))
    return (k - rate) * t + 2 * k * series


def log_poisson(k: int, rate: float) -> float:
    """Logarithm of the Poisson probability, ln( e^-rate rate^k / k! ), accurate next to its mode.

    >>> round(math.exp(log_poisson(3, 3.0)), 6)
    0.224042

    Source: C. Loader, Fast and accurate computation of binomial probabilities (2000).
    """
    if k == 0:
        return -rate
    return -_deviance(k, rate) - 0.5 * math.log(2 * math.pi * k) - _stirling_error(k)


def log_binomial(k: int, n: int, p: float, q: float) -> float:
    """Logarithm of the binomial probability C(n, k) p^k q^(n-k), q = 1 - p.

    Two independent Poissons given their sum. Both p and q are asked for, as 1 - p loses the digits
    of a small q.

    >>> round(math.exp(log_binomial(1, 3, 0.5, 0.5)), 12)
    0.375
    """
    if 0 in (p, q):
        return 0.0 if k == (n if q == 0 else 0) else -math.inf
    return log_poisson(k, n * p) + log_poisson(n - k, n * q) - log_poisson(n, n)


def truncated_poisson(rate: float, least: int, most: int | None) -> tuple[Mass, float]:
    """The Poisson law given that its value lies in [least, most], and ln of that event's mass.

    Built outwards from its largest value by ratios at most one, on a window 12 standard deviations
    wide (plus room for the heavier upper tail of a small rate); beyond the window the ratios keep
    falling, so a geometric series bounds what is lost.
    """
    mode = max(least, math.floor(rate))
    mode = mode if most is None else min(mode, most)
    width = math.ceil(12 * math.sqrt(max(rate, mode))) + 60
    low = max(least, mode - width)
    high = mode + width if most is None else min(most, mode + width)
    up = np.cumprod(rate / np.arange(mode + 1, high + 1, dtype=np.float64))
    down = np.cumprod(np.arange(mode, low, -1, dtype=np.float64) / rate)
    values = np.concatenate([down[::-1], [1.0], up])
    lost = 0.0
    if high != most:
        ratio = rate / (high + 1)
        lost += values[-1] * ratio / (1 - ratio)
    if low != least:
        ratio = low / rate
        lost += values[0] * ratio / (1 - ratio)
    total = values.sum()
    return Mass(low, values / total, lost / total), log_poisson(mode, rate) + math.log(total)
