"""JSON tables, as libraries and courses write them.

    {"blank": "0", "start": "A", "table": {"A": {"0": ["1", "R", "B"], "1": "1LB"}}}
    automata-lib:  "transitions": {"q0": {"0": ["q1", "x", "R"]}}, "initial_state", "blank_symbol"
    ft_turing:     "transitions": {"a": [{"read": "1", "to_state": "b", "write": "0",
                                          "action": "LEFT"}]}, "initial", "finals"
    a list:        [{"state": "A", "read": "0", "write": "1", "move": "R", "next": "B"}]

A list of three is (write, move, next) or (next, write, move), whichever all of them fit. Where they
fit both, it is automata-lib's order if its key `initial_state` is there, else the first. Keys are
compared without case, blanks, - and _. What is not named here is passed over.

Source: https://github.com/caleb531/automata; the ft_turing project of 42
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from constructions.programs.turing import TuringMachine
from icl_sim.emulation.formats.rules import MOVES, Written, machine_of, show, stop
from icl_sim.errors import InputError

_START = ("start", "startstate", "initial", "initialstate", "init")
_BLANK = ("blank", "blanksymbol", "empty")
_TABLE = ("table", "transitions", "delta", "rules", "transitionfunction", "program")
_FINAL = ("finals", "final", "finalstates", "accept", "acceptstates", "halt", "haltstates")
_STATE = ("state", "from", "fromstate", "currentstate", "current", "q")
_READ = ("read", "symbol", "reads", "readsymbol", "input")
_WRITE = ("write", "writes", "writesymbol", "newsymbol")
_MOVE = ("move", "action", "direction", "dir", "moves")
_NEXT = ("next", "nextstate", "to", "tostate", "newstate", "goto", "nextstep")
_MOVES = MOVES | {"LEFT": -1, "RIGHT": 1, "STAY": 0, "NONE": 0, "-1": -1, "1": 1, "0": 0}
_OWN = re.compile(r"(.)([LRNSlrns])(.+)")


def is_json(text: str) -> bool:
    """Whether it is a JSON object with a table, in any of the forms."""
    if not text.lstrip().startswith(("{", "[")):
        return False
    try:
        keys = _document(text)
    except InputError:
        # Half-written JSON is called so; other flow mappings are YAML's to read.
        return bool(re.match(r'\s*\{\s*"[^"]*"\s*:|\s*\[\s*\{\s*"', text))
    if _first(keys, ("synonyms", "sourcecode"), None) is not None:
        return False  # turingmachine.io's, which YAML reads
    return isinstance(keys, list) or _first(keys, _START, None) is not None


def _document(text: str) -> Any:
    """The JSON value; numbers stay text, and no key may come twice."""

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(items)
        if len(found) < len(items):
            keys = [key for key, _ in items]
            stop(f"the key {show(next(k for k in keys if keys.count(k) > 1))} is there twice")
        return found

    try:
        return json.loads(
            text, object_pairs_hook=pairs, parse_int=str, parse_float=str, parse_constant=str
        )
    except json.JSONDecodeError as error:
        stop(f"line {error.lineno}, column {error.colno}: not JSON: {error.msg}")
    except RecursionError:
        stop("not JSON: nested too deeply")


def parse_json(text: str, name: str) -> TuringMachine:
    """The machine of a JSON table."""
    document = _document(text)
    if isinstance(document, list):
        document = {"table": document}
    table = _first(document, _TABLE, None)
    if not isinstance(table, dict | list):
        stop(f"expected one of the keys {', '.join(_TABLE)} with the rules, got {_keys(document)}")
    entries = list(_entries(table))
    start = _first(document, _START, entries[0][1] if entries else "")
    final = _first(document, _FINAL, [])
    final = final if isinstance(final, list) else [final]
    order = _order(entries, document)
    rules = [_rule(entry, order) for entry in entries]
    blank = _first(document, _BLANK, "0" if any("0" in rule.reads for rule in rules) else "_")
    title = _first(document, ("name", "title"), name)
    symbols = _first(document, ("alphabet", "tapesymbols", "tapealphabet"), [])
    tape = _first(document, ("input", "tape"), "")
    for what, value in (("start", start), ("blank", blank), ("name", title)):
        if not isinstance(value, str):
            stop(f"the {what} is {show(None)}, expected text")
    if not all(isinstance(symbol, str) for symbol in (*symbols, *tape, *final)):
        stop("alphabet, input and final states: expected lists of text")
    return machine_of(
        rules,
        name=title,
        blank=blank,
        start=start,
        tape=tape,
        symbols=symbols,
        final=final,
    )


Entry = tuple[str, str, str, Any]  # place, state, symbol read, instruction


def _keys(document: Any) -> str:
    return ", ".join(map(show, list(document)[:5])) if isinstance(document, dict) else "no object"


def _shown(value: Any) -> str:
    return show(value) if isinstance(value, str) else "none" if value is None else show(None)


def _first(value: Any, names: tuple[str, ...], default: Any) -> Any:
    """What an object has under the first of these names that it has."""
    if not isinstance(value, dict):
        return default
    plain = {re.sub(r"[\s_-]", "", key).lower(): item for key, item in value.items()}
    return next((plain[name] for name in names if name in plain), default)


def _entries(table: Any) -> Iterator[Entry]:
    """Each (place, state, symbol, instruction) of a table, whatever its form."""
    if isinstance(table, list):
        for i, rule in enumerate(table, start=1):
            if isinstance(rule, list) and len(rule) == 5:
                rule = dict(zip(("state", "read", "write", "move", "next"), rule, strict=True))
            state, read = _first(rule, _STATE, None), _first(rule, _READ, None)
            if not isinstance(state, str) or not isinstance(read, str):
                stop(f"rule {i}: expected an object with state and read, got {_keys(rule)}")
            yield f"rule {i}", state, read, rule
        return
    for state, rows in table.items():
        if rows is None:
            continue
        if not isinstance(rows, dict | list):
            stop(f"state {show(state)}: expected its rules by symbol, got {type(rows).__name__}")
        for i, item in enumerate(rows, start=1):
            read = item if isinstance(rows, dict) else _first(item, _READ, None)
            at = f"transition ({show(state)}, {show(read)})"
            if not isinstance(read, str):
                stop(f"state {show(state)}, rule {i}: expected an object with read")
            if isinstance(rows, dict) and rows[item] is None:
                continue  # undefined
            yield at, state, read, rows[item] if isinstance(rows, dict) else item


def _order(entries: list[Entry], document: dict[str, Any]) -> tuple[int, int, int]:
    """Where a list of three has the symbol, the move and the next state."""
    threes = [value for *_, value in entries if isinstance(value, list) and len(value) == 3]
    orders = {(0, 1, 2): True, (1, 2, 0): True}
    for value in threes:
        for order in orders:
            write, move, _ = (value[i] for i in order)
            orders[order] &= str(move).upper() in _MOVES and len(str(write)) == 1
    library = any(re.sub(r"[\s_-]", "", key).lower() == "initialstate" for key in document)
    fitting = [order for order, fits in orders.items() if fits]
    return fitting[-1 if library else 0] if fitting else ((1, 2, 0) if library else (0, 1, 2))


def _rule(entry: Entry, order: tuple[int, int, int]) -> Written:
    at, state, read, value = entry
    if isinstance(value, list) and len(value) == 3:
        write, move, after = (value[i] for i in order)
    elif isinstance(value, dict):
        write = _first(value, _WRITE, read)
        bare = next((key for key in value if key in MOVES), None)  # {"R": "B"}
        move = _first(value, _MOVE, bare)
        after = _first(value, _NEXT, value[bare] if bare and value[bare] else state)
    elif isinstance(value, str) and (found := _OWN.fullmatch(value)):
        write, move, after = found.groups()
    else:
        stop(f"{at}: expected [write, move, next], an object with move, or such as '1RB'")
    key = move.upper() if isinstance(move, str) and move.upper() in _MOVES else move
    if not isinstance(key, str) or key not in _MOVES:
        stop(f"{at}: expected a move such as L, R or S, got {_shown(move)}")
    if not isinstance(write, str) or not isinstance(after, str):
        stop(f"{at}: expected text for the symbol written and the next state")
    return Written(at, state, (read,), (write,), (_MOVES[key],), after)
