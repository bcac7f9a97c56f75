"""Prompts of stock machines as text, and transcripts made anywhere against the interpreter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from constructions import CONSTRUCTIONS
from constructions.construction import Construction, Words
from constructions.programs.turing import TuringMachine
from icl_sim.emulation.windows import check_window, next_prompt, run_on_ring, step_size
from icl_sim.errors import InputError

BITS = 8  # of a ring of 256 cells
STOCK = ("stock", "stock-pairs", "stock-single")


@dataclass(frozen=True)
class Transcript:
    """A transcript that was checked.

    Attributes:
      machine: its name.
      behind: the word that ends its prompt, <go> or a step.
      tokens: how many it has behind that, without those behind <end>.
      agrees: whether each of them is the interpreter's.
      ended: whether the run ends with <end>.
      wrong: the number, from 0, of the first wrong token; None if there is none.
      expected, got: that token, and what stands there.
    """

    machine: str
    behind: str
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
    dtype: str = "float32",
) -> str:
    """The prompt of a stock machine.

    Args:
      machine: the machine.
      tape: a character a symbol.
      bits: the ring has 2^bits cells.
      steps: if the run is to be certain for that long.
      construction: ``stock``; ``stock-pairs``, whose steps and rules are two tokens; or
        ``stock-single``, whose rules stand in the weights.
      dtype: the arithmetic that the checkpoint is certified for.

    Raises:
      InputError: a machine, tape or run that does not fit.

    >>> prompt_text(TuringMachine.from_bbchallenge("1RB1LB_1LA1RZ"), "1")
    '<start> A0:1RB A1:1LB B0:1LA B1:1RZ [0]=1 <go>'
    """
    built, vocabulary = _build(machine, bits, construction, dtype)
    try:
        prompt = built.encode({"machine": machine, "tape": tape, "steps": steps})
    except ValueError as error:
        raise InputError(str(error)) from None
    return vocabulary.text(prompt)


def continue_prompt(
    machine: TuringMachine,
    text: str,
    *,
    bits: int = BITS,
    steps: int = 0,
    construction: str = "stock",
    dtype: str = "float32",
) -> str:
    """The prompt that goes on where a transcript ends, so that a run outlives the window.

    It is what a summary of the run must hold: the rules, the tape before the last step, and that
    step, which says the state and where the head is. Visits to cells are counted from there on.

    Args:
      machine: the machine that has run.
      text: the transcript, of which the prompt may itself go on from another.
      steps: if the run is to be certain for that much longer.
      bits, construction, dtype: as in `prompt_text`.

    Raises:
      InputError: no transcript of the machine, one that has ended or has no step, one whose run
        leaves the cells whose names are those of the tape's, or steps that are not certain.

    >>> machine = TuringMachine.from_bbchallenge("1RB1LB_1LA1RZ")
    >>> prompt = prompt_text(machine, "1")
    >>> continue_prompt(machine, f"{prompt} 1>1LB@-1 0>1LA@-2")
    '<start> A0:1RB A1:1LB B0:1LA B1:1RZ [0]=1 0>1LA@-2'
    """
    built, vocabulary = _build(machine, bits, construction, dtype)
    words = text.split()
    try:
        tokens = vocabulary.read(text)
        behind = _behind_prompt(vocabulary, words, continued="<go>" not in words)
        _prompt(machine, vocabulary, words[:behind])
        prompt = next_prompt(machine, vocabulary, tokens)
        trace = run_on_ring(machine, vocabulary, prompt, steps)
        check_window(built.certificate, vocabulary, prompt, trace)
    except ValueError as error:
        raise InputError(f"transcript: {error}") from None
    return vocabulary.text(prompt)


def check_transcript(
    machine: TuringMachine,
    text: str,
    *,
    bits: int = BITS,
    construction: str = "stock",
    dtype: str = "float32",
    continued: bool = False,
) -> Transcript:
    """Compares a transcript, prompt and run, with the run of the interpreter.

    Args:
      machine: the machine that should have run.
      text: names of tokens with blanks between them.
      bits, construction, dtype: as in `prompt_text`.
      continued: the prompt is that of `continue_prompt`: it ends with a step, not with <go>.

    Raises:
      InputError: a prompt that is not the machine's, or a run beyond the certificate.
    """
    built, vocabulary = _build(machine, bits, construction, dtype)
    words = text.split()
    behind = _behind_prompt(vocabulary, words, continued=continued)
    run = words[behind:]
    if "<end>" in run:
        run = run[: run.index("<end>") + 1]
    steps = len(run) // step_size(vocabulary)
    prompt, tape = _prompt(machine, vocabulary, words[:behind])
    try:
        if tape is None:
            trace = run_on_ring(machine, vocabulary, prompt, steps)
            check_window(built.certificate, vocabulary, prompt, trace)
        else:
            built.encode({"machine": machine, "tape": tape, "steps": steps})
            trace = machine.run(tape, steps)
    except ValueError as error:
        raise InputError(f"transcript: {error}") from None
    expected = vocabulary.text(vocabulary.transcribe(trace)).split()
    ended, found = run[-1:] == ["<end>"], (machine.name, words[behind - 1], len(run))
    for i, (right, got) in enumerate(zip(expected, run, strict=False)):
        if right != got:
            return Transcript(*found, False, ended, i, right, got[:40])
    return Transcript(*found, True, ended)


def _build(
    machine: TuringMachine, bits: int, construction: str, dtype: str
) -> tuple[Construction, Words]:
    """The smallest such machine that holds it: names of tokens depend on the bits alone."""
    states = len({machine.start, *machine.working})
    options: dict[str, Any] = {"states": states, "symbols": max(2, len(machine.alphabet))}
    if construction not in STOCK:
        known = ", ".join(STOCK)
        raise InputError(f"construction: expected one of {known}, got {construction!r}")
    if construction == "stock-single":
        options = {"machine": machine}
    try:
        built = CONSTRUCTIONS[construction](**options, bits=bits, dtype=dtype)
    except ValueError as error:
        raise InputError(str(error)) from None
    return built, cast(Words, built.fields)


def _behind_prompt(vocabulary: Words, words: list[str], *, continued: bool) -> int:
    """Where the run begins: behind <go>, or behind the first step."""
    if words[:1] == ["<start>"]:
        for i, word in enumerate(words):
            if vocabulary.is_step(word) if continued else word == "<go>":
                return i + 1
    end = "a step" if continued else "<go>"
    raise InputError(f"transcript: expected a prompt from <start> to {end}, got none")


def _prompt(
    machine: TuringMachine, vocabulary: Words, words: list[str]
) -> tuple[np.ndarray, list[str] | None]:
    """The tokens of a prompt, and the tape from cell 0 on, or None if it goes on from a step.

    Raises:
      InputError: rules that are not the machine's.
    """
    size = 1 if words[-1] == "<go>" else step_size(vocabulary)
    try:
        tokens = vocabulary.read(" ".join(words))
        found, address, symbol = vocabulary.parts(tokens[1:-size])
        whole = vocabulary.fill(**vocabulary.data(machine, ""))[1:-1]
    except ValueError as error:
        raise InputError(f"transcript, prompt: {error}") from None
    own, given = (set(map(tuple, rules.tolist())) for rules in (vocabulary.parts(whole)[0], found))
    if odd := sorted(own ^ given):
        kind = "without" if odd[0] in own else "with"
        raise InputError(
            f"transcript: expected the rules of {machine.name!r}, got a prompt {kind} "
            f"{vocabulary.text(odd[0])}"
        )
    if symbol.max(initial=0) >= len(machine.alphabet):
        raise InputError(f"transcript: expected symbols below {len(machine.alphabet)}, got more")
    if words[-1] != "<go>":
        return tokens, None
    tape = np.zeros(address.max(initial=-1) + 1, int)
    tape[address] = symbol
    return tokens, [machine.alphabet[a] for a in tape]
