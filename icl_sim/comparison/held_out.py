"""Laws on held-out inputs: every classifier on the same examples, one data set at a time."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import numpy as np

from icl_sim.data.vectors import split
from icl_sim.predictors import get_predictor


def held_out_laws(
    name: str | None, task: str, size: int, tasks: int, seeds: int, root: jax.Array, key: jax.Array
) -> list[list[list[list[float]]]]:
    """float32 [tasks seeds, m, 2] as nested lists: one predictor's laws, or None: the labels'.

    Args:
      name: of a predictor of kind ``classification``.
      task, size: as `split` takes them.
      tasks, seeds: the number of problems, and of data sets of each.
      root: decides the data sets.
      key: the predictor's own.

    Raises:
      FloatingPointError: a law is not finite.
    """
    stream = np.asarray(jax.random.key_data(root)).tolist()
    laws = []
    for replicate in range(tasks * seeds):
        rng = np.random.default_rng([*stream, replicate, size])
        data, truth = split(task, replicate // seeds, size, rng)
        if name is None:
            law = np.stack([truth > 0, truth < 0], axis=1).astype(np.float32)
        else:
            predicted = get_predictor(name)(data, jax.random.fold_in(key, replicate))
            law = np.asarray(predicted, np.float32)
        if not np.isfinite(law).all():
            raise FloatingPointError(f"{name}, {size} examples: a law is not finite")
        laws.append(law.tolist())
    return laws


def check_sizes(task: str, sizes: Sequence[int], tasks: int) -> None:
    """Raises InputError for an unknown task, or a size that one of its problems does not have."""
    for index in range(tasks):
        split(task, index, max(sizes), np.random.default_rng(0))
