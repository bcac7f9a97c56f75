"""A page of all constructions and machines: weights and runs as small pictures, with links."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import matplotlib.image
import numpy as np
from matplotlib.colors import to_rgb

from constructions.construction import Construction
from constructions.programs.program import Program
from icl_sim.report import viewer
from icl_sim.report.templating import template
from icl_sim.storage.whole_files import write_whole

ROWS, COLUMNS = 160, 240  # of a run's picture, at most
TILE, TILES, ACROSS = 24, 24, 6  # pixels of a leaf's side, leaves drawn, of them in a row
INK, POSITIVE, NEGATIVE = "#808080", "#0072B2", "#D55E00"
PALETTE = (POSITIVE, "#E69F00", "#009E73", "#CC79A7", "#56B4E9", NEGATIVE, "#F0E442")


@dataclass(frozen=True)
class Item:
    """One entry: a name, what it is, a picture as a data address, the page it leads to."""

    name: str
    about: str
    picture: str
    page: str


def write_gallery(
    folder: Path, constructions: list[Item], programs: Mapping[str, Program]
) -> list[Path]:
    """Writes gallery.html, and machine-NAME.html of each machine, a page that replays its run.

    Args:
      folder: where to.
      constructions: what `construction_item` made of each.
      programs: the machines, each drawn on its sample input with the longest run.

    Returns:
      The paths written, the gallery first.
    """
    machines, pages = [], []
    for name, program in programs.items():
        machine = program.machine
        runs = {t: machine.run(t, program.max_steps, record=False).steps for t in program.inputs}
        tape = max(runs, key=lambda t: runs[t])
        data = viewer.run_data(machine, tape, runs[tape])
        data |= {"heads": [], "known": 0, "prompt": 0, "certificate": None}
        pages.append(folder / f"machine-{name}.html")
        write_whole(pages[-1], viewer.render(data))
        about = (
            f"{len(machine.working)} states, {len(machine.alphabet)} symbols; "
            f"{runs[tape]:,} steps{f' on {tape[:40]}' if tape else ''}; {program.source}"
        )
        picture = _picture(space_time(program, tape, runs[tape]))
        machines.append(Item(name, about, picture, pages[-1].name))
    page = folder / "gallery.html"
    write_whole(
        page, template("gallery.html").render(constructions=constructions, machines=machines)
    )
    return [page, *pages]


def construction_item(built: Construction, page: str) -> Item:
    """The entry of a construction whose card is ``page``."""
    size = sum(leaf.size for leaf in built.params.values())
    about = (
        f"{built.kind}: {len(built.spec.layers)} layers, width {built.spec.width}, {size:,} "
        f"weights; {built.source}"
    )
    return Item(built.name, about, _picture(weights(built)), page)


def weights(built: Construction) -> np.ndarray:
    """The first leaves as tiles, float [rows, columns, 4]: where weights are above or below 0."""
    leaves = [leaf for leaf in built.params.values() if leaf.ndim > 1][:TILES]
    picture = np.zeros((-(-len(leaves) // ACROSS) * (TILE + 2), ACROSS * (TILE + 2), 4))
    for i, leaf in enumerate(leaves):
        y, x = (TILE + 2) * (i // ACROSS), (TILE + 2) * (i % ACROSS)
        rows = np.asarray(leaf).reshape(-1, leaf.shape[-1])
        for axis in (0, 1):
            rows = np.repeat(rows, -(-TILE // rows.shape[axis]), axis=axis)
        down, across = (np.arange(n) * TILE // n for n in rows.shape)
        tile = picture[y : y + TILE, x : x + TILE]
        tile[:] = (*to_rgb(INK), 0.15)
        for sign, color in ((1, POSITIVE), (-1, NEGATIVE)):
            at = np.nonzero(sign * rows > 0)
            tile[down[at[0]], across[at[1]]] = (*to_rgb(color), 1)
    return picture


def space_time(program: Program, tape: str, steps: int) -> np.ndarray:
    """A run, float [rows, columns, 4]: sampled steps, a column the mean of its cells' colors."""
    machine = program.machine
    data = viewer.run_data(machine, tape, steps)
    low, width = data["low"], data["high"] - data["low"] + 1
    ink = np.array([(0, 0, 0, 0), *((*to_rgb(color), 1) for color in PALETTE)])
    ink = ink[np.arange(len(machine.alphabet)) % len(ink)]
    size = -(-width // COLUMNS)
    cells = np.zeros(-(-width // size) * size, np.uint8)
    cells[-low : len(data["tape"]) - low] = data["tape"]

    def row(head: int) -> np.ndarray:
        drawn = ink[cells].reshape(-1, size, 4).mean(axis=1)
        drawn[(head - low) // size] = (*to_rgb(INK), 1)
        return drawn

    rows = [row(0)]
    for trace in machine.run_blocks(tape, steps, block=max(1, -(-steps // ROWS))):
        start = trace.tape_start - low
        cells[start : start + len(trace.cells)] = trace.cells
        rows.append(row(trace.head))
    return np.stack(rows)


def _picture(pixels: np.ndarray) -> str:
    """A PNG as a data address."""
    buffer = io.BytesIO()
    matplotlib.image.imsave(buffer, pixels, format="png", metadata={"Software": "icl-sim"})
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
