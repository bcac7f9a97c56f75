"""Prompts of the stock machine as text, and transcripts made anywhere against the interpreter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from constructions import CONSTRUCTIONS
from constructions.construction import Construction
from constructions.programs.turing import TuringMachine
from constructions.stock_vocabulary import StockVocabulary
from icl_sim.errors import InputError

BITS = 8  # of a ring of 256 cells


@dataclass(frozen=True)
class Transcript:
    """A transcript that was checked.

    Attributes:
      machine: its name.
      tokens: how many it has behind <go>, without those behind <end>.
      agrees: whether each of them is the interpreter's.
      ended: whether the run ends with <end>.
      wrong: the number, from 0 behind <go>, of the first wrong token; None if there is none.
      expected, got: that token, and what stands there.
    """

    machine: str
    tokens: int
    agrees: bool
    ended: bool
    wrong: int | None = None
    expected: str | None = None
    got: str | None = None


def prompt_text(machine: TuringMachine, tape: str, *, bits: int = BITS, steps: int = 0) -> str:
    """The prompt of the stock machine.

    Args:
      machine: the machine.
      tape: a character a symbol.
      bits: the ring has 2^bits cells.
      steps: if the run is to be certain for that long.

    Raises:
      InputError: a machine, tape or run that does not fit.

    >>> prompt_text(TuringMachine.from_bbchallenge("1RB1LB_1LA1RZ"), "1")
    '<start> A0:1RB A1:1LB B0:1LA B1:1RZ [0]=1 <go>'
    """
    built, vocabulary = _build(machine, bits)
    try:
        prompt = built.encode({"machine": machine, "tape": tape, "steps": steps})
    except ValueError as error:
        raise InputError(str(error)) from None
    return vocabulary.text(prompt)


def check_transcript(machine: TuringMachine, text: str, *, bits: int = BITS) -> Transcript:
    """Compares a transcript, prompt and run, with the run of the interpreter.

    Args:
      machine: the machine that should have run.
      text: names of tokens with blanks between them.
      bits: the ring has 2^bits cells.

    Raises:
      InputError: a prompt that is not the machine's, or a run beyond the certificate.
    """
    built, vocabulary = _build(machine, bits)
    words = text.split()
    go = words.index("<go>") if "<go>" in words else -1
    if go < 0 or words[0] != "<start>":
        raise InputError("transcript: expected a prompt from <start> to <go>, got none")
    tape = _tape(machine, vocabulary, words[1:go])
    run = words[go + 1 :]
    if "<end>" in run:
        run = run[: run.index("<end>") + 1]
    try:
        problem = {"machine": machine, "tape": tape, "steps": len(run)}
        built.encode(problem)
    except ValueError as error:
        raise InputError(f"transcript: {error}") from None
    expected = vocabulary.text(vocabulary.transcribe(machine.run(tape, len(run)))).split()
    ended = run[-1:] == ["<end>"]
    for i, (right, got) in enumerate(zip(expected, run, strict=False)):
        if right != got:
            return Transcript(machine.name, len(run), False, ended, i, right, got[:40])
    return Transcript(machine.name, len(run), True, ended)


def _build(machine: TuringMachine, bits: int) -> tuple[Construction, StockVocabulary]:
    """The smallest stock machine that holds it: names of tokens depend on the bits alone."""
    states = len({machine.start, *machine.working})
    size = {"states": states, "symbols": max(2, len(machine.alphabet)), "bits": bits}
    try:
        return CONSTRUCTIONS["stock"](**size), StockVocabulary(**size)
    except ValueError as error:
        raise InputError(str(error)) from None


def _tape(machine: TuringMachine, vocabulary: StockVocabulary, words: list[str]) -> list[str]:
    """The tape that the words of a prompt describe; its rules must be the machine's."""
    try:
        tokens = vocabulary.read(" ".join(words))
    except ValueError as error:
        raise InputError(f"transcript, prompt: {error}") from None
    is_cell = (tokens >= vocabulary.cell[0, 0]) & (tokens <= vocabulary.cell[-1, -1])
    missing = vocabulary.no_rule.reshape(-1)
    empty = np.zeros(0, np.int32)
    rules = vocabulary.fill(actions=vocabulary.actions(machine), tape=empty)[1:-1]
    given = np.setdiff1d(tokens[~is_cell], missing)
    odd = np.setxor1d(given, np.setdiff1d(rules, missing))
    if odd.size:
        kind = "without" if odd[0] in rules else "with"
        raise InputError(
            f"transcript: expected the rules of {machine.name!r}, got a prompt {kind} "
            f"{vocabulary.text(odd[:1])}"
        )
    address, symbol = np.divmod(tokens[is_cell] - vocabulary.cell[0, 0], vocabulary.symbols)
    tape = np.zeros(address.max(initial=-1) + 1, int)
    tape[address] = symbol
    if symbol.max(initial=0) >= len(machine.alphabet):
        raise InputError(f"transcript: expected symbols below {len(machine.alphabet)}, got more")
    return [machine.alphabet[a] for a in tape]
