"""Gaussian inputs, labels by a halfspace: the error is an angle/pi, and its law is known.

d dimension, n examples. Take the teacher to be e_1: the label is y = sign(g), g = x_1, and the
other d - 1 coordinates are independent of it.

**One linear-attention step**, w = (1/n) sum y_i x_i (von Oswald et al. 2023). Along the teacher,
w_1 = mean |g_i|; across it, each coordinate is N(0, 1/n), independent of w_1. Hence, exactly in
law,

    err = atan( chi / (sqrt(n) mean |g_i|) ) / pi,    chi^2 chi-squared with d - 1 degrees of
    freedom.

The law of S = sum |g_i| comes from its characteristic function F(t/sqrt 2)^n, F Faddeeva's
function, by one FFT: the error is exponentially small in the grid, below 1e-9 here.

**The best there is.**  With a uniform prior on the teacher, let q be the cosine between two draws
from the posterior as n, d -> infinity at fixed n/d; then q is the teacher's cosine with a draw too
(Gibbs' rule), and sqrt(q) its cosine with the posterior mean (Bayes' rule). It solves

    q/(1 - q) = 2 a/(1 - q) E[ phi(t)^2/Phi(t) ],    t = sqrt(q/(1 - q)) g,  g standard normal,

a = n/(d-1), phi and Phi the normal density and distribution function. For large n/d, with I = int
phi^2/Phi = .9032, Bayes' error is d/(sqrt(2 pi) I n) = .4417 d/n and Gibbs' sqrt(2) times that,
.6247 d/n. (Counting d - 1, the angles of a direction, for d is the same in the limit and nearer
before it: at d = 2 the errors are exactly .5/n and .667/n for large n.)
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import wofz
from scipy.stats import chi, chi2, norm

from icl_sim.bounds.arguments import Exact, probability, whole
from icl_sim.errors import InputError

_GRID = 2**13
_NODES = 200
_FIXED_POINT = 1e-12  # relative change that ends an iteration
_HALF_NORMAL_VARIANCE = 1 - 2 / math.pi


def one_step_error(*, dim: int, n: int) -> float:
    """Error of one linear-attention step for large d: atan(sqrt(pi (d-1)/(2 n)))/pi.

    chi and mean |g| at their typical values sqrt(d-1) and sqrt(2/pi). Of order sqrt(d/n): one step
    needs d/eps^2 examples, not d/eps.

    Args:
      dim: d >= 2.
      n: examples, n >= 1.

    >>> round(one_step_error(dim=20, n=640), 3)
    0.068

    Source: statement C3.one-step.
    """
    d, n = whole(dim, name="dim", least=2), whole(n, name="n", least=1)
    return math.atan(math.sqrt(math.pi * (d - 1) / (2 * n))) / math.pi


def one_step_mean_error(*, dim: int, n: int) -> float:
    """E err of one linear-attention step, exactly (to 1e-9).

    Args:
      dim: d >= 2.
      n: examples, n >= 4.

    >>> round(one_step_mean_error(dim=2, n=100), 4)
    0.0317

    Source: the module's formula.
    """
    d, n = whole(dim, name="dim", least=2), whole(n, name="n", least=4)
    totals, weights = _half_normal_sum(n)
    nodes, gauss = np.polynomial.legendre.leggauss(_NODES)
    center = math.sqrt(d - 1)  # chi has standard deviation below 1
    low, high = max(0.0, center - 12), center + 12
    across = low + (high - low) * (nodes + 1) / 2
    mass = gauss * (high - low) / 2 * chi.pdf(across, d - 1)
    angles = np.arctan2(across[:, None] * math.sqrt(n), totals)
    return float(mass @ angles @ weights) / math.pi


def one_step_failure(*, dim: int, n: int, eps: Exact) -> float:
    """P(err > eps) of one linear-attention step, exactly (to 1e-9).

    Args:
      dim: d >= 2.
      n: examples, n >= 4.
      eps: in (0, 1/2).

    >>> round(one_step_failure(dim=20, n=400, eps=0.05), 6)  # n = d/eps
    0.996468

    Source: the module's formula.
    """
    d, n = whole(dim, name="dim", least=2), whole(n, name="n", least=4)
    eps = float(probability(eps, name="eps"))
    if eps >= 0.5:
        raise InputError(f"eps: expected below 1/2, the largest error there is, got {eps}")
    totals, weights = _half_normal_sum(n)
    return float(weights @ chi2.sf((totals * math.tan(math.pi * eps)) ** 2 / n, d - 1))


def least_squares_error(*, dim: int, n: int) -> float:
    """Error of least squares for n well above d: atan(sqrt((pi/2 - 1)(d-1)/(n-d-1)))/pi.

    The labels are a g + r with a = E|g| = sqrt(2/pi) and r uncorrelated with x, of variance 1 -
    2/pi; (X'X)^-1 has mean I/(n-d-1), so each coordinate across has variance (1 - 2/pi)/(n-d-1).

    Args:
      dim: d >= 2.
      n: examples, n >= d + 2.

    >>> round(least_squares_error(dim=20, n=640), 3)
    0.042

    Source: statement C3.
    """
    d = whole(dim, name="dim", least=2)
    n = whole(n, name="n", least=d + 2)
    return math.atan(math.sqrt((math.pi / 2 - 1) * (d - 1) / (n - d - 1))) / math.pi


def bayes_error(*, dim: int, n: int) -> float:
    """Least possible E err for a uniform teacher, as d, n -> infinity at n/d: acos(sqrt(q))/pi.

    Tends to .4417 d/n.

    Args:
      dim: d >= 2.
      n: examples, n >= 1.

    >>> round(bayes_error(dim=1001, n=100_000) * 100, 3)
    0.442

    Source: Opper and Haussler 1991; proof: Barbier, Krzakala, Macris, Miolane and Zdeborova 2019.
    """
    return math.asin(math.sqrt(_posterior_spread(dim, n))) / math.pi


def gibbs_error(*, dim: int, n: int) -> float:
    """E err of a halfspace drawn from the posterior, as d, n -> infinity at n/d: acos(q)/pi.

    Tends to .6247 d/n.

    Args:
      dim, n: as for `bayes_error`.

    >>> round(gibbs_error(dim=1001, n=100_000) * 100, 3)
    0.625

    Source: Gyorgyi and Tishby 1990; Opper and Haussler 1991; proof as of `bayes_error`.
    """
    return 2 * math.asin(math.sqrt(_posterior_spread(dim, n) / 2)) / math.pi


def _posterior_spread(dim: int, n: int) -> float:
    """1 - q, to relative 1e-10, by iterating the module's equation, which is monotone in q."""
    ratio = whole(n, name="n", least=1) / (whole(dim, name="dim", least=2) - 1)
    nodes, gauss = np.polynomial.legendre.leggauss(_NODES)
    spread, before = 1.0 / (1 + ratio), 1.0
    while abs(spread / before - 1) > _FIXED_POINT:
        before = spread
        scale = math.sqrt((1 - spread) / spread)
        width = 12 * min(1.0, scale)
        t = width * nodes
        information = np.exp(2 * norm.logpdf(t) - norm.logcdf(t)) * norm.pdf(t / scale) / scale
        spread = 1 / (1 + 2 * ratio / spread * width * float(gauss @ information))
    return spread


def _half_normal_sum(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Grid and weights, float64 [_GRID] each, for expectations over S = sum of n |g_i|.

    (1/2 pi) int phi(t)^n e^(-its) dt by the trapezoidal rule; |phi(t)| ~ sqrt(2/pi)/t leaves less
    than 1e-10 beyond the largest t for n >= 4, and S is within 15 standard deviations of its mean.
    """
    width = 30 * math.sqrt(n * _HALF_NORMAL_VARIANCE)
    start = n * math.sqrt(2 / math.pi) - width / 2
    t = 2 * math.pi * np.fft.fftfreq(_GRID, d=width / _GRID)
    spectrum = wofz(t / math.sqrt(2)) ** n * np.exp(-1j * t * start)
    weights = np.fft.fft(spectrum).real / _GRID
    totals = start + width / _GRID * np.arange(_GRID)
    return np.maximum(totals, 0.0), weights
