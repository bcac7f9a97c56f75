"""Distances over contexts in few numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from icl_sim.errors import InputError
from icl_sim.execution.signatures import checked, short
from icl_sim.execution.trials import exact_sum


@dataclass(frozen=True)
class Summary:
    """Distances over contexts (or trials) in few numbers.

    contexts: how many there were. mean, max: float. quantiles: level -> value, each value one of
    the distances. failures: how many exceed the bound, None without a bound.
    """

    contexts: int
    mean: float
    max: float
    quantiles: dict[float, float]
    failures: int | None


@checked
def summarize(
    distances: Any, *, bound: float | None = None, quantiles: Sequence[float] = (0.5, 0.9, 0.99)
) -> Summary:
    """Mean, maximum, quantiles and failures of distances, independent of their order.

    The mean is the correctly rounded sum over the number, and quantiles are order statistics, so
    neither the blocks nor the devices that computed the distances can show in the result.

    Args:
      distances: real array of any shape, without NaN.
      bound: a distance above it (not equal to it) is a failure.
      quantiles: levels in [0, 1]; level t gives the least distance with at least a fraction t of
        the distances at or below it.

    Raises:
      InputError: no distances, a NaN among them, or a level outside [0, 1].

    >>> s = summarize([0.1, 0.4, 0.2, 0.3], bound=0.3, quantiles=[0.5])
    >>> s.mean, s.max, s.quantiles, s.failures
    (0.25, 0.4, {0.5: 0.2}, 1)
    """
    try:
        flat = np.sort(np.asarray(distances, dtype=np.float64), axis=None)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"distances: expected real numbers, got {short(distances)}") from None
    if not flat.size:
        raise InputError("expected at least one distance to summarize, got none")
    if np.isnan(flat[-1]):  # sorting puts NaN last
        raise InputError(
            f"expected distances, got NaN in {np.isnan(flat).sum()} of {flat.size}: "
            "look for NaN in the logits"
        )
    if not all(0 <= level <= 1 for level in quantiles):
        raise InputError(f"expected quantile levels in [0, 1], got {list(quantiles)}")
    return Summary(
        contexts=flat.size,
        mean=float(exact_sum(flat)) / flat.size,
        max=float(flat[-1]),
        quantiles={t: float(np.quantile(flat, t, method="inverted_cdf")) for t in quantiles},
        failures=None if bound is None else int((flat > bound).sum()),
    )
