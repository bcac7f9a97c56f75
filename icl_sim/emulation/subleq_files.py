"""SUBLEQ programs by name or from a file, and the words that stand for an input."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from constructions.programs.subleq import SUBLEQ, SubleqProgram
from constructions.programs.subleq_ports import words_of
from icl_sim.emulation.formats.rules import show
from icl_sim.emulation.machine_files import read_text
from icl_sim.errors import InputError, did_you_mean


def find_program(name: str) -> SubleqProgram:
    """A SUBLEQ program by its name.

    Raises:
      InputError: no such program.
    """
    if name not in SUBLEQ:
        raise InputError(
            f"machine: expected one of {', '.join(sorted(SUBLEQ))}, the programs of the looped "
            f"construction, got {name!r}" + did_you_mean(name, SUBLEQ)
        )
    return SUBLEQ[name]


def read_inputs(program: SubleqProgram, tape: str) -> list[int]:
    """The input words of a tape: decimal numbers, set apart by spaces or commas.

    An empty tape stands for the program's first sample.

    Raises:
      InputError: something that is no number.

    >>> read_inputs(SUBLEQ["add"], "3, -5"), read_inputs(SUBLEQ["add"], "")
    ([3, -5], [3, 5])
    """
    parts = [part for part in re.split(r"[\s,]+", tape) if part]
    if not parts:
        return list(program.samples[0])
    wrong = [part for part in parts if not re.fullmatch(r"[+-]?[0-9]{1,18}", part)]
    if wrong:
        raise InputError(
            f"--tape: expected numbers such as '3 -5' for program {program.name}, got "
            f"{', '.join(map(repr, wrong))}"
        )
    return [int(part) for part in parts]


def read_program(path: str, *, bits: int) -> np.ndarray:
    """The words of a program in a file, int64 [words].

    Raises:
      InputError: one line: no program, or words of more than so many bits.
    """
    where = f"program {show(path, 200)}"
    try:
        words = words_of(read_text(Path(path), where))
    except ValueError as error:
        raise InputError(f"{where}: {error}".removeprefix(f"{where}: {where}: ")) from None
    half = 1 << (bits - 1)
    wrong = [i for i, word in enumerate(words) if not -half <= word < half]
    if wrong:
        raise InputError(
            f"{where}: word {wrong[0]}: expected {-half:,} to {half - 1:,}, words of {bits} bits, "
            f"got {words[wrong[0]]:,}"
        )
    return np.array(words, np.int64)


def port_inputs(tape: str) -> list[int]:
    """The words of an input: numbers, or the codes of a text's characters.

    >>> port_inputs("3, -5"), port_inputs("Hi"), port_inputs("")
    ([3, -5], [72, 105], [])

    Raises:
      InputError: a number or a character that is no word of 16 bits.
    """
    parts = [part for part in re.split(r"[\s,]+", tape) if part]
    numbers = all(re.fullmatch(r"[+-]?[0-9]{1,18}", part) for part in parts)
    words = [int(part) for part in parts] if numbers else [ord(character) for character in tape]
    wrong = [word for word in words if not -32768 <= word <= 32767]
    if wrong:
        raise InputError(f"--tape: expected words from -32,768 to 32,767, got {wrong[0]:,}")
    return words
