"""Parts of a trace that hang on one number, looked up once that number has been seen.

Such a part is a pure function of one float32: `straight_line` has folded the weights into it, and
no memory enters it. Its value is therefore computed by the trace's own operations when a number
comes up for the first time, and found again by the number's bits from then on: the same bits,
whatever the weights are. The digits of an address are such a part, a chain of some hundred
operations that each wait for the one before.

Which parts these are is read off the trace by its dominators: a variable that all ways from the
inputs to another one lead through.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

# Numbers of one part that are kept; whole numbers next to one another never collide.
SLOTS = 1 << 16
LEAST = 24  # operations of a part that is worth a slot
_SHIFT = 1.5 * 2.0**23  # a float32 plus this ends in the bits of its whole part


@dataclass(frozen=True)
class Part:
    """Operations that make a 32-bit scalar of one float32; both are variables of the trace."""

    key: Any
    result: Any
    equations: tuple[Any, ...]


def split(jaxpr: Any) -> list[Any]:
    """The trace's operations that anything comes of, in order, with `Part`s in place of theirs."""
    live = _live(jaxpr.eqns, jaxpr.outvars)
    above = _dominators(live, jaxpr.invars)
    parts = list(_parts(live, above, jaxpr.outvars))
    inside = {id(equation) for part in parts for equation in part.equations}
    last = {id(part.equations[-1]): part for part in parts}
    steps: list[Any] = []
    for equation in live:
        if id(equation) in last:
            steps.append(last[id(equation)])
        elif id(equation) not in inside:
            steps.append(equation)
    return steps


def _variables(atoms: Iterable[Any]) -> list[Any]:
    return [atom for atom in atoms if not hasattr(atom, "val")]  # literals have one


def _live(equations: Iterable[Any], wanted: Iterable[Any]) -> list[Any]:
    """The equations that the wanted variables need, in order."""
    needed, kept = set(_variables(wanted)), []
    for equation in reversed(list(equations)):
        if needed.intersection(equation.outvars):
            needed.update(_variables(equation.invars))
            kept.append(equation)
    return kept[::-1]


Above = dict[Any, list[Any]]  # by variable, its dominators from the first one to itself


def _dominators(equations: Iterable[Any], inputs: Iterable[Any]) -> Above:
    """Of the variables that depend on an input."""
    above: Above = {variable: [variable] for variable in inputs}
    for equation in equations:
        needs = [above[atom] for atom in _variables(equation.invars) if atom in above]
        if needs:
            for variable in equation.outvars:
                above[variable] = [*_shared(needs), variable]
    return above


def _shared(lines: Iterable[list[Any]]) -> list[Any]:
    """The beginning that all lines share."""
    shared = []
    for entries in zip(*lines, strict=False):
        if any(entry is not entries[0] for entry in entries):
            break
        shared.append(entries[0])
    return shared


def _parts(equations: list[Any], above: Above, wanted: Iterable[Any]) -> Iterable[Part]:
    """What hangs on one number each: from it to the last variable that all else goes through."""
    leaving: dict[Any, list[list[Any]]] = {}  # by first dominator, what is used apart from it
    made = {variable: equation for equation in equations for variable in equation.outvars}
    uses = [(atom, e.outvars[0]) for e in equations for atom in _variables(e.invars)]
    for atom, by in [*uses, *((atom, None) for atom in _variables(wanted))]:
        if atom in above and (by is None or above[by][0] is not above[atom][0]):
            leaving.setdefault(above[atom][0], []).append(above[atom])
    for key, lines in leaving.items():
        result = _shared(lines)[-1]
        if not _is_scalar(key, "f") or not _is_scalar(result, "fib") or key not in made:
            continue
        # Dominated by the key, so that nothing else is found on the way back from the result.
        own = [e for e in equations if above.get(e.outvars[0], [None])[0] is key]
        needed = _live([e for e in own if e is not made[key]], [result])
        if len(needed) >= LEAST:
            yield Part(key, result, tuple(needed))


def _is_scalar(variable: Any, kinds: str) -> bool:
    dtype = np.dtype(variable.aval.dtype)
    return not variable.aval.shape and dtype.kind in kinds and dtype.itemsize in (1, 4)


def empty_slots(parts: int) -> np.ndarray:
    """Empty slots, uint64 [parts, SLOTS]: a number's bits above those of its result."""
    slots = np.zeros((parts, SLOTS), np.uint64)
    # All slots name the number 0 but its own, which names 1: none is found where it is named.
    slots[:, 0] = np.uint64(np.float32(1).view(np.uint32)) << np.uint64(32)
    return slots


def recall(b: Any, ir: Any, slots: Any, key: Any, kind: Any, compute: Callable[[], Any]) -> Any:
    """LLVM code that finds the result of a part, or computes and keeps it.

    Args:
      b, ir: llvmlite's builder, in the body of a loop, and its `ir`.
      slots: pointer to the part's slots.
      key: the number, a float.
      kind: the result's type: float, i32 or i1.
      compute: writes the part's operations and returns their result.
    """
    word, wide = ir.IntType(32), ir.IntType(64)
    half = ir.Constant(wide, 32)
    bits = b.zext(b.bitcast(key, word), wide)
    place = b.bitcast(b.fadd(key, ir.Constant(key.type, _SHIFT)), word)
    slot = b.gep(slots, [b.zext(b.and_(place, ir.Constant(word, SLOTS - 1)), wide)])
    # One word, read and written whole: threads may share the slots.
    entry = b.load_atomic(slot, "monotonic", 8)
    old = b.trunc(entry, word)
    before = b.block
    with b.if_then(b.icmp_unsigned("!=", b.lshr(entry, half), bits), likely=False):
        found = compute()
        new = b.bitcast(found, word) if kind == ir.FloatType() else b.zext(found, word)
        b.store_atomic(b.or_(b.shl(bits, half), b.zext(new, wide)), slot, "monotonic", 8)
        computed = b.block
    result = b.phi(word)
    result.add_incoming(old, before)
    result.add_incoming(new, computed)
    return b.bitcast(result, kind) if kind == ir.FloatType() else b.trunc(result, kind)
