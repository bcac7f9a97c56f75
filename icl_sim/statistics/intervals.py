"""Confidence limits and three-valued verdicts on probabilities and bounded means.

A failure probability f is judged from k failures in R independent replicates, never by comparing
k/R with delta: it is certified if it is at most delta, refuted if it is above, each with stated
confidence, or neither. Looking again at growing data costs confidence: either the looks are few
and share alpha (`verdict`, `family_verdicts`), or the evidence is an e-process, which may be looked
at after every replicate (`log_e_values`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import betainc, betaincc, betaincinv, betaln

from icl_sim.errors import InputError

CERTIFIED = "certified"
REFUTED = "refuted"
INCONCLUSIVE = "inconclusive"

ALPHA = 0.05
# Cumulative looks, as multiples of the first sample size R; each look spends alpha / 4.
LOOKS = (1, 2, 4, 8)

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Verdict:
    """What trials say about "the failure probability is at most delta".

    Args:
      status: certified, refuted or inconclusive.
      estimate: failures/trials.
      low: lower confidence limit.
      high: upper confidence limit.
      trials: trials used.
    """

    status: str
    estimate: float
    low: float
    high: float
    trials: int


def lower_limit(failures: Any, trials: Any, *, alpha: float) -> Array:
    """One-sided Clopper-Pearson lower limit: P(limit <= f) >= 1 - alpha for every f.

    The alpha quantile of Beta(k, R - k + 1); 0 for k = 0.

    Args:
      failures, trials: k and R, broadcast.
      alpha: error probability.

    >>> round(float(lower_limit(10, 10, alpha=0.05)), 4)
    0.7411
    """
    k, R = _counts(failures, trials)
    _check_probability("alpha", alpha)
    return np.where(k == 0, 0.0, betaincinv(np.maximum(k, 1), R - k + 1, alpha))


def upper_limit(failures: Any, trials: Any, *, alpha: float) -> Array:
    """One-sided Clopper-Pearson upper limit: P(f <= limit) >= 1 - alpha for every f.

    The 1 - alpha quantile of Beta(k + 1, R - k); 1 for k = R.

    >>> round(float(upper_limit(0, 100, alpha=0.05)), 4)
    0.0295
    """
    k, R = _counts(failures, trials)
    _check_probability("alpha", alpha)
    return np.where(k == R, 1.0, betaincinv(k + 1, np.maximum(R - k, 1), 1 - alpha))


def clopper_pearson(failures: Any, trials: Any, *, alpha: float = ALPHA) -> tuple[Array, Array]:
    """Two-sided interval [low, high], alpha/2 on either side.

    Clopper and Pearson 1934; conservative at every f and R.

    >>> low, high = clopper_pearson(5, 100)
    >>> round(float(low), 4), round(float(high), 4)
    (0.0164, 0.1128)
    """
    return (
        lower_limit(failures, trials, alpha=alpha / 2),
        upper_limit(failures, trials, alpha=alpha / 2),
    )


def evidence(failures: Any, trials: Any, *, delta: float) -> tuple[Array, Array]:
    """p-values against "f > delta" and against "f <= delta".

    The first is P(Bin(R, delta) <= k), small when failures are few: it certifies. The second is
    P(Bin(R, delta) >= k), small when they are many: it refutes. Each is at most alpha exactly when
    the one-sided Clopper-Pearson limit at alpha lies on that side of delta.

    >>> certify, refute = evidence(34, 1000, delta=0.05)
    >>> bool(certify < 0.0125), bool(refute > 0.98)
    (True, True)
    """
    k, R = _counts(failures, trials)
    _check_probability("delta", delta)
    certify = np.where(k == R, 1.0, betaincc(k + 1, np.maximum(R - k, 1), delta))
    refute = np.where(k == 0, 1.0, betainc(np.maximum(k, 1), R - k + 1, delta))
    return certify, refute


def verdict(failures: int, trials: int, *, delta: float, alpha: float) -> str:
    """``certified`` (f <= delta), ``refuted`` (f > delta) or ``inconclusive``, at one look.

    Each direction errs with probability at most alpha.

    >>> verdict(10, 400, delta=0.05, alpha=ALPHA / len(LOOKS))
    'certified'
    >>> verdict(11, 400, delta=0.05, alpha=ALPHA / len(LOOKS))
    'inconclusive'
    """
    certify, refute = evidence(failures, trials, delta=delta)
    if certify <= alpha:
        return CERTIFIED
    return REFUTED if refute <= alpha else INCONCLUSIVE


def holm(p_values: Sequence[float], *, alpha: float = ALPHA) -> list[bool]:
    """Which hypotheses Holm's step-down procedure rejects, family-wise error at most alpha.

    The i-th smallest of G p-values (from 0) is compared with alpha/(G - i), up to the first that
    fails (Holm 1979).

    >>> holm([0.01, 0.04, 0.03])
    [True, False, False]
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    rejected = [False] * len(p_values)
    for rank, i in enumerate(order):
        if p_values[i] > alpha / (len(p_values) - rank):
            break
        rejected[i] = True
    return rejected


def family_verdicts(
    looks: Sequence[Sequence[tuple[int, int]]], deltas: Sequence[float], *, alpha: float = ALPHA
) -> list[str]:
    """Verdicts of G cells together: Holm, per direction, on len(LOOKS) times the least p-value.

    Args:
      looks: of each cell, (failures, trials) at each look so far, cumulative.
      deltas: of each cell.
      alpha: family-wise error of either direction.

    The number of cells is part of the procedure and is stated before the run. A cell looked at up
    to four times has its p-values multiplied by four (Bonferroni over the planned looks).

    >>> family_verdicts([[(0, 1000)], [(90, 1000)], [(50, 1000)]], [0.05, 0.05, 0.05])
    ['certified', 'refuted', 'inconclusive']
    """
    certify, refute = [], []
    for cell, delta in zip(looks, deltas, strict=True):
        pairs = [evidence(k, R, delta=delta) for k, R in cell]
        certify.append(min(1.0, len(LOOKS) * min(float(p) for p, _ in pairs)))
        refute.append(min(1.0, len(LOOKS) * min(float(p) for _, p in pairs)))
    certified, refuted = holm(certify, alpha=alpha), holm(refute, alpha=alpha)
    return [
        CERTIFIED if yes else REFUTED if no else INCONCLUSIVE
        for yes, no in zip(certified, refuted, strict=True)
    ]


def mean_limits(values: Any, *, top: float = 1.0, alpha: float = ALPHA) -> tuple[float, float]:
    """Lower and upper confidence limits, each one-sided at alpha, of a mean in [0, top].

    Empirical Bernstein (Maurer and Pontil 2009, Theorem 4): with sample variance s^2,
    mean <= average + sqrt(2 s^2 ln(2/alpha)/n) + 7 top ln(2/alpha)/(3 (n - 1)), and likewise below.

    >>> low, high = mean_limits([0.1, 0.2] * 500)
    >>> round(low, 3), round(high, 3)
    (0.137, 0.163)
    """
    x = np.asarray(values, np.float64)
    _check_probability("alpha", alpha)
    if x.ndim != 1 or len(x) < 2:
        raise InputError(f"mean_limits: expected a vector of at least 2 values, got {x.shape}")
    if not (x.min() >= 0 and x.max() <= top):
        raise InputError(f"mean_limits: expected values in [0, {top}], got [{x.min()}, {x.max()}]")
    n, average = len(x), math.fsum(x) / len(x)
    log_term = math.log(2 / alpha)
    spread = math.sqrt(2 * float(x.var(ddof=1)) * log_term / n) + 7 * top * log_term / (3 * (n - 1))
    return max(0.0, average - spread), min(top, average + spread)


def log_e_values(failures: Any, trials: Any, *, delta: float) -> tuple[Array, Array]:
    """Evidence against "f <= delta" and against "f > delta": ln of two e-processes.

    E = integral of p^k (1-p)^(R-k) / (delta^k (1-delta)^(R-k)) over the Beta(1/2, 1/2) law of p,
    cut to p > delta and to p < delta. For a true f <= delta and any p > delta, one factor's mean,
    f p/delta + (1-f)(1-p)/(1-delta), is at most 1, its value at f = delta; likewise on the other
    side. So E is a non-negative supermartingale that starts at 1, and it *ever* reaches 1/alpha
    with probability at most alpha (Ville): it may be looked at after every trial.

    Args:
      failures, trials: k and R, broadcast.
      delta: in (0, 1).

    >>> refute, certify = log_e_values([0, 5], [158, 10], delta=0.05)
    >>> (refute > math.log(1000)).tolist(), (certify > math.log(1000)).tolist()
    ([False, True], [True, False])

    Source: H. Robbins (1970), the method of mixtures.
    """
    k, R = _counts(failures, trials)
    _check_probability("delta", delta)
    a, b = k + 0.5, R - k + 0.5
    ratio = betaln(a, b) - betaln(0.5, 0.5) - k * math.log(delta) - (R - k) * math.log1p(-delta)
    with np.errstate(divide="ignore"):  # no mass left on a side: no evidence
        above = np.log(betaincc(a, b, delta)) - np.log(betaincc(0.5, 0.5, delta))
        below = np.log(betainc(a, b, delta)) - np.log(betainc(0.5, 0.5, delta))
    return ratio + above, ratio + below


def _counts(failures: Any, trials: Any) -> tuple[Array, Array]:
    k, R = np.broadcast_arrays(np.asarray(failures), np.asarray(trials))
    if not ((k >= 0).all() and (k <= R).all() and (R >= 1).all()):
        raise InputError(f"expected 0 <= failures <= trials and trials >= 1, got {k} of {R}")
    return k.astype(np.float64), R.astype(np.float64)


def _check_probability(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise InputError(f"{name}: expected a number between 0 and 1, got {value}")
