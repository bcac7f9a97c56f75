"""From a program's stock weights to a certificate: what is exact, and that rounding makes it so.

`certify` compares every weight with the plan, and then runs through the graph. Two things are new
against `bounding`: gates do not saturate, so that what they add is off by the rounding of their
distance from zero, and what is categorical is rounded by the offset that it lies above.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from constructions.blueprint import Units
from constructions.certificate import UNIT, Certificate, Record, by_length
from constructions.machines.stock_weights import TapeNumbers
from constructions.machines.stored_arithmetic import FLOAT32
from constructions.machines.tape_certificate import check_type, check_weights, norm_fault, still
from constructions.rasp.bounding import Error, head_records, linear_error, mean_error, refuse
from constructions.rasp.graph import Linear, Mean, Node, Share, Steps, Table
from constructions.rasp.stock_writing import GAP, STEEP, StockPlan
from constructions.rasp.writing import SCALE
from constructions.spec import Params, TransformerSpec

u = UNIT["float32"]
MOST_LENGTH = 2**14
LEAST_OFFSET = 1.5 * 2.0**4


def certify(
    name: str, plan: StockPlan, length: int, spec: TransformerSpec, params: Params
) -> Certificate:
    """The certificate of these weights for inputs of up to ``length`` tokens.

    Raises:
      ValueError: weights that are not the plan's, or that are not certain.
    """
    check_type(spec, params, plan.spec)
    numbers = TapeNumbers(plan.ballast, SCALE, STEEP, GAP)
    check_weights(params, numbers, plan.build)
    if length > MOST_LENGTH:
        raise ValueError(f"{name}: expected a length up to {MOST_LENGTH:,}, got {length:,}")
    size = spec.layers[0].key_size
    if reason := norm_fault(numbers, plan.residual, plan.squares, FLOAT32):
        raise ValueError(f"{name}: {reason}")
    if still(length + 1, size) >= u / 2:
        raise ValueError(f"{name}: an entry turns by {still(length + 1, size):.2g} rad")
    _check_sums(name, plan, length, params)
    off = rounding_needed(plan, length)
    if off >= _step(plan.offset):
        refuse(plan.output, length, f"one-hots are off by {off:.1e}, their offset rounds less")
    leak = (length + 1) * math.exp(-SCALE / 2)
    heads = [(part.layer, part, SCALE / 2, leak) for part in plan.placed if part.head]
    records = head_records(heads, spec)
    for i, layer in enumerate(spec.layers):
        used = sum(at == i for at, *_ in heads)
        idle = [f"layer_{i} head {h}" for h in range(used, layer.heads)]
        records += [Record(part=part, kind="nothing", magnitude=0.0, exact=True) for part in idle]
        nodes = [p.node.name for p in plan.placed if p.layer == i and p.units]
        records.append(
            Record(
                part=f"layer_{i} mlp",
                kind="tables" if nodes else "nothing",
                margin=_step(plan.offset) - off,
                magnitude=STEEP,
                note=", ".join(nodes),
            )
        )
    records.sort(key=lambda record: int(record.part.split()[0][6:]))
    readout = Record(part="readout", kind="logits", margin=GAP, magnitude=GAP * plan.offset)
    return by_length(
        spec, params, (*records, readout), lambda length: 0.0, length=length + 1,
        unit="wrong values",
    )  # fmt: skip


def _step(offset: float) -> float:
    """Half a unit in the last place, by which less a sum with the offset is no other number.

    >>> np.float32(24) + np.float32(1 + 0.9 * _step(24.0)), _step(24.0)
    (np.float32(25.0), 9.5367431640625e-07)
    """
    return float(2.0 ** (math.floor(math.log2(offset)) - 24))


def offset_for(plan: StockPlan, length: int) -> float:
    """The least 1.5 2^k whose rounding makes all one-hots exact."""
    offset = LEAST_OFFSET
    while _step(offset) <= rounding_needed(plan, length):
        offset *= 2
    return offset


def rounding_needed(plan: StockPlan, length: int) -> float:
    """By how much an entry of a one-hot may be off before the offset rounds it.

    By induction over the nodes: what they read is exact, if it is categorical, and else within the
    error that is carried along. Matches have one score, an integer times SCALE / 2 in any order
    (`_check_sums`), so that they weigh the same, and all else exp(-SCALE / 2); what follows for
    means and shares is said at `bounding`. For units see `_added`.

    Raises:
      ValueError: a number that cannot be told from another, with its node.
    """
    errors: dict[Node, Error] = {}
    leak, needed = (length + 1) * math.exp(-SCALE / 2), 0.0
    for part in plan.placed:
        node, off = part.node, 0.0
        match node.operation:
            case Linear() as line:
                error = linear_error(line, part.units[0], errors)
                reach = sum(abs(float(a)) * _reach(x) for x, a in line.terms)
                more = 8 * u * (reach + abs(float(line.constant)))  # of the gate that stays open
                errors[node] = Error(error.absolute + more, start=error.start + more)
            case Share():
                errors[node] = Error(leak, 4 * u, leak)
            case Mean() as mean if node.numeric:
                errors[node] = mean_error(mean, errors, length, leak)
            case Mean():
                off = (length + 6) * u + 2 * leak
                for units in part.units:  # what takes it from the start token again
                    off = max(off, _added(node, units, _highest(units)))
            case Steps(source=source):
                _check_gates(node, source, part.units[0], errors[source], length)
                off = _added(node, part.units[0], _farthest(source, part.units[0]))
            case Table():
                off = _added(node, part.units[0], _highest(part.units[0]))
        if node.numeric and isinstance(node.operation, Table | Steps):
            errors[node] = Error(off)
        elif not node.numeric:
            needed = max(needed, off)
    return needed


def _reach(node: Node) -> float:
    return max(abs(float(x)) for x in (node.values[0], node.values[-1], node.at_start)) + 1


def _farthest(source: Node, units: Units) -> np.ndarray:
    """[n]: the most that a gate on a number may come to; closed ones add nothing, however far."""
    ends = (float(source.values[0]), float(source.values[-1]))
    slope = units.gate[source.name][0]
    found: np.ndarray = np.max([slope * x + units.gate_bias for x in ends], axis=0)
    return found


def _added(node: Node, units: Units, most: np.ndarray) -> float:
    """How far an entry may be off that open gates add up, the largest.

    A gate z is open if z >= 1, and then adds 2 silu(S (z - 1/4)) / S - 2 silu(S (z - 3/4)) / S = 1,
    whatever z is; closed, less than 1e-50. With P >= z: biases are rounded by u (|b| + 1), a sum of
    two numbers by u (P + 1), silu by 4 u (P + 1), all twice and times 2, and silu' < 1.1; products
    with what is added by u 2 (P + 1) each; the sum over the n gates that reach an entry, in any
    order, by 2 n u times the sum of those. What is added is itself rounded by u. QED

    Args:
      most: P of each gate.
    """
    bias = np.abs(np.broadcast_to(np.asarray(units.gate_bias, float), (units.count,)))
    rows = np.abs(units.down[node.name])
    alone = rows * (4.4 * (bias + 1) + 27 * (most + 1))[:, None]
    sizes = rows * (most + 1)[:, None]
    if _exclusive(units):  # the first, which is open for every token or one of many, and another
        alone, sizes = alone[0] + alone.max(axis=0), sizes[0] + sizes.max(axis=0)
        gates = np.full(len(alone), 2)
    else:
        gates = np.count_nonzero(rows, axis=0)
        alone, sizes = alone.sum(axis=0), sizes.sum(axis=0)
    return float(u * (alone + 8 * gates * sizes).max()) + 1e-30


def _exclusive(units: Units) -> bool:
    """Whether all gates but the first are flags of one input, or of two that both must be set."""
    flags = [gate for name, gate in units.gate.items() if name != "bos"]
    bias = np.broadcast_to(np.asarray(units.gate_bias, float), (units.count,))[1:]
    return all(np.isin(gate, (0, 1)).all() for gate in flags) and (
        len(flags) == 1 or bool((bias == -1).all())
    )


def _highest(units: Units) -> np.ndarray:
    """[n]: the most that a gate on one-hots comes to."""
    tops = [gate.max(axis=0) for name, gate in units.gate.items() if name != "bos"]
    return np.broadcast_to(np.maximum(sum(tops) + units.gate_bias, 1.0), (units.count,))


def _check_gates(node: Node, source: Node, units: Units, error: Error, length: int) -> None:
    """Raises ValueError unless all gates are open or closed, at the start token closed.

    z is one product, exact as the slope is a power of two, and a sum with the rounded bias.
    """
    slope, bias = units.gate[source.name][0][1:], np.asarray(units.gate_bias)[1:]
    close = units.gate["bos"][0][1:]
    values = np.array([float(value) for value in source.values])
    after = np.searchsorted(values, (0.5 - bias) / slope) if len(slope) else np.zeros(0, int)
    for i, side in ((after - 1, -1.0), (after, 1.0)):
        x = values[i]
        opens = side * slope > 0
        z = slope * x + bias
        off = np.abs(slope) * (error.absolute + error.relative * np.abs(x))
        off = off + 2 * u * (np.abs(slope * x) + np.abs(bias) + 1)
        wrong = np.where(opens, z - off < 1, z + off > 0)
        if wrong.any():
            place = int(np.flatnonzero(wrong)[0])
            two = values[after[place] - 1], values[after[place]]
            refuse(
                node, length,
                f"{source.name} is {two[0]:.6g} or {two[1]:.6g}, off by "
                f"{error.at(two[1]):.1e}: shorten it, or tell fewer values apart",
            )  # fmt: skip
    start = slope * float(source.at_start) + np.abs(slope) * error.start + bias + close
    if len(slope) and start.max() > 0:
        refuse(node, length, "a gate may open at the start token")


def _check_sums(name: str, plan: StockPlan, length: int, params: Params) -> None:
    """Raises ValueError unless sums of what is exact are exact, in any order.

    They are of integers times a unit, a power of two, and come to less than 2^24 units.
    """
    r = plan.residual
    size = np.ones(r.width)
    size[plan.categorical] = plan.offset + 1
    numeric = np.concatenate([np.zeros(0, int), *(
        np.arange(r.width)[r[p.node.name]] for p in plan.placed if p.node.numeric
    )])  # fmt: skip
    for leaf, weights in params.items():
        if leaf.rpartition("w_")[2] not in ("q", "k", "v", "gate", "up", "out"):
            continue
        w = weights.astype(np.float64)
        plain = w[..., numeric, :].any(axis=-2)  # a number, rounded: its error is carried along
        # What is positive, or negative, is the most that a part of a sum comes to.
        signs = [np.maximum(sign * w, 0) * size[:, None] for sign in (1, -1)]
        sums = np.maximum(*(part.sum(axis=-2) for part in signs)) / unit_of(w)
        if (sums[~plain] >= 2.0**24).any():
            raise ValueError(
                f"{name}: cannot be certified at length {length:,}: {leaf} adds up to "
                f"{sums[~plain].max():.2g} units, expected less than 2^24: shorten it, or ask of "
                "fewer values"
            )


def unit_of(weights: Any) -> np.ndarray:
    """The largest power of two of which all weights of a column are multiples.

    >>> unit_of(np.array([[6.0, 0.0], [1.5, 0.0]]))
    array([0.5, 1. ])
    """
    mantissa, exponent = np.frexp(weights)
    whole = np.ldexp(mantissa, 24).astype(np.int64)
    unit = np.where(whole, np.ldexp(1.0, exponent - 24) * (whole & -whole), np.inf)
    least = unit.min(axis=-2)
    return np.where(np.isfinite(least), least, 1.0)
