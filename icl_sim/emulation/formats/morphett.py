"""The text of morphett.info's simulator, a rule a line.

    state symbol new-symbol direction new-state     ; a comment

`_` is the blank, `l`, `r` and `*` are moves, the start state is 0 (or that of the first line, where
none is 0), and a state whose name begins with `halt` halts. `*` stands for every symbol, or every
state, that has no line of its own; as a new symbol or state it stands for no change. Of several
lines that apply the exact one wins, then the state's `*`, then the symbol's for every state. `!` at
a line's end, a breakpoint, is passed over.

Source: https://morphett.info/turing
"""

from __future__ import annotations

import re

from constructions.programs.turing import TuringMachine
from icl_sim.emulation.formats.rules import MAX_STATES, MAX_SYMBOLS, Written, machine_of, show, stop

_LINE = re.compile(r"(\S+)\s+(\S)\s+(\S)\s+([lrLR*])\s+([^\s!]+)(?:\s*!)?")
_MOVES = {"l": -1, "L": -1, "r": 1, "R": 1, "*": 0}
BLANK = "_"


def is_morphett(text: str) -> bool:
    """Whether the first line that is no comment has five fields with a direction as the fourth."""
    for line in text.splitlines():
        if content := line.partition(";")[0].strip():
            return bool(_LINE.fullmatch(content))
    return False


def parse_morphett(text: str, name: str) -> TuringMachine:
    """The machine of such a text; wildcards are written out over its states and symbols."""
    lines: list[Written] = []
    for number, line in enumerate(text.splitlines(), start=1):
        content = line.partition(";")[0].strip()
        if not content:
            continue
        found = _LINE.fullmatch(content)
        if not found:
            stop(
                f"line {number}: expected 'state symbol new-symbol l|r|* new-state', got "
                f"{len(content.split())} fields in {content[:40]!r}"
            )
        state, read, write, move, after = found.groups()
        rule = Written(f"line {number}", state, (read,), (write,), (_MOVES[move],), after)
        lines.append(rule)
    states = dict.fromkeys(q for rule in lines for q in (rule.state, rule.after) if q != "*")
    symbols = dict.fromkeys([BLANK])
    symbols |= dict.fromkeys(a for rule in lines for a in (*rule.reads, *rule.writes) if a != "*")
    if len(states) > MAX_STATES or len(symbols) > MAX_SYMBOLS:
        stop(f"at most {MAX_STATES} states and {MAX_SYMBOLS} symbols, got {len(states)} and more")
    start = "0" if "0" in states or "*" in {rule.state for rule in lines} else lines[0].state
    return machine_of(
        _written_out(lines, [q for q in states | {start: None} if not _halts(q)], list(symbols)),
        name=name,
        blank=BLANK,
        start=start,
        symbols=symbols,
        final=filter(_halts, states),
    )


def _halts(state: str) -> bool:
    return state.lower().startswith("halt")


def _written_out(lines: list[Written], states: list[str], symbols: list[str]) -> list[Written]:
    """The lines without wildcards: what applies to each state and symbol."""
    by_key: dict[tuple[str, str], Written] = {}
    rules = []
    for rule in lines:
        key = rule.state, rule.reads[0]
        earlier = by_key.setdefault(key, rule)
        if earlier is not rule:
            stop(
                f"{rule.at}: a second rule for ({show(key[0])}, {show(key[1])}), which "
                f"{earlier.at} has already: a machine must be deterministic"
            )
        if _halts(rule.state):
            rules.append(rule)  # refused with its place
    for state in states:
        for symbol in symbols:
            for key in ((state, symbol), (state, "*"), ("*", symbol), ("*", "*")):
                if line := by_key.get(key):
                    write = symbol if line.writes == ("*",) else line.writes[0]
                    after = state if line.after == "*" else line.after
                    rules.append(Written(line.at, state, (symbol,), (write,), line.moves, after))
                    break
    return rules
