"""Gadgets: each function writes one named piece of a computation into params.

A gadget's proof stands beside the weights that it writes. Gadgets speak of residual slices by
name and never of column numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from constructions.residual import Residual
from constructions.spec import Params


def copy_columns(matrix: np.ndarray, rows: slice, columns: slice, gain: float = 1.0) -> None:
    """matrix[rows, columns] += gain I: carries one slice onto another of the same size."""
    size = rows.stop - rows.start
    if columns.stop - columns.start != size:
        raise ValueError(f"copy: expected slices of one size, got {rows} and {columns}")
    matrix[rows, columns] += gain * np.eye(size, dtype=matrix.dtype)


def mean_head(
    params: Params, residual: Residual, layer: int, head: int, *, source: str, target: str
) -> None:
    """``target`` := mean of ``source`` over all tokens so far.

    Proof. w_q = w_k = 0, so all scores are equal, and so are all weights. QED
    """
    values = slice(0, residual.sizes[source])
    copy_columns(params[f"layer_{layer}.w_v"][head], residual[source], values)
    copy_columns(params[f"layer_{layer}.w_o"][head], values, residual[target])


def product(
    params: Params,
    residual: Residual,
    layer: int,
    unit: int,
    *,
    factor: str,
    other: str,
    plus: float,
    targets: Sequence[str],
) -> int:
    """Every target += factor (other + plus), for ``factor`` between -1 and 1. Two units.

    Proof. clip(f) - clip(-f) = f for |f| <= 1, and one of the two terms is zero, so that the
    product is rounded once. QED
    """
    for sign in (1, -1):
        params[f"layer_{layer}.w_gate"][residual.column(factor), unit] = sign
        params[f"layer_{layer}.w_up"][residual.column(other), unit] = 1
        params[f"layer_{layer}.b_up"][unit] = plus
        for target in targets:
            params[f"layer_{layer}.w_down"][unit, residual.column(target)] = sign
        unit += 1
    return unit


def select(
    params: Params,
    residual: Residual,
    layer: int,
    unit: int,
    *,
    gate: str,
    source: str,
    plus: float,
    target: str,
) -> int:
    """``target`` += source + plus where ``gate`` is 1, unchanged where it is 0. One unit."""
    params[f"layer_{layer}.w_gate"][residual.column(gate), unit] = 1
    params[f"layer_{layer}.w_up"][residual.column(source), unit] = 1
    params[f"layer_{layer}.b_up"][unit] = plus
    params[f"layer_{layer}.w_down"][unit, residual.column(target)] = 1
    return unit + 1


def digit(
    params: Params,
    residual: Residual,
    layer: int,
    unit: int,
    *,
    source: str,
    digits: str,
    square: str,
    base: int,
    place: int,
) -> int:
    """Moves digit ``place`` of ``source`` to ``digits``, adds its square. base - 1 units.

    For an integer 0 <= x < base^(place + 1) in ``source``: digits[place] := m = x div B, with
    B = base^place, ``square`` += m^2 and ``source`` := x mod B.

    Proof. Unit j = 1 .. base - 1 has the gate clip(4 (x - j B) + 5/2): 1 for x >= j B - 3/8 and 0
    for x <= j B - 5/8, hence [x >= j B] for every x within 3/8 of an integer. Units 1 .. m are on:
    they add 1 each to the digit, sum_(j <= m) (2 j - 1) = m^2 to the square and -m B to the source.
    What is left of the source's error stays below 3/8 and passes to the next digit. QED
    """
    size = float(base**place)
    for j in range(1, base):
        params[f"layer_{layer}.w_gate"][residual.column(source), unit] = 4
        params[f"layer_{layer}.b_gate"][unit] = 2.5 - 4 * j * size
        params[f"layer_{layer}.b_up"][unit] = 1
        down = params[f"layer_{layer}.w_down"][unit]
        down[residual.column(source)] = -size
        down[residual.column(digits, place)] = 1
        down[residual.column(square)] = 2 * j - 1
        unit += 1
    return unit


def address_head(
    params: Params,
    residual: Residual,
    layer: int,
    head: int,
    *,
    query: str,
    key: str,
    key_square: str,
    value: str,
    target: str,
    sink: tuple[str, str] | None = None,
) -> None:
    """``target`` := mean of ``value`` over the tokens whose ``key`` equals the ``query``.

    Args:
      query, key: slices a and b of one size n, holding integers.
      key_square: the column that holds |b|^2.
      sink: (flag, query square): the tokens with flag 1 and b = 0 answer where no key matches;
        the second column holds |a|^2.

    Proof. The score is 2 <a, b> - |b|^2 = |a|^2 - |a - b|^2 times the scale: |a|^2 for an equal key
    and at least 1 less for any other, since both are integers. A sink scores |a|^2 - 1/2: less
    than a match and more than any other. All terms are multiples of 1/2. QED
    """
    w_q, w_k = params[f"layer_{layer}.w_q"][head], params[f"layer_{layer}.w_k"][head]
    n = residual.sizes[query]
    copy_columns(w_q, residual[query], slice(0, n))
    copy_columns(w_k, residual[key], slice(0, n), gain=2)
    w_q[residual.column("one"), n] = 1
    w_k[residual.column(key_square), n] = -1
    if sink:
        flag, query_square = sink
        w_k[residual.column(flag), n] = -0.5
        w_q[residual.column(query_square), n + 1] = 1
        w_k[residual.column(flag), n + 1] = 1
    values = slice(0, residual.sizes[value])
    copy_columns(params[f"layer_{layer}.w_v"][head], residual[value], values)
    copy_columns(params[f"layer_{layer}.w_o"][head], values, residual[target])


def positive(
    params: Params,
    residual: Residual,
    layer: int,
    unit: int,
    *,
    source: str,
    targets: Mapping[str, np.ndarray],
    slope: float,
) -> int:
    """Adds row i of each target's matrix [size of source, size of target] if source[i] > 0.

    Entries of ``source`` must be 0 or at least 1.5 / slope. One unit an entry.

    Proof. clip(slope x - 1/2) is 1 for x >= 1.5 / slope and 0 for x <= 0.5 / slope. QED
    """
    for i in range(residual.sizes[source]):
        params[f"layer_{layer}.w_gate"][residual.column(source, i), unit] = slope
        params[f"layer_{layer}.b_gate"][unit] = -0.5
        params[f"layer_{layer}.b_up"][unit] = 1
        for target, rows in targets.items():
            params[f"layer_{layer}.w_down"][unit, residual[target]] = rows[i]
        unit += 1
    return unit


def both(
    params: Params,
    residual: Residual,
    layer: int,
    unit: int,
    *,
    first: tuple[str, int],
    second: tuple[str, int],
    target: str,
    row: np.ndarray,
) -> int:
    """``target`` += row where two flags, each (slice, entry), are both 1. One unit.

    Entry -1 of ``second`` is the flag that no entry of that slice is 1.

    Proof. clip(f + g - 1) = f g for f, g in {0, 1}; and with g = 1 - sum(second) the gate is
    clip(f - sum(second)). QED
    """
    w_gate = params[f"layer_{layer}.w_gate"]
    w_gate[residual.column(*first), unit] = 1
    if second[1] < 0:
        w_gate[residual[second[0]], unit] = -1
    else:
        w_gate[residual.column(*second), unit] = 1
        params[f"layer_{layer}.b_gate"][unit] = -1
    params[f"layer_{layer}.b_up"][unit] = 1
    params[f"layer_{layer}.w_down"][unit, residual[target]] = row
    return unit + 1
