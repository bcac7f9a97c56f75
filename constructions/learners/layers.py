"""A transformer as a list of named terms: one description, to write weights or to prove them.

A head is a list of scores and a list of values between slices of the residual stream, an MLP a list
of terms ``target += gain * factor * source``.  `write` turns a description into params; `prove`
strikes out of built params, entry by entry, what the description says, and refuses what is left.
So the reasoning about a construction can speak of terms alone.

With the relu gate, a unit whose gate is the constant 1 is a linear map, and a unit whose gate reads
a number f >= 0 multiplies by f; two units, with f and -f, multiply by an f of either sign.  One of
the two is zero, so each product is rounded once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from constructions.certificate import Ledger
from constructions.residual import Residual
from constructions.spec import Layer, Params, TransformerSpec, blank

# A slice of the residual stream, or some of its entries in the order given.
Slice = str | tuple[str, Any]
Array = np.ndarray


@dataclass(frozen=True)
class Head:
    """One head: score(query, key) = the sum of gain <query slice, key slice>, times the scale.

    Args:
      scores: (query slice, key slice, gain).
      values: (source, target, gain): target += gain * the attention's combination of the sources.
    """

    scores: tuple[tuple[Slice, Slice, float], ...]
    values: tuple[tuple[Slice, Slice, float], ...]

    def block(self, residual: Residual) -> dict[str, Array]:
        """w_q and w_k [D, K], w_v [D, U], w_o [U, D] of the head."""
        sizes = [len(_columns(residual, query)) for query, _, _ in self.scores]
        w_q, w_k = (np.zeros((residual.width, sum(sizes))) for _ in range(2))
        start = 0
        for (query, key, gain), size in zip(self.scores, sizes, strict=True):
            k = np.arange(start, start + size)
            w_q[_columns(residual, query), k] = 1
            w_k[_columns(residual, key), k] = gain
            start += size
        targets = np.unique(np.concatenate([_columns(residual, to) for _, to, _ in self.values]))
        w_v, w_o = (np.zeros((residual.width, len(targets))) for _ in range(2))
        w_o[targets, np.arange(len(targets))] = 1
        for source, target, gain in self.values:
            w_v[
                _columns(residual, source), np.searchsorted(targets, _columns(residual, target))
            ] = gain
        return {"w_q": w_q, "w_k": w_k, "w_v": w_v, "w_o": w_o.T}


@dataclass(frozen=True)
class Linear:
    """target += gain * source, by one unit an entry whose gate is the constant 1.

    ``Linear(a, a, -1)`` clears a slice: x - x is exactly 0.
    """

    source: Slice
    target: Slice
    gain: float = 1.0

    def block(self, residual: Residual) -> dict[str, Array]:
        """Leaves of the MLP, for the term's units only."""
        source, target = _columns(residual, self.source), _columns(residual, self.target)
        units = _units(residual, len(source))
        units["b_gate"][:] = 1
        units["w_up"][source, np.arange(len(source))] = 1
        units["w_down"][np.arange(len(source)), target] = self.gain
        return units


@dataclass(frozen=True)
class Product:
    """target += gain * factor * source, entry by entry; a single factor or source serves all.

    Args:
      factor: must be >= 0 (relu gate) or in [0, 1] (hard sigmoid), unless ``signed``.
      source, target: slices.
      gain: of the product.
      slope: the gate reads slope * factor; large, with the hard sigmoid, it is a step.
      signed: the factor may be negative; twice the units.
      weights: of the entries of ``factor``, which are then summed to a single factor.
    """

    factor: Slice
    source: Slice
    target: Slice
    gain: float = 1.0
    slope: float = 1.0
    signed: bool = False
    weights: tuple[float, ...] | None = None

    def block(self, residual: Residual) -> dict[str, Array]:
        """Leaves of the MLP, for the term's units only."""
        factor, source, target = (
            _columns(residual, s) for s in (self.factor, self.source, self.target)
        )
        single = self.weights is not None
        m = max(len(source), len(target), 1 if single else len(factor))
        source, target = np.broadcast_to(source, m), np.broadcast_to(target, m)
        signs = (1.0, -1.0) if self.signed else (1.0,)
        units = _units(residual, m * len(signs))
        for i, sign in enumerate(signs):
            unit = np.arange(i * m, (i + 1) * m)
            if self.weights is not None:
                units["w_gate"][np.ix_(factor, unit)] = np.array(self.weights)[:, None]
            else:
                units["w_gate"][np.broadcast_to(factor, m), unit] = sign * self.slope
            units["w_up"][source, unit] = 1
            units["w_down"][unit, target] = sign * self.gain
        return units


@dataclass(frozen=True)
class Stage:
    """One layer of a description; see `constructions.spec.Layer` for the switches."""

    heads: tuple[Head, ...] = ()
    terms: tuple[Linear | Product, ...] = ()
    attend: str = "softmax"
    scale: float = 1.0
    gate: str = "relu"


@dataclass(frozen=True)
class Description:
    """All of a transformer with vector inputs.

    Args:
      fields: named columns of an input vector.
      residual: named slices of the residual stream.
      embed: (field, slice, gain): slice += gain * field.
      stages: the layers.
      output: the slices that are read out, one after another.
      readout, loops, mask: as in the spec; one mask for all layers.
    """

    fields: Residual
    residual: Residual
    embed: tuple[tuple[Slice, Slice, float], ...]
    stages: tuple[Stage, ...]
    output: tuple[Slice, ...]
    readout: str = "logits"
    loops: int = 1
    mask: str = "prefix"

    def spec(self) -> TransformerSpec:
        """The architecture that the description needs."""
        layers = []
        for stage in self.stages:
            heads = [head.block(self.residual) for head in stage.heads]
            units = [term.block(self.residual)["b_gate"].size for term in stage.terms]
            layers.append(
                Layer(
                    heads=len(heads),
                    key_size=max((b["w_q"].shape[1] for b in heads), default=0),
                    value_size=max((b["w_v"].shape[1] for b in heads), default=0),
                    hidden=sum(units),
                    attend=stage.attend,
                    mask=self.mask,
                    scale=stage.scale,
                    gate=stage.gate,
                )
            )
        return TransformerSpec(
            input_size=self.fields.width,
            width=self.residual.width,
            output_size=sum(len(_columns(self.residual, s)) for s in self.output),
            layers=tuple(layers),
            inputs="vectors",
            readout=self.readout,
            loops=self.loops,
        )

    def entries(self) -> Iterator[tuple[str, Any, Array]]:
        """(leaf, index, weights): every part of the params that is not zero."""
        for field, target, gain in self.embed:
            rows, to = _columns(self.fields, field), self._columns(target)
            yield "embed", np.ix_(rows, to), gain * np.eye(len(rows))
        for i, stage in enumerate(self.stages):
            for h, head in enumerate(stage.heads):
                for name, block in head.block(self.residual).items():
                    index: Any = (h, slice(0, block.shape[0]), slice(0, block.shape[1]))
                    yield f"layer_{i}.{name}", index, block
            first = 0
            for term in stage.terms:
                units = term.block(self.residual)
                last = first + units["b_gate"].size
                for name, block in units.items():
                    index = (slice(first, last),) if block.ndim == 1 else np.s_[:, first:last]
                    index = np.s_[first:last, :] if name == "w_down" else index
                    yield f"layer_{i}.{name}", index, block
                first = last
        out = np.concatenate([self._columns(s) for s in self.output])
        yield "w_out", np.ix_(out, np.arange(len(out))), np.eye(len(out))

    def _columns(self, what: Slice) -> Array:
        return _columns(self.residual, what)


def write(description: Description) -> Params:
    """float32 params that do what the description says."""
    params = blank(description.spec())
    for leaf, index, weights in description.entries():
        params[leaf][index] += weights.astype(np.float32)
    return params


def prove(name: str, description: Description, spec: TransformerSpec, params: Params) -> None:
    """Raises ValueError, naming the first entry, unless ``params`` are what is described.

    >>> residual = Residual(a=1, b=1)
    >>> double = Stage(terms=(Linear("a", "b", 2.0),))
    >>> description = Description(Residual(a=1), residual, (("a", "a", 1.0),), (double,), ("b",))
    >>> params = write(description)
    >>> prove("double", description, description.spec(), params)
    >>> params["layer_0.w_down"][0, 0] = 1
    >>> prove("double", description, description.spec(), params)
    Traceback (most recent call last):
    ValueError: double: layer_0.w_down[0, 0]: expected 0.0, got 1.0
    """
    if spec != description.spec():
        raise ValueError(f"{name}: expected the spec {description.spec()}, got {spec}")
    expected = {leaf: np.zeros(value.shape, np.float32) for leaf, value in params.items()}
    for leaf, index, weights in description.entries():
        expected[leaf][index] += weights.astype(np.float32)
    ledger = Ledger(name, params)
    for leaf, weights in expected.items():
        wrong = np.argwhere(ledger.left[leaf] != weights)
        for where in wrong[:1]:
            index = tuple(int(i) for i in where)
            got = ledger.left[leaf][index]
            ledger.refuse(leaf, index, f"expected {weights[index]}, got {got}")
        ledger.expect(leaf, ..., weights)
    ledger.close()


def rows(fields: Residual, count: int, values: Mapping[str, Any]) -> Array:
    """float32 [count, I]: input vectors with these values (broadcast) in the named fields."""
    out = np.zeros((count, fields.width), np.float32)
    for name, value in values.items():
        out[:, fields[name]] = value
    return out


def _units(residual: Residual, count: int) -> dict[str, Array]:
    D = residual.width
    shapes: dict[str, tuple[int, ...]] = {
        "w_gate": (D, count),
        "b_gate": (count,),
        "w_up": (D, count),
        "w_down": (count, D),
    }
    return {name: np.zeros(shape) for name, shape in shapes.items()}


def _columns(residual: Residual, what: Slice) -> Array:
    name, entries = (what, None) if isinstance(what, str) else what
    columns = np.arange(residual.width)[residual[name]]
    return columns if entries is None else columns[np.asarray(entries)].reshape(-1)
