"""The hidden units of the looped construction: every one a threshold, or the end of a scratch pad.

Letters are those of `constructions.machines.looped`. All columns but one's own hold zeros in the
state's slices, so every constant below is a multiple of the flag ``state``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from constructions.blueprint import Units
from constructions.fields import namespace
from constructions.gadgets import Steps
from constructions.residual import Residual

SLOPE = 4.0

Column = tuple[str, int]  # a slice of the residual stream and the entry in it

SCRATCH: tuple[str, ...] = ("a", "b", "c", "first", "second", "carry", "borrow", "difference")
SCRATCH += ("advanced", "jump", "incoming", "write")


@dataclass(frozen=True)
class Unit:
    """A hidden unit: ``down`` += up [sum of terms >= at], or always where there are no terms.

    Proof. The sum is an integer. The gate clip(4 (sum - at) + 2) is 1 from at - 1/4 on and 0 up
    to at - 1/2, hence [sum >= at] for any sum within 1/4 of an integer. QED
    """

    terms: Mapping[Column, float]
    at: float
    down: Column
    up: Mapping[Column, float] = field(default_factory=dict)
    constant: float = 0.0
    sign: float = 1.0

    @property
    def always(self) -> bool:
        """Whether the gate is open whatever comes."""
        return not self.terms


def bits_of(values: Any, bits: int) -> Any:
    """The lowest binary digits as +-1, lowest first, of two's complement: float32 [..., bits].

    >>> bits_of(np.array([5, -1]), 4).tolist()
    [[1.0, -1.0, 1.0, -1.0], [1.0, 1.0, 1.0, 1.0]]
    """
    numbers = namespace(values).asarray(values)[..., None]
    places = np.arange(bits).reshape([1] * (numbers.ndim - 1) + [bits])
    return (2 * (numbers >> places & 1) - 1).astype(np.float32)


def residual_of(w: int, bits: int) -> Residual:
    """The residual stream; what is not scratch comes first, and is what the inputs fill."""
    return Residual(
        value=bits,
        address=w,
        previous=w,
        second_previous=w,
        one=1,
        state=1,
        null=1,
        counter=w,
        halted=1,
        a=w,
        b=w,
        c=w + 1,
        first=bits,
        second=bits,
        carry=w - 1,
        borrow=bits - 1,
        difference=bits,
        advanced=w,
        jump=1,
        incoming=bits,
        write=1,
    )


def input_fields(residual: Residual) -> Residual:
    """The named columns of an input: all slices but the scratch, which come first."""
    return Residual(**{n: size for n, size in residual.sizes.items() if n not in SCRATCH})


def units_of(residual: Residual) -> tuple[tuple[Unit, ...], ...]:
    """The units of the five layers."""
    w, bits = residual.sizes["counter"], residual.sizes["value"]
    return (
        tuple(_carries(w)),
        tuple(_borrows(bits)),
        (*_differences(bits), *_advances(w)),
        (_jump(bits),),
        (*_words(bits), *_counters(w), *_clear(residual)),
    )


def _carries(w: int) -> Iterable[Unit]:
    """Carries of counter + 3: into bit k where the sum of all lower bits reaches 2^k."""
    for k in range(1, w):
        terms = {("counter", j): 2.0 ** (j - 1) for j in range(k)}
        terms["state", 0] = sum(terms.values()) + 3 % 2**k
        yield Unit(terms, 2.0**k, ("carry", k - 1), constant=1)


def _borrows(bits: int) -> Iterable[Unit]:
    """Borrows of second - first: from bit k where first is greater on all lower bits."""
    for k in range(1, bits):
        terms = {("first", j): 2.0 ** (j - 1) for j in range(k)}
        terms |= {("second", j): -(2.0 ** (j - 1)) for j in range(k)}
        yield Unit(terms, 1, ("borrow", k - 1), constant=1)


def _differences(bits: int) -> Iterable[Unit]:
    """Bits of the difference, 0 or 1: s = second - first - borrow modulo 2, for s from -2 to 1."""
    for k in range(bits):
        terms = {("second", k): 0.5, ("first", k): -0.5}
        if k:
            terms["borrow", k - 1] = -1
        for at, sign in ((-1, 1), (0, -1), (1, 1)):
            yield Unit(terms, at, ("difference", k), constant=1, sign=sign)


def _advances(w: int) -> Iterable[Unit]:
    """Bits of counter + 3, 0 or 1: s = bit + bit of 3 + carry modulo 2, for s from 0 to 3."""
    for k in range(w):
        terms = {("counter", k): 0.5, ("state", 0): 0.5 + (3 >> k & 1)}
        if k:
            terms["carry", k - 1] = 1
        for at, sign in ((1, 1), (2, -1), (3, 1)):
            yield Unit(terms, at, ("advanced", k), constant=1, sign=sign)


def _jump(bits: int) -> Unit:
    """Is the difference <= 0: its last bit is 1, and then N + 1 - ones >= 1, or it has no ones."""
    terms = {("difference", k): -1.0 for k in range(bits)} | {("state", 0): 1.0}
    terms["difference", bits - 1] += bits
    return Unit(terms, 1, ("jump", 0), constant=1)


def _words(bits: int) -> Iterable[Unit]:
    """A word that is written takes the incoming bits, 0 or 1, as +-1."""
    for k in range(bits):
        value = ("value", k)
        yield _set(value, {("write", 0): 1, ("incoming", k): 1}, 1, one="one")
        yield _set(value, {("write", 0): 2, ("incoming", k): -1}, -1, one="one")


def _counters(w: int) -> Iterable[Unit]:
    """The counter becomes c, or counter + 3; a jump with the sign of c set halts.

    Every sum below is at most 2, and 2 only if the machine has not halted, the jump is taken (or
    not) and the bit is 1 (or 0).
    """
    jump = {("jump", 0): 1.0, ("halted", 0): -1.0, ("state", 0): 0.5}
    stay = {("jump", 0): -1.0, ("halted", 0): -1.0}
    for k in range(w):
        counter = ("counter", k)
        yield _set(counter, jump | {("c", k): 0.5}, 1)
        yield _set(counter, jump | {("c", k): -0.5}, -1)
        yield _set(counter, stay | {("state", 0): 1, ("advanced", k): 1}, 1)
        yield _set(counter, stay | {("state", 0): 2, ("advanced", k): -1}, -1)
    terms = jump | {("c", w): 0.5}
    yield Unit(terms, 2, ("halted", 0), up={("state", 0): 1, ("halted", 0): -1})


def _set(column: Column, terms: Mapping[Column, float], value: float, one: str = "state") -> Unit:
    """``column``, which is +-1, := value, +-1, where the terms add up to 2."""
    return Unit(terms, 2, column, up={(one, 0): value, column: -1})


def _clear(residual: Residual) -> Iterable[Unit]:
    """Empties the scratch pad for the next loop: x - x is 0 whatever x is."""
    for name in SCRATCH:
        for k in range(residual.sizes[name]):
            yield Unit({}, 0, (name, k), up={(name, k): 1}, sign=-1)


def usual_steps(units: Sequence[Unit]) -> Steps:
    """The gates clip(4 (sum - at) + 2), and 1 for the units that are always on."""
    slope = [0.0 if unit.always else SLOPE for unit in units]
    bias = [1.0 if unit.always else 2 - SLOPE * unit.at for unit in units]
    return Steps(np.array(slope), np.array(bias))


def group(residual: Residual, units: Sequence[Unit], steps: Steps) -> Units:
    """The units of one layer, with these gates on their sums."""
    sizes = residual.sizes.items()
    gate, up, down = ({name: np.zeros((n, len(units))) for name, n in sizes} for _ in range(3))
    for m, unit in enumerate(units):
        for (name, entry), weight in unit.terms.items():
            gate[name][entry, m] = steps.slope[m] * weight
        for (name, entry), weight in unit.up.items():
            up[name][entry, m] = weight
        name, entry = unit.down
        down[name][entry, m] = unit.sign
    return Units(
        gate=gate,
        gate_bias=steps.bias,
        up=up,
        up_bias=np.array([unit.constant for unit in units]),
        down={name: rows.T for name, rows in down.items()},
    )
