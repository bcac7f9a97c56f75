"""One data set, every route: pairwise total variation of predictors, and of each to the truth."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from functools import cache, lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from icl_sim.blocks import iter_blocks, run_blocks
from icl_sim.divergence import total_variation
from icl_sim.errors import InputError
from icl_sim.predictors import Predictor, get_predictor
from icl_sim.store import Store
from icl_sim.tasks import Demonstrations, make_task, sample_demonstrations

BLOCK = 6  # copies in one vmapped block; part of the result's last bits, so never tuned per call
RESAMPLES = 2000
TRUTH = "truth"


def compare(
    task: str = "english",
    *,
    sizes: Sequence[int] = (16, 64, 256),
    predictors: Sequence[str] = ("counts", "lookup", "fine-tuned"),
    tasks: int = 12,
    seeds: int = 1,
    contexts: int = 8,
    vocab: int = 8,
    key: jax.Array,
    store: Store,
    progress: Callable[[str, int, int], None] = lambda label, done, total: None,
) -> dict[str, Any]:
    """The matrix of pairwise total variation, with cluster-bootstrap intervals over tasks.

    Args:
      task: a family of `icl_sim.tasks.TASKS`.
      sizes: N, demonstrations in all; each a multiple of ``contexts`` (allotted evenly, S1).
      predictors: names in `icl_sim.predictors.PREDICTORS`.
      tasks, seeds: so many tables, so many data sets of each.
      key: root of all randomness; not consumed.
      store: each predictor's laws at each size are recorded there, and found again on resuming.

    Returns:
      task, sizes, per_context, predictors, tasks, seeds, and
      matrix[str(size)][row][column] = mean, low, high (95 % interval of the mean over contexts) and
      max (over contexts, averaged over replicates); "truth" is among rows and columns.

    Raises:
      InputError: unknown names, sizes that are not multiples of ``contexts``.
      FloatingPointError: a predictor's law is not finite.
    """
    names = (*predictors, TRUTH)
    for name in predictors:
        get_predictor(name)
    for size in sizes:
        if size < 1 or size % contexts:
            raise InputError(
                f"--sizes: expected multiples of {contexts}, the number of contexts, got {size}"
            )
    if tasks < 1 or seeds < 1:
        raise InputError(f"expected at least one task and one seed, got {tasks} and {seeds}")
    laws = np.stack(
        [make_task(task, i, contexts=contexts, vocab=vocab).law for i in range(tasks)]
    ).astype(np.float32)
    laws = np.repeat(laws, seeds, axis=0)
    matrix: dict[str, Any] = {}
    for size in sizes:
        draw = cache(partial(_draw, laws, size, key))  # only if some predictor is not recorded
        answers = [
            store.result(
                f"compare/{task}/{contexts}x{vocab}/{tasks}x{seeds}/{size}/{name}",
                partial(_predict, name, draw, key, partial(progress, f"{task} {size} {name}")),
            )
            for name in predictors
        ]
        matrix[str(size)] = _summary(np.array([*answers, laws], np.float32), names, tasks)
    return {
        "task": task,
        "sizes": list(sizes),
        "per_context": [size // contexts for size in sizes],
        "predictors": list(names),
        "tasks": tasks,
        "seeds": seeds,
        "matrix": matrix,
    }


def _draw(laws: np.ndarray, size: int, key: jax.Array) -> Demonstrations:
    """Demonstrations of every copy: arrays with a leading axis of copies."""
    data: Demonstrations = run_blocks(
        _sampler(size // laws.shape[1]),
        key=_stream(key, "data", size),
        trials=len(laws),
        args=(jnp.asarray(laws),),
        indexed=True,
        block=BLOCK,
    )
    return data


def _predict(
    name: str,
    draw: Callable[[], Demonstrations],
    key: jax.Array,
    progress: Callable[[int, int], None],
) -> list[Any]:
    """[copies, m, V], nested lists: one predictor's laws on every copy."""
    predictor, data = get_predictor(name), draw()
    copies, size = data.contexts.shape
    shown = Demonstrations(None, None, data.counts) if predictor.counts_only else data
    parts = []
    for batch in iter_blocks(
        _answer(name, predictor),
        key=_stream(key, name, size),
        trials=copies,
        args=(jax.tree.map(jnp.asarray, shown),),
        indexed=True,
        block=BLOCK,
    ):
        if not np.isfinite(batch.values).all():
            raise FloatingPointError(f"{name}, {size} demonstrations: a law is not finite")
        parts.append(batch.values)
        progress(batch.first + len(batch.values), copies)
    laws: list[Any] = np.concatenate(parts).tolist()
    return laws


@lru_cache(maxsize=64)
def _sampler(per_context: int) -> Callable[..., Demonstrations]:
    # One function object for each size, so that its code is compiled once.
    def trial(key: jax.Array, index: jax.Array, laws: jax.Array) -> Demonstrations:
        return sample_demonstrations(key, laws[index], per_context=per_context)

    return trial


@lru_cache(maxsize=64)
def _answer(name: str, predictor: Predictor) -> Callable[..., jax.Array]:
    def trial(key: jax.Array, index: jax.Array, data: Demonstrations) -> jax.Array:
        return predictor(jax.tree.map(lambda leaf: leaf[index], data), key)

    return trial


def _stream(key: jax.Array, name: str, size: int) -> jax.Array:
    """A key of its own for each purpose and size, whatever else is computed."""
    return jax.random.fold_in(jax.random.fold_in(key, zlib.crc32(name.encode())), size)


def _summary(laws: np.ndarray, names: Sequence[str], tasks: int) -> dict[str, dict[str, Any]]:
    """Means with cluster-bootstrap intervals: tasks are resampled whole, seeds stay in them.

    laws: float32 [P, copies, m, V].
    """
    distance = np.asarray(total_variation(laws[:, None], laws[None, :]), np.float64)
    by_task = distance.reshape(*distance.shape[:2], tasks, -1, distance.shape[-1])
    mean_of_task = by_task.mean(axis=(3, 4))
    rng = np.random.default_rng(0)
    draws = rng.integers(0, tasks, (RESAMPLES, tasks))
    low, high = np.quantile(mean_of_task[:, :, draws].mean(axis=3), [0.025, 0.975], axis=2)
    mean, worst = mean_of_task.mean(axis=2), by_task.max(axis=4).mean(axis=(2, 3))
    return {
        row: {
            column: {
                "mean": float(mean[i, j]),
                "low": float(low[i, j]),
                "high": float(high[i, j]),
                "max": float(worst[i, j]),
            }
            for j, column in enumerate(names)
        }
        for i, row in enumerate(names)
    }
