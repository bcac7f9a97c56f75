"""Distances between routes on the choices, and intervals that resample tasks and their queries.

A 95 % interval is that of a two-stage bootstrap: tasks (or splits) are drawn with replacement, and
within each of them its queries, each with all draws of its demonstrations. So one task alone has an
interval too, over its queries; it then says nothing about other tasks.

Letters: R routes (the truth is the last), S draws, m queries, C choices, B resamples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from icl_sim.comparison.language_result import Quality, Reach
from icl_sim.comparison.result import MeanInterval, Rate

RESAMPLES = 1000
FLOOR = 1e-6  # least probability in KL and cross-entropy
LEVELS = (0.5, 0.9, 0.99)
BINS = 10

# One array a task, its first axis the draws, its last the queries.
Figures = Sequence[np.ndarray]


def total_variation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """[..., C] and [..., C] -> [...]."""
    return np.abs(a - b).sum(axis=-1) / 2


def kl(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """KL(a || b) in nats, probabilities no less than FLOOR."""
    logs = [np.log(np.maximum(x, FLOOR)) for x in (a, b)]
    return (a * (logs[0] - logs[1])).sum(axis=-1)


def jensen_shannon(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Jensen-Shannon divergence, in nats."""
    middle = (a + b) / 2
    return (kl(a, middle) + kl(b, middle)) / 2


def agreement(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """1 where the likeliest choice is the same, the first of equal ones."""
    return (a.argmax(axis=-1) == b.argmax(axis=-1)).astype(np.float64)


MEASURES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "matrix": total_variation,
    "kl": kl,
    "jensen_shannon": jensen_shannon,
    "agreement": agreement,
}


def pairwise(
    laws: Sequence[np.ndarray], measure: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> list[np.ndarray]:
    """[S, R, R, m] of each task, from its laws [R, S, m, C]."""
    found = []
    for task in laws:
        values = np.asarray(task, np.float64)
        rows = [[measure(a, b) for b in values] for a in values]  # [R][R][S, m]
        found.append(np.moveaxis(np.array(rows), 2, 0))
    return found


class Bootstrap:
    """Means and intervals of figures of the same tasks; every call draws the same resamples."""

    def __init__(self, queries: Sequence[int], resamples: int = RESAMPLES) -> None:
        """``queries``: m of each task."""
        rng = np.random.default_rng(0)
        self._weights = [rng.multinomial(m, np.full(m, 1 / m), resamples) / m for m in queries]
        self._tasks = rng.integers(0, len(queries), (resamples, len(queries)))

    def means(self, figures: Figures) -> np.ndarray:
        """[..., B]: resampled means of figures [S, ..., m]."""
        total: Any = 0.0
        drawn = [x.mean(axis=0) @ w.T for x, w in zip(figures, self._weights, strict=True)]
        by_task = np.stack(drawn)  # [tasks, ..., B]
        for task in range(len(drawn)):
            # How often each resample drew the task.
            total = total + by_task[task] * (self._tasks == task).sum(axis=1)
        return np.asarray(total / len(drawn))

    def interval(self, figures: Figures) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Mean, low and high, [...] each."""
        mean = np.stack([x.mean(axis=0).mean(axis=-1) for x in figures]).mean(axis=0)
        low, high = np.quantile(self.means(figures), [0.025, 0.975], axis=-1)
        return mean, low, high


def distances(figures: Figures, draw: Bootstrap) -> np.ndarray:
    """Mean, low, high and largest, [4, ...], of figures [S, ..., m]."""
    largest = np.stack([x.max(axis=-1).mean(axis=0) for x in figures]).mean(axis=0)
    return np.stack([*draw.interval(figures), largest])


def named(
    figures: np.ndarray, names: Sequence[str], cell: Callable[..., Any]
) -> dict[str, dict[str, Any]]:
    """[row][column] from [fields, R, R]."""
    return {
        row: {column: cell(*map(float, figures[:, i, j])) for j, column in enumerate(names)}
        for i, row in enumerate(names)
    }


def quantiles(figures: Figures, names: Sequence[str]) -> dict[str, dict[str, dict[str, float]]]:
    """[row][column][level], over the queries and draws of all tasks."""
    flat = np.concatenate([np.moveaxis(x, 0, -2).reshape(*x.shape[1:3], -1) for x in figures], -1)
    found = np.quantile(flat, LEVELS, axis=-1, method="inverted_cdf")
    return {
        row: {
            column: {str(level): float(v) for level, v in zip(LEVELS, found[:, i, j], strict=True)}
            for j, column in enumerate(names)
        }
        for i, row in enumerate(names)
    }


def quality(
    laws: Sequence[np.ndarray], labels: Sequence[np.ndarray], draw: Bootstrap
) -> list[Quality]:
    """Of each route.

    Args:
      laws: [R, S, m, C] of each task.
      labels: shares of the choices among the held-out labels of each query, [S, m, C].
    """
    right, surprise, sure, hits = [], [], [], []
    for law, label in zip(laws, labels, strict=True):
        best = law.argmax(axis=-1)  # [R, S, m]
        hit = np.take_along_axis(np.broadcast_to(label, law.shape), best[..., None], axis=-1)[
            ..., 0
        ]
        right.append(np.moveaxis(hit, 0, 1))
        loss = -(label * np.log(np.maximum(law, FLOOR))).sum(axis=-1)
        surprise.append(np.moveaxis(loss, 0, 1))
        sure.append(law.max(axis=-1).reshape(len(law), -1))
        hits.append(hit.reshape(len(law), -1))
    accuracy, entropy = (np.stack(draw.interval(x)) for x in (right, surprise))
    errors = [
        calibration_error(s, h)
        for s, h in zip(np.concatenate(sure, 1), np.concatenate(hits, 1), strict=True)
    ]
    return [
        Quality(
            MeanInterval(*map(float, accuracy[:, i])),
            MeanInterval(*map(float, entropy[:, i])),
            error,
        )
        for i, error in enumerate(errors)
    ]


def calibration_error(confidence: np.ndarray, correct: np.ndarray) -> float:
    """Expected calibration error in BINS equal bins (Guo et al., arXiv:1706.04599).

    >>> calibration_error(np.array([0.9, 0.9, 0.6, 0.6]), np.array([1.0, 1.0, 1.0, 0.0]))
    0.1
    """
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    total = 0.0
    for b in range(BINS):
        here = place == b
        if here.any():
            total += abs(float(confidence[here].sum() - correct[here].sum()))
    return round(total / len(confidence), 12)


def reach(
    curves: Mapping[int, Figures], draw: Bootstrap, *, route: str, reference: str, eps: float
) -> Reach:
    """Where the mean distance falls to eps for good; curves: N -> figures [S, m] of each task."""
    sizes = sorted(curves)
    mean = np.array([draw.interval(curves[n])[0] for n in sizes])
    drawn = np.stack([draw.means(curves[n]) for n in sizes], axis=-1)  # [B, sizes]
    each = np.array([_crossing(sizes, row, eps) for row in drawn])
    low, high = np.quantile(each, [0.025, 0.975], method="inverted_cdf")
    N = _crossing(sizes, mean, eps)
    finite = [None if not math.isfinite(x) else float(x) for x in (N, low, high)]
    return Reach(route, reference, eps, *finite)


def _crossing(sizes: Sequence[int], mean: np.ndarray, eps: float) -> float:
    """Inf if the last one is above eps; the first size if all are below."""
    above = np.flatnonzero(mean > eps)
    if not above.size:
        return float(sizes[0])
    i = int(above[-1])
    if i == len(sizes) - 1:
        return math.inf
    share = (mean[i] - eps) / (mean[i] - mean[i + 1])
    return float(np.exp(np.log(sizes[i]) + share * np.log(sizes[i + 1] / sizes[i])))


def rates(curves: Mapping[int, Figures], names: Sequence[str], draw: Bootstrap) -> dict[str, Rate]:
    """[name]: slope of ln(mean distance to the truth) in ln N; curves: figures [S, R, m]."""
    sizes = sorted(curves)
    if len(sizes) < 2:
        return {}
    x = np.log(sizes) - np.log(sizes).mean()
    mean = np.stack([draw.interval(curves[n])[0] for n in sizes])  # [sizes, R]
    drawn = np.stack([draw.means(curves[n]) for n in sizes])  # [sizes, R, B]
    found = {}
    for i, name in enumerate(names):
        if mean[:, i].min() <= 1e-9:
            continue
        slopes = x @ np.log(np.maximum(drawn[:, i], 1e-12)) / (x @ x)
        low, high = np.quantile(slopes, [0.025, 0.975])
        found[name] = Rate(float(x @ np.log(mean[:, i]) / (x @ x)), float(low), float(high))
    return found
