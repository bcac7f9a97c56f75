"""Scaling exponents: least squares on logarithms, with a bootstrap interval."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np

from icl_sim.errors import InputError
from icl_sim.execution.progress import Progress, quiet
from icl_sim.execution.trials import run_blocks
from icl_sim.statistics.intervals import ALPHA
from icl_sim.storage.result_store import ResultStore

RESAMPLES = 10_000  # so that limits at alpha / 2 = 0.0006 are some resamples from the end


@dataclass(frozen=True)
class Slope:
    """The exponent a of mean error ~ n^a.

    Args:
      exponent: least-squares slope of ln(mean error) on ln(n).
      low, high: bootstrap percentile interval, resampling replicates at each size.
      means: mean error at each size.
      trials: replicates in all.
    """

    exponent: float
    low: float
    high: float
    means: tuple[float, ...]
    trials: int


def measured_slopes(
    name: str,
    trial: Callable[..., Any],
    sizes: Sequence[int],
    *,
    key: jax.Array,
    replicates: int,
    store: ResultStore,
    alpha: float = ALPHA,
    progress: Progress = quiet,
) -> dict[str, Slope]:
    """Measure how mean errors fall with the number of examples.

    Args:
      name: leads the keys of its records and fixes its random stream.
      trial: trial(key, n) -> {label: scalar error}, n traced.
      sizes: at least two different n.
      key: root key; not consumed.
      replicates: at each size; at least 2.
      store: the errors at each size are a record.
      alpha: error probability of each interval.
      progress: called as progress(label, done, total).

    Returns:
      A slope for each label.

    Raises:
      InputError: too few sizes or replicates, or a mean error of zero, which has no logarithm.
    """
    if len(set(sizes)) < 2 or replicates < 2:
        raise InputError(
            f"{name}: expected two sizes and two replicates, got {sizes}, {replicates}"
        )

    def run(n: int) -> dict[str, list[float]]:
        stream = jax.random.fold_in(key, zlib.crc32(f"{name}/{n}".encode()))
        errors = run_blocks(trial, key=stream, trials=replicates, args=(np.int32(n),))
        return {label: values.astype(np.float64).tolist() for label, values in errors.items()}

    found = []
    for done, n in enumerate(sizes):
        found.append(store.result(f"{name}/slope/{n}/{replicates}", partial(run, n)))
        progress(name, done + 1, len(sizes))
    return {
        label: _slope(
            f"{name}/{label}", sizes, np.array([errors[label] for errors in found]), alpha
        )
        for label in found[0]
    }


def _slope(name: str, sizes: Sequence[int], errors: np.ndarray, alpha: float) -> Slope:
    """The slope of errors [sizes, replicates], with its bootstrap interval."""
    if not (errors.mean(axis=1) > 0).all():
        raise InputError(f"{name}: expected positive mean errors, got {errors.mean(axis=1)}")
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    replicates = errors.shape[1]
    resampled = [  # one size at a time: [RESAMPLES, replicates] fits in memory
        row[rng.integers(0, replicates, (RESAMPLES, replicates))].mean(axis=1) for row in errors
    ]
    limits = (alpha / 2, 1 - alpha / 2)
    low, high = np.quantile(_exponent(sizes, np.array(resampled)), limits).tolist()
    means = tuple(math.fsum(row) / replicates for row in errors)
    return Slope(float(_exponent(sizes, np.array(means))), low, high, means, errors.size)


def _exponent(sizes: Sequence[int], means: np.ndarray) -> np.ndarray:
    """Slope of ln(means [sizes, ...]) on ln(sizes)."""
    x = np.log(sizes) - np.log(sizes).mean()
    logs = np.log(np.maximum(means, np.finfo(np.float64).tiny))
    return np.tensordot(x, logs, axes=1) / (x @ x)
