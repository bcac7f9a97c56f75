"""The interpreter's run beside a decoded one: its pieces, its tokens, where it stands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from constructions.programs.non_halting import Recurrence, find_recurrence
from constructions.programs.turing import Trace, TuringMachine
from constructions.vocabulary import Transcript, Vocabulary


def proven(machine: TuringMachine, tape: str) -> Recurrence | None:
    """The certificate, found and then checked by running again, that the machine never halts."""
    found = find_recurrence(machine, tape)
    return found if found and found.holds(machine, tape) else None


def certain_pieces(
    machine: TuringMachine, tape: str, steps: int, *, cells: int, block: int
) -> Iterator[Trace]:
    """The interpreter's run in pieces, up to where its next step leaves the certified cells."""
    for piece in machine.run_blocks(tape, steps, block=block):
        if max(-piece.tape_start, piece.tape_start + len(piece.cells) - 1) < cells:
            yield piece
            continue
        reached = np.append(piece.position[1:], piece.head)  # by each of its steps
        inside = int(np.argmax(np.abs(reached) >= cells))
        stood = machine.run(tape, piece.steps - len(piece.codes) + inside, record=False)
        yield replace(stood, codes=piece.codes[:inside])
        return


def token_blocks(
    vocabulary: Vocabulary, pieces: Iterator[Trace], *, skip: int
) -> Iterator[tuple[np.ndarray, bool]]:
    """The interpreter's run after ``skip`` steps: tokens of each block, and whether it halted."""
    for piece in pieces:
        if piece.steps > skip or piece.halted:  # a machine may halt without a further step
            done = max(skip - piece.steps + len(piece.codes), 0)
            yield vocabulary.transcribe(piece)[done : len(piece.codes)], piece.halted


def noted(last: list[Trace], pieces: Iterator[Trace]) -> Iterator[Trace]:
    """The pieces, the newest of them kept in ``last``."""
    for piece in pieces:
        last[:] = [piece]
        yield piece


def stands(transcript: Transcript, machine: TuringMachine, trace: Trace) -> bool:
    """Whether steps, state, head and tape are those that the interpreter ended with."""
    found = transcript.named(machine)
    expected = (trace.steps, trace.state, trace.head, trace.tape_start, trace.tape)
    return tuple(found[n] for n in ("steps", "state", "head", "tape_start", "tape")) == expected
