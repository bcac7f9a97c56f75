"""Blueprints: a construction in the names of its residual slices, written and read back.

A blueprint says what each head scores and carries and what each hidden unit multiplies. `build`
writes it into params. `verify` goes the other way: it takes any params, strikes out every weight
that the blueprint accounts for, and refuses what differs or is left over, so that a proof about the
blueprint is a proof about those weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from constructions.certificate import Ledger, bilinear, value_map
from constructions.residual import Residual
from constructions.spec import Layer, Params, TransformerSpec, blank, check_params

# Between two slices: a matrix, or a number g: g I if they have one size, all entries g if not.
Gain = float | np.ndarray
Blocks = Mapping[tuple[str, str], Gain]


@dataclass(frozen=True)
class Head:
    """One head.

    Args:
      score: {(query slice, key slice): gain}; the score is the sum of q gain k over the pairs.
      value: {(source, target): gain}; the head adds the mean (or sum) of source gain to target.
      bias: relative bias, one entry for each distance of the window.
    """

    score: Blocks = field(default_factory=dict)
    value: Blocks = field(default_factory=dict)
    bias: tuple[float, ...] = ()


@dataclass(frozen=True)
class Units:
    """A group of n hidden units: (gate(x G + b) * (x U + c)) D.

    Args:
      gate, up: {slice: matrix [size, n]}.
      down: {slice: matrix [n, size]}.
      gate_bias, up_bias: b and c, the same for all units of the group.
    """

    down: Mapping[str, np.ndarray]
    gate: Mapping[str, np.ndarray] = field(default_factory=dict)
    up: Mapping[str, np.ndarray] = field(default_factory=dict)
    gate_bias: float = 0.0
    up_bias: float = 0.0

    @property
    def count(self) -> int:
        """N."""
        return len(next(iter(self.down.values())))


@dataclass(frozen=True)
class Block:
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
      layers: the blocks, in order.
      out: {slice: matrix [size, V]}.
      inputs, readout, loops: those of `TransformerSpec`.
      index: the slice that holds a token's place 0, 1, ..., if there is one.

    >>> copy = Blueprint(Residual(token=2), {"token": np.eye(2)}, (), {"token": np.eye(2)})
    >>> copy.verify("copy", copy.spec, copy.build())
    >>> copy.verify("copy", copy.spec, copy.build() | {"embed": np.ones((2, 2), "f4")})
    Traceback (most recent call last):
    ValueError: copy: embed[slice(None, None, None), slice(0, 2, None)]: expected 0.0, got 1.0
    """

    residual: Residual
    embed: Mapping[str, np.ndarray]
    layers: tuple[Block, ...]
    out: Mapping[str, np.ndarray]
    inputs: str = "tokens"
    readout: str = "simplex"
    loops: int = 1
    index: str | None = None

    @property
    def spec(self) -> TransformerSpec:
        """The smallest architecture that holds it."""
        return TransformerSpec(
            input_size=len(next(iter(self.embed.values()))),
            width=self.residual.width,
            output_size=next(iter(self.out.values())).shape[1],
            layers=tuple(self._layer(block) for block in self.layers),
            inputs=self.inputs,
            readout=self.readout,
            loops=self.loops,
            positions=("index",) if self.index else (),
        )

    def build(self) -> Params:
        """The weights, float32."""
        params = blank(self.spec)
        for leaf, index, value in self._plain():
            params[leaf][index] = value
        for i, block in enumerate(self.layers):
            for h, head in enumerate(block.heads):
                leaf = f"layer_{i}."
                for rank, a, b, left, right in self._ranks(head.score):
                    params[leaf + "w_q"][h, a, rank] = left
                    params[leaf + "w_k"][h, b, rank] = right.T
                for rank, a, b, left, right in self._ranks(head.value):
                    params[leaf + "w_v"][h, a, rank] = left
                    params[leaf + "w_o"][h, rank, b] = right
        return params

    def verify(self, name: str, spec: TransformerSpec, params: Params) -> None:
        """Raises ValueError unless spec and params are this blueprint's, weight by weight.

        Heads are compared by what they compute, w_q w_k' and w_v w_o, whatever the factors.
        """
        if spec != self.spec:
            raise ValueError(f"{name}: the spec is not that of the construction")
        check_params(spec, params)
        factors = (".w_q", ".w_k", ".w_v", ".w_o")
        maps = {leaf: value for leaf, value in params.items() if not leaf.endswith(factors)}
        for i, block in enumerate(self.layers):
            for h in range(len(block.heads)):
                w_q, w_k = (params[f"layer_{i}.{w}"][h].astype(np.float64) for w in ("w_q", "w_k"))
                maps[f"layer_{i} head {h} score"] = w_q @ w_k.T
                maps[f"layer_{i} head {h} value"] = value_map(params, i, h)
        ledger = Ledger(name, maps)
        for leaf, index, value in self._plain():
            ledger.expect(leaf, index, np.asarray(value, np.float32))
        for i, block in enumerate(self.layers):
            for h, head in enumerate(block.heads):
                for kind, blocks in (("score", head.score), ("value", head.value)):
                    for (source, target), gain in blocks.items():
                        index = np.s_[self.residual[source], self.residual[target]]
                        sizes = self.residual.sizes[source], self.residual.sizes[target]
                        value = matrix(gain, *sizes).astype(np.float32)
                        ledger.expect(f"layer_{i} head {h} {kind}", index, value)
        ledger.close()

    def _layer(self, block: Block) -> Layer:
        def size(blocks: Blocks) -> int:
            return max((rank.stop for rank, *_ in self._ranks(blocks)), default=1)

        heads = block.heads
        return Layer(
            heads=len(heads),
            key_size=max((size(head.score) for head in heads), default=0),
            value_size=max((size(head.value) for head in heads), default=0),
            hidden=sum(units.count for units in block.units),
            attend=block.attend,
            mask=block.mask,
            scale=block.scale,
            window=max((len(head.bias) for head in heads), default=0),
            gate=block.gate,
        )

    def _ranks(
        self, blocks: Blocks
    ) -> Iterator[tuple[slice, slice, slice, np.ndarray, np.ndarray]]:
        """(rank, rows, columns, A, B) of each gain A B; ranks follow one another."""
        start = 0
        for (a, b), gain in blocks.items():
            left, right = _factors(gain, self.residual.sizes[a], self.residual.sizes[b])
            rank = slice(start, start + len(right))
            start = rank.stop
            yield rank, self.residual[a], self.residual[b], left, right

    def _plain(self) -> Iterator[tuple[str, Any, Any]]:
        """(leaf, index, value) of all weights outside the heads' four matrices."""
        residual = self.residual
        for name, rows in self.embed.items():
            yield "embed", np.s_[:, residual[name]], rows
        if self.index:
            yield "positions", np.s_[:, residual[self.index]], 1.0
        for i, block in enumerate(self.layers):
            for h, head in enumerate(block.heads):
                if head.bias:
                    yield f"layer_{i}.bias", np.s_[h, : len(head.bias)], np.array(head.bias)
            start = 0
            for units in block.units:
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


def matrix(gain: Gain, rows: int, columns: int) -> np.ndarray:
    """The matrix [rows, columns] that a gain stands for."""
    if isinstance(gain, np.ndarray):
        return gain
    return gain * (np.eye(rows) if rows == columns else np.ones((rows, columns)))


def _factors(gain: Gain, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """A [rows, r] and B [r, columns] with A B = the gain's matrix and r the smaller size."""
    value = matrix(gain, rows, columns)
    return (np.eye(rows), value) if rows <= columns else (value, np.eye(columns))


def offset_head(offset: int, value: Blocks, *, sharpness: float = 64.0) -> Head:
    """Carries ``value`` over from the token ``offset`` places back.

    Proof. The scores are the relative bias alone: ``sharpness`` at distance ``offset``, 0 at all
    others (the last entry serves all larger distances, so one more than the offset is written).
    If the token has ``offset`` predecessors, the one at that distance wins by ``sharpness``; the
    T - 1 others share a mass of at most (T - 1) exp(-sharpness), at 64 below a rounding. A token
    with fewer predecessors gets the mean over those it has: pad the prompt. QED
    """
    return Head(value=value, bias=(0.0,) * offset + (sharpness, 0.0))


def match_head(
    pairs: Sequence[tuple[str, str]], *, default: tuple[str, str], value: Blocks
) -> Head:
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


def products(
    residual: Residual, factor: str, other: str, target: str, gain: float = 1.0
) -> tuple[Units, Units]:
    """``target`` += gain * factor * other, by entries; summed if ``target`` has one column.

    A factor of one column multiplies every entry of ``other``. For the gate ``relu``, or
    ``hard_sigmoid`` with a factor between -1 and 1.

    Proof. gate(f) - gate(-f) = f, and one of the two terms is zero, so the product is rounded
    once. QED
    """
    sizes = residual.sizes
    n = max(sizes[factor], sizes[other])
    down = np.eye(n) if sizes[target] == n else np.ones((n, sizes[target]))
    first, second = (
        Units(
            gate={factor: sign * matrix(1.0, sizes[factor], n)},
            up={other: matrix(1.0, sizes[other], n)},
            down={target: sign * gain * down},
        )
        for sign in (1, -1)
    )
    return first, second


def move(residual: Residual, source: str, targets: Mapping[str, float]) -> Units:
    """Each target += its gain times ``source``; -1 for the source itself erases it.

    Proof. A gate of bias 1 is open, whether ``relu`` or ``hard_sigmoid``. QED
    """
    same = np.eye(residual.sizes[source])
    down = {target: gain * same for target, gain in targets.items()}
    return Units(gate_bias=1.0, up={source: same}, down=down)


def gain(
    spec: TransformerSpec,
    params: Params,
    residual: Residual,
    part: tuple[int, int],
    pair: tuple[str, str],
) -> np.ndarray:
    """float64: what (layer, head) multiplies the (query, key) slices with, scale included."""
    return bilinear(spec, params, *part)[residual[pair[0]], residual[pair[1]]]
