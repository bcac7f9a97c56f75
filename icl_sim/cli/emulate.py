"""``emulate``: a machine's run through a transformer's weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from icl_sim.cli import flags, output
from icl_sim.errors import InputError
from icl_sim.execution.progress import ProgressBar

if TYPE_CHECKING:
    from icl_sim.emulation.looped import LoopedEmulation
    from icl_sim.emulation.turing import Emulation

SHOWN = 200  # cells of a tape on the terminal
MOST = "not halted at --max-steps"
ENDED = {
    "halted": "halted",
    "max-steps": MOST,
    "cells": "not halted: the next step leaves the {cells:,} certified cells: raise --cells",
}


def add(commands: Any) -> None:
    """Adds the command and its flags."""
    about = "run a machine through a transformer's weights"
    parser = flags.add_command(commands, "emulate", run, about)
    parser.add_argument(
        "machine", metavar="MACHINE", help="name, file (FILE:LINE of a list), or bbchallenge line"
    )
    parser.add_argument(
        "--tape",
        default=None,
        metavar="T",
        help="input, a character a symbol (that of the file); looped: numbers",
    )
    parser.add_argument(
        "--construction",
        default=None,
        metavar="NAME",
        help="single, universal (where it is large enough) or looped",
    )
    parser.add_argument(
        "--engine",
        default=None,
        metavar="NAME",
        help="dense, cached, specialised, native or verify",
    )
    parser.add_argument(
        "--max-steps",
        type=int,
        default=None,
        metavar="N",
        help="stop there if it has not halted; bb5 halts at 47,176,870",
    )
    parser.add_argument(
        "--cells", type=int, default=None, metavar="N", help="certify so many on either side"
    )
    parser.add_argument(
        "--trace", default=None, metavar="FILE.html", help="write a page that replays the run"
    )
    flags.add_cache(parser)
    parser.add_argument("--out", default="out", metavar="DIR", help="checkpoints of long runs")
    parser.add_argument("--resume", action="store_true", help="take up a long run")


def run(arguments: Any) -> int:
    """Runs the machine, and tells by the exit code whether weights and interpreter agree."""
    if arguments.construction == "looped":
        flags.keep_compiled(arguments)
        return _looped(arguments)
    from icl_sim.emulation.machine_files import find_machine

    machine = find_machine(arguments.machine.strip())  # a typo is refused before JAX is imported
    flags.keep_compiled(arguments)
    from icl_sim.emulation.turing import LIMITS, emulate

    with ProgressBar() as progress:
        found = emulate(
            machine,
            arguments.tape,
            construction=arguments.construction,
            engine=arguments.engine,
            max_steps=arguments.max_steps,
            cells=arguments.cells,
            checkpoints=arguments.out,
            resume=arguments.resume,
            progress=progress,
        )
    if arguments.trace:
        from icl_sim.emulation.turing import build
        from icl_sim.report.viewer import HEADS_SHOWN, write_viewer

        asked = {"steps": arguments.max_steps, "cells": arguments.cells}
        built = build(machine, construction=found.construction, **asked)
        given = "".join(machine.input) if arguments.tape is None else arguments.tape
        write_viewer(machine, given, built, arguments.trace, steps=found.steps)
        if found.steps > HEADS_SHOWN and not arguments.json:
            print(
                f"{arguments.trace} replays all {found.steps:,} steps; where heads look is in it "
                f"for the first {HEADS_SHOWN}"
            )
    tape = "".join(found.tape)
    tape = tape if len(tape) <= SHOWN else f"{tape[:SHOWN]}... ({len(tape):,} cells)"
    shown = {"tape": tape, "ended": ENDED[found.ended].format(cells=found.certified_cells)}
    if proof := found.never_halts:
        shown["never_halts"] = (
            f"never halts: configuration at step {proof.start:,} recurs at step {proof.again:,}, "
            f"shifted by {proof.shift:,} cells"
        )
    return _show(found, arguments, most=f", to at most {LIMITS[-1][0]:,}", **shown)


def _looped(arguments: Any) -> int:
    for flag in ("trace", "cells", "resume"):
        if getattr(arguments, flag):
            raise InputError(f"--{flag}: expected a Turing machine, got the looped computer")
    from icl_sim.emulation.looped import emulate_looped

    with ProgressBar() as progress:
        found = emulate_looped(
            arguments.machine,
            arguments.tape or "",
            engine=arguments.engine or "dense",
            max_steps=arguments.max_steps,
            progress=progress,
        )
    # A bound that no run reaches is none to show: the certificate holds without end.
    return _show(found, arguments, certified_steps="all")


def _show(
    found: Emulation | LoopedEmulation, arguments: Any, *, most: str = "", **shown: str
) -> int:
    """Prints the fields of a run; ``shown`` takes the place of some on the terminal."""
    if arguments.json:
        output.print_json(found)
    else:
        for name, value in (vars(found) | shown).items():
            print(f"{name:>16}  {f'{value:,.0f}' if isinstance(value, float) else value}")
        # A proof that it never halts, or a tape that is too short, says more.
        if not found.halted and shown.get("ended", MOST) == MOST and "never_halts" not in shown:
            print(f"not halted after {found.steps:,} steps: raise --max-steps{most}")
    return int(not found.agrees)
