"""What the laws of all predictors say: distances, paired differences, rates, sequences.

All intervals are 95 % bootstrap intervals that resample tasks whole: contexts and data sets of one
task are not independent, so they stay together.

Letters: P predictors (the truth is the last), R tables times data sets, m contexts, V outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from icl_sim.comparison.result import Distance, MeanInterval, Rate
from icl_sim.divergence import total_variation

RESAMPLES = 2000

Cell = TypeVar("Cell", Distance, MeanInterval)


def distances(laws: np.ndarray, tasks: int) -> np.ndarray:
    """float64 [P, P, tasks, seeds, m]: total variation of every pair of predictors.

    Args:
      laws: float32 [P, R, m, V], the data sets of a table one after the other.
      tasks: number of tables.
    """
    found = np.asarray(total_variation(laws[:, None], laws[None, :]), np.float64)
    return found.reshape(*found.shape[:2], tasks, -1, found.shape[-1])


def matrix(distance: np.ndarray, names: Sequence[str]) -> dict[str, dict[str, Distance]]:
    """[row][column], from `distances`."""
    by_task = distance.mean(axis=(3, 4))
    low, high = _interval(by_task)
    mean, worst = by_task.mean(axis=2), distance.max(axis=4).mean(axis=(2, 3))
    return _named(names, Distance, mean, low, high, worst)


def paired(distance: np.ndarray, names: Sequence[str]) -> dict[str, dict[str, MeanInterval]]:
    """[row][column]: by how much row is farther from the truth than column, on the same data."""
    to_truth = distance[:, -1].mean(axis=(2, 3))
    difference = to_truth[:, None] - to_truth[None, :]
    low, high = _interval(difference)
    return _named(names, MeanInterval, difference.mean(axis=2), low, high)


def rates(by_size: Mapping[int, np.ndarray], names: Sequence[str]) -> dict[str, Rate]:
    """[name]: exponent of the mean distance to the truth in N, with its interval.

    Args:
      by_size: N -> `distances`; at least two sizes.

    Predictors that reach the truth exactly have no exponent and are left out.
    """
    sizes = sorted(by_size)
    x = np.log(sizes) - np.log(sizes).mean()
    to_truth = np.stack([by_size[n][:, -1].mean(axis=(2, 3)) for n in sizes])  # [sizes, P, tasks]
    draws = _draws(to_truth.shape[2])
    found = {}
    for i, name in enumerate(names):
        errors = to_truth[:, i]
        if not (errors.mean(axis=1) > 1e-9).all():
            continue
        resampled = errors[:, draws].mean(axis=2)  # [sizes, RESAMPLES]
        exponents = x @ np.log(np.maximum(resampled, 1e-12)) / (x @ x)
        low, high = np.quantile(exponents, [0.025, 0.975])
        slope = float(x @ np.log(errors.mean(axis=1)) / (x @ x))
        found[name] = Rate(slope, float(low), float(high))
    return found


def sequences(
    distance: Mapping[str, Any], tasks: int, lengths: Sequence[int]
) -> dict[int, dict[str, MeanInterval]]:
    """[l][name]: mean distance to the truth of the law of l answers, with its interval.

    Args:
      distance: name -> [len(lengths), R, m], arrays or lists.
      tasks: number of tables.
      lengths: l.
    """
    found: dict[int, dict[str, MeanInterval]] = {length: {} for length in lengths if distance}
    for name, each in distance.items():
        for length, values in zip(lengths, each, strict=True):
            by_task = np.reshape(values, (tasks, -1)).mean(axis=1)
            low, high = _interval(by_task)
            found[length][name] = MeanInterval(float(by_task.mean()), float(low), float(high))
    return found


def moved(before: Any, after: Any) -> float:
    """Mean total variation between a predictor's laws on two orders of the same data."""
    pair = (np.array(law, np.float32) for law in (before, after))
    return float(np.asarray(total_variation(*pair), np.float64).mean())


def _draws(tasks: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, tasks, (RESAMPLES, tasks))


def _interval(by_task: np.ndarray) -> np.ndarray:
    """[2, ...]: low and high of the mean over the last axis, tasks resampled."""
    means = by_task[..., _draws(by_task.shape[-1])].mean(axis=-1)
    limits: np.ndarray = np.quantile(means, [0.025, 0.975], axis=-1)
    return limits


def _named(
    names: Sequence[str], cell: Callable[..., Cell], *figures: np.ndarray
) -> dict[str, dict[str, Cell]]:
    """[row][column] from arrays [P, P], one for each field of a cell."""
    return {
        row: {
            column: cell(*(float(values[i, j]) for values in figures))
            for j, column in enumerate(names)
        }
        for i, row in enumerate(names)
    }
