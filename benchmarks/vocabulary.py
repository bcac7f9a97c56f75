"""Total variation on a whole vocabulary, V = 49,152: seconds and memory against held-out contexts.

Hidden states are random, of SmolLM2's width; both models have an unembedding of their own. Their
logits, 2 GB a model at 10,000 contexts, are never held.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.measure import Row, timed
from benchmarks.memory import status
from icl_sim.divergence import total_variation_from_hidden

VOCAB, WIDTH = 49_152, 576
CONTEXTS = (1250, 2500, 5000, 10_000)


def run(*, contexts: Sequence[int] = CONTEXTS, vocab: int = VOCAB, width: int = WIDTH) -> list[Row]:
    """One row a number of contexts: name, median_s, ms_per_context, more_MiB, mean; and the fit.

    more_MiB is by how much the process grew beyond its largest before, arguments not counted, where
    there is a /proc. slope is that of log seconds in log m: 1 if the cost is linear.
    """
    rng = np.random.default_rng(0)
    scale = np.float32(2 / width**0.5)
    readouts = [rng.standard_normal((width, vocab), np.float32) * scale for _ in range(2)]
    total_variation_from_hidden(*_given(rng, 256, width, readouts))  # the readouts are placed
    rows: list[Row] = []
    for m in contexts:
        given = _given(rng, m, width, readouts)
        before = _largest()
        seconds, found = timed(partial(total_variation_from_hidden, *given))
        row: Row = {
            "name": f"V = {vocab:,}, {m:,} contexts",
            "median_s": seconds,
            "ms_per_context": 1e3 * seconds / m,
            "mean": float(np.asarray(found, np.float64).mean()),
        }
        if before is not None:
            row["more_MiB"] = ((_largest() or before) - before) / 2**20
        rows.append(row)
    slope = np.polyfit(np.log(contexts), np.log([row["median_s"] for row in rows]), 1)[0]
    return [*rows, {"name": "fit", "slope": float(slope)}]


def _given(
    rng: np.random.Generator, m: int, width: int, readouts: Sequence[np.ndarray]
) -> tuple[np.ndarray, ...]:
    a, b = (rng.standard_normal((m, width), np.float32) for _ in range(2))
    return a, readouts[0], b, readouts[1]


def _largest() -> int | None:
    """Bytes of the process at its largest so far."""
    return status("VmHWM") if Path("/proc/self/status").exists() else None
