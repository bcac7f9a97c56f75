"""From built weights to a certificate: how far each number may be off, and that no gate is fooled.

`certify` runs through the graph once. What a head carries is off by the leak of the softmax, which
the gap of the scores bounds, and by rounding; what units read off a number is exact while it is off
by less than the distance to the gate's ends. Both are computed from the float32 weights.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple, NoReturn

import numpy as np

from constructions.blueprint import Blueprint, Units
from constructions.certificate import UNIT, Certificate, Record, by_length
from constructions.rasp.graph import Linear, Matches, Mean, Node, Position, Share, Steps, Table
from constructions.rasp.writing import Placed
from constructions.spec import Params, TransformerSpec

u = UNIT["float32"]
MOST_LENGTH = 2**20  # counts up to it are exact in float32, with room


class Error(NamedTuple):
    """|found - value| <= absolute + relative |value|; at the start token <= ``start``."""

    absolute: float
    relative: float = 0.0
    start: float = 0.0

    def at(self, value: float) -> float:
        """The bound at a value."""
        return self.absolute + self.relative * abs(value)


def certify(
    name: str,
    blueprint: Blueprint,
    placed: Sequence[Placed],
    length: int,
    spec: TransformerSpec,
    params: Params,
) -> Certificate:
    """The certificate of these weights for inputs of up to ``length`` tokens.

    Raises:
      ValueError: weights that are not the blueprint's, or an error that may fool a gate.
    """
    blueprint.verify(name, spec, params)
    if length > MOST_LENGTH:
        raise ValueError(f"{name}: expected a length up to {MOST_LENGTH:,}, got {length:,}")
    errors: dict[Node, Error] = {}
    margins: dict[int, list[float]] = defaultdict(list)
    heads = []
    for part in placed:
        node, layer = part.node, max(part.layer, 0)
        gap = spec.layers[layer].scale / 2 if part.head else math.inf
        leak = (length + 1) * math.exp(-gap)
        match node.operation:
            case Position():
                errors[node] = Error(0.0)
            case Table() if node.numeric:
                errors[node] = _read_off(node, part.units[0])
            case Linear() as line:
                errors[node] = linear_error(line, part.units[0], errors)
            case Mean() as mean if node.numeric:
                errors[node] = mean_error(mean, errors, length, leak)
            case Mean():
                # A sum of equal one-hots over their number, as for numbers up to 1.
                error = (length + 6) * u + 2 * leak
                margins[layer].append(0.25 - error)
                if error > 0.25:
                    refuse(node, length, f"a head may be off by {error:.1e}, expected .25")
            case Share():
                # exp(0) = 1 and the count are exact: a division, and a rounding of the leak.
                errors[node] = Error(leak, 4 * u, 1.0)
            case Steps() as steps:
                slack = _slack(node, steps, part.units[0], errors[steps.source], length)
                margins[layer].append(slack)
                if node.numeric:
                    errors[node] = _read_off(node, part.units[0])
        if part.head:
            heads.append((layer, part, gap, leak))
    output = placed[-1].node
    if output.numeric:
        _check_readout(output, errors[output], length)
    records = [*head_records(heads, spec), *_unit_records(placed, margins)]
    records.sort(key=lambda record: int(record.part.removeprefix("layer_").split()[0]))
    return by_length(
        spec, params, tuple(records), lambda length: 0.0, length=length + 1, unit="wrong values"
    )


def refuse(node: Node, length: int, reason: str) -> NoReturn:
    """Raises ValueError."""
    raise ValueError(f"{node.name}: cannot be certified at length {length:,}: {reason}")


def _floats(matrix: object) -> np.ndarray:
    """What is built of a weight: float32, in float64."""
    return np.asarray(matrix, np.float32).astype(np.float64)


def _largest(node: Node) -> float:
    return max(abs(float(node.values[0])), abs(float(node.values[-1])))


def _read_off(node: Node, units: Units) -> Error:
    """A number that open gates add up: each change rounded as a weight, then a sum."""
    exact, built = units.down[node.name], _floats(units.down[node.name])
    if isinstance(node.operation, Table) and len(node.operation.inputs) == 1:
        return Error(float(np.abs(built - exact).max()))  # a single gate is open
    total = float(np.abs(built).sum())
    return Error(float(np.abs(built - exact).sum()) + len(built) * u * total)


def linear_error(line: Linear, units: Units, errors: Mapping[Node, Error]) -> Error:
    """Of a sum: each term's, and rounding."""
    absolute = start = 0.0
    total = abs(float(line.constant))
    for x, factor in line.terms:
        reach = max(_largest(x), abs(float(x.at_start))) + errors[x].at(_largest(x))
        built = float(_floats(units.up[x.name])[0, 0])
        rounding = abs(built - float(factor)) * reach
        absolute += abs(built) * errors[x].at(_largest(x)) + rounding
        start += abs(built) * errors[x].start + rounding
        total += abs(built) * reach
    rounding = (len(line.terms) + 2) * u * total
    return Error(absolute + rounding, start=start + rounding)


def mean_error(mean: Mean, errors: Mapping[Node, Error], length: int, leak: float) -> Error:
    """What is selected weighs the same; all else, ``leak`` at most.

    At most length products are rounded and summed, after weights 1 / w that are rounded.
    """
    source = errors[mean.source]
    numbers = [_largest(mean.source), abs(float(mean.source.at_start)), abs(float(mean.default))]
    reach = max(numbers) + numbers[1] + numbers[2] + source.at(numbers[0]) + source.start
    rounding = (length + 6) * u * reach
    carried = source.at(numbers[0])
    empty = source.start + 4 * u * reach
    return Error(max(carried, empty) + rounding + 2 * leak * reach, start=empty + leak * reach)


def _slack(node: Node, steps: Steps, units: Units, error: Error, length: int) -> float:
    """The least distance, over all gates, of a number within its error from the gate's ends.

    s x + b is rounded twice. Beyond the two neighbours of a gate x only moves away from its ends,
    faster than error and rounding grow.
    """
    source = steps.source
    slope, bias, close = (
        _floats(part)[1:]
        for part in (units.gate[source.name][0], units.gate_bias, units.gate["bos"][0])
    )
    change = np.flatnonzero(np.diff(steps.index)) + 1
    low, high = (
        np.array([float(source.values[i]) for i in where]) for where in (change - 1, change)
    )
    if not len(change):
        return math.inf
    wrong = []
    for x, side in ((low, -1.0), (high, 1.0)):
        off = error.absolute + error.relative * np.abs(x)
        worst = slope * (x - side * off) + bias
        rounding = 2 * u * (np.abs(slope * x) + np.abs(bias) + slope * off)
        wrong.append((worst - 1 if side > 0 else -worst) - rounding)
    slack = float((np.minimum(*wrong) / slope).min())
    start = float(source.at_start) + error.start
    closed = slope * start + bias + close
    closed += 3 * u * (np.abs(slope * start) + np.abs(bias) + np.abs(close))
    if slack < 0:
        i = int((np.minimum(*wrong) / slope).argmin())
        refuse(
            node, length,
            f"{source.name} is {low[i]:.6g} or {high[i]:.6g}, off by {error.at(high[i]):.1e}: "
            "shorten it, or tell fewer values apart",
        )  # fmt: skip
    if closed.max() > 0:
        refuse(node, length, "a gate may open at the start token")
    return slack


def _check_readout(output: Node, error: Error, length: int) -> None:
    """Raises ValueError unless the nearest value is the right one."""
    values = np.array([float(value) for value in output.values])
    gaps = np.diff(values)
    off = [error.at(value) + 2 * u * abs(value) for value in values]
    for i, gap in enumerate(gaps):
        if gap / 2 <= max(off[i], off[i + 1]):
            refuse(
                output, length,
                f"its values {values[i]:.6g} and {values[i + 1]:.6g} are off by up to "
                f"{max(off[i], off[i + 1]):.1e}: shorten it, or map it to fewer values",
            )  # fmt: skip


def head_records(
    heads: Sequence[tuple[int, Placed, float, float]], spec: TransformerSpec
) -> list[Record]:
    """What is certified of each head: (layer, node, gap, leak)."""
    records, count = [], dict[int, int]()
    for layer, part, gap, leak in heads:
        node, number = part.node, count.get(layer, 0)
        count[layer] = number + 1
        match node.operation:
            case Share(selector=selector):
                kind = "1 / (1 + number selected)"
            case Mean(selector=selector, source=source):
                kind = f"mean of {source.name}"
        records.append(
            Record(
                part=f"layer_{layer} head {number}",
                kind=f"{node.name} := {kind} where {_words(selector)}",
                margin=gap,
                magnitude=spec.layers[layer].scale * (2 * len(selector) + 1),
                note=f"mass elsewhere <= {leak:.1e}",
            )
        )
    return records


def _words(selector: Matches) -> str:
    conditions = [
        f"{m.keys.name} fits {m.queries.name} ({int(m.holds.sum())} of {m.holds.size} pairs)"
        for m in selector
    ]
    return " and ".join(conditions) or "any token is"


def _unit_records(placed: Sequence[Placed], margins: Mapping[int, list[float]]) -> list[Record]:
    layers: dict[int, list[str]] = defaultdict(list)
    for part in placed:
        if part.units:
            count = sum(units.count for units in part.units)
            reads = ", ".join(dict.fromkeys(x.name for x in part.node.inputs))
            verb = "sharpened" if part.head else f"from {reads}"
            layers[part.layer].append(f"{part.node.name} {verb} ({count} units)")
    return [
        Record(
            part=f"layer_{layer} mlp",
            kind="tables",
            margin=min(margins.get(layer, [math.inf])),
            magnitude=1.0,
            exact=layer not in margins,
            note="; ".join(parts),
        )
        for layer, parts in layers.items()
    ]
