"""Prompts of stock machines as text, and transcripts made anywhere against the interpreter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from constructions import CONSTRUCTIONS
from constructions.construction import Construction
from constructions.pairs_vocabulary import PairsVocabulary
from constructions.programs.turing import TuringMachine
from constructions.stock_vocabulary import StockVocabulary
from icl_sim.errors import InputError

BITS = 8  # of a ring of 256 cells
Words = StockVocabulary | PairsVocabulary
VOCABULARIES: dict[str, Callable[..., Words]] = {
    "stock": StockVocabulary,
    "stock-pairs": PairsVocabulary,
}


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


def prompt_text(
    machine: TuringMachine,
    tape: str,
    *,
    bits: int = BITS,
    steps: int = 0,
    construction: str = "stock",
) -> str:
    """The prompt of a stock machine.

    Args:
      machine: the machine.
      tape: a character a symbol.
      bits: the ring has 2^bits cells.
      steps: if the run is to be certain for that long.
      construction: ``stock``, or ``stock-pairs``, whose steps and rules are two tokens.

    Raises:
      InputError: a machine, tape or run that does not fit.

    >>> prompt_text(TuringMachine.from_bbchallenge("1RB1LB_1LA1RZ"), "1")
    '<start> A0:1RB A1:1LB B0:1LA B1:1RZ [0]=1 <go>'
    """
    built, vocabulary = _build(machine, bits, construction)
    try:
        prompt = built.encode({"machine": machine, "tape": tape, "steps": steps})
    except ValueError as error:
        raise InputError(str(error)) from None
    return vocabulary.text(prompt)


def check_transcript(
    machine: TuringMachine, text: str, *, bits: int = BITS, construction: str = "stock"
) -> Transcript:
    """Compares a transcript, prompt and run, with the run of the interpreter.

    Args:
      machine: the machine that should have run.
      text: names of tokens with blanks between them.
      bits, construction: as in `prompt_text`.

    Raises:
      InputError: a prompt that is not the machine's, or a run beyond the certificate.
    """
    built, vocabulary = _build(machine, bits, construction)
    words = text.split()
    go = words.index("<go>") if "<go>" in words else -1
    if go < 0 or words[0] != "<start>":
        raise InputError("transcript: expected a prompt from <start> to <go>, got none")
    tape = _tape(machine, vocabulary, words[1:go])
    run = words[go + 1 :]
    if "<end>" in run:
        run = run[: run.index("<end>") + 1]
    try:
        steps = len(run) if construction == "stock" else len(run) // 2
        built.encode({"machine": machine, "tape": tape, "steps": steps})
    except ValueError as error:
        raise InputError(f"transcript: {error}") from None
    expected = vocabulary.text(vocabulary.transcribe(machine.run(tape, steps))).split()
    ended = run[-1:] == ["<end>"]
    for i, (right, got) in enumerate(zip(expected, run, strict=False)):
        if right != got:
            return Transcript(machine.name, len(run), False, ended, i, right, got[:40])
    return Transcript(machine.name, len(run), True, ended)


def _build(machine: TuringMachine, bits: int, construction: str) -> tuple[Construction, Words]:
    """The smallest such machine that holds it: names of tokens depend on the bits alone."""
    states = len({machine.start, *machine.working})
    size = {"states": states, "symbols": max(2, len(machine.alphabet)), "bits": bits}
    if construction not in VOCABULARIES:
        known = ", ".join(VOCABULARIES)
        raise InputError(f"construction: expected one of {known}, got {construction!r}")
    try:
        return CONSTRUCTIONS[construction](**size), VOCABULARIES[construction](**size)
    except ValueError as error:
        raise InputError(str(error)) from None


def _tape(machine: TuringMachine, vocabulary: Words, words: list[str]) -> list[str]:
    """The tape that the words of a prompt describe; its rules must be the machine's."""
    try:
        found, address, symbol = vocabulary.parts(vocabulary.read(" ".join(words)))
    except ValueError as error:
        raise InputError(f"transcript, prompt: {error}") from None
    actions = vocabulary.actions(machine)
    whole = vocabulary.fill(actions=actions, tape=np.zeros(0, np.int32))[1:-1]
    own, given = (set(map(tuple, rules.tolist())) for rules in (vocabulary.parts(whole)[0], found))
    if odd := sorted(own ^ given):
        kind = "without" if odd[0] in own else "with"
        raise InputError(
            f"transcript: expected the rules of {machine.name!r}, got a prompt {kind} "
            f"{vocabulary.text(odd[0])}"
        )
    tape = np.zeros(address.max(initial=-1) + 1, int)
    tape[address] = symbol
    if symbol.max(initial=0) >= len(machine.alphabet):
        raise InputError(f"transcript: expected symbols below {len(machine.alphabet)}, got more")
    return [machine.alphabet[a] for a in tape]
