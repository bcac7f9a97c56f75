"""Runs a Turing machine through a transformer, token by token, beside the interpreter."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any

import jax
import numpy as np

from constructions.construction import Construction, machine_io
from constructions.machines.single import single
from constructions.machines.universal import universal
from constructions.machines.weights import build_bytes
from constructions.programs.named import PROGRAMS
from constructions.programs.turing import Trace, TuringMachine
from constructions.vocabulary import END, Transcript, Vocabulary
from icl_sim.decoding import ENGINES, Decoder, State, verify_trace
from icl_sim.decoding.decoder import OUT_OF_RANGE
from icl_sim.emulation.machine_files import read_machine
from icl_sim.errors import InputError, did_you_mean, require_type
from icl_sim.execution.memory_guard import require
from icl_sim.execution.progress import Progress, quiet
from icl_sim.storage.checkpoints import CheckpointError, Checkpoints, discard
from icl_sim.transformer import load

# The universal transformers: working states and symbols, smallest first.
SIZES = ((8, 2), (8, 4), (32, 4), (128, 8))
# Steps and cells to certify: the first pair that covers the request is taken.
LIMITS = ((2**20, 2**19), (2**26, 2**15))
MACHINE_CONSTRUCTIONS = ("single", "universal")
MACHINE_ENGINES = (*ENGINES, "verify")
BLOCK = 1 << 20  # tokens decoded between two looks at progress
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
      certified_steps: what the certificate reaches.
      agrees: whether all of it is the interpreter's run, token for token.
      steps_per_second: without compilation where more than one block was run.
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
    certified_steps: int
    agrees: bool
    steps_per_second: float


def find_machine(name: str) -> TuringMachine:
    """A machine by its name in `PROGRAMS`, as a bbchallenge line, or from a file.

    Raises:
      InputError: none of the three.

    >>> find_machine("1RB1LB_1LA1RZ").states
    ('A', 'B', 'Z')
    """
    require_type(name, str, name="machine")
    if name in PROGRAMS:
        return PROGRAMS[name].machine
    try:
        return TuringMachine.from_bbchallenge(name)
    except ValueError as error:
        if os.path.isfile(name):
            return read_machine(name)
        raise InputError(
            f"machine: expected one of {', '.join(sorted(PROGRAMS))}, a file, or a bbchallenge "
            f"line, got {name[:300]!r} ({str(error)[:300]})" + did_you_mean(name, PROGRAMS)
        ) from None


def build(machine: TuringMachine, *, construction: str, steps: int | None) -> Construction:
    """The smallest construction that holds the machine and is certified for that many steps.

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
    states = len({machine.start, *machine.working})
    symbols = len(machine.alphabet)
    if construction == "single":
        _require(states, max(symbols, 2))
        return _checked(lambda: single(machine=machine, **options))
    for K, S in SIZES:
        if states <= K and symbols <= S:
            _require(K, S)
            return _checked(lambda: universal(states=K, symbols=S, **options))  # noqa: B023
    raise InputError(
        f"machine {machine.name!r}: expected at most {SIZES[-1][0]} working states and "
        f"{SIZES[-1][1]} symbols, got {states} and {symbols}: use --construction single"
    )


def emulate(
    machine: TuringMachine,
    tape: str | None = None,
    *,
    construction: str = "universal",
    engine: str = "specialised",
    max_steps: int | None = None,
    checkpoints: str | Path | None = None,
    resume: bool = False,
    progress: Progress = quiet,
) -> Emulation:
    """A machine's run, decoded from a transformer's weights and compared with the interpreter.

    Args:
      machine: what to run.
      tape: its input; one character a symbol. By default the one that came with the machine.
      construction: ``universal`` (the machine is in the prompt) or ``single`` (in the weights).
      engine: ``dense``, ``cached`` or ``specialised`` decode; ``verify`` checks the interpreter's
        trace in teacher-forced passes, which proves by induction that decoding yields it.
      max_steps: where to stop; by default, and at most, what the certificate reaches.
      checkpoints: directory for the state of long runs; none is kept by default.
      resume: take up the run that the directory holds.
      progress: called as progress(label, steps done, max_steps).

    Raises:
      InputError: an unknown symbol, a machine too large, more steps than certified, an address out
        of the certified range.

    >>> found = emulate(find_machine("bb2"), engine="cached", max_steps=50)
    >>> found.steps, found.halted, "".join(found.tape), found.agrees
    (6, True, '1111', True)
    """
    require_type(machine, TuringMachine, name="machine")
    if engine not in MACHINE_ENGINES:
        raise InputError(f"engine: expected one of {', '.join(MACHINE_ENGINES)}, got {engine!r}")
    require_type(max_steps, int, NoneType, name="max_steps")
    require_type(tape, str, NoneType, name="tape")
    if max_steps is not None and max_steps < 1:
        raise InputError(f"--max-steps: expected at least 1, got {max_steps}")
    tape = machine.input if tape is None else tape
    built = build(machine, construction=construction, steps=max_steps)
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
        transcript, agrees, rate = _verify(built, machine, tape, prompt, steps, progress)
    else:
        transcript, agrees, rate = _decode(
            built, machine, tape, prompt, steps, engine, checkpoints, resume, progress
        )
    return Emulation(
        machine=machine.name,
        construction=construction,
        engine=engine,
        **transcript.named(machine),
        certified_steps=certified,
        agrees=agrees,
        steps_per_second=rate,
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
) -> tuple[Transcript, bool, float]:
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
    saved = None if checkpoints is None else _Checkpoint(Path(checkpoints), machine, tape, built)
    if saved and resume:
        state = saved.load(state, transcript, most=steps)
    reached: list[Trace] = []  # the interpreter's last piece
    pieces = _noted(reached, machine.run_blocks(tape, steps, block=BLOCK))
    expected = _interpreted(transcript.vocabulary, pieces, skip=transcript.steps)
    agrees, halted, rates = True, False, []
    while transcript.steps < steps and not transcript.halted:
        start = time.monotonic()
        state, tokens = decoder.advance(
            state, min(BLOCK - transcript.steps % BLOCK, steps - transcript.steps)
        )
        seconds = time.monotonic() - start
        right, halted = next(expected, (tokens[:0], halted))
        agrees &= np.array_equal(tokens[tokens != END], right)
        transcript.extend(tokens)
        rates.append((len(tokens), seconds))
        progress(f"{machine.name}, steps", transcript.steps, steps)
        if saved and len(rates) % SAVE_EVERY == 0:
            saved.save(state, transcript)
    if not transcript.halted:
        # Whether the machine has halted after the last step is the next token's to say.
        transcript.halted = bool(decoder.advance(state, 1)[1][0] == END)
    for _, ended in expected:  # to the interpreter's end, if a resumed run was there already
        halted = ended
    agrees &= transcript.halted == halted and _stands(transcript, machine, reached[-1])
    timed = rates[1:] or rates
    rate = sum(n for n, _ in timed) / max(sum(s for _, s in timed), 1e-9) if timed else 0.0
    return transcript, bool(agrees), rate


def _verify(
    built: Construction,
    machine: TuringMachine,
    tape: str,
    prompt: np.ndarray,
    steps: int,
    progress: Progress,
) -> tuple[Transcript, bool, float]:
    transcript = Transcript(machine_io(built).vocabulary).extend(prompt)
    cells = built.certificate.limits["cells"]

    def pieces() -> Iterator[Trace]:
        for piece in machine.run_blocks(tape, steps, block=BLOCK):
            if max(-piece.tape_start, piece.tape_start + len(piece.cells)) >= cells:
                raise InputError(OUT_OF_RANGE)  # as the engines that decode
            transcript.extend(transcript.vocabulary.transcribe(piece))
            progress(f"{machine.name}, steps", transcript.steps, steps)
            yield piece

    result = verify_trace(built, pieces(), tape=tape)
    return transcript, result.agrees, transcript.steps / max(result.seconds, 1e-9)


def _interpreted(
    vocabulary: Vocabulary, pieces: Iterator[Trace], *, skip: int
) -> Iterator[tuple[np.ndarray, bool]]:
    """The interpreter's run after ``skip`` steps: tokens of each block, and whether it halted."""
    for piece in pieces:
        if piece.steps > skip or piece.halted:  # a machine may halt without a further step
            done = max(skip - piece.steps + len(piece.codes), 0)
            yield vocabulary.transcribe(piece)[done : len(piece.codes)], piece.halted


def _noted(last: list[Trace], pieces: Iterator[Trace]) -> Iterator[Trace]:
    """The pieces, the newest of them kept in ``last``."""
    for piece in pieces:
        last[:] = [piece]
        yield piece


def _stands(transcript: Transcript, machine: TuringMachine, trace: Trace) -> bool:
    """Whether steps, state, head and tape are those that the interpreter ended with."""
    found = transcript.named(machine)
    expected = (trace.steps, trace.state, trace.head, trace.tape_start, trace.tape)
    return tuple(found[n] for n in ("steps", "state", "head", "tape_start", "tape")) == expected


def _checked(call: Callable[[], Any]) -> Any:
    """The call's result; a ValueError of constructions/ is the user's mistake."""
    try:
        return call()
    except ValueError as error:
        raise InputError(str(error)) from None


class _Checkpoint:
    """The state of one long run; a directory of its own, made when there is something to keep."""

    def __init__(
        self, directory: Path, machine: TuringMachine, tape: str, built: Construction
    ) -> None:
        shapes = {name: leaf.shape for name, leaf in built.params.items()}
        what = repr((machine.delta, machine.start, machine.alphabet, tape, built.spec, shapes))
        identity = hashlib.sha256(what.encode()).hexdigest()
        self._directory = directory / f"emulate-{identity[:16]}"
        self._config = {"run": identity}
        self._longer = False  # it holds more steps than are asked for now, and keeps them
        self._going_on = False  # the directory holds earlier steps of this very run

    def save(self, state: State, transcript: Transcript) -> None:
        if self._longer:
            return
        if not self._going_on and self._directory.exists():
            discard(self._directory)
        with Checkpoints(self._directory, config=self._config) as checkpoints:
            checkpoints.save(transcript.steps, state, note=transcript.saved())
        self._going_on = True

    def load(self, state: State, transcript: Transcript, *, most: int) -> State:
        """The saved state; the given one, from the start, if none is intact and within ``most``."""
        if not self._directory.exists():
            return state
        try:
            with Checkpoints(self._directory, config=self._config) as checkpoints:
                found = checkpoints.restore(state)
        except CheckpointError:
            return state
        self._longer = found is not None and found[0] > most
        if found is None or self._longer:
            return state
        transcript.restore(checkpoints.note)
        self._going_on = True
        return jax.tree.map(jax.numpy.asarray, found[1])
