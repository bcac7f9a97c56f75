"""Blueprints: a construction in the names of its residual slices, written and read back.

A blueprint says what each head scores and carries and what each hidden unit multiplies; its pieces
are written by `constructions.gadgets`. `build` writes it into params. `verify` goes the other way:
it takes any params, strikes out every weight that the blueprint accounts for, and refuses what
differs or is left over, so that a proof about the blueprint is a proof about those weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from constructions.argument_types import check_fields
from constructions.certificate import Ledger, bilinear, value_map
from constructions.residual import Residual
from constructions.spec import Layer, Params, TransformerSpec, blank, check_params, feature_size

# Between two slices: a matrix, or a number g: g I if they have one size, all entries g if not.
Gain = float | np.ndarray
Gains = Mapping[tuple[str, str], Gain]


@dataclass(frozen=True)
class Head:
    """One head.

    Args:
      score: {(query slice, key slice): gain}; the score is the sum of q gain k over the pairs.
      value: {(source, target): gain}; the head adds the mean (or sum) of source gain to target.
      bias: relative bias, one entry for each distance of the window.
      compact: scores of one query slice of one column share a column of the queries, and values
        of one target slice of one column a column of the values: a smaller head.
    """

    score: Gains = field(default_factory=dict)
    value: Gains = field(default_factory=dict)
    bias: tuple[float, ...] = ()
    compact: bool = False


@dataclass(frozen=True)
class Units:
    """A group of n hidden units: (gate(x G + b) * (x U + c)) D.

    Args:
      gate, up: {slice: matrix [size, n]}.
      down: {slice: matrix [n, size]}.
      gate_bias, up_bias: b and c, [n], or a number for all units of the group.
    """

    down: Mapping[str, np.ndarray]
    gate: Mapping[str, np.ndarray] = field(default_factory=dict)
    up: Mapping[str, np.ndarray] = field(default_factory=dict)
    gate_bias: float | np.ndarray = 0.0
    up_bias: float | np.ndarray = 0.0

    @property
    def count(self) -> int:
        """N."""
        return len(next(iter(self.down.values())))


@dataclass(frozen=True)
class LayerBlueprint:
    """One layer: heads and units in order; the other arguments are those of `Layer`."""

    heads: tuple[Head, ...] = ()
    units: tuple[Units, ...] = ()
    attend: str = "softmax"
    mask: str = "causal"
    scale: float = 1.0
    gate: str = "relu"


@dataclass(frozen=True)
class Blueprint:
    """A whole construction.

    Args:
      residual: the named slices.
      embed: {slice: matrix [I, size]}; ``inputs`` says what the I rows are.
      layers: the layers, in order.
      out: {slice: matrix [size, V]}.
      inputs, readout, loops: those of `TransformerSpec`.
      positions: likewise; each feature goes to the slice of its own name.

    >>> copy = Blueprint(Residual(token=2), {"token": np.eye(2)}, (), {"token": np.eye(2)})
    >>> copy.verify("copy", copy.spec, copy.build())
    >>> copy.verify("copy", copy.spec, copy.build() | {"embed": np.ones((2, 2), "f4")})
    Traceback (most recent call last):
    ValueError: copy: embed[slice(None, None, None), slice(0, 2, None)]: expected 0.0, got 1.0
    """

    residual: Residual
    embed: Mapping[str, np.ndarray]
    layers: tuple[LayerBlueprint, ...]
    out: Mapping[str, np.ndarray]
    inputs: str = "tokens"
    readout: str = "simplex"
    loops: int = 1
    positions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def spec(self) -> TransformerSpec:
        """The smallest architecture that holds it."""
        return TransformerSpec(
            input_size=len(next(iter(self.embed.values()))),
            width=self.residual.width,
            output_size=next(iter(self.out.values())).shape[1],
            layers=tuple(self._layer(layer) for layer in self.layers),
            inputs=self.inputs,
            readout=self.readout,
            loops=self.loops,
            positions=self.positions,
        )

    def build(self) -> Params:
        """The weights, float32."""
        params = blank(self.spec)
        for leaf, index, value in self._plain():
            params[leaf][index] = value
        for i, layer in enumerate(self.layers):
            for h, head in enumerate(layer.heads):
                leaf = f"layer_{i}."
                for rank, a, b, left, right in self._scores(head):
                    params[leaf + "w_q"][h, a, rank] = left
                    params[leaf + "w_k"][h, b, rank] = right.T
                for rank, a, b, left, right in self._values(head):
                    params[leaf + "w_v"][h, a, rank] = left
                    params[leaf + "w_o"][h, rank, b] = right
        return params

    def verify(self, name: str, spec: TransformerSpec, params: Params) -> None:
        """Raises ValueError unless spec and params are this blueprint's, weight by weight.

        Heads are compared by what they compute, w_q w_k' and w_v w_o, whatever the factors.
        """
        self._check_shapes(name, spec, params)
        factors = (".w_q", ".w_k", ".w_v", ".w_o")
        maps = {leaf: value for leaf, value in params.items() if not leaf.endswith(factors)}
        for i, layer in enumerate(self.layers):
            for h in range(len(layer.heads)):
                w_q, w_k = (params[f"layer_{i}.{w}"][h].astype(np.float64) for w in ("w_q", "w_k"))
                maps[f"layer_{i} head {h} score"] = w_q @ w_k.T
                maps[f"layer_{i} head {h} value"] = value_map(params, i, h)
        ledger = Ledger(name, maps)
        for leaf, index, value in self._plain():
            ledger.expect(leaf, index, np.asarray(value, np.float32))
        for i, layer in enumerate(self.layers):
            for h, head in enumerate(layer.heads):
                for kind, gains in (("score", head.score), ("value", head.value)):
                    for (source, target), gain in gains.items():
                        index = np.s_[self.residual[source], self.residual[target]]
                        sizes = self.residual.sizes[source], self.residual.sizes[target]
                        value = matrix(gain, *sizes).astype(np.float32)
                        ledger.expect(f"layer_{i} head {h} {kind}", index, value)
        ledger.close()

    def verify_exactly(self, name: str, spec: TransformerSpec, params: Params) -> None:
        """`verify`, but the heads' factors too must be the ones that `build` writes."""
        self._check_shapes(name, spec, params)
        for leaf, expected in self.build().items():
            wrong = np.argwhere(params[leaf] != expected)
            if len(wrong):
                place = tuple(int(i) for i in wrong[0])
                raise ValueError(
                    f"{name}: {leaf}[{', '.join(map(str, place))}]: expected "
                    f"{expected[place]:g}, got {params[leaf][place]:g}"
                )

    def _check_shapes(self, name: str, spec: TransformerSpec, params: Params) -> None:
        if spec != self.spec:
            raise ValueError(f"{name}: the spec is not that of the construction")
        check_params(spec, params)

    def _layer(self, layer: LayerBlueprint) -> Layer:
        heads = layer.heads
        keys = [max((rank.stop for rank, *_ in self._scores(head)), default=1) for head in heads]
        values = [max((rank.stop for rank, *_ in self._values(head)), default=1) for head in heads]
        return Layer(
            heads=len(heads),
            key_size=max(keys, default=0),
            value_size=max(values, default=0),
            hidden=sum(units.count for units in layer.units),
            attend=layer.attend,
            mask=layer.mask,
            scale=layer.scale,
            window=max((len(head.bias) for head in heads), default=0),
            gate=layer.gate,
        )

    def _scores(self, head: Head) -> Iterator[_Rank]:
        return self._ranks(head.score, side=0, compact=head.compact)

    def _values(self, head: Head) -> Iterator[_Rank]:
        return self._ranks(head.value, side=1, compact=head.compact)

    def _ranks(self, gains: Gains, *, side: int, compact: bool) -> Iterator[_Rank]:
        """(rank, rows, columns, A, B) of each gain A B; ranks follow one another.

        In a compact head pairs with the same slice of one column on the given side have one rank,
        and there that column's factor is 1, whatever the gain.
        """
        start, ranks = 0, dict[str, slice]()
        for pair, gain in gains.items():
            rows, columns = (self.residual.sizes[name] for name in pair)
            value = matrix(gain, rows, columns)
            single = compact and (rows, columns)[side] == 1
            row_first = side == 0 if single else rows <= columns
            left, right = (np.eye(rows), value) if row_first else (value, np.eye(columns))
            rank = slice(start, start + len(right))
            if single:
                rank = ranks.setdefault(pair[side], rank)
            start = max(start, rank.stop)
            yield rank, self.residual[pair[0]], self.residual[pair[1]], left, right

    def _plain(self) -> Iterator[tuple[str, Any, Any]]:
        """(leaf, index, value) of all weights outside the heads' four matrices."""
        residual = self.residual
        for name, rows in self.embed.items():
            yield "embed", np.s_[:, residual[name]], rows
        start = 0
        for feature in self.positions:
            here = slice(start, start + feature_size(feature))
            start = here.stop
            yield "positions", np.s_[here, residual[feature]], np.eye(residual.sizes[feature])
        for i, layer in enumerate(self.layers):
            for h, head in enumerate(layer.heads):
                if head.bias:
                    yield f"layer_{i}.bias", np.s_[h, : len(head.bias)], np.array(head.bias)
            start = 0
            for units in layer.units:
                here = slice(start, start + units.count)
                start = here.stop
                for name, value in units.gate.items():
                    yield f"layer_{i}.w_gate", np.s_[residual[name], here], value
                for name, value in units.up.items():
                    yield f"layer_{i}.w_up", np.s_[residual[name], here], value
                for name, value in units.down.items():
                    yield f"layer_{i}.w_down", np.s_[here, residual[name]], value
                yield f"layer_{i}.b_gate", here, units.gate_bias
                yield f"layer_{i}.b_up", here, units.up_bias
        for name, value in self.out.items():
            yield "w_out", residual[name], value


# Of one gain A B: its ranks, rows and columns, A and B.
_Rank = tuple[slice, slice, slice, np.ndarray, np.ndarray]


def matrix(gain: Gain, rows: int, columns: int) -> np.ndarray:
    """The matrix [rows, columns] that a gain stands for."""
    if isinstance(gain, np.ndarray):
        return gain
    return gain * (np.eye(rows) if rows == columns else np.ones((rows, columns)))


def score_gain(
    spec: TransformerSpec,
    params: Params,
    residual: Residual,
    part: tuple[int, int],
    pair: tuple[str, str],
) -> np.ndarray:
    """float64: what (layer, head) multiplies the (query, key) slices with, scale included."""
    return bilinear(spec, params, *part)[residual[pair[0]], residual[pair[1]]]
