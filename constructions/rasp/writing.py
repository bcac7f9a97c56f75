"""From a graph to a blueprint: heads and hidden units, each with its proof.

Invariants of the residual stream, which every gadget keeps and the certificate checks. Of an input
token, a categorical slice is one-hot, of entries that are 0 and 1 exactly; a numeric one is within
a computed error of its value. At the start token all categorical slices are 0, exactly, and a
numeric one is near its constant `at_start`. All gates are hard sigmoids, clip(z, 0, 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from constructions.blueprint import Blueprint, Gain, Head, LayerBlueprint, Units
from constructions.gadgets import move
from constructions.rasp.graph import (
    Linear,
    Matches,
    Mean,
    Node,
    Position,
    Share,
    Steps,
    Table,
    Tokens,
)
from constructions.rasp.values import Value
from constructions.residual import Residual

# A key that meets all conditions of a selector leads every other by this, in logits, and the start
# token by half of it: exp(-128) is 0 in float32 and exp(-64) is 1.6e-28.
SCALE = 128.0
MOST_INTEGER = 2**20  # of an input of an integer form: sums of two stay exact


@dataclass(frozen=True)
class Placed:
    """A node's head and units, and the layer in which they stand."""

    node: Node
    layer: int
    head: Head | None
    units: tuple[Units, ...]


class Ready(NamedTuple):
    """The layer that computes a node, and the number of sublayers after which it is there."""

    layer: int
    after: int


def place(output: Node, nodes: Sequence[Node]) -> tuple[list[tuple[Node, int]], int]:
    """(node, its layer) of all that the output needs, in order, and the number of layers.

    Layer l reads, in its heads, what stands after 2 l sublayers and, in its units, after 2 l + 1.
    """
    needed, stack = {output}, [output]
    while stack:
        for node in stack.pop().inputs:
            if node not in needed:
                needed.add(node)
                stack.append(node)
    ready: dict[Node, Ready] = {}
    for node in nodes:
        if node in needed:
            after = max((ready[x].after for x in node.inputs), default=0)
            ready[node] = _ready(node, after)
    layers = 1 + max(there.layer for there in ready.values())
    return [(node, there.layer) for node, there in ready.items()], layers


def _ready(node: Node, after: int) -> Ready:
    match node.operation:
        case Tokens() | Position():
            return Ready(-1, 0)
        case Mean() | Share():
            layer = (after + 1) // 2
            # The one-hot of a mean is made exact by the units of the same layer.
            return Ready(layer, 2 * layer + (1 if node.numeric else 2))
    layer = after // 2
    return Ready(layer, 2 * layer + 2)


def write(
    output: Node, nodes: Sequence[Node], alphabet: int, *, causal: bool
) -> tuple[Blueprint, list[Placed]]:
    """The blueprint of a graph, and what stands where in it."""
    order, count = place(output, nodes)
    residual = Residual(one=1, bos=1, **{node.name: node.size for node, _ in order})
    placed = [Placed(node, layer, head(node), units(node)) for node, layer in order]
    layers = tuple(
        LayerBlueprint(
            heads=tuple(p.head for p in placed if p.layer == i and p.head),
            units=tuple(group for p in placed if p.layer == i for group in p.units),
            mask="causal" if causal else "prefix",
            scale=SCALE,
            gate="hard_sigmoid",
        )
        for i in range(count)
    )
    rows = np.eye(alphabet + 1)
    embed = {"one": np.ones((alphabet + 1, 1)), "bos": rows[:, alphabet:]}
    for node, _ in order:
        if isinstance(node.operation, Tokens):
            embed[node.name] = rows[:, :alphabet]
    reads_index = any(isinstance(node.operation, Position) for node, _ in order)
    blueprint = Blueprint(
        residual=residual,
        embed=embed,
        layers=layers,
        out={output.name: np.eye(output.size)},
        positions=("index",) if reads_index else (),
    )
    return blueprint, placed


def head(node: Node) -> Head | None:
    """A mean or a share.

    Proof. Queries and keys are one-hot, or 0 at the start token, so a key's score is the number of
    conditions that it meets: m for a selected one, at most m - 1 for others. The start token as a
    key meets none and scores what its own entry says.
    Mean: m - 1/2. If w > 0 keys are selected, they weigh 1 each and all else exp(-SCALE / 2) at
    most; if none is, the start token weighs 1 and holds the default. For the start token as a
    query it scores m + 1 more, so that it reads itself alone: at_start is the default.
    Share: m. The start token weighs 1 beside w selected keys, and alone has the value 1. QED
    """
    match node.operation:
        case Mean(selector=selector, source=source, default=default) if node.numeric:
            score = _score(selector, 0.5) | {("bos", "bos"): float(len(selector) + 1)}
            start = float(default - source.at_start)
            return Head(
                score=score, value={(source.name, node.name): 1.0, ("bos", node.name): start}
            )
        case Mean(selector=selector, source=source, default=default):
            value: dict[tuple[str, str], Gain] = {
                (source.name, node.name): _one_hot(source.values, node)
            }
            if default in node.values:
                value["bos", node.name] = _one_hot([default], node)
            return Head(score=_score(selector, 0.5), value=value)
        case Share(selector=selector):
            return Head(score=_score(selector, 0.0), value={("bos", node.name): 1.0})
    return None


def _score(selector: Matches, below: float) -> dict[tuple[str, str], Gain]:
    score: dict[tuple[str, str], Gain] = {("one", "bos"): len(selector) - below}
    for match in selector:
        pair = match.queries.name, match.keys.name
        score[pair] = score.get(pair, 0.0) + match.holds.astype(np.float64)
    return score


def _one_hot(values: Sequence[Value], node: Node) -> np.ndarray:
    """[values, size]: each value's one-hot in the slice of the node."""
    rows = np.zeros((len(values), node.size))
    rows[np.arange(len(values)), [node.values.index(value) for value in values]] = 1
    return rows


def units(node: Node) -> tuple[Units, ...]:
    """How hidden units compute a node, or make what a head has carried exact."""
    match node.operation:
        case Table(inputs=(x,), index=index):
            return (_table(x, node, index),)
        case Table(inputs=(x, y), index=index):
            return (_pairs(x, y, node, index),)
        case Steps(source=source, index=index):
            return _steps(source, node, index)
        case Linear(terms=terms, constant=constant):
            # An open gate; the constant is added at the start token too.
            up = {x.name: np.array([[float(factor)]]) for x, factor in terms}
            line = Units(gate_bias=1.0, up=up, up_bias=float(constant), down=_one(node))
            return (line,)
        case Mean() if not node.numeric:
            return _sharpen(node)
    return ()


def _one(node: Node) -> dict[str, np.ndarray]:
    return {node.name: np.ones((1, 1))}


def held(node: Node, index: np.ndarray) -> np.ndarray:
    """[n, size]: what each of n gates adds, for the node to hold the value at its index."""
    if node.numeric:
        return np.array([float(node.values[i]) for i in index]).reshape(-1, 1)
    return np.eye(node.size)[index]


def _changes(node: Node, index: np.ndarray, change: np.ndarray) -> np.ndarray:
    """[1 + n, size]: the first output, then what each of n changes adds to the output before."""
    after, before = held(node, index[change]), held(node, index[change - 1])
    return np.vstack([held(node, index[:1]), after - before])


def _table(x: Node, node: Node, index: np.ndarray) -> Units:
    """A unit for each value of the node: the sum of the inputs' entries that lead to it.

    Proof. The input is one-hot, so exactly one of these sums is 1; at the start token none. QED
    """
    outputs = np.unique(index)
    gate = (index[:, None] == outputs).astype(np.float64)
    return Units(gate={x.name: gate}, up_bias=1.0, down={node.name: held(node, outputs)})


def _pairs(x: Node, y: Node, node: Node, index: np.ndarray) -> Units:
    """A table of two inputs: by steps on an integer form, or by a unit a pair of classes.

    Proof of the second. Values of x that lead to the same row are one class, as are those of y
    that lead to the same column. clip(f + g - 1) = f g for flags f and g of the classes, so
    at most one of these units is 1, the one of the input's pair if it has one. Pairs that lead to
    the most common output have none: a unit of gate clip(1 - bos) adds that output, and the others
    add what is to be added to it. At the start token no flag is 1 and no gate open. QED
    """
    form = _integer_form(x, y, index)
    first, of_x = np.unique(index, axis=0, return_inverse=True)
    classes, of_y = np.unique(first, axis=1, return_inverse=True)
    common = np.bincount(classes.reshape(-1)).argmax()
    rows, columns = np.nonzero(classes != common)
    if form is not None and np.count_nonzero(np.diff(form[2])) < len(rows):
        return _integer_steps(x, y, node, *form)
    gates = {
        x.name: np.hstack([np.zeros((len(of_x), 1)), of_x.reshape(-1, 1) == rows]),
        y.name: np.hstack([np.zeros((len(of_y), 1)), of_y.reshape(-1, 1) == columns]),
        "bos": np.concatenate([[-1.0], np.zeros(len(rows))])[None],
    }
    base = held(node, np.array([common]))
    return Units(
        gate=gates,
        gate_bias=np.concatenate([[1.0], np.full(len(rows), -1.0)]),
        up_bias=1.0,
        down={node.name: np.vstack([base, held(node, classes[rows, columns]) - base])},
    )


def _integer_form(x: Node, y: Node, index: np.ndarray) -> tuple[int, np.ndarray, np.ndarray] | None:
    """(sign, sums z in order, index of each) if the table is a function of z = x + sign y."""
    numbers = [*x.values, *y.values]
    if not all(isinstance(value, int) and abs(value) <= MOST_INTEGER for value in numbers):
        return None
    left, right = (np.array([int(value) for value in node.values]) for node in (x, y))
    for sign in (1, -1):
        sums = left[:, None] + sign * right
        z, where, of = np.unique(sums, return_index=True, return_inverse=True)
        found = index.reshape(-1)[where]
        if (found[of.reshape(-1)] == index.reshape(-1)).all():
            return sign, z, found
    return None


def _integer_steps(
    x: Node, y: Node, node: Node, sign: int, z: np.ndarray, index: np.ndarray
) -> Units:
    """A step clip(z - b + 1) for each b at which the output changes, and the output before all.

    Proof. Input tokens have integers z, read off exactly, so a step is [z >= b]; those up to z are
    1 and add up the changes. The start token has z = 0, from which a number is taken that closes
    every gate. QED
    """
    change = np.flatnonzero(np.diff(index)) + 1
    first = 1.0 - z[change]
    values = [np.array([int(value) for value in part.values], float) for part in (x, y)]
    n = len(change)
    gates = {
        x.name: np.outer(values[0], np.ones(n)),
        y.name: sign * np.outer(values[1], np.ones(n)),
        "bos": -np.maximum(first, 0.0)[None],
    }
    gates = {name: np.hstack([np.zeros((len(gate), 1)), gate]) for name, gate in gates.items()}
    gates["bos"][0, 0] = -1.0
    return Units(
        gate=gates,
        gate_bias=np.concatenate([[1.0], first]),
        up_bias=1.0,
        down={node.name: _changes(node, index, change)},
    )


def _steps(source: Node, node: Node, index: np.ndarray) -> tuple[Units, ...]:
    """A step halfway between neighbouring values at which the output changes.

    Proof. With slope s >= 2 / gap the gate clip(s (x - middle) + 1/2) is 0 up to middle - gap / 4
    and 1 from middle + gap / 4 on, so it is exact while x is off by gap / 4 at most: the
    certificate compares. Gates that are open add up the changes. At the start token all are closed
    by a large number, and the one of the first output by 1. QED
    """
    change = np.flatnonzero(np.diff(index)) + 1
    low, high = (np.array([float(source.values[i]) for i in c]) for c in (change - 1, change))
    slope = 2.0 ** np.ceil(np.log2(2 / (high - low))) if len(change) else np.zeros(0)
    bias = 0.5 - slope * (low + high) / 2
    # At the start token the source is within 1 of at_start.
    ahead = np.maximum(slope * (float(source.at_start) + 1) + bias, 1.0)
    close = 2.0 ** np.ceil(np.log2(ahead))
    return (
        Units(
            gate={
                source.name: np.concatenate([[0.0], slope])[None],
                "bos": -np.concatenate([[1.0], close])[None],
            },
            gate_bias=np.concatenate([[1.0], bias]),
            up_bias=1.0,
            down={node.name: _changes(node, index, change)},
        ),
    )


def _sharpen(node: Node) -> tuple[Units, ...]:
    """Replaces what a head has carried by exact zeros and ones, and by 0 at the start token.

    Proof. clip(2 x - 1/2) is 0 up to 1/4 and 1 from 3/4 on. Then x - x + 0 = 0, and x - x + 1 = 1
    without rounding for x between 1/2 and 2, in any order. QED
    """
    n = node.size
    sharp = Units(
        gate={node.name: 2 * np.eye(n), "bos": np.full((1, n), -4.0)},
        gate_bias=-0.5,
        up_bias=1.0,
        down={node.name: np.eye(n)},
    )
    return move(Residual(**{node.name: n}), node.name, {node.name: -1.0}), sharp
