"""Parts of a trace that hang on one number, looked up once that number has been seen.

Such a part is a pure function of one float32: `straight_line` has folded the weights into it, and
no memory enters it. Its value is therefore computed by the trace's own operations when a number
comes up for the first time, and found again by the number's bits from then on: the same bits,
whatever the weights are. The digits of an address are such a part, a chain of some hundred
operations that each wait for the one before.

Others hang on the token besides, and on memories that a run only reads, as the table that a prompt
leaves: a transition is one, a function of the token and of the symbol found. What they make is
found by both, and forgotten when the run ends, for the next one may have another prompt.

Which parts these are is read off the trace by its dominators: a variable that all ways from the
inputs to another one lead through.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

# Numbers of one part that are kept; whole numbers next to one another never collide.
SLOTS = 1 << 16
WORDS = 2  # of a slot
OF_TOKENS = 1 << 12  # those in use if a part hangs on the token
STRIDE = 8  # slots between those of two tokens
EMPTY = ~np.uint64(0)  # no token is negative
LEAST = 24  # operations of a part that is worth a slot
MOST = 64  # bits of what a part makes
_SHIFT = 1.5 * 2.0**23  # a float32 plus this ends in the bits of its whole part


@dataclass(frozen=True)
class Part:
    """Operations that make up to 64 bits of scalars of one float32, or of it and the token.

    Attributes:
      key, results: variables of the trace.
      equations: the operations.
      token: the variable of the token, if they hang on it.
    """

    key: Any
    results: tuple[Any, ...]
    equations: tuple[Any, ...]
    token: Any = None


def split(jaxpr: Any, token: Any, tables: Iterable[Any] = ()) -> list[Any]:
    """The trace's operations that anything comes of, in order, with `Part`s in place of theirs.

    Args:
      jaxpr: the trace.
      token: its input that is the token.
      tables: its inputs that no run changes.
    """
    live = _live(jaxpr.eqns, jaxpr.outvars)
    parts: list[Part] = []
    for known, of in (set[Any](), None), ({token, *tables}, token):
        above = _dominators(live, [x for x in jaxpr.invars if x not in known])
        taken = {id(equation) for part in parts for equation in part.equations}
        found = _parts(live, above, jaxpr.outvars, of)
        parts += [one for one in found if not taken.intersection(map(id, one.equations))]
    return _in_order(live, parts)


def _in_order(equations: Iterable[Any], parts: Iterable[Part]) -> list[Any]:
    """The equations, each part where its first one stood, behind what it needs of the others."""
    step_of = {id(equation): equation for equation in equations}
    step_of |= {id(equation): part for part in parts for equation in part.equations}
    made = {variable: e for e in equations for variable in e.outvars}
    steps: list[Any] = []
    placed: set[int] = set()

    def place(step: Any) -> None:
        if id(step) in placed:
            return
        placed.add(id(step))
        for equation in step.equations if isinstance(step, Part) else [step]:
            for atom in _variables(equation.invars):
                if atom in made:
                    place(step_of[id(made[atom])])
        steps.append(step)

    for equation in equations:
        place(step_of[id(equation)])
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


def _parts(equations: list[Any], above: Above, wanted: Iterable[Any], token: Any) -> Iterable[Part]:
    """What hangs on one number each.

    Without a token from the first number on to the last variable that all else goes through; with
    it from the last number that all goes through to whatever is used apart from it.
    """
    leaving: dict[Any, list[list[Any]]] = {}  # by first dominator, what is used apart from it
    made = {variable: equation for equation in equations for variable in equation.outvars}
    uses = [(atom, e.outvars[0]) for e in equations for atom in _variables(e.invars)]
    for atom, by in [*uses, *((atom, None) for atom in _variables(wanted))]:
        if atom in above and (by is None or above.get(by, [None])[0] is not above[atom][0]):
            leaving.setdefault(above[atom][0], []).append(above[atom])
    for first, lines in leaving.items():
        shared = _shared(lines)
        key, results = first, [shared[-1]]
        if token is not None:
            key = next((x for x in reversed(shared) if _bits(x, "f") == 32), first)
            results = list(dict.fromkeys(line[-1] for line in lines))
        sizes = [_bits(x, "fib") for x in results]
        if key not in made or not _bits(key, "f") or not all(sizes) or sum(sizes) > MOST:
            continue
        # Dominated by the key, so that nothing else is found on the way back from the results.
        own = [e for e in equations if key in above.get(e.outvars[0], ())]
        needed = _live([e for e in own if e is not made[key]], results)
        if len(needed) >= LEAST:
            yield Part(key, tuple(results), tuple(needed), token)


def _bits(variable: Any, kinds: str) -> int:
    """Of a scalar of these kinds, 1 or 32; else 0."""
    dtype = np.dtype(variable.aval.dtype)
    if variable.aval.shape or dtype.kind not in kinds or dtype.itemsize not in (1, 4):
        return 0
    return 1 if dtype.kind == "b" else 8 * dtype.itemsize


def empty_slots(parts: int) -> np.ndarray:
    """Empty slots, uint64 [parts, SLOTS, WORDS]: a token and a number's bits, what they made."""
    return np.full((parts, SLOTS, WORDS), EMPTY)


def forget(slots: np.ndarray, parts: Iterable[Part]) -> None:
    """Empties the slots of the parts that were made of a run's memories."""
    for own, part in zip(slots, parts, strict=True):
        if part.token is not None:
            own[:OF_TOKENS] = EMPTY


def recall(
    b: Any,
    ir: Any,
    slots: Any,
    key: Any,
    token: Any,
    kinds: Sequence[Any],
    compute: Callable[[], Sequence[Any]],
) -> list[Any]:
    """LLVM code that finds the results of a part, or computes and keeps them.

    Args:
      b, ir: llvmlite's builder, in the body of a loop, and its `ir`.
      slots: pointer to the part's slots.
      key: the number, a float.
      token: i32, or None.
      kinds: the results' types: float, i32 or i1.
      compute: writes the part's operations and returns their results.
    """
    word, wide = ir.IntType(32), ir.IntType(64)
    most = SLOTS if token is None else min(SLOTS, OF_TOKENS)
    token = ir.Constant(word, 0) if token is None else token

    def integer(x: int) -> Any:
        return ir.Constant(wide, x)

    bits = b.zext(b.bitcast(key, word), wide)
    bits = b.or_(bits, b.shl(b.zext(token, wide), integer(32)))
    place = b.bitcast(b.fadd(key, ir.Constant(key.type, _SHIFT)), word)
    place = b.add(place, b.mul(token, ir.Constant(word, STRIDE)))
    place = b.zext(b.and_(place, ir.Constant(word, most - 1)), wide)
    first = b.gep(slots, [b.mul(place, integer(WORDS))])
    second = b.gep(first, [integer(1)])
    old, before = b.load(second), b.block
    with b.if_then(b.icmp_unsigned("!=", b.load(first), bits), likely=False):
        new = integer(0)
        for x, kind in zip(compute(), kinds, strict=True):
            x = b.bitcast(x, word) if kind == ir.FloatType() else x
            new = b.or_(b.shl(new, integer(x.type.width)), b.zext(x, wide))
        b.store(bits, first)
        b.store(new, second)
        computed = b.block
    packed = b.phi(wide)
    packed.add_incoming(old, before)
    packed.add_incoming(new, computed)
    results = []
    for kind in reversed(kinds):
        width = 32 if kind == ir.FloatType() else kind.width
        x = b.trunc(packed, ir.IntType(width))
        results.append(b.bitcast(x, kind) if kind == ir.FloatType() else x)
        packed = b.lshr(packed, integer(width))
    return results[::-1]
