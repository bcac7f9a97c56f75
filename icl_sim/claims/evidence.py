"""From evidence to a verdict: what the experiments of several claims share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from icl_sim.claims.claim import FALSE, HOLDS, LOOSE, OPEN, Figures, Outcome
from icl_sim.statistics.intervals import CERTIFIED, REFUTED
from icl_sim.statistics.sweep import CellVerdict

# What is judged: the sizes and the bounds of `icl_sim.bounds`, or others in their place.
Size = Callable[..., int]
Bound = Callable[..., float]

CONSTANTS = (1, 2, 4, 8)  # an O(.) claim is refuted by a case for each, and a proof for all


def uphold(
    *, broken: Sequence[Any] = (), sampled: Sequence[CellVerdict] = (), loose: bool = False
) -> str:
    """The verdict on "this bound holds everywhere".

    Args:
      broken: exact cases that break it.
      sampled: cells of a sweep; each must be certified.
      loose: whether a better bound is given.

    >>> uphold(broken=[]), uphold(broken=[{"n": 3}]), uphold(loose=True)
    ('HOLDS', 'FALSE-AS-STATED', 'HOLDS-LOOSE')
    """
    if broken or any(cell.verdict == REFUTED for cell in sampled):
        return FALSE
    if any(cell.verdict != CERTIFIED for cell in sampled):
        return OPEN
    return LOOSE if loose else HOLDS


def upheld(
    *sweeps: Sequence[CellVerdict],
    broken: Sequence[Any] = (),
    loose: bool = False,
    why: str,
    figures: Figures,
) -> Outcome:
    """What was found on "this bound holds everywhere" by exact cases and by sweeps.

    Args:
      sweeps: each cell must be certified.
      broken, loose: as for `uphold`.
      why, figures: as in `Outcome`.
    """
    cells = [cell for sweep in sweeps for cell in sweep]
    return Outcome(
        verdict=uphold(broken=broken, sampled=cells, loose=loose),
        replicates=trials(cells),
        why=why,
        figures=figures,
    )


def tell(sampled: Sequence[CellVerdict]) -> str:
    """How many cells were certified, and which were refuted.

    >>> tell([CellVerdict("V=2", "certified", 400, 0.01, 0.0, 0.03)])
    '1 of 1 sampled cells certified'
    """
    certified = sum(cell.verdict == CERTIFIED for cell in sampled)
    refuted = [cell.id for cell in sampled if cell.verdict == REFUTED]
    text = f"{certified} of {len(sampled)} sampled cells certified"
    return text + (f"; refuted: {', '.join(refuted)}" if refuted else "")


def trials(*sweeps: Sequence[CellVerdict]) -> int:
    """Replicates drawn in all."""
    return sum(cell.trials for cells in sweeps for cell in cells)
