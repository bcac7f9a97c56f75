"""What is wrong with a machine, every fault of it, in words that stay short."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from constructions.argument_types import short

_MAX_SYMBOLS = 256  # one cell is one byte
_TOLD, _WORDS = 12, 800  # faults, and values of one; characters of all


def listed(items: Iterable[object]) -> str:
    """The first of some values, short."""
    shown = [short(item) for item in items]
    return ", ".join([*shown[:_TOLD], *[f"{len(shown) - _TOLD} more"][: len(shown) > _TOLD]])


def told(reasons: Sequence[str]) -> str:
    """The first of some faults; a file may have very many."""
    more = [f"{len(reasons) - _TOLD} more"][: len(reasons) > _TOLD]
    text = "; ".join([*reasons[:_TOLD], *more])
    return text if len(text) <= _WORDS else f"{text[:_WORDS]} ..."


def faults(machine: Any) -> Iterator[str]:
    """Every reason why a machine is not one."""
    if not isinstance(machine.name, str):
        yield "the name is no text"
    for part in (machine.states, machine.alphabet, machine.input):
        if not isinstance(part, Sequence):
            yield f"states, symbols and input must be tuples, got {short(part)}"
            return
    if not isinstance(machine.delta, Mapping):
        yield f"rules must be a mapping, got {short(machine.delta)}"
        return
    known: dict[str, set[str]] = {"state": set(), "symbol": set()}
    for kind, names in (("state", machine.states), ("symbol", machine.alphabet)):
        if not names:
            yield f"it has no {kind}s"
        bad = [name for name in names if not isinstance(name, str) or not name]
        if bad:
            yield f"{kind}s must be non-empty strings, got {listed(bad)}"
        twice = []
        for name in names:
            twice += [name] if _is_one(name, known[kind]) else []
            known[kind] |= {name} if isinstance(name, str) else set()
        if twice:
            yield f"{kind}s named twice: {listed(twice)}"
    if len(machine.alphabet) > _MAX_SYMBOLS:
        yield f"at most {_MAX_SYMBOLS} symbols, got {len(machine.alphabet)}"
    if not _is_one(machine.blank, known["symbol"]):
        yield f"the blank {short(machine.blank)} is not a symbol"
    if not _is_one(machine.start, known["state"]):
        yield f"the start {short(machine.start)} is not a state"
    for key, rule in machine.delta.items():
        if not (_is_tuple(key, 2) and _is_tuple(rule, 3)):
            yield f"rule {key!r}: {rule!r} is not (state, symbol): (state, symbol, move)"
            continue
        (state, read), (after, write, move) = key, rule
        where = f"rule ({state!r}, {read!r})"
        if not _is_one(state, known["state"]):
            yield f"{where} is for an unknown state"
        if not _is_one(read, known["symbol"]):
            yield f"{where} is for an unknown symbol"
        if not _is_one(after, known["state"]):
            yield f"{where} leads to the unknown state {after!r}"
        if not _is_one(write, known["symbol"]):
            yield f"{where} writes the unknown symbol {write!r}"
        if move not in (-1, 0, 1):
            yield f"{where} moves {move!r}, expected -1, 0 or +1"


def _is_one(name: object, known: set[str]) -> bool:
    return isinstance(name, str) and name in known


def _is_tuple(value: Sequence[object], length: int) -> bool:
    return isinstance(value, tuple) and len(value) == length
