"""How n* and the formulas of C1 change with eps, V, m and delta, one at a time."""

from __future__ import annotations

from typing import Any

from icl_sim.bounds.sizes import sample_size
from icl_sim.claims.claim import Run

POINT: dict[str, Any] = {"vocab": 32, "contexts": 1, "eps": "0.15", "delta": 0.1}
VARIED: dict[str, dict[str, tuple[Any, ...]]] = {
    "smoke": {
        "eps": ("0.3", "0.2", "0.15", "0.1"),
        "vocab": (2, 8, 32, 64),
        "contexts": (1, 10, 100, 1000),
        "delta": (0.1, 0.01, 1e-3, 1e-6),
    },
    "standard": {
        "eps": ("0.4", "0.3", "0.2", "0.15", "0.1", "0.07", "0.05"),
        "vocab": (2, 4, 8, 16, 32, 64, 128),
        "contexts": (1, 10, 100, 1000, 10_000),
        "delta": (0.5, 0.1, 0.01, 1e-3, 1e-6, 1e-12),
    },
}
VARIED["full"] = VARIED["standard"]


def uniform_size(**options: Any) -> int:
    """n* of `sample_size`."""
    exact = sample_size(**options).exact
    if exact is None:
        raise ValueError(f"n* is too costly at {options}: choose a smaller grid")
    return exact


def scaling(run: Run) -> list[dict[str, Any]]:
    """Rows: all sizes where one of the four differs from `POINT`."""
    varied = VARIED[run.profile]
    total = sum(map(len, varied.values()))
    rows: list[dict[str, Any]] = []
    for name, values in varied.items():
        for value in values:
            given = POINT | {name: value}
            known = sample_size(**given)
            rows.append(
                {"varied": name}
                | given
                | {
                    "abstract": known.abstract,
                    "mcdiarmid": known.mcdiarmid,
                    "weissman": known.weissman,
                    "exact": known.exact,
                    "lower": known.lower,
                }
            )
            run.progress("C1.sum scaling", len(rows), total)
    return rows
