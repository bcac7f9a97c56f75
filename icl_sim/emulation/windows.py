"""Runs of stock machines that outlive the window: a prompt that holds the whole configuration.

Where a transcript ends, the next prompt is a summary of it: the rules, the cells that were not
blank before the last step, and that step, which says the state and where the head is. So each
window is a run as certified, whose visits to cells are counted from there on. The cells have to
stay within the names of the ring, -C/2 to C/2 - 1: a run that comes round it would be another.
"""

from __future__ import annotations

import numpy as np

from constructions.certificate import Certificate
from constructions.construction import Words
from constructions.pairs_vocabulary import PairsVocabulary
from constructions.programs.turing import Trace, TuringMachine
from constructions.vocabulary import END, GO, START


def step_size(vocabulary: Words) -> int:
    """Tokens of a step."""
    return 2 if isinstance(vocabulary, PairsVocabulary) else 1


def next_prompt(machine: TuringMachine, vocabulary: Words, tokens: np.ndarray) -> np.ndarray:
    """The prompt that goes on where a transcript ends: int32 [tokens].

    Args:
      machine: the machine that has run.
      vocabulary: of the tokens.
      tokens: a prompt and a run of at least one step.

    Raises:
      ValueError: no step, an end, or a run that leaves the cells that have names.
    """
    writes = vocabulary.writes(tokens)
    steps = np.flatnonzero(writes[:, 3] >= 0)
    if END in tokens or not len(steps):
        got = "one that has ended" if END in tokens else "none"
        raise ValueError(f"expected a run of a step or more that goes on, got {got}")
    place, head = named(vocabulary, writes[:, 1]), named(vocabulary, writes[:, 4])
    half, given = vocabulary.cells // 2, np.delete(writes, steps, axis=0)
    around = np.abs(head - place)[steps].max() > 1
    if around or (GO in tokens and (given[given[:, 2] > 0, 1] >= half).any()):
        raise ValueError(f"expected a run on cells {-half} to {half - 1}, got one that leaves them")
    last = steps[-1]
    tape = dict(zip(place[:last].tolist(), writes[:last, 2].tolist(), strict=True))
    cells = sorted(cell for cell, symbol in tape.items() if symbol)
    address = np.array(cells, int) % vocabulary.cells
    symbol = np.array([tape[cell] for cell in cells], int)
    rules = vocabulary.fill(**vocabulary.data(machine, ""))[1:-1]
    end = writes[last, 0] + 1
    step = tokens[end - step_size(vocabulary) : end]
    parts = [START], rules, vocabulary.named(address, symbol), step
    return np.concatenate(parts).astype(np.int32)


def run_on_ring(machine: TuringMachine, vocabulary: Words, prompt: np.ndarray, steps: int) -> Trace:
    """The run that goes on from a prompt of `next_prompt`, by one look-up a step.

    Args:
      machine, vocabulary: as in `next_prompt`.
      prompt: its tokens.
      steps: where a machine that has not halted is stopped.

    Raises:
      ValueError: a run that leaves the cells that have names.
    """
    writes, half = vocabulary.writes(prompt), vocabulary.cells // 2
    tape = dict(zip(named(vocabulary, writes[:, 1]).tolist(), writes[:, 2].tolist(), strict=True))
    state, head = int(writes[-1, 3]), int(named(vocabulary, writes[-1:, 4])[0])
    symbols, codes = len(machine.alphabet), list[int]()
    rules = machine.rules.tolist()
    while True:
        code = min(state, len(machine.states) - 1) * symbols + tape.get(head, 0)
        after, written, move = rules[code]
        if after < 0 or len(codes) == steps:
            break
        codes.append(code)
        tape[head] = written
        state, head = after, head + move
        if not -half <= head < half:
            raise ValueError(f"cells: expected {-half} to {half - 1}, got {head}")
    return Trace(
        machine=machine,
        steps=len(codes),
        halted=after < 0,
        state=machine.states[code // symbols],
        head=head,
        tape_start=head,
        cells=np.array([tape.get(head, 0)], np.uint8),
        codes=np.array(codes, np.int64),
    )


def check_window(
    certificate: Certificate, vocabulary: Words, prompt: np.ndarray, trace: Trace
) -> None:
    """Raises ValueError if the run from a prompt of `next_prompt` is not certified."""
    certificate.check(steps=trace.steps)
    written = vocabulary.writes(prompt)[:, 1], trace.position % vocabulary.cells
    certificate.check(visits=int(np.bincount(np.concatenate(written)).max()))


def certain_steps(
    certificate: Certificate, vocabulary: Words, prompt: np.ndarray, trace: Trace
) -> int:
    """How many steps of the run from a prompt of `next_prompt` are certified."""
    counts = np.bincount(vocabulary.writes(prompt)[:, 1], minlength=vocabulary.cells)
    for i, cell in enumerate(trace.position % vocabulary.cells):
        counts[cell] += 1
        if counts[cell] > certificate.limits["visits"] or i == certificate.limits["steps"]:
            return i
    return trace.steps


def named(vocabulary: Words, address: np.ndarray) -> np.ndarray:
    """The names of cells, the numbers nearest to 0, by address."""
    half = vocabulary.cells // 2
    return (address + half) % vocabulary.cells - half
