"""The text of turingmachinesimulator.com, of one tape or of several.

    name: a machine         // a comment
    init: q0
    accept: qYes, qNo

    q0,a,_                  state and the symbols read, one a tape
    q1,a,a,>,>              next state, the symbols written, the moves < > -

`_` is the blank. A machine of several tapes is compiled to one.

Source: https://turingmachinesimulator.com
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from constructions.programs.turing import TuringMachine
from icl_sim.emulation.formats.rules import Written, machine_of, show, stop

_HEADER = re.compile(r"(name|init|accept)\s*:(.*)", re.IGNORECASE)
_MOVES = {"<": -1, ">": 1, "-": 0}
BLANK = "_"


def is_turingmachinesimulator(text: str) -> bool:
    """Whether the first two kinds of line, a header and a pair of lines, are of this format."""
    lines = [content for _, content in _lines(text)]
    headers = [line for line in lines if _HEADER.match(line)]
    rest = [line for line in lines if not _HEADER.match(line)]
    starts = any(line.lower().startswith("init") for line in headers)
    return starts and (not rest or rest[0].count(",") > 0)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.splitlines(), start=1):
        content = re.split(r"//", line, maxsplit=1)[0].strip()
        if content:
            yield number, content


def parse_turingmachinesimulator(text: str, name: str) -> TuringMachine:
    """The machine of such a text."""
    headers: dict[str, str] = {}
    rules: list[Written] = []
    first: tuple[int, list[str]] | None = None
    for number, content in _lines(text):
        if first is None and (header := _HEADER.fullmatch(content)):
            key = header[1].lower()
            if key in headers:
                stop(f"line {number}: a second {key!r}")
            headers[key] = header[2].strip()
            continue
        fields = [field.strip() for field in content.split(",")]
        if first is None:
            if len(fields) < 2:
                stop(f"line {number}: expected 'state,symbol', got {show(content)}")
            first = number, fields
            continue
        at, (state, *reads) = first
        k = len(reads)
        if len(fields) != 2 * k + 1:
            stop(
                f"line {number}: expected a state, {k} symbols and {k} moves, as line {at} reads "
                f"{k}, got {len(fields)} fields in {show(content)}"
            )
        after, writes, moves = fields[0], fields[1 : k + 1], fields[k + 1 :]
        wrong = [move for move in moves if move not in _MOVES]
        if wrong:
            stop(f"line {number}: expected the moves <, > or -, got {', '.join(map(show, wrong))}")
        steps = tuple(_MOVES[move] for move in moves)
        rules.append(Written(f"line {at}", state, tuple(reads), tuple(writes), steps, after))
        first = None
    if first:
        stop(f"line {first[0]}: no line follows that says what the machine does there")
    return machine_of(
        rules,
        name=headers.get("name") or name,
        blank=BLANK,
        start=headers.get("init", ""),
        final=[state.strip() for state in headers.get("accept", "").split(",") if state.strip()],
    )
