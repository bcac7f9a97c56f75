"""Constructions of constructions: unrolled, side by side, one after another.

These are operations on weights. Two parts live in disjoint slices of one residual stream, their
layers one after another, so that neither reads or writes what the other holds: with zeros in all
other places a part computes what it computed alone, whatever the other does. The certificate of
the whole is composed from those of the parts, which are read back out of its weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from constructions.argument_types import checked
from constructions.certificate import Certificate, Ledger, Record, issue
from constructions.construction import Construction
from constructions.fields import namespace
from constructions.residual import Residual
from constructions.spec import Layer, Params, TransformerSpec, blank


@checked
def unroll(built: Construction) -> Construction:
    """The same function with every loop written out as layers of its own.

    >>> from constructions.learners.least_squares import least_squares
    >>> looped = least_squares(steps=5)
    >>> len(looped.spec.layers), len(unroll(looped).spec.layers)
    (1, 5)
    """
    rolled, certify = built.spec, built.certify
    depth, loops = len(rolled.layers), rolled.loops
    spec = replace(rolled, layers=rolled.layers * loops, loops=1)
    params = {name: leaf for name, leaf in built.params.items() if not name.startswith("layer_")}
    for i in range(depth * loops):
        params |= _layer(built.params, i % depth, i)

    def certify_weights(given: TransformerSpec, weights: Params) -> Certificate:
        if given != spec:
            raise ValueError(f"unrolled {built.name}: the spec is not that of the construction")
        once = {name: leaf for name, leaf in weights.items() if not name.startswith("layer_")}
        for i in range(depth):
            once |= _layer(weights, i, i)
        for i in range(depth, depth * loops):
            for name, leaf in _layer(weights, i, i % depth).items():
                if not np.array_equal(leaf, once[name]):
                    raise ValueError(
                        f"unrolled {built.name}: expected layer {i} to be layer {i % depth}, got "
                        f"another {name}"
                    )
        single = certify(rolled, once)
        records = tuple(moved for k in range(loops) for moved in _moved(single.records, k * depth))
        return issue(replace(single, records=records), spec, weights)

    return replace(
        built,
        spec=spec,
        params=params,
        certificate=certify_weights(spec, params),
        certify=certify_weights,
    )


@checked
def side_by_side(first: Construction, second: Construction) -> Construction:
    """Both at once: a problem is ``{"first": ..., "second": ...}``, and so is an answer.

    Prompts of vectors stand side by side, row by row; prompts of tokens must be the same one. The
    loops must be equal; else unroll both.

    Raises:
      ValueError: parts whose switches do not fit each other; in ``encode``, prompts that do not.

    >>> from constructions.learners.least_squares import least_squares, ridge
    >>> both = side_by_side(least_squares(features=1), ridge(features=1))
    >>> problem = {"features": [[1.0]], "targets": [1.0], "queries": [[1.0]]}
    >>> answer = both.oracle({"first": problem, "second": problem})
    >>> [round(float(answer[part][0]), 3) for part in ("first", "second")]
    [1.0, 0.909]
    """
    return _pair(first, second, f"{first.name} beside {second.name}", {}, None, 0.0)


@checked
def one_after_another(
    first: Construction,
    second: Construction,
    *,
    wires: Mapping[tuple[str, str], float],
    oracle: Callable[[Any], Any],
    lipschitz: float,
) -> Construction:
    """The second starts from what the first has computed; the answer is the second's.

    Between the two, which lose their loops, an MLP adds slices of the first to the second's.

    Args:
      wires: {(slice of the first, slice of the second): gain}.
      oracle: problem ``{"first": ..., "second": ...}`` -> the second's answer.
      lipschitz: how far the second's answer moves, at most, if what the wires carry is wrong by 1
        in the unit of the first's certificate, at every token: proved by the caller.

    Raises:
      ValueError: as in `side_by_side`, or slices of different sizes.
    """
    for source, target in wires:
        a, b = first.residual.sizes[source], second.residual.sizes[target]
        if a != b:
            raise ValueError(f"{source} to {target}: expected slices of one size, got {a} and {b}")
    if not 0 <= lipschitz < np.inf:
        raise ValueError(f"lipschitz: expected a finite number >= 0, got {lipschitz}")
    name = f"{first.name}, then {second.name}"
    return _pair(unroll(first), unroll(second), name, wires, oracle, lipschitz)


@dataclass(frozen=True)
class _Place:
    """Where a part stands: its first column, layer, input column and output."""

    spec: TransformerSpec
    column: int
    layer: int
    row: int
    output: int

    def entries(self) -> Iterator[tuple[str, str, Any]]:
        """(leaf of the part, leaf of the whole, index) of every leaf."""
        D, V = self.spec.width, self.spec.output_size
        here = slice(self.column, self.column + D)
        rows = slice(self.row, self.row + self.spec.input_size)
        yield "embed", "embed", np.s_[rows, here]
        if self.spec.positions:
            yield "positions", "positions", np.s_[:, here]
        for i, layer in enumerate(self.spec.layers):
            a, b = f"layer_{i}.", f"layer_{self.layer + i}."
            for name in ("w_q", "w_k", "w_v") if layer.heads else ():
                yield a + name, b + name, np.s_[:, here, :]
            if layer.heads:
                yield a + "w_o", b + "w_o", np.s_[:, :, here]
            if layer.window:
                yield a + "bias", b + "bias", np.s_[:, :]
            if layer.hidden:
                for name in ("w_gate", "w_up"):
                    yield a + name, b + name, np.s_[here, :]
                    yield a + "b" + name[1:], b + "b" + name[1:], np.s_[:]
                yield a + "w_down", b + "w_down", np.s_[:, here]
        yield "w_out", "w_out", np.s_[here, self.output : self.output + V]


def _pair(
    first: Construction,
    second: Construction,
    name: str,
    wires: Mapping[tuple[str, str], float],
    oracle: Callable[[Any], Any] | None,
    lipschitz: float,
) -> Construction:
    a, b = first.spec, second.spec
    _check_fit(first, second)
    tokens, chained = a.inputs == "tokens", oracle is not None
    residual, fields = _joined(first.residual, second.residual), first.fields
    if isinstance(first.fields, Residual) and isinstance(second.fields, Residual):
        fields = _joined(first.fields, second.fields)
    wired = sum(first.residual.sizes[source] for source, _ in wires)
    between = (Layer(hidden=wired, gate="relu"),) if chained else ()
    outputs = 0 if chained else a.output_size
    spec = replace(
        a,
        positions=a.positions or b.positions,
        input_size=a.input_size if tokens else a.input_size + b.input_size,
        width=a.width + b.width,
        output_size=outputs + b.output_size,
        layers=a.layers + between + b.layers,
    )
    places = (
        _Place(a, 0, 0, 0, 0),
        _Place(b, a.width, len(a.layers) + len(between), 0 if tokens else a.input_size, outputs),
    )
    params = blank(spec)
    for part, place in zip((first, second), places, strict=True):
        for mine, whole, index in place.entries():
            if mine != "w_out" or part is second or not chained:
                params[whole][index] = part.params[mine]
    wiring = list(_wire_entries(residual, len(a.layers), wires)) if chained else []
    for leaf, index, value in wiring:
        params[leaf][index] = value

    def certify_weights(given: TransformerSpec, weights: Params) -> Certificate:
        if given != spec:
            raise ValueError(f"{name}: the spec is not that of the construction")
        ledger = Ledger(name, weights)
        certificates = []
        for part, place in zip((first, second), places, strict=True):
            read = {}
            for mine, whole, index in place.entries():
                if mine == "w_out" and part is first and chained:
                    read[mine] = part.params[mine]
                else:
                    read[mine] = ledger.take(whole, index).astype(np.float32)
            certificates.append(part.certify(part.spec, read))
        for leaf, index, value in wiring:
            ledger.expect(leaf, index, value)
        ledger.close()
        one, two = certificates
        composed = _composed(one, two, places[1].layer, wires, lipschitz)
        return issue(composed, spec, weights)

    certificate = certify_weights(spec, params)

    parts = {"first": first, "second": second}

    def parse(problem: Mapping[str, Any]) -> dict[str, Any]:
        return {which: part.parse(problem[which]) for which, part in parts.items()}

    def both(problem: Mapping[str, Any]) -> dict[str, Any]:
        return {which: part.oracle(problem[which]) for which, part in parts.items()}

    def beside(x: Any, y: Any) -> Any:
        return x if tokens else namespace(x, y).concatenate([x, y], axis=1)

    def fill(**data: Mapping[str, Any]) -> Any:
        return beside(*(part.fill(**data[which]) for which, part in parts.items()))

    def encode(problem: Mapping[str, Any]) -> np.ndarray:
        x, y = (part.encode(problem[which]) for which, part in parts.items())
        if len(x) != len(y) or (tokens and (x != y).any()):
            raise ValueError(
                f"{name}: expected {'one prompt' if tokens else 'prompts of one length'} for both, "
                f"got {len(x)} and {len(y)} tokens"
            )
        return np.asarray(beside(x, y))

    def decode(outputs: Any) -> Any:
        answer = second.decode(outputs[..., outputs.shape[-1] - b.output_size :])
        if chained:
            return answer
        return {"first": first.decode(outputs[..., : a.output_size]), "second": answer}

    return Construction(
        name=name,
        kind=second.kind,
        spec=spec,
        params=params,
        residual=residual,
        fields=fields,
        parse=parse,
        fill=fill,
        encode=encode,
        decode=decode,
        oracle=oracle or both,
        certificate=certificate,
        source=f"{first.source}; {second.source}",
        proof=(
            f"Disjoint slices: {first.name}: {first.proof} {second.name}: {second.proof}"
            + (" An MLP with constant gates carries the slices over." if chained else "")
        ),
        certify=certify_weights,
    )


def _joined(first: Residual, second: Residual) -> Residual:
    parts = {"first": first, "second": second}
    sizes = {f"{a}_{b}": n for a, part in parts.items() for b, n in part.sizes.items()}
    return Residual(**sizes)


def _composed(
    first: Certificate,
    second: Certificate,
    layer: int,
    wires: Mapping[tuple[str, str], float],
    lipschitz: float,
) -> Certificate:
    """Side by side the larger error; else the second's, plus the first's carried on."""
    limits = dict(first.limits)
    for size, limit in second.limits.items():
        limits[size] = min(limit, limits.get(size, limit))

    def error(**sizes: int) -> float:
        x, y = (c.error(**{s: sizes[s] for s in c.limits}) for c in (first, second))
        return y + lipschitz * x if wires else max(x, y)

    units = dict.fromkeys([second.unit] if wires else [first.unit, second.unit])
    records = list(first.records)
    if wires:
        carried = ", ".join(f"{source} to {target}" for source, target in wires)
        part = f"layer_{layer - 1} mlp"
        records.append(Record(part=part, kind="wires", magnitude=0.0, exact=True, note=carried))
    return Certificate(
        dtype=second.dtype,
        limits=limits,
        records=(*records, *_moved(second.records, layer)),
        error=error,
        unit=" and ".join(units),
    )


def _check_fit(first: Construction, second: Construction) -> None:
    faults = []
    for what in ("inputs", "readout", "positions", "loops", "norm"):
        x, y = getattr(first.spec, what), getattr(second.spec, what)
        if x != y and (what != "positions" or (x and y)):
            faults.append(f"{what}: expected the same of both, got {x} and {y}")
    if first.spec.norm != "none":
        faults.append(f"norm: expected none, got {first.spec.norm}: it reads all slices at once")
    if first.spec.inputs == "tokens" and first.spec.input_size != second.spec.input_size:
        sizes = f"{first.spec.input_size} and {second.spec.input_size}"
        faults.append(f"tokens: expected one vocabulary, got {sizes}")
    if first.machine or second.machine:
        faults.append("kind: expected learners, got a machine that writes its run")
    if first.certificate.dtype != second.certificate.dtype:
        dtypes = f"{first.certificate.dtype} and {second.certificate.dtype}"
        faults.append(f"dtype: expected the same of both certificates, got {dtypes}")
    if faults:
        raise ValueError(f"{first.name} and {second.name}: {'; '.join(faults)}")


def _wire_entries(
    residual: Residual, layer: int, wires: Mapping[tuple[str, str], float]
) -> Iterator[tuple[str, Any, Any]]:
    """Units of constant gate 1: target += gain * source, exact if the target is 0."""
    start = 0
    for (source, target), gain in wires.items():
        size = residual.sizes[f"first_{source}"]
        units = slice(start, start + size)
        start = units.stop
        same = np.eye(size, dtype=np.float32)
        yield f"layer_{layer}.b_gate", units, np.float32(1)
        yield f"layer_{layer}.w_up", np.s_[residual[f"first_{source}"], units], same
        scaled = np.float32(gain) * same
        yield f"layer_{layer}.w_down", np.s_[units, residual[f"second_{target}"]], scaled


def _layer(params: Params, i: int, to: int) -> Params:
    start = f"layer_{i}."
    return {
        f"layer_{to}.{name.removeprefix(start)}": leaf
        for name, leaf in params.items()
        if name.startswith(start)
    }


def _moved(records: tuple[Record, ...], by: int) -> Iterator[Record]:
    """The records of layers ``by`` places further on."""
    for record in records:
        number, _, rest = record.part.removeprefix("layer_").partition(" ")
        yield replace(record, part=f"layer_{int(number) + by} {rest}")
