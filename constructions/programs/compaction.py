"""Smaller machines that do the same: fused steps and merged states."""

# state -> symbol -> (next state, symbol written, move); a state without rules halts
from __future__ import annotations

Table = dict[str, dict[str, tuple[str, str, int]]]


def compact(table: Table, start: str) -> Table:
    """A table with fewer states and steps that leaves the same tape, head and halting state.

    A step that does not move is fused with the one after it; states that behave alike become one.
    A state with rules in which a run halts all the same may go by another's name.

    >>> table = {"a": {"0": ("b", "1", 0)}, "b": {"1": ("c", "1", 1)}, "c": {"0": ("end", "0", 1)}}
    >>> table |= {"d": {"0": ("end", "0", 1)}, "end": {}}
    >>> compact(table, "a")
    {'a': {'0': ('c', '1', 1)}, 'c': {'0': ('end', '0', 1)}, 'end': {}}

    Returns:
      The table, its start first.
    """
    fused = {q: {a: _fuse(table, q, a) for a in row} for q, row in table.items()}
    return _merge(_reachable(fused, start))


def _fuse(table: Table, state: str, symbol: str) -> tuple[str, str, int]:
    """The rule that does at once what a rule and the steps after it do, up to the first move."""
    seen = set()
    after, written, move = table[state][symbol]
    while move == 0 and written in table.get(after, {}) and (after, written) not in seen:
        seen.add((after, written))  # seen twice, it runs on for ever without moving
        after, written, move = table[after][written]
    return after, written, move


def _reachable(table: Table, start: str) -> Table:
    found = {start: table[start]}
    stack = [start]
    while stack:
        for after, _, _ in table.get(stack.pop(), {}).values():
            if after not in found:
                found[after] = table.get(after, {})
                stack.append(after)
    return {start: found.pop(start)} | {q: found[q] for q in table if q in found} | found


def _merge(table: Table) -> Table:
    """Moore's partition refinement; halting states are all different from one another."""
    part = {q: q if not row else "" for q, row in table.items()}
    while True:
        look = {
            q: (part[q], frozenset((a, part[r[0]], r[1], r[2]) for a, r in row.items()))
            for q, row in table.items()
        }
        first: dict[object, str] = {}
        for q, seen in look.items():
            first.setdefault(seen, q)
        finer = {q: first[seen] for q, seen in look.items()}
        if len(first) == len(set(part.values())):
            break
        part = finer
    return {
        q: {a: (finer[after], written, move) for a, (after, written, move) in row.items()}
        for q, row in table.items()
        if finer[q] == q
    }
