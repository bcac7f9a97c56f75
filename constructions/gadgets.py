"""Gadgets: heads and units that do one named thing, each with the proof beside it.

A gadget speaks of residual slices by name and never of column numbers, and is a piece of a
`constructions.blueprint.Blueprint`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from constructions.blueprint import Gains, Head, Units
from constructions.residual import Residual

# A slice of the residual stream, or some of its entries in the order given.
Slice = str | tuple[str, Any]


class Steps(NamedTuple):
    """Gates clip(slope x + bias), one a unit: 0 up to ``off``, 1 from ``on`` on.

    Args:
      slope, bias: [n], slopes above 0.
    """

    slope: np.ndarray
    bias: np.ndarray

    @property
    def off(self) -> np.ndarray:
        """The largest inputs of a closed gate, [n]."""
        return -self.bias / self.slope

    @property
    def on(self) -> np.ndarray:
        """The least inputs of an open gate, [n]."""
        return (1 - self.bias) / self.slope


def embedding(
    fields: Residual, residual: Residual, extra: Mapping[str, tuple[str, int, int]] | None = None
) -> dict[str, np.ndarray]:
    """Every field of an input vector into the slice of its name, if there is one.

    Args:
      fields: the named columns of an input vector.
      residual: the slices.
      extra: slice -> (field, its entry, the slice's entry) of one further copy each.
    """
    rows = {}
    for name, size in fields.sizes.items():
        if name in residual.sizes:
            rows[name] = np.eye(fields.width)[:, fields[name]]
            if size != residual.sizes[name]:
                raise ValueError(f"{name}: expected {residual.sizes[name]} columns, got {size}")
    for name, (field, source, target) in (extra or {}).items():
        rows[name] = np.zeros((fields.width, residual.sizes[name]))
        rows[name][fields.column(field, source), target] = 1
    return rows


def offset_head(offset: int, value: Gains, *, sharpness: float = 64.0) -> Head:
    """Carries ``value`` over from the token ``offset`` places back.

    Proof. The scores are the relative bias alone: ``sharpness`` at distance ``offset``, 0 at all
    others (the last entry serves all larger distances, so one more than the offset is written).
    If the token has ``offset`` predecessors, the one at that distance wins by ``sharpness``; the
    T - 1 others share a mass of at most (T - 1) exp(-sharpness), at 64 below a rounding. A token
    with fewer predecessors gets the mean over those it has: pad the prompt. QED
    """
    return Head(value=value, bias=(0.0,) * offset + (sharpness, 0.0))


def recall(source: str, names: Sequence[str]) -> tuple[Head, ...]:
    """The slice ``source`` of the tokens 1, 2, ... back, into the slices of these names."""
    return tuple(offset_head(j, {(source, name): 1.0}) for j, name in enumerate(names, start=1))


def match_head(pairs: Sequence[tuple[str, str]], *, default: tuple[str, str], value: Gains) -> Head:
    """Averages ``value`` over the tokens that match the query in every pair.

    Args:
      pairs: (query slice, key slice), each holding a one-hot vector or zero.
      default: (query slice, key slice) of one column each, whose product is added to the score:
        the score of the tokens that answer when nothing matches.
      value: what is averaged, and where it goes.

    Proof. A pair contributes <one-hot, one-hot>, which is 1 if both name the same symbol and 0 if
    not or if either is zero. The score of a token is the number of agreeing pairs: len(pairs) for
    a match, at most len(pairs) - 1 otherwise. With the layer's scale beta the gap is beta, so N
    other tokens hold a mass of at most N exp(-beta) against one match, and equal scores share
    equally: the head returns the mean over the matches, up to that leak. QED
    """
    return Head(score=dict.fromkeys([*pairs, default], 1.0), value=value)


def address_head(
    *,
    query: str,
    key: str,
    key_square: str,
    value: tuple[str, str],
    sink: tuple[str, str] | None = None,
    sink_score: float = 0.5,
) -> Head:
    """Carries the mean of a value over the tokens whose ``key`` equals the ``query``.

    Args:
      query, key: slices a and b of one size, holding integers.
      key_square: the column that holds |b|^2.
      value: (source, target).
      sink: (flag, query square): the tokens with flag 1 and b = 0 answer where no key matches;
        the second column holds |a|^2.
      sink_score: how much less than a match a sink scores, between 0 and 1.

    Proof. The score is 2 <a, b> - |b|^2 = |a|^2 - |a - b|^2 times the scale: |a|^2 for an equal key
    and at least 1 less for any other, since both are integers. A sink scores |a|^2 - 1/2: less
    than a match and more than any other. All terms are multiples of 1/2. QED
    """
    score = {(query, key): 2.0, ("one", key_square): -1.0}
    if sink:
        flag, query_square = sink
        score |= {("one", flag): -sink_score, (query_square, flag): 1.0}
    return Head(score=score, value={value: 1.0}, compact=True)


def product(
    residual: Residual,
    factor: Slice,
    source: Slice,
    target: Slice,
    gain: float = 1.0,
    *,
    slope: float = 1.0,
    plus: float = 0.0,
    weights: Sequence[float] | None = None,
) -> Units:
    """Target += gain * factor * (source + plus), entry by entry; a slice of one entry serves all.

    Args:
      residual: the slices.
      factor: >= 0 with the relu gate, between 0 and 1 with the hard sigmoid.
      source, target: may name an entry several times; contributions to a target add up.
      gain: of the product.
      slope: the gate reads slope * factor; large, with the hard sigmoid, it is a step.
      plus: a constant added to every entry of ``source``.
      weights: of the entries of ``factor``, which are then summed to a single factor.
    """
    parts = [_entries(residual, what) for what in (factor, source, target)]
    n = max(len(entries) for _, entries in parts[1:])
    if weights is None:
        n = max(n, len(parts[0][1]))
    (gate, factors), (up, sources), (down, targets) = (
        (name, entries if i == 0 and weights is not None else np.broadcast_to(entries, n))
        for i, (name, entries) in enumerate(parts)
    )
    if weights is None:
        read = slope * _select(residual, gate, factors)
    else:
        column = _select(residual, gate, factors) @ np.asarray(weights, np.float64)
        read = np.repeat(slope * column[:, None], n, axis=1)
    return Units(
        gate={gate: read},
        up={up: _select(residual, up, sources)},
        up_bias=plus,
        down={down: gain * _select(residual, down, targets).T},
    )


def signed_product(
    residual: Residual, factor: Slice, source: Slice, target: Slice, gain: float = 1.0
) -> tuple[Units, Units]:
    """`product` for a factor of either sign with the relu gate; from -1 to 1 with the hard sigmoid.

    Proof. gate(f) - gate(-f) = f, and one of the two terms is zero, so the product is rounded
    once. QED
    """
    return (
        product(residual, factor, source, target, gain),
        product(residual, factor, source, target, -gain, slope=-1.0),
    )


def move(residual: Residual, source: str, targets: Mapping[str, float]) -> Units:
    """Each target += its gain times ``source``; -1 for the source itself erases it.

    Proof. A gate of bias 1 is open, whether ``relu`` or ``hard_sigmoid``. QED
    """
    same = np.eye(residual.sizes[source])
    down = {target: gain * same for target, gain in targets.items()}
    return Units(gate_bias=1.0, up={source: same}, down=down)


def clear(residual: Residual, *names: str) -> tuple[Units, ...]:
    """Every slice := 0, exactly: x - x is 0 whatever x is."""
    return tuple(move(residual, name, {name: -1.0}) for name in names)


def digit(
    residual: Residual,
    *,
    source: str,
    digits: str,
    square: str,
    base: int,
    place: int,
    steps: Steps,
) -> Units:
    """Moves digit ``place`` of ``source`` to ``digits``, adds its square. base - 1 units.

    For an integer 0 <= x < base^(place + 1) in ``source``: digits[place] := m = x div B, with
    B = base^place, ``square`` += m^2 and ``source`` := x mod B.

    Proof, with the steps of `digit_steps`. Unit j = 1 .. base - 1 has the gate
    clip(4 (x - j B) + 5/2): 1 for x >= j B - 3/8 and 0 for x <= j B - 5/8, hence [x >= j B] for
    every x within 3/8 of an integer. Units 1 .. m are on: they add 1 each to the digit,
    sum_(j <= m) (2 j - 1) = m^2 to the square and -m B to the source. What is left of the source's
    error stays below 3/8 and passes to the next digit. QED
    """
    j, size = np.arange(1, base), float(base**place)
    return Units(
        gate={source: steps.slope[None]},
        gate_bias=steps.bias,
        up_bias=1.0,
        down={
            source: np.full((base - 1, 1), -size),
            digits: _select(residual, digits, np.full(base - 1, place)).T,
            square: 2.0 * j[:, None] - 1,
        },
    )


def digit_steps(base: int, place: int) -> Steps:
    """One step halfway between j B - 1 and j B for each j = 1 .. base - 1, with B = base^place."""
    return Steps(np.full(base - 1, 4.0), 2.5 - 4 * np.arange(1, base) * float(base**place))


def positive(*, source: str, targets: Mapping[str, np.ndarray], steps: Steps) -> Units:
    """Adds row i of each target's matrix [size of source, size of target] if source[i] > 0.

    Proof, for steps of bias -1/2 and entries that are 0 or at least 1.5 / slope: then
    clip(slope x - 1/2) is 1 for x >= 1.5 / slope and 0 for x <= 0.5 / slope. QED
    """
    return Units(
        gate={source: np.diag(steps.slope)}, gate_bias=steps.bias, up_bias=1.0, down=targets
    )


def both(first: str, second: str, target: str, rows: np.ndarray) -> Units:
    """``target`` += rows[i, j] where flag i of ``first`` and flag j of ``second`` are both 1.

    Args:
      first: a slice of n flags.
      second: a slice of m flags, counted from 1; flag 0 is that none of them is 1.
      target: the slice that is written.
      rows: [n, m + 1, size of target].

    Proof. clip(f + g - 1) = f g for f, g in {0, 1}; and with g = 1 - sum(second) the gate is
    clip(f - sum(second)). QED
    """
    n, m = rows.shape[0], rows.shape[1] - 1
    return Units(
        gate={
            first: np.repeat(np.eye(n), m + 1, axis=1),
            second: np.tile(np.hstack([-np.ones((m, 1)), np.eye(m)]), n),
        },
        gate_bias=np.tile([0.0] + [-1.0] * m, n),
        up_bias=1.0,
        down={target: rows.reshape(n * (m + 1), -1)},
    )


def _entries(residual: Residual, what: Slice) -> tuple[str, np.ndarray]:
    name, entries = (what, None) if isinstance(what, str) else what
    everything = np.arange(residual.sizes[name])
    return name, everything if entries is None else everything[np.asarray(entries)].reshape(-1)


def _select(residual: Residual, name: str, entries: np.ndarray) -> np.ndarray:
    """[size, n]: column i is the unit vector of entry i."""
    return np.eye(residual.sizes[name])[:, entries]
