"""From a graph to a stock Llama: the heads and units of `writing`, in an architecture with less.

What a Llama lacks, and what stands for it:

*Biases, and an identity for a norm.* The ballast of `stock_weights`, which comes out as 1.

*Positions.* A token sees itself and those before it, so that the start token has 1 / (2 + index)
of the weight of a head that looks at all alike: the index is read off that. Rotary positions turn
no entry that is used.

*Gates that saturate.* clip(z) is 2 silu(S (z - 1/4)) / S - 2 silu(S (z - 3/4)) / S: 0 for z <= 0,
and 1 for z >= 1, as far from zero silu(x) is 0 or x.

*Rounding.* A difference of large numbers is off by more than a clip. So every categorical slice
lies ``offset`` above what it holds, and whatever reads it takes that off again: adding a number to
the offset rounds it to the offset's unit in the last place, and one-hots come out as exact zeros
and ones, behind heads as behind units. Here the residual stream itself makes them exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np

from constructions.blueprint import Head, Units, matrix
from constructions.machines.stock_weights import llama, still_entries, undo_norms, with_ballast
from constructions.rasp import expressions as rasp
from constructions.rasp import writing
from constructions.rasp.graph import Matches, Mean, Node, Seen, Steps
from constructions.rasp.lowering import Lowering
from constructions.rasp.writing import SCALE, Placed
from constructions.residual import Residual
from constructions.spec import Params, TransformerSpec, blank

STEEP = 512.0  # S: gates stand S / 4 from zero or further, where exp(-|x|) is 2.6e-56
GAP = 64.0  # by which the right logit leads
HEADS = (16, 64, 256, 1024)  # powers of four, so that their roots are exact


class StockLowering(Lowering):
    """A program's nodes under the causal mask, its indices by what the start token weighs."""

    def _lower(self, expression: Any) -> Node:
        if isinstance(expression, rasp.Indices):
            seen = self._share("seen", ())
            places = [int(1 / share) - 2 for share in seen.values]
            return self._map(expression.name, expression.numeric, seen, places)
        return super()._lower(expression)

    def _share(self, name: str, selector: Matches) -> Node:
        if selector:
            return super()._share(name, selector)
        values = tuple(Fraction(1, 1 + seen) for seen in range(self.length, 0, -1))
        return self._shared(
            ("share",), "seen", values, True, lambda: Seen(()), at_start=Fraction(1)
        )


@dataclass(frozen=True, eq=False)
class StockPlan:
    """What stands where.

    Args:
      placed: of each node, its head and units, and their layer.
      rows: for each token, the entry of `tokens` that it is, or -1; the start token's is -2.
      columns: for each value of the output, the token that says it.
      offset: above which categorical slices lie.
    """

    placed: tuple[Placed, ...]
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    offset: float

    @property
    def output(self) -> Node:
        """What is read out."""
        return self.placed[-1].node

    @cached_property
    def residual(self) -> Residual:
        """The ballast, whether it is the start token, the nodes."""
        return with_ballast({"bos": 1} | {p.node.name: p.node.size for p in self.placed})

    @cached_property
    def ballast(self) -> float:
        """A power of two whose square absorbs all others' in float64 too: 2^54 times their sum."""
        return float(2.0 ** np.ceil(27 + np.log2(self.squares) / 2))

    @property
    def squares(self) -> float:
        """The most that the squares of all channels beside the ballast add up to."""
        numeric = [p.node for p in self.placed if p.node.numeric]
        large = [max(abs(node.values[0]), abs(node.values[-1])) + 1 for node in numeric]
        ones = len(self.categorical) * (self.offset + 2) ** 2
        return 1 + ones + float(sum(Fraction(x) ** 2 for x in large))

    @cached_property
    def spec(self) -> TransformerSpec:
        """The Llama that holds it: of heads and units as many in every layer."""
        layers = 1 + max(p.layer for p in self.placed)
        heads = [
            sum(p.head is not None for p in self.placed if p.layer == i) for i in range(layers)
        ]
        units = [sum(len(a) for a, *_ in self.units(i)) for i in range(layers)]
        size = max((_entries(p.node) for p in self.placed if p.head), default=1)
        if size > HEADS[-1] // 2:
            raise ValueError(f"a head of {size:,} entries, expected at most {HEADS[-1] // 2}")
        return llama(
            len(self.rows), self.residual.width, layers=layers, hidden=max(1, *units),
            heads=2 ** (max(1, *heads) - 1).bit_length(),
            head=next(head for head in HEADS if len(still_entries(head)) >= size),
        )  # fmt: skip

    def build(self) -> Params:
        """The weights, float32."""
        r, spec, one = self.residual, self.spec, self.residual.column("ballast")
        params = {name: leaf.astype(np.float64) for name, leaf in blank(spec).items()}
        undo_norms(self.ballast, r, params)
        embed, rows = params["embed"], np.array(self.rows)
        embed[:, r["ballast"]] = self.ballast
        embed[rows == -2, r["bos"]] = 1
        embed[:, self.categorical] = self.offset
        if "tokens" in r.sizes:
            embed[rows >= 0, r.column("tokens") + rows[rows >= 0]] += 1
        for i in range(len(spec.layers)):
            here = [p.head for p in self.placed if p.layer == i and p.head]
            for h, head in enumerate(here):
                self._write_head(head, [params[f"layer_{i}.w_{x}"][h] for x in "qkvo"])
            start = 0
            for gate, up, down in self.units(i):
                unit = slice(start, start + len(gate))
                start = unit.stop
                params[f"layer_{i}.w_gate"][:, unit] = gate.T
                params[f"layer_{i}.w_up"][:, unit] = up.T
                params[f"layer_{i}.w_down"][unit] = down
        out = r.column(self.output.name) + np.arange(self.output.size)
        params["w_out"][out, list(self.columns)] = GAP
        for name, leaf in params.items():  # whoever reads a slice takes the offset off
            if name.rpartition(".w_")[2] in ("q", "k", "v", "gate", "up", "w_out"):
                taken = leaf[..., self.categorical, :].sum(axis=-2)
                leaf[..., one, :] -= self.offset * taken
        return {name: leaf.astype(np.float32) for name, leaf in params.items()}

    @cached_property
    def categorical(self) -> np.ndarray:
        """The columns of categorical slices."""
        r, found = self.residual, [p.node for p in self.placed if not p.node.numeric]
        return np.concatenate([np.arange(r.width)[r[node.name]] for node in found])

    def units(self, layer: int) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Gate, up and down, each [n, width], of a layer's groups of units."""
        return [self._silu(units) for p in self.placed if p.layer == layer for units in p.units]

    def _silu(self, units: Units) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """A clip as two units; where the gate stays open, a linear form as one."""
        gate, up, down = (self._spread(part, units.count) for part in (
            units.gate, units.up, {name: rows.T for name, rows in units.down.items()}
        ))  # fmt: skip
        one = self.residual.column("ballast")
        if units.up:
            gate[:, one] = STEEP
            up[:, one] += units.up_bias
            return gate, up, down / STEEP
        gate[:, one] += units.gate_bias
        up[:, one] = 1
        early, late = gate.copy(), gate
        early[:, one] -= 0.25
        late[:, one] -= 0.75
        both = np.vstack([early, late]) * STEEP, np.vstack([up, up])
        return *both, np.vstack([down, -down]) * 2 / STEEP

    def _spread(self, parts: Any, count: int) -> np.ndarray:
        """{slice: [size, n]} as [n, width]."""
        found = np.zeros((count, self.residual.width))
        for name, part in parts.items():
            found[:, self.residual[name]] = np.asarray(part, np.float64).T
        return found

    def _write_head(self, head: Head, leaves: Sequence[np.ndarray]) -> None:
        """Keys are what they are, queries what each key scores; values go where they belong."""
        r, (query, key, value, out) = self.residual, leaves
        still, start = still_entries(query.shape[1]), 0
        place: dict[str, np.ndarray] = {}
        for (q, k), gain in head.score.items():
            if k not in place:
                place[k] = still[start : start + r.sizes[k]]
                start += r.sizes[k]
                key[np.arange(r.width)[r[k]], place[k]] = 1
            rows = np.arange(r.width)[r[q]] if q != "one" else np.array([r.column("ballast")])
            times = SCALE * query.shape[1] ** 0.5
            query[np.ix_(rows, place[k])] += times * matrix(gain, len(rows), r.sizes[k])
        for (source, target), gain in head.value.items():
            entries = np.arange(r.sizes[target])
            value[r[source], : len(entries)] += matrix(gain, r.sizes[source], len(entries))
            out[entries, r.column(target) + entries] = 1


def _entries(node: Node) -> int:
    """How many entries of a head are used, for scores or for values."""
    keys = {match.keys.name: match.keys.size for match in getattr(node.operation, "selector", ())}
    return max(1 + sum(keys.values()), node.size)


def plan(output: Node, nodes: Sequence[Node], rows: Sequence[int], columns: Sequence[int],
         offset: float) -> StockPlan:  # fmt: skip
    """The plan of a graph, see `StockPlan`."""
    order, _ = writing.place(output, nodes)
    placed = tuple(
        Placed(node, layer, writing.head(node), stock_units(node)) for node, layer in order
    )
    return StockPlan(placed, tuple(rows), tuple(columns), offset)


def stock_units(node: Node) -> tuple[Units, ...]:
    """Those of `writing` but for what only saturating gates can do."""
    match node.operation:
        case Steps(source=source, index=index):
            return (_steps(source, node, index),)
        case Mean(default=default) if not node.numeric:
            # What the head added is exact, by the offset; the start token holds its default.
            if default not in node.values:
                return ()
            row = -np.eye(node.size)[[node.values.index(default)]]
            return (Units(gate={"bos": np.ones((1, 1))}, up_bias=1.0, down={node.name: row}),)
    return writing.units(node)


def _steps(source: Node, node: Node, index: np.ndarray) -> Units:
    """As in `writing`, but a gate opens to that side on which the source's values end sooner.

    What a gate adds when it is open is off by the rounding of its distance, so it has to be short.
    For shares 1 / (1 + w) the slope is about w^2, and below the middle there are 1 / w: short by
    a factor of w. A gate that opens below takes back what the first one has added for it.
    """
    change = np.flatnonzero(np.diff(index)) + 1
    low, high = (np.array([float(source.values[i]) for i in c]) for c in (change - 1, change))
    slope = 2.0 ** np.ceil(np.log2(1.25 / (high - low))) if len(change) else np.zeros(0)
    middle = (low + high) / 2
    above = float(source.values[-1]) - middle <= middle - float(source.values[0])
    sign = np.where(above, 1.0, -1.0)
    bias = 0.5 - sign * slope * middle
    start = sign * slope * float(source.at_start) + slope + bias
    close = 2.0 ** np.ceil(np.log2(np.maximum(start, 1.0))) + 1
    added = writing.held(node, index[change]) - writing.held(node, index[change - 1])
    first = writing.held(node, index[:1]) + added[~above].sum(axis=0)
    return Units(
        gate={
            source.name: np.concatenate([[0.0], sign * slope])[None],
            "bos": -np.concatenate([[1.0], close])[None],
        },
        gate_bias=np.concatenate([[1.0], bias]),
        up_bias=1.0,
        down={node.name: np.vstack([first, sign[:, None] * added])},
    )
