"""Laws on held-out inputs: every classifier on the same examples, one data set at a time."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import numpy as np

from icl_sim.comparison.entry import checked_laws
from icl_sim.data.vectors import HELD_OUT, most_examples, split
from icl_sim.errors import InputError
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
      InputError: a law is negative, or does not sum to 1.
      FloatingPointError: a law is not finite.
    """
    most = _most_examples(task, tasks)
    shown = HELD_OUT if most is None else min(HELD_OUT, most + 2 - size)
    stream = np.asarray(jax.random.key_data(root)).tolist()
    laws = []
    for replicate in range(tasks * seeds):
        rng = np.random.default_rng([*stream, replicate, size])
        data, truth = split(task, replicate // seeds, size, rng)
        # As many inputs in each problem, though one of them may have more.
        data, truth = data._replace(queries=data.queries[:shown]), truth[:shown]
        if name is None:
            law = np.stack([truth > 0, truth < 0], axis=1).astype(np.float32)
        else:
            predicted = get_predictor(name)(data, jax.random.fold_in(key, replicate))
            shape = (len(truth), 2)
            law = checked_laws(predicted, name=name, shown=f"{size} examples", shape=shape)
        laws.append(law.tolist())
    return laws


def sizes_that_fit(task: str, sizes: Sequence[int], tasks: int) -> tuple[int, ...]:
    """Those of the sizes that each of the task's first problems has examples for.

    Raises:
      InputError: an unknown task.

    >>> sizes_that_fit("wine", (16, 64, 128), 1), sizes_that_fit("wine", (16, 64, 128), 3)
    ((16, 64, 128), (16, 64))
    """
    most = _most_examples(task, tasks)
    return tuple(size for size in sizes if most is None or size <= most)


def check_sizes(task: str, sizes: Sequence[int], tasks: int) -> None:
    """Raises InputError for an unknown task, or a size that one of its problems does not have."""
    if beyond := set(sizes) - set(sizes_that_fit(task, sizes, tasks)):
        raise InputError(
            f"--sizes: expected at most {_most_examples(task, tasks)} examples of {task}, got "
            f"{max(beyond)}"
        )


def _most_examples(task: str, tasks: int) -> int | None:
    """How many examples each of the first problems has; None: any number."""
    found = [most_examples(task, index) for index in range(tasks)]
    return min((most for most in found if most is not None), default=None)
