"""The YAML of turingmachine.io: states to symbols to instructions.

Its ways, all of them read here: a list of symbols is one key for all of them, and so is a text with
commas; an instruction is a move (`R`), a synonym, or a mapping such as `{write: 1, R: carry}`, in
which an empty next state means the present one; a state without a table halts, as does a missing
transition; scalars are text as written (`012`, `no`); an exported file holds the machine as text
under `source code`; further keys say nothing of the machine; a tab behind the indentation is a
blank.

A file may come from anybody. Its size is checked before it is read, depth, tags and aliases while
the YAML parser hands out its events, and nothing is ever constructed but text, lists and pairs.

Source: https://turingmachine.io
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from constructions.programs.turing import Rule, TuringMachine
from icl_sim.emulation.formats.rules import MAX_NAME, MAX_STATES, MAX_SYMBOLS, refuse, show
from icl_sim.errors import InputError, did_you_mean

MAX_DEPTH = 12
_MOVES = {"L": -1, "R": 1, "N": 0}
_EMPTY = {"", "null", "Null", "NULL", "~"}
_NEEDED = ("blank", "start state", "table")
_KEYS = ("name", "input", *_NEEDED, "synonyms")
_EXPORT_KEYS = ("name", "source code", "positions", "editor contents")
# A tab outside quotes that is not the line's first sign, where YAML forbids it. A quote that is not
# closed ends with its line, so that no text is scanned twice.
_TAB = re.compile(r"""("(?:\\.|[^"\\\n])*"?|'[^'\n]*'?)|(?<=[^\n\t])\t""")


def parse_turingmachine_io(text: str, name: str) -> TuringMachine:
    r"""The machine of a file of turingmachine.io, exported or not.

    >>> text = "blank: 0\nstart state: go\ntable: {go: {0: {write: 1, R: end}}, end: }"
    >>> parse_turingmachine_io(text, "m").run("", 9).tape
    ['1', '0']
    """
    document = _document(text)
    if "source code" in [_text(key) for key, _ in document.pairs]:
        reasons: list[str] = []
        entries = _entries(document, "the file", _EXPORT_KEYS, reasons)
        source = _text(entries["source code"])
        if source is None:
            reasons.append("'source code' is not text")
        name = _name(entries.get("name"), "the machine", reasons) or name
        refuse(reasons)
        document = _document(source or "")
    return _machine(document, name)


@dataclass(frozen=True)
class _Text:
    """A scalar; `empty` if nothing, or a null, was written."""

    value: str
    empty: bool


@dataclass(frozen=True)
class _Map:
    """A mapping, duplicate keys included."""

    pairs: list[tuple[Any, Any]]


def _document(text: str) -> _Map:
    """The mapping that is the only document of a YAML text."""
    open_nodes: list[list[Any]] = [[]]
    documents = 0
    for event in _events(text):
        kind = type(event).__name__
        line = event.start_mark.line + 1
        if kind == "AliasEvent" or getattr(event, "anchor", None):
            raise InputError(f"line {line}: anchors and aliases are refused; write it out")
        if getattr(event, "tag", None):
            raise InputError(f"line {line}: tags are refused; remove {show(str(event.tag))}")
        if kind == "DocumentStartEvent":
            documents += 1
            if documents > 1:
                raise InputError(f"line {line}: expected one YAML document, got another")
        elif kind == "ScalarEvent":
            empty = event.implicit[0] and event.value in _EMPTY
            open_nodes[-1].append(_Text(event.value, empty))
        elif kind in ("SequenceStartEvent", "MappingStartEvent"):
            if len(open_nodes) > MAX_DEPTH:
                raise InputError(f"line {line}: nested deeper than {MAX_DEPTH}")
            open_nodes.append([])
        elif kind in ("SequenceEndEvent", "MappingEndEvent"):
            items = open_nodes.pop()
            pairs = list(zip(items[::2], items[1::2], strict=False))
            open_nodes[-1].append(_Map(pairs) if kind == "MappingEndEvent" else items)
    if not (open_nodes[0] and isinstance(open_nodes[0][0], _Map)):
        raise InputError("expected one bbchallenge line, or YAML with blank, start state and table")
    return open_nodes[0][0]


def _events(text: str) -> Iterator[Any]:
    from ruamel.yaml import YAML  # most machines need none
    from ruamel.yaml.error import MarkedYAMLError

    try:
        plain = _TAB.sub(lambda found: found[1] or " ", text)
        yield from YAML(typ="base", pure=True).parse(plain)
    except MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise InputError(f"{line}not YAML: {show(str(error.problem), 200)}") from error
    except Exception as error:  # on hostile text the parser fails in more ways than YAMLError
        raise InputError(f"not YAML: {show(str(error), 200)}") from error


def _machine(document: _Map, name: str) -> TuringMachine:
    reasons: list[str] = []
    entries = _entries(document, "the machine", _allowed(document), reasons)
    name = _name(entries.get("name"), "the machine", reasons) or name
    reasons += [f"{key!r} is missing" for key in _NEEDED if key not in entries]
    refuse(reasons)
    table = _entries(entries["table"], "'table'", None, reasons)
    if len(table) > MAX_STATES:
        raise InputError(f"at most {MAX_STATES} states, got {len(table)}")
    for state in table:
        _name(_Text(state, False), f"state {show(state)}", reasons)
    blank = _symbol(entries["blank"], "'blank'", reasons)
    start = _text(entries["start state"])
    if start not in table:
        reasons.append(f"the start state {show(start)} is not in the table")
    synonyms: dict[str, tuple[str | None, int, str | None]] = {}
    named = entries.get("synonyms", _Text("", True))
    for key, node in _entries(named, "'synonyms'", None, reasons).items():
        if key in _MOVES:
            reasons.append(f"synonym {key!r} is already a move")
        parsed = _instruction(node, {}, f"synonym {show(key)}", reasons)
        if parsed:
            synonyms[key] = parsed
    delta: dict[tuple[str, str], Rule] = {}
    symbols = {blank: None}
    for state, rows in table.items():
        for read, node, at in _transitions(rows, state, reasons):
            symbols[read] = None
            if (state, read) in delta:
                reasons.append(f"{at} is given twice")
            parsed = _instruction(node, synonyms, at, reasons)
            if parsed is None:
                continue
            write, move, after = parsed
            if after is not None and after not in table:
                reasons.append(f"{at} leads to {show(after)}, which is not in the table")
            delta[state, read] = (after or state, write or read, move)
            symbols[write or read] = None
    given = _text(entries.get("input", _Text("", True)))
    if given is None:
        reasons.append("'input' is not text")
    symbols |= dict.fromkeys(given or "")
    if len(symbols) > MAX_SYMBOLS:
        reasons.append(f"at most {MAX_SYMBOLS} symbols, got {len(symbols)}")
    refuse(reasons)
    tape = tuple(given or "")
    return TuringMachine(name, tuple(table), tuple(symbols), blank, start or "", delta, tape)


def _allowed(document: _Map) -> tuple[str, ...]:
    """The keys that may stand there; unknown ones too, if none is missing and none misspelt."""
    given = [text for key, _ in document.pairs if (text := _text(key)) is not None]
    if not set(_NEEDED) <= set(given):
        return _KEYS
    return (*_KEYS, *(key for key in given if not did_you_mean(key, _KEYS)))


def _transitions(rows: Any, state: str, reasons: list[str]) -> Iterator[tuple[str, Any, str]]:
    """Each (symbol read, instruction, how to name them) of a state, lists of symbols undone."""
    if isinstance(rows, _Text) and rows.empty:
        return
    if not isinstance(rows, _Map):
        reasons.append(f"state {show(state)} is not a mapping of symbols to instructions")
        return
    for key, node in rows.pairs:
        for read in _alternatives(key):
            symbol = _symbol(read, f"a symbol read in state {show(state)}", reasons)
            if symbol:
                yield symbol, node, f"transition ({show(state)}, {symbol!r})"


def _alternatives(key: Any) -> list[Any]:
    """The symbols of a key: a list's, or what commas set apart, as in `'0,1'`."""
    text = _text(key)
    if text and len(text) > 1 and re.fullmatch(r"[^,\s](?:,[^,\s])+", text):
        return [_Text(symbol, False) for symbol in text.split(",")]
    return key if isinstance(key, list) else [key]


def _instruction(
    node: Any, synonyms: dict[str, Any], at: str, reasons: list[str]
) -> tuple[str | None, int, str | None] | None:
    """(symbol written, move, next state); None stands for unchanged."""
    if isinstance(node, _Text):
        if node.value in _MOVES:
            return None, _MOVES[node.value], None
        if node.value in synonyms:
            return synonyms[node.value]
        reasons.append(f"{at} is {show(node.value)}, expected L, R, N, a synonym or a mapping")
        return None
    if not isinstance(node, _Map):
        reasons.append(f"{at} is a list, expected L, R, N, a synonym or a mapping")
        return None
    before = len(reasons)
    entries = _entries(node, at, ("write", *_MOVES), reasons)
    moves = [key for key in entries if key in _MOVES]
    if len(moves) != 1:
        reasons.append(f"{at} has {len(moves)} moves, expected one of L, R, N")
    write = _symbol(entries["write"], f"what {at} writes", reasons) if "write" in entries else None
    target = entries.get(moves[0]) if moves else None
    after = None
    if target is not None and not (isinstance(target, _Text) and target.empty):
        after = _text(target)
        if after is None:
            reasons.append(f"{at} leads to something that is not a state's name")
    if len(reasons) > before:
        return None
    return write, _MOVES[moves[0]], after


def _entries(
    node: Any, what: str, known: tuple[str, ...] | None, reasons: list[str]
) -> dict[str, Any]:
    """A mapping with text keys as a dict; unknown and repeated keys become reasons."""
    if isinstance(node, _Text) and node.empty:
        return {}
    if not isinstance(node, _Map):
        reasons.append(f"{what} is not a mapping")
        return {}
    entries: dict[str, Any] = {}
    for key, value in node.pairs:
        text = _text(key)
        if text is None:
            reasons.append(f"{what} has a key that is not text")
        elif known and text not in known:
            reasons.append(f"{what} has the unknown key {show(text)}, expected {', '.join(known)}")
        elif text in entries:
            reasons.append(f"{what} has the key {show(text)} twice")
        else:
            entries[text] = value
    return entries


def _symbol(node: Any, what: str, reasons: list[str]) -> str:
    text = _text(node)
    if text is None or len(text) != 1 or not text.isprintable():
        reasons.append(f"{what} must be one printable character, got {show(text)}")
        return ""
    return text


def _name(node: Any, what: str, reasons: list[str]) -> str | None:
    text = _text(node)
    nothing = node is None or (isinstance(node, _Text) and node.empty)
    if not nothing and not (text and len(text) <= MAX_NAME and text.isprintable()):
        reasons.append(f"{what} must be named by 1 to {MAX_NAME} printable characters")
    return text


def _text(node: Any) -> str | None:
    return node.value if isinstance(node, _Text) else None
