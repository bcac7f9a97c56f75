"""Sweeps: all cells of a statement, run look by look, recorded, and judged together.

Every cell is looked at after R, 2R, 4R and 8R replicates, unless it is decided before. The family
of G cells is stated before the run and judged as one: the probability is at most alpha that any of
its cells is certified wrongly, and as much that any is refuted wrongly.

Stopping a decided cell keeps that promise. Its p-value is the least over the looks so far, which
further looks could only lower; and Holm's procedure rejects no less when p-values fall. So what is
rejected here would be rejected by the procedure that takes all four looks at every cell.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import jax
import numpy as np

from icl_sim.errors import InputError
from icl_sim.execution.progress import Progress, quiet
from icl_sim.execution.trials import Batch, iter_blocks
from icl_sim.statistics.cells import MeanCell, TailCell, Tally
from icl_sim.statistics.intervals import (
    ALPHA,
    CERTIFIED,
    INCONCLUSIVE,
    LOOKS,
    REFUTED,
    family_verdicts,
)
from icl_sim.storage.result_store import ResultStore


@dataclass(frozen=True)
class CellVerdict:
    """What a sweep found of one cell.

    Args:
      id: the cell's.
      verdict: ``certified``, ``refuted`` or ``inconclusive``, the family judged together.
      trials: replicates drawn.
      estimate: failure frequency, or mean error.
      low, high: limits for this cell alone, each one-sided at alpha / 4: valid at whichever of the
        four looks it stopped, and what decides a family of one.
    """

    id: str
    verdict: str
    trials: int
    estimate: float
    low: float
    high: float


def sweep(
    name: str,
    cells: Sequence[TailCell | MeanCell],
    *,
    key: jax.Array,
    replicates: int,
    store: ResultStore,
    alpha: float = ALPHA,
    progress: Progress = quiet,
) -> list[CellVerdict]:
    """Run and judge the cells of a statement; take from the store what is recorded already.

    Args:
      name: of the statement; leads the keys of its records.
      cells: G cells of one kind with distinct ids.
      key: root key; not consumed. Replicate i of a cell draws from fold_in(fold_in(key, CRC-32 of
        the cell's id), i), so that a cell's results do not depend on the other cells.
      replicates: R, of the first look; at least 2.
      store: each look at each cell is a record.
      alpha: family-wise error of either direction.
      progress: called as progress(label, done, total), in replicates of one look.

    Returns:
      A verdict for each cell, in their order.

    Raises:
      InputError: no cells, repeated ids, two kinds of cells, too few replicates, or a trial that
        does not return one number.
      FloatingPointError: an error is NaN.
    """
    ids = [cell.id for cell in cells]
    if not cells or len(set(ids)) < len(ids) or len({type(cell) for cell in cells}) > 1:
        raise InputError(f"{name}: expected cells of one kind with distinct ids, got {ids}")
    if replicates < 2:
        raise InputError(f"{name}: expected at least 2 replicates, got {replicates}")
    tallies: list[list[Tally]] = [[] for _ in cells]
    verdicts = [INCONCLUSIVE] * len(cells)
    start = 0
    for look, multiple in enumerate(LOOKS, start=1):
        trials = range(start, multiple * replicates)
        undecided = [i for i, verdict in enumerate(verdicts) if verdict == INCONCLUSIVE]
        shown = partial(progress, f"{name}, look {look} of {len(LOOKS)}")
        for place, i in enumerate(undecided):
            done = partial(_advance, shown, place * len(trials), len(undecided) * len(trials))
            tallies[i].append(_look(name, cells[i], key, trials, store, done))
        verdicts = _judge(cells, tallies, alpha)
        if INCONCLUSIVE not in verdicts:
            break
        start = trials.stop
    return [
        CellVerdict(
            cell.id,
            verdict,
            sum(tally["trials"] for tally in looks),
            *cell.interval(looks, alpha=alpha / len(LOOKS)),
        )
        for cell, looks, verdict in zip(cells, tallies, verdicts, strict=True)
    ]


def _advance(shown: Callable[[int, int], None], before: int, total: int, done: int) -> None:
    shown(before + done, total)


def _look(
    name: str,
    cell: TailCell | MeanCell,
    key: jax.Array,
    trials: range,
    store: ResultStore,
    advance: Callable[[int], None],
) -> Tally:
    """The tally of these trials, from the store, or run and recorded."""

    def run() -> Tally:
        errors = []
        for batch in iter_blocks(
            cell.trial,
            key=jax.random.fold_in(key, zlib.crc32(cell.id.encode())),
            trials=len(trials),
            first=trials.start,
            args=cell.args,
        ):
            errors.append(_numbers(f"{name}, cell {cell.id}", batch))
            advance(batch.first - trials.start + len(errors[-1]))
        return cell.tally(np.concatenate(errors))

    tally: Tally = store.result(f"{name}/{cell.id}/{trials.start}-{trials.stop}", run)
    advance(len(trials))
    return tally


def _numbers(where: str, batch: Batch) -> np.ndarray:
    """The errors [trials] of a batch, each one number and none NaN (NaN > eps would be False)."""
    if np.ndim(batch.values) != 1:
        shapes = jax.tree.map(lambda values: values.shape[1:], batch.values)
        raise InputError(f"{where}: expected a trial that returns one number, got shape {shapes}")
    missing = np.isnan(batch.values)
    if missing.any():
        raise FloatingPointError(
            f"{where}: the error of trial {batch.first + missing.argmax()} is NaN"
        )
    return batch.values


def _judge(
    cells: Sequence[TailCell | MeanCell], tallies: list[list[Tally]], alpha: float
) -> list[str]:
    """Verdicts of the family after the looks so far."""
    tails = [cell for cell in cells if isinstance(cell, TailCell)]
    if tails:
        looks = [cell.looks(tally) for cell, tally in zip(tails, tallies, strict=True)]
        return family_verdicts(looks, [cell.delta for cell in tails], alpha=alpha)
    # Limits of a mean come at a level, not with a p-value: Bonferroni over looks and cells.
    share = alpha / (len(LOOKS) * len(cells))
    means = [cell for cell in cells if isinstance(cell, MeanCell)]
    verdicts = []
    for cell, tally in zip(means, tallies, strict=True):
        _, low, high = cell.interval(tally, alpha=share)
        verdict = CERTIFIED if high <= cell.bound else REFUTED if low > cell.bound else INCONCLUSIVE
        verdicts.append(verdict)
    return verdicts
