"""JFLAP's .jff files of Turing machines, of one tape or of several.

An empty symbol is the blank, a small square here as in JFLAP. A final state halts. Building blocks
are read where they hold no machine of their own; `!a`, any symbol but a, and `~`, any symbol or the
same one, are written out.

The XML may come from anybody. A document type is refused, and with it every entity that is not
XML's own: nothing is fetched and nothing grows. Depth and size are limited.

Source: https://www.jflap.org
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn
from xml.parsers import expat

from constructions.programs.turing import TuringMachine
from icl_sim.emulation.formats.rules import (
    MAX_NAME,
    MAX_RULES,
    MAX_STATES,
    MAX_TAPES,
    Written,
    machine_of,
    show,
    stop,
)
from icl_sim.errors import InputError

MAX_DEPTH = 12
BLANK = "\u25a1"
_MOVES = {"L": -1, "R": 1, "S": 0}


@dataclass
class _Element:
    """An element with the line that it begins on."""

    tag: str
    line: int
    attributes: dict[str, str]
    text: str = ""
    children: list[_Element] = field(default_factory=list)

    def all(self, *tags: str) -> list[_Element]:
        return [child for child in self.children if child.tag in tags]

    def get(self, tag: str) -> str:
        found = self.all(tag)
        if not found:
            stop(f"line {self.line}: <{self.tag}> has no <{tag}>")
        return found[0].text.strip()


def is_jflap(text: str) -> bool:
    """Whether it is XML."""
    return text.lstrip("\ufeff \t\r\n").startswith("<")


def _tree(text: str) -> _Element:
    """The document's root, read by a parser that refuses every document type and entity."""
    parser = expat.ParserCreate("utf-8")  # whatever encoding the file says that it was in
    root = _Element("", 0, {})
    path = [root]

    def begin(tag: str, attributes: dict[str, str]) -> None:
        if len(path) > MAX_DEPTH:
            stop(f"line {parser.CurrentLineNumber}: nested deeper than {MAX_DEPTH}")
        element = _Element(tag, parser.CurrentLineNumber, attributes)
        path[-1].children.append(element)
        path.append(element)

    def end(tag: str) -> None:
        path.pop()

    def characters(data: str) -> None:
        if len(path[-1].text) <= MAX_NAME:
            path[-1].text += data

    def refused(*_: Any) -> NoReturn:
        stop(
            f"line {parser.CurrentLineNumber}: document types and entities are refused; remove the "
            "<!DOCTYPE ...>"
        )

    parser.StartElementHandler, parser.EndElementHandler = begin, end
    parser.CharacterDataHandler = characters
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = refused
    parser.ExternalEntityRefHandler = parser.SkippedEntityHandler = refused
    try:
        parser.Parse(text.encode("utf-8", "surrogatepass"), True)
    except expat.ExpatError as error:
        reason = expat.errors.messages[error.code]
        raise InputError(f"line {error.lineno}, column {error.offset + 1}: {reason}") from None
    return root.children[0]


def parse_jflap(text: str, name: str) -> TuringMachine:
    """The machine of a .jff file."""
    root = _tree(text)
    kind = root.get("type").lower() if root.tag == "structure" else f"<{root.tag}>"
    if kind not in ("turing", "turingbb"):
        stop(f"line {root.line}: expected a JFLAP file of type turing, got {show(kind)}")
    automaton = (root.all("automaton") or [root])[0]
    tapes = int(root.get("tapes")) if root.all("tapes") and _number(root.get("tapes")) else 1
    if not 1 <= tapes <= MAX_TAPES:
        stop(f"line {root.line}: expected 1 to {MAX_TAPES} tapes, got {tapes}")
    names: dict[str, str] = {}
    starts, final = [], []
    states = automaton.all("state", "block")
    if len(states) > MAX_STATES:
        stop(f"line {states[MAX_STATES].line}: at most {MAX_STATES} states, got {len(states)}")
    for element in states:
        inner = {tag.text.strip() for tag in element.all("tag")}
        blocks = [e for e in automaton.children if e.tag in inner and e.all("state", "block")]
        if blocks:
            stop(f"line {blocks[0].line}: a building block with a machine inside: write it out")
        key = element.attributes.get("id", "")
        if not key or key in names:
            stop(f"line {element.line}: expected a state with an id of its own, got {show(key)}")
        label = element.attributes.get("name") or f"q{key}"
        names[key] = label if label not in names.values() else f"{label}#{key}"
        starts += [names[key]] if element.all("initial") else []
        final += [names[key]] if element.all("final") else []
    if len(starts) != 1:
        stop(f"line {automaton.line}: expected one initial state, got {len(starts)}")
    rules = _rules(automaton.all("transition"), names, tapes)
    if not rules and starts[0] in final:
        stop(f"line {automaton.line}: the machine has no rules")
    return machine_of(rules, name=name, blank=BLANK, start=starts[0], final=final)


def _number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 9


def _rules(transitions: list[_Element], names: dict[str, str], tapes: int) -> list[Written]:
    """The transitions as rules, wildcards written out over the symbols of all."""
    if len(transitions) > MAX_RULES:
        stop(f"at most {MAX_RULES:,} transitions, got {len(transitions):,}")
    parts = [
        (e, _of_tapes(e, "read", tapes), _of_tapes(e, "write", tapes), _of_tapes(e, "move", tapes))
        for e in transitions
    ]
    symbols = dict.fromkeys([BLANK])
    for element, reads, writes, _ in parts:
        for symbol in (*reads, *writes):
            if "}" in symbol and len(symbol) > 1:
                stop(f"line {element.line}: expected no variable, got {show(symbol)}: write it out")
            symbols |= dict.fromkeys([symbol.removeprefix("!") or "!"])
    symbols.pop("~", None)
    rules: list[Written] = []
    for element, reads, writes, moves in parts:
        at = f"line {element.line}"
        ends = [element.get(tag) for tag in ("from", "to")]
        unknown = [key for key in ends if key not in names]
        if unknown:
            stop(f"{at}: a transition of {show(unknown[0])}, which is no state's id")
        wrong = [move for move in moves if move not in _MOVES]
        if wrong:
            stop(f"{at}: expected the move L, R or S, got {show(wrong[0])}")
        for key in itertools.product(*(_matching(read, symbols) for read in reads)):
            written = tuple(a if w == "~" else w for a, w in zip(key, writes, strict=True))
            steps = tuple(_MOVES[move] for move in moves)
            rules.append(Written(at, names[ends[0]], key, written, steps, names[ends[1]]))
            if len(rules) > MAX_RULES:
                stop(f"{at}: more than {MAX_RULES:,} rules when wildcards are written out")
    return rules


def _of_tapes(transition: _Element, tag: str, tapes: int) -> list[str]:
    """What a transition has under this tag for each tape; without one, the blank, or no move."""
    empty = "S" if tag == "move" else BLANK
    values = [empty] * tapes
    for element in transition.all(tag):
        number = element.attributes.get("tape", "1")
        if not _number(number) or not 1 <= int(number) <= tapes:
            stop(f"line {element.line}: expected tape 1 to {tapes}, got {show(number)}")
        values[int(number) - 1] = element.text.strip() or empty
    return values


def _matching(read: str, symbols: dict[str, None]) -> Sequence[str]:
    if read == "~":
        return list(symbols)
    if read.startswith("!") and len(read) > 1:
        return [symbol for symbol in symbols if symbol != read[1:]]
    return [read]
