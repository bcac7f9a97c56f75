"""One data set, every route: pairwise total variation of predictors, and of each to the truth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from icl_sim.blocks import iter_blocks
from icl_sim.divergence import total_variation
from icl_sim.errors import InputError
from icl_sim.predictors import get_predictor
from icl_sim.records import Record
from icl_sim.store import Store
from icl_sim.tasks import make_task, sample_demonstrations

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
      store: each size's replicates are recorded there, and found again on resuming.

    Returns:
      task, sizes, per_context, predictors, tasks, seeds, and
      matrix[str(size)][row][column] = mean, low, high (95 % interval of the mean over contexts) and
      max (over contexts, averaged over replicates); "truth" is among rows and columns.

    Raises:
      InputError: unknown names, sizes that are not multiples of ``contexts``.
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
    matrix: dict[str, Any] = {}
    for size in sizes:
        identity = (
            f"compare/{task}/{contexts}x{vocab}/{'+'.join(predictors)}/{tasks}x{seeds}/{size}"
        )
        record = store.get(identity)
        if record is None:
            label = f"{task}, {size} demonstrations"
            values = _replicates(laws, size, tuple(predictors), seeds, key, progress, label)
            record = Record(identity, {"values": values.astype(float).round(9).tolist()})
            store.append(record)
        distances = np.asarray(record.result["values"]).reshape(tasks, seeds, *(len(names),) * 2, 2)
        matrix[str(size)] = _summary(distances, names)
    return {
        "task": task,
        "sizes": list(sizes),
        "per_context": [size // contexts for size in sizes],
        "predictors": list(names),
        "tasks": tasks,
        "seeds": seeds,
        "matrix": matrix,
    }


def _replicates(
    laws: np.ndarray,
    size: int,
    predictors: tuple[str, ...],
    seeds: int,
    key: jax.Array,
    progress: Callable[[str, int, int], None],
    label: str,
) -> np.ndarray:
    """float32 [tasks * seeds, P, P, 2]: mean and max over contexts of each pairwise distance."""
    trials = len(laws) * seeds
    parts = []
    for batch in iter_blocks(
        _trial(size // laws.shape[1], predictors),
        key=jax.random.fold_in(key, size),
        trials=trials,
        args=(jnp.asarray(laws), jnp.uint32(seeds)),
        indexed=True,
        block=BLOCK,
    ):
        parts.append(batch.values)
        progress(label, batch.first + len(batch.values), trials)
    return np.concatenate(parts)


@lru_cache(maxsize=64)
def _trial(per_context: int, predictors: tuple[str, ...]) -> Callable[..., jax.Array]:
    """The replicate, one function object for each size so that its code is compiled once."""
    functions = [get_predictor(name) for name in predictors]

    def trial(key: jax.Array, index: jax.Array, laws: jax.Array, seeds: jax.Array) -> jax.Array:
        law = laws[(index // seeds) % laws.shape[0]]
        data_key, *keys = jax.random.split(key, 1 + len(functions))
        data = sample_demonstrations(data_key, law, per_context=per_context)
        answers = [f(data, k) for f, k in zip(functions, keys, strict=True)]
        stack = jnp.stack([*answers, law])
        distance = total_variation(stack[:, None], stack[None, :])
        return jnp.stack([distance.mean(axis=-1), distance.max(axis=-1)], axis=-1)

    return trial


def _summary(distances: np.ndarray, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Means with cluster-bootstrap intervals: tasks are resampled whole, seeds stay in them."""
    by_task = distances.mean(axis=1)
    rng = np.random.default_rng(0)
    draws = rng.integers(0, len(by_task), (RESAMPLES, len(by_task)))
    resampled = by_task[draws, ..., 0].mean(axis=1)
    low, high = np.quantile(resampled, [0.025, 0.975], axis=0)
    mean, worst = by_task[..., 0].mean(axis=0), by_task[..., 1].mean(axis=0)
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
