"""Machines by name and by file: which format a text is of, and the machine that it holds.

NumPy alone is imported here, so that a name that is none is refused at once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from constructions.programs.named import PROGRAMS
from constructions.programs.subleq import SUBLEQ
from constructions.programs.turing import TuringMachine
from icl_sim.emulation.formats.bbchallenge import is_line, is_record, parse_line, parse_record
from icl_sim.emulation.formats.jflap import is_jflap, parse_jflap
from icl_sim.emulation.formats.json_tables import is_json, parse_json
from icl_sim.emulation.formats.morphett import is_morphett, parse_morphett
from icl_sim.emulation.formats.rules import show
from icl_sim.emulation.formats.turingmachine_io import parse_turingmachine_io
from icl_sim.emulation.formats.turingmachinesimulator import (
    is_turingmachinesimulator,
    parse_turingmachinesimulator,
)
from icl_sim.errors import InputError, did_you_mean, same_name
from icl_sim.execution.signatures import checked

MAX_BYTES = 1 << 18


class Format(NamedTuple):
    """A way of writing a machine down.

    Attributes:
      name: what a refusal calls it.
      sniff: whether a text that is not empty claims to be of it; cheap, and sure to end.
      parse: (text, name of a machine that has none) -> machine, or an InputError of one line.
    """

    name: str
    sniff: Callable[[str], bool]
    parse: Callable[[str, str], TuringMachine]


# The first that claims the text reads it; the last claims every text.
FORMATS = (
    Format("a bbchallenge line", is_line, parse_line),
    Format("a record of bbchallenge's database", is_record, parse_record),
    Format("JFLAP", is_jflap, parse_jflap),
    Format("a JSON table", is_json, parse_json),
    Format(
        "turingmachinesimulator.com text", is_turingmachinesimulator, parse_turingmachinesimulator
    ),
    Format("morphett.info text", is_morphett, parse_morphett),
    Format("turingmachine.io YAML", lambda text: True, parse_turingmachine_io),
)


def hint(name: str) -> str:
    """The end of a message about a text that is no machine: what it may have been meant for.

    >>> hint("bb44"), hint("Fibonacci"), hint("mine.yaml"), hint("1RB")
    (': did you mean bb4?', ': run it with --construction looped', ': there is no such file', '')
    """
    if same_name(name, SUBLEQ) in SUBLEQ:
        return ": run it with --construction looped"
    if re.fullmatch(r"\S+\.[A-Za-z]\w*(:\d+)?", name):
        return ": there is no such file"
    return did_you_mean(name, (*PROGRAMS, *SUBLEQ))


@checked
def read_machine(path: str | os.PathLike[str]) -> TuringMachine:
    """The Turing machine in a file of any of `FORMATS`.

    A machine of several tapes is compiled to one (`constructions.programs.multi_tape`).

    Args:
      path: a regular file of at most 256 KiB in UTF-8; ``FILE:7`` takes its line 7 alone.

    Raises:
      InputError: one line with every reason why the file holds no machine.
    """
    path = Path(path)
    line = re.fullmatch(r"(.+):(\d{1,9})", str(path), re.DOTALL)
    chosen = line is not None and not os.path.isfile(path)
    if line and chosen:
        path = Path(line[1])
    where = f"machine file {show(str(path), 200)}"
    text = read_text(path, where)
    if line and chosen:
        lines, number = text.splitlines(), int(line[2])
        if not 1 <= number <= len(lines):
            raise InputError(f"{where}: expected a line from 1 to {len(lines)}, got {number}")
        text = lines[number - 1]
    try:
        stem = "".join(c if c.isprintable() else "?" for c in path.stem)  # for the terminal
        return parse_machine(text, name=stem)
    except ValueError as error:
        raise InputError(f"{where}: {error}") from error


def parse_machine(text: str, *, name: str) -> TuringMachine:
    """The Turing machine in the text of a file; `name` is for one that names none.

    >>> text = '''
    ... blank: 0
    ... start state: go
    ... table:
    ...   go: {0: {write: 1, R}, 1: {L: end}}
    ...   end:
    ... '''
    >>> parse_machine(text, name="m").run("001", 100).tape
    ['1', '1', '1']

    Raises:
      InputError: one line with every reason.
    """
    if not text.strip():
        raise InputError(f"it is empty; expected {' or '.join(format.name for format in FORMATS)}")
    return next(format for format in FORMATS if format.sniff(text)).parse(text, name)


@checked
def find_machine(name: str) -> TuringMachine:
    """A machine by its name in `PROGRAMS`, in any case, from a file, or as the text of one.

    Raises:
      InputError: none of the three.

    >>> find_machine("1RB1LB_1LA1RZ").states
    ('A', 'B', 'Z')
    """
    if (known := same_name(name, PROGRAMS)) in PROGRAMS:
        return PROGRAMS[known].machine
    if os.path.isfile(name) or os.path.isfile(name.rpartition(":")[0]):
        return read_machine(name)
    try:
        return parse_machine(name, name=name)
    except InputError as error:
        raise InputError(
            f"machine: expected one of {', '.join(sorted(PROGRAMS))}, a file, or a bbchallenge "
            f"line, got {name[:300]!r} ({str(error)[:300]})" + hint(name)
        ) from None


def read_text(path: Path, where: str) -> str:
    """The text of a regular file of at most `MAX_BYTES`; ``where`` begins every refusal."""
    if not os.path.isfile(path):  # a pipe or a device could block, or never end
        raise InputError(f"{where}: expected a regular file, found none; check the path")
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"{where}: cannot be read: {error.strerror}") from error
    if len(data) > MAX_BYTES:
        raise InputError(f"{where}: larger than {MAX_BYTES} bytes, the most that is read")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: expected UTF-8 text, got {error.reason}") from error
