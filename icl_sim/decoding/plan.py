"""How to decode a transformer: what each head is, and which parts of its weights are zero.

A head's kind is read off its weights, or off a certificate for exactly these weights; nothing here
knows what the transformer computes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from constructions.certificate import Address, Certificate, digest, losing_mass
from constructions.spec import TransformerSpec
from constructions.support import ANY, unsupported

# With these switches a head may have a memory of constant size; with any other it is dense.
KNOWN = {
    "inputs": ANY,
    "positions": ("index", "square", "bits"),
    "attend": ("softmax", "hardmax"),
    "mask": ("causal",),
    "window": ANY,
    "gate": ANY,
    "norm": ANY,
    "readout": ANY,
    "loops": ANY,
}


@dataclass(frozen=True)
class Head:
    """One head, and the memory with which it costs O(1) a token.

    Args:
      kind: ``mean``: all scores are equal, so that a running sum is enough.
        ``offset``: only the token ``offset`` places back counts, so that a short queue is enough.
        ``addressed``: only the keys of the query's own code count, so that a table with the sum
        and the number of the values of each code is enough.
        ``dense``: none of these; all keys and values are kept and each token reads them all.
      address: the codes of an addressed head.
    """

    kind: str
    offset: int = 0
    address: Address | None = None


@dataclass(frozen=True)
class Plan:
    """What decoding needs to know before it compiles; equal plans share compiled functions.

    Args:
      spec: the architecture.
      heads: by layer.
      parts: the columns of the residual stream that a matrix reads (``w_gate_0``, ``w_up_0`` and
        ``head_0.0`` of layer 0, ...; ``w_out``) or writes (``w_down_0``, ``w_o_0.0``); those not
        named have to do with most columns.
      runs: consecutive tokens whose columns of w_out are not zero: the first token, and a shape
        over which the columns are a sum of one term an axis.
      silent: the first token outside all runs, whose logit is always 0, if there is one.
    """

    spec: TransformerSpec
    heads: tuple[tuple[Head, ...], ...]
    parts: tuple[tuple[str, tuple[int, ...]], ...]
    runs: tuple[tuple[int, tuple[int, ...]], ...]
    silent: int | None

    def part(self, name: str) -> Any:
        """The columns of a matrix, as an index."""
        columns = dict(self.parts).get(name)
        if columns is None:
            return slice(None)
        if columns and columns[-1] - columns[0] == len(columns) - 1:
            return slice(columns[0], columns[-1] + 1)
        return np.array(columns, np.int32)

    def dense_heads(self) -> list[str]:
        """Names of the heads that cost O(t) a token."""
        return [
            f"layer {i} head {h}"
            for i, heads in enumerate(self.heads)
            for h, head in enumerate(heads)
            if head.kind == "dense"
        ]


def make_plan(
    spec: TransformerSpec,
    params: Mapping[str, Any],
    certificate: Certificate | None,
    *,
    dense: bool = False,
) -> Plan:
    """The plan for these weights.

    Args:
      certificate: used if it was computed from this very spec and these very weights.
      dense: keep every head dense and every matrix whole: decoding as it is defined.
    """
    leaves = {name: np.asarray(leaf) for name, leaf in params.items()}
    if dense:
        heads = tuple((Head("dense"),) * layer.heads for layer in spec.layers)
        return Plan(spec, heads, parts=(), runs=((0, (spec.output_size,)),), silent=None)
    addresses = {}
    if certificate and certificate.weights and certificate.weights == digest(spec, leaves):
        addresses = {record.part: record.address for record in certificate.records}
    return Plan(
        spec=spec,
        heads=tuple(
            tuple(_classify(spec, leaves, i, h, addresses) for h in range(layer.heads))
            for i, layer in enumerate(spec.layers)
        ),
        parts=tuple(_parts(spec, leaves)),
        runs=_runs(leaves["w_out"]),
        silent=next(iter(np.flatnonzero(~leaves["w_out"].any(axis=0)).tolist()), None),
    )


def _classify(
    spec: TransformerSpec,
    leaves: Mapping[str, np.ndarray],
    i: int,
    h: int,
    addresses: Mapping[str, Address | None],
) -> Head:
    layer = spec.layers[i]
    if unsupported(replace(spec, layers=(layer,)), known=KNOWN):
        return Head("dense")
    if address := addresses.get(f"layer_{i} head {h}"):
        return Head("addressed", address=address)
    if leaves[f"layer_{i}.w_q"][h].any() and leaves[f"layer_{i}.w_k"][h].any():
        return Head("dense")
    if not layer.window:
        return Head("mean")
    bias = leaves[f"layer_{i}.bias"][h].astype(np.float64)
    best, others = int(bias.argmax()), np.delete(bias, bias.argmax())
    if not others.size or bias[best] == others.max():
        return Head("mean") if (bias == bias[0]).all() else Head("dense")
    # The others must be equal, since a token with fewer predecessors averages over them, and the
    # last entry stands for all larger distances.
    alone = best < layer.window - 1 and (others == others[0]).all()
    exact = layer.attend == "hardmax" or losing_mass(2**31, bias[best] - others[0]) < 2.0**-25
    return Head("offset", offset=best) if alone and exact else Head("dense")


def _parts(
    spec: TransformerSpec, leaves: Mapping[str, np.ndarray]
) -> Iterator[tuple[str, tuple[int, ...]]]:
    """`Plan.parts` where they are few: similar weights should share one plan.

    For the same reason an MLP's written columns come with all that the same matrices read: machines
    of one padded size differ in the actions that their rules use.
    """
    used = {"w_out": _used(leaves["w_out"], 1)}
    for i, layer in enumerate(spec.layers):
        for h in range(layer.heads):
            names = [f"layer_{i}.{name}" for name in ("w_q", "w_k", "w_v")]
            read = np.concatenate([leaves[name][h] for name in names], axis=1)
            used[f"head_{i}.{h}"] = _used(read, 1)
            used[f"w_o_{i}.{h}"] = _used(leaves[f"layer_{i}.w_o"][h], 0)
        for name in ("w_gate", "w_up", "w_down") if layer.hidden else ():
            used[f"{name}_{i}"] = _used(leaves[f"layer_{i}.{name}"], int(name != "w_down"))
    readers = [columns for name, columns in used.items() if not name.startswith(("w_o_", "w_down"))]
    kinds = np.unique(np.stack(readers), axis=1, return_inverse=True)[1].reshape(-1)
    for name, columns in used.items():
        if name.startswith("w_down"):
            columns = np.isin(kinds, kinds[columns])
        if columns.sum() < spec.width / 2:
            yield name, tuple(np.flatnonzero(columns).tolist())


def _used(w: np.ndarray, axis: int) -> np.ndarray:
    return np.asarray(w.any(axis=axis))


def _runs(w_out: np.ndarray) -> tuple[tuple[int, tuple[int, ...]], ...]:
    """The runs of a readout [D, V]."""
    edges = np.flatnonzero(np.diff(w_out.any(axis=0), prepend=False, append=False))
    rows = w_out.any(axis=1)
    return tuple(
        (int(first), _factor(w_out[rows, first:last].astype(np.float64)))
        for first, last in edges.reshape(-1, 2)
    )


def _factor(columns: np.ndarray) -> tuple[int, ...]:
    """The finest shape over which columns [D, n] are a sum of one term an axis."""
    n = columns.shape[1]
    for inner in range(2, n // 2 + 1):
        if n % inner:
            continue
        grid = columns.reshape(len(columns), -1, inner)
        if (grid == grid[:, :, :1] + grid[:, :1] - grid[:, :1, :1]).all():
            return (*_factor(grid[:, :, 0]), inner)
    return (n,)
