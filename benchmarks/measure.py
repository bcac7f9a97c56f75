"""Times of functions, compared in one process: the only stopwatch of the benchmarks.

Each function is called once to compile, then once a round; a round calls all of them, so that a
machine that is busy for a while slows all sides of a comparison. Figures are medians, and the
spread is the distance between the quartiles.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
import numpy as np

Row = dict[str, Any]
Call = Callable[[], Any]
T = TypeVar("T")

# Seconds before a call. Large arrays that the call before it dropped are still being returned to
# the system when it has ended; without a pause that was seen to cost the next one 40 ms.
PAUSE = 0.05

NOT_INSTALLED = "not installed: pip install -e '.[peers]'"


def measure(
    calls: Mapping[str, Call | str], *, rounds: int = 7, reference: str | None = None
) -> list[Row]:
    """One row a function, in their order: name, compile_s, median_s, spread_s, speedup.

    Args:
      calls: name -> function without arguments, whose result is waited for; or, for one that
        cannot be timed, the reason: its row has a note and no times.
      rounds: calls of each function after the first.
      reference: the one whose median is divided by the others' to give speedup, the ratio of
        speeds; without it there is no speedup.

    compile_s is what the first call takes beyond the median: tracing, compiling, first touch.
    """
    known = {name: call for name, call in calls.items() if not isinstance(call, str)}
    first = {name: timed(call)[0] for name, call in known.items()}
    times: dict[str, list[float]] = {name: [] for name in known}
    for _ in range(rounds):
        for name, call in known.items():
            time.sleep(PAUSE)
            times[name].append(timed(call)[0])
    rows: list[Row] = []
    for name, given in calls.items():
        if isinstance(given, str):
            rows.append({"name": name, "note": given})
            continue
        low, median, high = map(float, np.quantile(times[name], [0.25, 0.5, 0.75]))
        row = {
            "name": name,
            "compile_s": max(0.0, first[name] - median),
            "median_s": median,
            "spread_s": high - low,
        }
        if reference is not None:
            row["speedup"] = float(np.median(times[reference])) / median
        rows.append(row)
    return rows


def timed(call: Callable[[], T]) -> tuple[float, T]:
    """Seconds of wall time of one call, until the device has its result, and that result."""
    start = time.perf_counter()
    result = jax.block_until_ready(call())
    if any(getattr(leaf, "is_cuda", False) for leaf in jax.tree.leaves(result)):
        sys.modules["torch"].cuda.synchronize()  # JAX does not know PyTorch's queue
    return time.perf_counter() - start, result


def peer(name: str, make: Callable[[], Mapping[str, T]], *, asked: bool) -> Mapping[str, T | str]:
    """The functions of a peer: none unless asked; a note for `measure` if it is not installed.

    Args:
      name: of its one row if it is missing.
      make: imports it and returns its functions by name.
      asked: whether peers are to be timed.
    """
    if not asked:
        return {}
    try:
        return make()
    except ImportError:
        return {name: NOT_INSTALLED}
