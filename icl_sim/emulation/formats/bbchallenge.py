"""Busy beaver notations: one letter a state, one digit a symbol, one line or a table a machine.

    1RB1LC_1RC1RB_1RD0LE_1LA1LD_1RZ0LA      bbchallenge; `---`, `???` or `...` is undefined
    1RB 1LC  1RC 1RB  1RD 0LE ...           spaced; rows also set apart by | ; / , or a line each
    B1R C1L  C1R B1R  D1R E0L ...           Marxen: state, symbol, move
    A 1RB 1LC                               a row each, with its name, below a line of symbols
    https://bbchallenge.org/1RB1LC_...&s=9  a link, also its older form with base64
    01 00 02 ...                            a record of the seed database, 30 bytes, or its hex

Letters may be small, comments (# // ; %) stand around, and a list entry (`- `, `3. `, further
columns) is read as its machine. Z or H halts unless it names a row, and so does what stands for no
state (`1R-`). A list of several machines is refused, with the line of each.
"""

from __future__ import annotations

import base64
import re

from constructions.programs.turing import TuringMachine
from icl_sim.emulation.formats.rules import show, stop
from icl_sim.errors import InputError

RECORD = 30  # bytes of a machine with 5 states and 2 symbols: symbol, move, state for each pair
_UNDEFINED = {"---", "???", "..."}
_CELL = re.compile(r"[0-9][A-Za-z][A-Za-z-]|[A-Za-z][0-9][LRlr]|---|\?\?\?|\.\.\.")
_ROW = re.compile(f"(?:{_CELL.pattern})+")
_LINE = re.compile(r"[0-9][A-Za-z?.-][\w?.-]*_[\w?.-]*")
_NAME = re.compile(r"[A-Za-z]\d?")  # of a row, or of one of its cells
_COMMENT = re.compile(r"(?:#|//|%|^\s*;).*")
_LINK = re.compile(r"(?:https?://)?(?:www\.)?bbchallenge\.org/([^\s&?#]*)(\S*)")
_BULLET = re.compile(r"^\s*(?:[-*\u2022]\s+|\(?\d{1,9}[.):]\s+)")


def is_record(text: str) -> bool:
    """Whether this is a record, or several, of the seed database, as bytes or in hexadecimal."""
    raw = bool(text) and len(text) % RECORD == 0 and max(map(ord, text)) <= 5
    return raw or bool(re.fullmatch(r"(?:0[0-5]\s*){30}", text.strip()))


def parse_record(text: str, name: str) -> TuringMachine:
    """The machine of one record.

    Source: https://bbchallenge.org/method#format
    """
    raw = max(map(ord, text)) <= 5
    data = list(map(ord, text)) if raw else list(bytes.fromhex("".join(text.split())))
    if len(data) != RECORD:
        stop(f"it holds {len(data) // RECORD} records of {RECORD} bytes: cut out the one to run")
    return _machine_of_bytes(data, name, 2)


def _machine_of_bytes(data: list[int], name: str, symbols: int) -> TuringMachine:
    """Three bytes a transition: symbol written, 1 for left, next state from 1 (0: undefined)."""
    cells = []
    states = len(data) // (3 * symbols)
    for i in range(0, len(data), 3):
        written, left, state = data[i : i + 3]
        if written >= symbols or left > 1 or state > states:
            stop(
                f"byte {i}: expected a symbol below {symbols}, 0 or 1 for the move, and a state up "
                f"to {states}, got {written}, {left}, {state}"
            )
        cells.append(f"{written}{'RL'[left]}{chr(64 + state)}" if state else "---")
    return _machine(_joined(cells, symbols), name)


def is_line(text: str) -> bool:
    """Whether the first line that is no comment begins a machine in one of these forms."""
    if is_record(text):
        return False
    for line in text.splitlines():
        if content := _content(line):
            words = _words(content)
            cells = sum(bool(_ROW.fullmatch(word)) for word in words)
            header = all(re.fullmatch(r"on|\d", word) for word in words)
            return bool(
                _LINK.match(content)
                or _LINE.match(content)
                or re.fullmatch(r"[\w-]+", content)  # one word is no YAML mapping
                or cells >= max(1, len(words) - 1)
                or (header and len(words) > 1)
            )
    return False


def _content(line: str) -> str:
    """A line without comment, bullet and quotes."""
    text = line if _LINK.search(line) else _COMMENT.sub("", line)
    text = _BULLET.sub("", text).strip().strip("\"'`")
    is_rule = set(text) <= set("-+=|: \t") and (text[:1] == "|" or "----" in text or "==" in text)
    return "" if is_rule else text  # the line below a table's symbols


def _words(content: str) -> list[str]:
    return [word for word in re.split(r"[\s|,;/:\[\]()]+", content) if word]


def parse_line(text: str, name: str) -> TuringMachine:
    """The one machine that the text holds."""
    found: dict[int, str] = {}  # machines on a line of their own, by the line's number
    table: dict[int, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        content = _content(line)
        words = _words(content)
        if link := _LINK.match(content):
            found[number] = _of_link(link[1], link[2], f"line {number}")
        elif words and (_LINE.fullmatch(words[0]) or (len(words) == 1 and len(words[0]) != 3)):
            found[number] = words[0]
        elif words:
            table[number] = content
    if found:  # what stands beside them is prose, unless it is a table too
        table = {n: c for n, c in table.items() if len(_cells(c)) == len(_words(c)) > 1}
    machines = [*found, *list(table)[:1]]
    if len(machines) > 1:
        stop(
            f"expected one bbchallenge line, got {len(machines)} machines, on lines "
            f"{', '.join(map(str, machines[:9]))}: name one as FILE:LINE"
        )
    return _machine(_normal(next(iter(found.values())) if found else _of_table(table)), name)


def _machine(line: str, name: str) -> TuringMachine:
    try:
        return TuringMachine.from_bbchallenge(line, name=name)
    except ValueError as error:
        raise InputError(str(error)) from error


def _normal(line: str) -> str:
    """Undefined transitions written `---`, and small letters large if they make a whole line."""
    rows = [re.findall(r"(?s).{1,3}", row) for row in line.split("_")]
    rows = [["---" if _undefined(cell) else cell for cell in row] for row in rows]
    states = {chr(65 + i) for i in range(len(rows))} | {"Z", "H"}
    large = [[cell.upper() for cell in row] for row in rows]
    sound = all(
        c == "---" or (len(c) == 3 and c[1] in "LR" and c[2] in states)
        for row in large
        for c in row
    )
    small = all(c == "---" or re.fullmatch(r"\d[a-z]{2}", c) for row in rows for c in row)
    chosen = large if sound or small else rows
    return "_".join("".join(row) for row in chosen)


def _undefined(cell: str) -> bool:
    return cell in _UNDEFINED or bool(re.fullmatch(r"\d[LRlr]-", cell))


def _of_link(path: str, rest: str, at: str) -> str:
    if re.fullmatch(r"\d+", path):
        stop(f"{at}: machine {path} of bbchallenge's database: give its line, 1RB..., instead")
    if path.startswith("m"):
        try:
            text = path[1:].replace("-", "+").replace("_", "/")
            data = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
        except ValueError as error:
            stop(f"{at}: the link's machine is no base64: {error}")
        if len(data) % 6:
            stop(f"{at}: the link's machine has {len(data)} bytes, expected 6 for each state")
        cells = []
        for i in range(0, len(data), 3):
            written, left, state = data[i : i + 3]
            if written > 1 or left > 1 or state > 26:
                stop(f"{at}: byte {i} of the link's machine is no transition")
            undefined = not 0 < state <= len(data) // 6
            cells.append("---" if undefined else f"{written}{'RL'[left]}{chr(64 + state)}")
        return _joined(cells, 2)
    if not path:
        stop(f"{at}: the link {show(rest or 'bbchallenge.org')} names no machine")
    return path


def _joined(cells: list[str], width: int) -> str:
    return "_".join("".join(cells[i : i + width]) for i in range(0, len(cells), width))


def _cells(content: str) -> list[str]:
    return [
        cell for word in _words(content) if _ROW.fullmatch(word) for cell in _CELL.findall(word)
    ]


def _of_table(lines: dict[int, str]) -> str:
    """The line of a table, whose rows are found by words, lines, signs, names, or counting."""
    lines = {
        n: c for n, c in lines.items() if not all(re.fullmatch(r"on|\d", w) for w in _words(c))
    }
    for number, content in lines.items():
        for word in _words(content):
            if not (_ROW.fullmatch(word) or (_NAME.fullmatch(word))):
                stop(
                    f"line {number}, column {content.index(word) + 1}: {show(word)} is no "
                    "transition such as 1RB, B1R or ---"
                )
    words = [word for content in lines.values() for word in _words(content)]
    cells = [_ordered(cell) for content in lines.values() for cell in _cells(content)]
    if len(cells) > 260:
        stop(f"expected at most 26 states of 10 symbols, got {len(cells):,} transitions")
    if not cells:
        stop("expected one bbchallenge line, or a table of transitions such as 1RB")
    names = dict.fromkeys(word[0] for word in words if not _ROW.fullmatch(word))
    signs = [part for c in lines.values() for part in re.split(r"[|;/]|\s{2,}|\t", c)]
    for rows in (
        [_cells(word) for word in words if _ROW.fullmatch(word)],
        [_cells(content) for content in lines.values()],
        [_cells(part) for part in signs if _cells(part)],
    ):
        if len(rows) > 1 and {len(row) for row in rows} == {len(rows[0])} != {1}:
            return _joined(cells, len(rows[0]))
    if names and len(cells) % len(names) == 0:
        return _joined(cells, len(cells) // len(names))
    fitting = [n for n in range(1, 27) if _fits(cells, n)]
    if len(fitting) != 1:
        which = " or ".join(map(str, fitting)) or "no number of"
        stop(
            f"line {next(iter(lines))}: {len(cells)} transitions fit {which} states: set the rows "
            "apart by _, or write a line each"
        )
    return _joined(cells, len(cells) // fitting[0])


def _fits(cells: list[str], states: int) -> bool:
    """Whether so many rows hold the states and symbols that the cells name."""
    symbols, rest = divmod(len(cells), states)
    named = [cell for cell in cells if cell != "---"]
    working = [ord(cell[2]) - 64 for cell in named if cell[2] not in "HZ"]
    most = max((int(cell[0]) for cell in named), default=0)
    return not rest and most < symbols <= 10 and symbols > 1 and max(working, default=1) <= states


def _ordered(cell: str) -> str:
    """A transition as symbol, move, state."""
    if _undefined(cell):
        return "---"
    return cell.upper() if cell[0].isdigit() else (cell[1:] + cell[0]).upper()
