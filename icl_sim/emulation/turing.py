"""Runs a Turing machine through a transformer, token by token, beside the interpreter."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from constructions.construction import Construction, machine_io
from constructions.machines.single import single
from constructions.machines.universal import universal
from constructions.machines.weights import build_bytes
from constructions.programs.multi_tape import CompiledMachine
from constructions.programs.non_halting import Recurrence
from constructions.programs.turing import Trace, TuringMachine
from constructions.vocabulary import END, Transcript
from icl_sim.decoding import ENGINES, NATIVE, Decoder, native
from icl_sim.decoding.verification import verified
from icl_sim.emulation.interpreted import (
    certain_pieces,
    noted,
    proven,
    stands,
    token_blocks,
)
from icl_sim.emulation.run_checkpoints import RunCheckpoint
from icl_sim.errors import InputError
from icl_sim.execution.lookahead import ahead
from icl_sim.execution.memory_guard import require
from icl_sim.execution.progress import Progress, quiet
from icl_sim.execution.signatures import checked
from icl_sim.transformer import load

# The universal transformers: working states and symbols, smallest first.
SIZES = ((8, 2), (8, 4), (32, 4), (128, 8))
# Steps and cells to certify: the first pair that covers the request is taken.
LIMITS = ((2**20, 2**19), (2**26, 2**15))
MACHINE_CONSTRUCTIONS = ("single", "universal")
MACHINE_ENGINES = (*ENGINES, NATIVE, "verify")
BLOCK = 1 << 20  # tokens decoded between two looks at progress
MOST_CELLS = 2**24
MOST_SPECIALISED = 256  # rules in the weights: compiled in 2 s, 2,000 of them in minutes
SAVE_EVERY = 8  # blocks between two checkpoints
DENSE_LIMIT = 1 << 14  # steps; dense attention costs O(t) memory and time a step


@dataclass(frozen=True)
class Emulation:
    """A machine's run through a transformer's weights.

    Attributes:
      machine, construction, engine: names of what was run, and how.
      steps: taken; a transition into a halting state counts.
      halted: whether the machine has halted.
      state: the state it is in, by its name.
      head, tape_start: cells, counted from the first cell of the input, which is 0.
      tape: the symbols of the visited span, from the cell ``tape_start`` on.
      ended: why: ``halted``, ``max-steps``, or ``cells``: the next step leaves the certified ones.
      never_halts: the certificate of a cycler or translated cycler; None says nothing.
      tapes: of a machine that was compiled from several tapes, each of them; otherwise None.
      certified_steps, certified_cells: what the certificate reaches; cells on either side of the
        first, which counts.
      agrees: whether all of it is the interpreter's run, token for token.
      steps_per_second: without compilation.
      resumed_at: the step at which an earlier run was taken up; 0 is the start.
    """

    machine: str
    construction: str
    engine: str
    steps: int
    halted: bool
    state: str
    head: int
    tape_start: int
    tape: list[str]
    ended: str
    never_halts: Recurrence | None
    tapes: tuple[str, ...] | None
    certified_steps: int
    certified_cells: int
    agrees: bool
    steps_per_second: float
    resumed_at: int = field(default=0, compare=False)


def smallest(machine: TuringMachine) -> str:
    """The construction for a machine: universal where one is large enough, otherwise single."""
    return "universal" if any(_fits(machine, size) for size in SIZES) else "single"


def quickest(machine: TuringMachine, construction: str) -> str:
    """The engine for a machine: partial evaluation compiles each rule in the weights."""
    rules = len(machine.delta) if construction == "single" else 0
    return "specialised" if rules <= MOST_SPECIALISED else "cached"


def _fits(machine: TuringMachine, size: tuple[int, int]) -> bool:
    states = len({machine.start, *machine.working})
    return states <= size[0] and len(machine.alphabet) <= size[1]


def build(
    machine: TuringMachine, *, construction: str, steps: int | None, cells: int | None = None
) -> Construction:
    """The smallest construction that holds the machine and is certified for steps and cells.

    Raises:
      InputError: an unknown construction, a machine larger than every size, more steps than any
        certificate reaches, or weights that memory does not last for.
    """
    if construction not in MACHINE_CONSTRUCTIONS:
        raise InputError(
            f"construction: expected one of {', '.join(MACHINE_CONSTRUCTIONS)}, or looped for "
            f"SUBLEQ programs, got {construction!r}"
        )
    wanted = LIMITS[0][0] if steps is None else steps
    limits = next((pair for pair in LIMITS if wanted <= pair[0]), None)
    if limits is None:
        raise InputError(
            f"--max-steps: expected at most {LIMITS[-1][0]:,}, the most that is certified, got "
            f"{wanted:,}"
        )
    options: dict[str, Any] = {"steps": limits[0], "cells": limits[1]}
    if cells is not None:
        if not 2 <= cells <= MOST_CELLS:
            raise InputError(f"--cells: expected 2 to {MOST_CELLS:,}, got {cells:,}")
        options = {"steps": wanted, "cells": cells}
        # Powers of 3 reach 797,161 cells, those of 4 no more than 524,288.
        options["base"] = 4 if cells <= LIMITS[0][1] else 3
    states = len({machine.start, *machine.working})
    symbols = len(machine.alphabet)
    if construction == "single":
        _require(states, max(symbols, 2))
        return _checked(lambda: single(machine=machine, **options))
    for K, S in SIZES:
        if _fits(machine, (K, S)):
            _require(K, S)
            return _checked(lambda: universal(states=K, symbols=S, **options))  # noqa: B023
    raise InputError(
        f"machine {machine.name!r}: expected at most {SIZES[-1][0]} working states and "
        f"{SIZES[-1][1]} symbols, got {states} and {symbols}: use --construction single"
    )


@checked
def emulate(
    machine: TuringMachine,
    tape: str | None = None,
    *,
    construction: str | None = None,
    engine: str | None = None,
    max_steps: int | None = None,
    cells: int | None = None,
    checkpoints: str | Path | None = None,
    resume: bool = False,
    progress: Progress = quiet,
) -> Emulation:
    """A machine's run, decoded from a transformer's weights and compared with the interpreter.

    Args:
      machine: what to run.
      tape: its input; one character a symbol. By default that of the machine's file, or none.
      construction: ``universal`` (the machine is in the prompt) or ``single`` (in the weights); by
        default the first that is large enough.
      engine: ``dense``, ``cached``, ``specialised`` or ``native`` decode; ``verify`` checks the
        interpreter's trace in teacher-forced passes, which proves by induction that decoding yields
        it. By default specialised, or cached for a machine of very many rules.
      max_steps: where to stop; by default, and at most, what the certificate reaches.
      cells: how many to certify, on either side of the first; by default what the number of steps
        leaves. A run ends before it leaves them.
      checkpoints: directory for the state of long runs; none is kept by default.
      resume: take up the run that the directory holds.
      progress: called as progress(label, steps done, max_steps).

    Raises:
      InputError: an unknown symbol, a machine too large, more steps or cells than certified.

    >>> from icl_sim import find_machine
    >>> found = emulate(find_machine("bb2"), engine="cached", max_steps=50)
    >>> found.steps, found.halted, "".join(found.tape), found.agrees
    (6, True, '1111', True)
    """
    tape = "".join(machine.input) if tape is None else tape
    construction = construction or smallest(machine)
    engine = engine or quickest(machine, construction)
    if engine not in MACHINE_ENGINES:
        raise InputError(
            f"engine: expected one of {', '.join(MACHINE_ENGINES)}, got {engine[:300]!r}"
        )
    if max_steps is not None and max_steps < 1:
        raise InputError(f"--max-steps: expected at least 1, got {max_steps}")
    built = build(machine, construction=construction, steps=max_steps, cells=cells)
    certified = built.certificate.limits["steps"]
    steps = min(certified, DENSE_LIMIT) if engine == "dense" else certified
    steps = steps if max_steps is None else max_steps
    if engine == "dense" and steps > DENSE_LIMIT:
        raise InputError(
            f"--max-steps: expected at most {DENSE_LIMIT:,} with dense attention, whose cost grows "
            f"with every step, got {steps:,}: use --engine cached"
        )
    prompt = _checked(lambda: built.encode({"machine": machine, "tape": tape, "steps": steps}))
    if engine == "verify":
        transcript, agrees, rate, first = _verify(built, machine, tape, steps, progress)
    else:
        transcript, agrees, rate, first = _decode(
            built, machine, tape, prompt, steps, engine, checkpoints, resume, progress
        )
    found = transcript.named(machine)
    halted = found["halted"]
    tapes = None
    if isinstance(machine, CompiledMachine):
        tapes = machine.tapes(found["tape"], found["tape_start"], tape)
    return Emulation(
        machine=machine.name,
        construction=construction,
        engine=engine,
        **found,
        ended="halted" if halted else "max-steps" if found["steps"] == steps else "cells",
        never_halts=None if halted else proven(machine, tape),
        tapes=tapes,
        certified_steps=certified,
        certified_cells=built.certificate.limits["cells"],
        agrees=agrees,
        steps_per_second=rate,
        resumed_at=first,
    )


def _require(states: int, symbols: int) -> None:
    require("weights of a machine", build_bytes, host=True, states=states, symbols=symbols)


def _decode(
    built: Construction,
    machine: TuringMachine,
    tape: str,
    prompt: np.ndarray,
    steps: int,
    engine: str,
    checkpoints: str | Path | None,
    resume: bool,
    progress: Progress,
) -> tuple[Transcript, bool, float, int]:
    model, params = load(built)
    decoder = Decoder(model, params, engine=engine, stop=machine_io(built).stop)

    def room(steps: int) -> int:
        # One token a step, then END.
        return 1 << (len(prompt) + steps).bit_length()

    def cost(steps: int) -> int:
        return decoder.bytes(room=room(steps), tokens=min(steps, BLOCK))

    require(f"{engine} emulation", cost, steps=steps)
    state = decoder.start(prompt, room=room(steps))
    transcript = Transcript(machine_io(built).vocabulary).extend(prompt)
    saved = None if checkpoints is None else RunCheckpoint(Path(checkpoints), machine, tape, built)
    if saved and resume:
        state = saved.load(state, transcript, most=steps)
    resumed_at = transcript.steps
    reached: list[Trace] = []  # the interpreter's last piece
    cells = built.certificate.limits["cells"]
    certain = certain_pieces(machine, tape, steps, cells=cells, block=BLOCK)
    pieces = noted(reached, certain)
    expected = ahead(token_blocks(transcript.vocabulary, pieces, skip=transcript.steps))
    agrees, halted, rates = True, False, []
    with saved or nullcontext():
        while transcript.steps < steps and not transcript.halted:
            right, halted = next(expected, (prompt[:0], halted))
            count = min(BLOCK - transcript.steps % BLOCK, steps - transcript.steps)
            # Fewer where the run leaves the certified cells.
            count = count if halted else len(right)
            if not count:
                break
            decoder.compile(state, count)
            start = time.monotonic()
            state, tokens = decoder.advance(state, count)
            seconds = time.monotonic() - start
            agrees &= np.array_equal(tokens[tokens != END], right)
            transcript.extend(tokens)
            rates.append((len(tokens), seconds))
            if saved:
                saved.reached(state, transcript, save=len(rates) % SAVE_EVERY == 0)
            progress(f"{machine.name}, steps", transcript.steps, steps)
    if not transcript.halted:
        # Whether the machine has halted after the last step is the next token's to say.
        transcript.halted = int(state.token) == END
    for _, ended in expected:  # to the interpreter's end, if a resumed run was there already
        halted = ended
    agrees &= transcript.halted == halted and stands(transcript, machine, reached[-1])
    rate = sum(n for n, _ in rates) / max(sum(s for _, s in rates), 1e-9)
    return transcript, bool(agrees), rate, resumed_at


def _verify(
    built: Construction,
    machine: TuringMachine,
    tape: str,
    steps: int,
    progress: Progress,
) -> tuple[Transcript, bool, float, int]:
    cells = built.certificate.limits["cells"]

    def pieces() -> Iterator[Trace]:
        for piece in certain_pieces(machine, tape, steps, cells=cells, block=BLOCK):
            progress(f"{machine.name}, steps", piece.steps, steps)
            yield piece

    engine = quickest(machine, built.name)
    if engine == "specialised" and native.installed():
        engine = NATIVE
    result, transcript = verified(built, pieces(), tape=tape, engine=engine)
    return transcript, result.agrees, transcript.steps / max(result.seconds, 1e-9), 0


def _checked(call: Callable[[], Any]) -> Any:
    """The call's result; a ValueError of constructions/ is the user's mistake."""
    try:
        return call()
    except ValueError as error:
        raise InputError(str(error)) from None
