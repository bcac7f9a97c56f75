"""How tight each bound is, and whether a change of its constant by 20 % would show.

No time is measured here: these are exact values beside the formulas.
"""

from __future__ import annotations

from dataclasses import asdict

from benchmarks.measure import Row
from icl_sim.bounds.tightness import tightness


def run() -> list[Row]:
    """One row a formula: name, kind, stated, exact, ratio, caught, case."""
    rows = [asdict(row) for row in tightness()]
    return [{"name": row.pop("formula"), **row, "case": row.pop("case")} for row in rows]
