"""The door by which a predictor's laws, and what it certifies, enter a comparison."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from icl_sim.comparison.result import TRUTH
from icl_sim.data.tasks import Demonstrations
from icl_sim.divergence.real_inputs import SUM_TOLERANCE
from icl_sim.errors import InputError
from icl_sim.execution.memory_guard import require


def checked_laws(values: Any, *, name: str, shown: str, shape: tuple[int, ...]) -> np.ndarray:
    """A predictor's laws, float32 [..., m, V], if they are laws.

    Args:
      values: what it returned.
      name: of the predictor.
      shown: what it was shown, for the message.
      shape: [..., m, V].

    Raises:
      FloatingPointError: a law is not finite.
      InputError: one is not >= 0, does not sum to 1, or the laws are of another shape.
    """
    who = f"{name}, {shown}"
    raw = np.asarray(values)
    if raw.dtype.kind not in "biuf" or raw.shape != shape:
        raise InputError(
            f"{who}: expected laws, real numbers {list(shape)}, got {raw.dtype} {list(raw.shape)}"
        )
    laws = raw.astype(np.float32)
    if not np.isfinite(laws).all():
        raise FloatingPointError(f"{who}: a law is not finite")
    sums = laws.sum(axis=-1, dtype=np.float64)
    bad = (laws.min(axis=-1) < 0) | (np.abs(sums - 1) > SUM_TOLERANCE)
    if bad.any():
        raise InputError(
            f"{who}: expected laws, numbers >= 0 that sum to 1, got a least of "
            f"{laws[bad].min():g} and a sum of {sums[bad].flat[0]:g}: normalize what it returns"
        )
    return laws


def certified(
    certify: Callable[[Demonstrations], float], draw: Callable[[], Demonstrations]
) -> list[float]:
    """What a route certifies of its laws on every copy of the data that ``draw`` gives."""
    counts = np.asarray(draw().counts)
    return [float(certify(Demonstrations(None, None, one))) for one in counts]


def check_request(
    predictors: Sequence[str], sizes: Sequence[int], *, tasks: int, seeds: int
) -> None:
    """Raises InputError unless names and sizes are distinct, and there is something to compare.

    And if memory does not last for the answers, which take a KiB each at least.
    """
    names = (*predictors, TRUTH)
    if len(set(names)) < len(names) or not predictors:
        raise InputError(f"--predictors: expected distinct names, got {' '.join(predictors)}")
    if not sizes or min(sizes) < 1 or len(set(sizes)) < len(sizes):
        raise InputError(f"--sizes: expected distinct sizes of at least 1, got {list(sizes)}")
    if tasks < 1 or seeds < 1:
        raise InputError(f"expected at least one task and one seed, got {tasks} and {seeds}")

    def cost(tasks: int, seeds: int) -> int:
        return 1024 * len(predictors) * len(sizes) * tasks * seeds

    require("the comparison", cost, host=True, tasks=tasks, seeds=seeds)
