"""Scaling exponents: least squares on logarithms, with a bootstrap interval."""

import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np

from icl_sim.blocks import run_blocks
from icl_sim.errors import InputError
from icl_sim.experiments.sweep import Progress, quiet
from icl_sim.store import Store

RESAMPLES = 2000


@dataclass(frozen=True)
class Slope:
    """The exponent a of mean error ~ n^a.

    Args:
      exponent: least-squares slope of ln(mean error) on ln(n).
      low, high: bootstrap percentile interval at 95 %, resampling replicates at each size.
      means: mean error at each size.
      trials: replicates in all.
    """

    exponent: float
    low: float
    high: float
    means: tuple[float, ...]
    trials: int


def measured_slope(
    name: str,
    trial: Callable[..., Any],
    sizes: Sequence[int],
    *,
    key: jax.Array,
    replicates: int,
    store: Store,
    progress: Progress = quiet,
) -> Slope:
    """Measure how the mean error falls with the number of examples.

    Args:
      name: leads the keys of its records and fixes its random stream.
      trial: trial(key, n) -> scalar error, n traced.
      sizes: at least two different n.
      key: root key; not consumed.
      replicates: at each size; at least 2.
      store: the errors at each size are a record.
      progress: called as progress(label, done, total).

    Raises:
      InputError: too few sizes or replicates, or a mean error of zero, which has no logarithm.
    """
    if len(set(sizes)) < 2 or replicates < 2:
        raise InputError(
            f"{name}: expected two sizes and two replicates, got {sizes}, {replicates}"
        )

    def run(n: int) -> list[float]:
        stream = jax.random.fold_in(key, zlib.crc32(f"{name}/{n}".encode()))
        errors = run_blocks(trial, key=stream, trials=replicates, args=(np.int32(n),))
        return errors.astype(np.float64).tolist()

    errors = []
    for done, n in enumerate(sizes):
        errors.append(store.result(f"{name}/slope/{n}/{replicates}", partial(run, n)))
        progress(name, done + 1, len(sizes))
    table = np.array(errors)  # [sizes, replicates]
    if not (table.mean(axis=1) > 0).all():
        raise InputError(f"{name}: expected positive mean errors, got {table.mean(axis=1)}")
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    resampled = [
        _exponent(sizes, np.take_along_axis(table, rng.integers(0, replicates, table.shape), 1))
        for _ in range(RESAMPLES)
    ]
    low, high = np.quantile(resampled, (0.025, 0.975))
    means = tuple(math.fsum(row) / replicates for row in errors)
    return Slope(_exponent(sizes, table), float(low), float(high), means, table.size)


def _exponent(sizes: Sequence[int], errors: np.ndarray) -> float:
    """Slope of ln(mean over the last axis) on ln(sizes)."""
    x = np.log(sizes) - np.log(sizes).mean()
    means = np.maximum(errors.mean(axis=1), np.finfo(np.float64).tiny)
    return float(x @ np.log(means) / (x @ x))
