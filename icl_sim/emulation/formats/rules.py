"""What all formats share: limits, how a fault is worded, and rules that become a machine."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, NoReturn

from constructions.programs.multi_tape import MultiTapeMachine
from constructions.programs.turing import TuringMachine
from icl_sim.errors import InputError

MAX_STATES = 256
MAX_SYMBOLS = 64
MAX_NAME = 64
MAX_TAPES = 4
MAX_RULES = 1 << 13
MAX_COMPILED = 1 << 11  # states of the one-tape machine that a multi-tape machine becomes
MOVES = {"L": -1, "l": -1, "<": -1, "R": 1, "r": 1, ">": 1, "N": 0, "S": 0, "n": 0, "s": 0, "-": 0}
SHOWN = 12  # faults named in one line


class Written(NamedTuple):
    """One rule as a file has it; symbols and moves are one for each tape.

    Attributes:
      at: its place in the file, for a refusal.
      state, reads: where it applies.
      writes, moves, after: what it does; moves are -1, 0 or +1.
    """

    at: str
    state: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    moves: tuple[int, ...]
    after: str


def show(text: str | None, longest: int = 40) -> str:
    """A user's text quoted on one line, shortened; a list or mapping has no text."""
    if text is None:
        return "a list or mapping"
    return repr(text if len(text) <= longest else text[: longest - 3] + "...")


def refuse(reasons: Sequence[str]) -> None:
    """Raises an InputError with the reasons, in one line, if there are any."""
    if reasons:
        more = [f"and {len(reasons) - SHOWN} more"] if len(reasons) > SHOWN else []
        raise InputError("; ".join([*reasons[:SHOWN], *more]))


def stop(reason: str) -> NoReturn:
    """Raises an InputError: reading cannot go on behind this."""
    raise InputError(reason)


def faults_of_symbol(symbol: str, what: str) -> list[str]:
    """Why this is no symbol: it must be one printable character."""
    if len(symbol) == 1 and symbol.isprintable():
        return []
    return [f"{what} must be one printable character, got {show(symbol)}"]


def faults_of_name(name: str, what: str) -> list[str]:
    """Why this is no name of a state or machine."""
    if 1 <= len(name) <= MAX_NAME and name.isprintable():
        return []
    return [f"{what} must be named by 1 to {MAX_NAME} printable characters"]


def machine_of(
    rules: Sequence[Written],
    *,
    name: str,
    blank: str,
    start: str,
    tape: Iterable[str] = (),
    symbols: Iterable[str] = (),
    final: Iterable[str] = (),
    what: str = "the machine",
) -> TuringMachine:
    """The machine of these rules; one of several tapes is compiled to one.

    Args:
      rules: in the file's order.
      name: of the machine.
      blank, start: of the machine.
      tape: the input that the file gives.
      symbols: further ones that the alphabet has.
      final: states that are said to halt.
      what: what a refusal without a place calls it.

    Raises:
      InputError: naming every fault with its place.
    """
    reasons = faults_of_symbol(blank, "the blank")
    if not rules:
        stop(f"{what} has no rules")
    if len(rules) > MAX_RULES:
        stop(f"at most {MAX_RULES:,} rules, got {len(rules):,}")
    final, first = set(final), dict[tuple[str, tuple[str, ...]], Written]()
    alphabet = dict.fromkeys([blank])
    for rule in rules:
        for state in (rule.state, rule.after):
            reasons += faults_of_name(state, f"{rule.at}: state {show(state)}")
        for symbol in (*rule.reads, *rule.writes):
            if symbol not in alphabet:
                reasons += faults_of_symbol(symbol, f"{rule.at}: a symbol")
            alphabet[symbol] = None
        earlier = first.setdefault((rule.state, rule.reads), rule)
        if earlier is not rule:
            key = ", ".join([show(rule.state), *map(show, rule.reads)])
            same = " again" if earlier._replace(at="") == rule._replace(at="") else ""
            reasons.append(
                f"{rule.at}: a second rule for ({key}){same}, which {earlier.at} has already: "
                "a machine must be deterministic"
            )
        if rule.state in final:
            reasons.append(f"{rule.at}: a rule of {show(rule.state)}, which is a final state")
        if len(rule.reads) != len(rules[0].reads):
            reasons.append(f"{rule.at}: {len(rule.reads)} tapes, {rules[0].at} has another number")
    alphabet |= dict.fromkeys(symbols)
    tape = tuple(tape)
    for symbol in tape:
        if symbol not in alphabet:
            reasons += faults_of_symbol(symbol, "a symbol of the input")
        alphabet[symbol] = None
    states = dict.fromkeys([start, *(q for rule in rules for q in (rule.state, rule.after))])
    if start not in {rule.state for rule in rules} | final:
        reasons.append(f"the start state {show(start)} has no rule")
    for count, most, kind in (
        (len(states), MAX_STATES, "states"),
        (len(alphabet), MAX_SYMBOLS, "symbols"),
        (len(rules[0].reads), MAX_TAPES, "tapes"),
    ):
        if count > most:
            reasons.append(f"at most {most} {kind}, got {count}")
    refuse(list(dict.fromkeys(reasons)))
    if len(rules[0].reads) == 1:
        delta = {
            (rule.state, rule.reads[0]): (rule.after, rule.writes[0], rule.moves[0])
            for rule in rules
        }
        return TuringMachine(name, tuple(states), tuple(alphabet), blank, start, delta, tape)
    table = {(rule.state, rule.reads): (rule.after, rule.writes, rule.moves) for rule in rules}
    source = MultiTapeMachine(name, len(rules[0].reads), tuple(alphabet), blank, start, table)
    try:
        return source.compiled(most=MAX_COMPILED, tape=tape)
    except ValueError as error:
        raise InputError(str(error)) from None
