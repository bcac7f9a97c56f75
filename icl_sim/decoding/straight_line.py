"""Decoding with the weights partially evaluated: the straight-line arithmetic of what is not zero.

Once the prompt is read, weights are known and so is a good part of the residual stream: only some
columns of the embedding differ between the tokens that the readout can produce. Each column is
thus a Python number or a traced array; zeros, ones and constants are folded, and every remaining
weight becomes one operation, with the same float32 value that it has as part of a matrix.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from constructions import reference
from constructions.support import ANY, unsupported
from icl_sim.decoding.attention import Projected, Reading, answer, in_range, is_settled
from icl_sim.decoding.head_state import Memory, row_of
from icl_sim.decoding.matrices import Token
from icl_sim.decoding.plan import Head, Plan
from icl_sim.transformer import position_features
from icl_sim.transformer.switches import FEATURES, GATES

KNOWN = {
    "inputs": ("tokens",),
    "positions": FEATURES,
    "attend": ("softmax", "hardmax"),
    "mask": ("causal",),
    "window": ANY,
    "gate": GATES,
    "norm": ("none",),
    "readout": ("logits", "simplex"),
    "loops": (1,),
}
Value = float | jax.Array  # a column of the residual stream: a known float32, or a traced one


def obstacles(plan: Plan) -> list[str]:
    """What keeps a transformer from being partially evaluated; none, if it can be."""
    dense = [f"{name} is of no known kind" for name in plan.dense_heads()]
    return dense + unsupported(plan.spec, known=KNOWN)


def read(
    plan: Plan,
    params: Mapping[str, np.ndarray],
    memories: list[list[Memory]],
    token: jax.Array,
    position: jax.Array,
    reading: Reading,
) -> tuple[list[list[Memory]], Token]:
    """As `matrices.read`, for tokens that the readout can produce, and weights known beforehand."""
    spec = plan.spec
    x = _embed(plan, params, token, position)
    lost = jnp.zeros(token.shape, bool)
    kept = []
    for i, layer in enumerate(spec.layers):
        leaf = {name.partition(".")[2]: w for name, w in params.items() if f"layer_{i}." in name}
        row = []
        before = list(x)
        for j, head in enumerate(plan.heads[i]):
            projected = _project(head, j, leaf, before, memories[i][j], position)
            memory, found, astray = answer(layer, head, memories[i][j], projected, reading)
            row.append(memory)
            x = _add_rows(x, [found[..., u] for u in range(found.shape[-1])], leaf["w_o"][j])
            lost = lost | astray
        kept.append(row)
        if layer.hidden:
            hidden = []
            for m in range(layer.hidden):
                g = _gate(layer.gate, _inner(x, leaf["w_gate"][:, m], leaf["b_gate"][m]))
                hidden.append(_times(g, _inner(x, leaf["w_up"][:, m], leaf["b_up"][m])))
            x = _add_rows(x, hidden, leaf["w_down"])
    following, best = _choose(plan, params["w_out"], x)
    if plan.silent is not None:
        # Then the next token may be one that this function was not made for.
        lost = lost | (best <= 0)
    return kept, Token(jnp.broadcast_to(following, token.shape), lost)


def _known(value: Value) -> bool:
    return isinstance(value, float)


def _plus(a: Value, b: Value) -> Value:
    if isinstance(a, float) and isinstance(b, float):
        return float(np.float32(a) + np.float32(b))
    if _known(a):
        a, b = b, a
    if isinstance(b, float):
        return a if b == 0 else jnp.add(a, np.float32(b))
    return jnp.add(a, b)


def _times(a: Value, b: Value) -> Value:
    if isinstance(a, float) and isinstance(b, float):
        return float(np.float32(a) * np.float32(b))
    if _known(a):
        a, b = b, a
    if isinstance(b, float):
        if b == 0:
            return 0.0
        if abs(b) == 1:
            return a if b == 1 else -a
        return jnp.multiply(a, np.float32(b))
    return jnp.multiply(a, b)


def _gate(kind: str, z: Value) -> Value:
    if isinstance(z, float):
        return float(np.float32(reference.GATES[kind](z)))
    return GATES[kind](z)


def _sum(values: Iterable[Value]) -> Value:
    """A balanced sum, so that few operations wait for one another."""
    terms = [value for value in values if not (_known(value) and value == 0)]
    while len(terms) > 1:
        pairs = [_plus(a, b) for a, b in zip(terms[::2], terms[1::2], strict=False)]
        terms = pairs + terms[len(terms) & ~1 :]
    return terms[0] if terms else 0.0


def _inner(x: Sequence[Value], w: np.ndarray, bias: float = 0.0) -> Value:
    return _plus(_sum(_times(x[i], float(w[i])) for i in np.flatnonzero(w).tolist()), float(bias))


def _add_rows(x: Sequence[Value], values: Sequence[Value], w: np.ndarray) -> list[Value]:
    """X + values w, column by column; values of one weight are added up first."""
    out = list(x)
    for column in np.flatnonzero(w.any(axis=0)).tolist():
        weights = w[:, column]
        terms = []
        for weight in np.unique(weights[weights != 0]):
            alike = _sum(values[i] for i in np.flatnonzero(weights == weight).tolist())
            terms.append(_times(alike, float(weight)))
        out[column] = _plus(out[column], _sum(terms))
    return out


def _embed(
    plan: Plan, params: Mapping[str, np.ndarray], token: jax.Array, position: jax.Array
) -> list[Value]:
    """The residual stream at the start: columns equal for all tokens of the runs are numbers."""
    runs = [np.arange(first, first + int(np.prod(shape))) for first, shape in plan.runs]
    produced = np.concatenate(runs)
    rows = params["embed"][produced]
    vary = np.flatnonzero((rows != rows[0]).any(axis=0))
    x: list[Value] = [float(value) for value in rows[0]]
    if vary.size:
        low = int(produced.min())
        table = jnp.asarray(params["embed"][low : produced.max() + 1, vary])
        place = token - jnp.int32(low)
        entries = table.at[place].get(mode="clip") if token.ndim else row_of(table, place)
        for k, column in enumerate(vary):
            x[column] = entries[..., k]
    if not plan.spec.positions:
        return x
    features = jax.vmap(lambda p: position_features(plan.spec, p, jnp.float32))
    columns = features(position.reshape(-1)).reshape(*position.shape, -1)
    return _add_rows(x, [columns[..., k] for k in range(columns.shape[-1])], params["positions"])


def _project(
    head: Head,
    j: int,
    leaf: Mapping[str, np.ndarray],
    x: Sequence[Value],
    memory: Memory,
    position: jax.Array,
) -> Projected:
    """What a head reads off the residual stream."""
    shape, address = position.shape, head.address
    query = key = None
    if address:
        remainders = (x[column] for column in address.remainder)
        query = in_range(_code(x, leaf["w_q"][j], address.query, shape), remainders)
        if is_settled(memory):
            return Projected(position, query)
        key = _code(x, leaf["w_k"][j], address.key, shape)
    w_v = leaf["w_v"][j]
    values = [jnp.broadcast_to(_inner(x, w_v[:, u]), shape) for u in range(w_v.shape[1])]
    return Projected(position, query, key, jnp.stack(values, axis=-1).astype(jnp.float32))


def _code(
    x: Sequence[Value], w: np.ndarray, functional: tuple[float, ...], shape: tuple[int, ...]
) -> jax.Array:
    """The integer code of a query or key."""
    column = w.astype(np.float64) @ np.array(functional)
    return jnp.broadcast_to(jnp.asarray(_inner(x, column), jnp.float32), shape).astype(jnp.int32)


def _choose(plan: Plan, w_out: np.ndarray, x: Sequence[Value]) -> tuple[jax.Array, Value]:
    """The first token of the largest logit among the runs, and that logit."""
    candidates: list[tuple[Value, Any]] = []
    for first, shape in plan.runs:
        w = w_out[:, first : first + math.prod(shape)].reshape(-1, *shape)
        value: Value = 0.0
        index: Any = jnp.int32(first)
        for axis, n in enumerate(shape):
            line = w[(slice(None), *(slice(None) if a == axis else 0 for a in range(len(shape))))]
            line = line - line[:, :1] if axis else line
            top, place = _largest([_inner(x, line[:, i]) for i in range(n)])
            value = _plus(value, top)
            index = index + place * jnp.int32(math.prod(shape[axis + 1 :]))
        candidates.append((value, index))
    best, token = candidates[0]
    for value, index in candidates[1:]:
        token, best = jnp.where(value > best, index, token), jnp.maximum(value, best)
    return token, best


def _largest(logits: Sequence[Value]) -> tuple[Value, Any]:
    """The largest value and its first place, by rounds of pairs: few wait for one another."""
    found: list[tuple[Value, Any]] = [(value, jnp.int32(n)) for n, value in enumerate(logits)]
    while len(found) > 1:
        pairs = [_larger(a, b) for a, b in zip(found[::2], found[1::2], strict=False)]
        found = pairs + found[len(found) & ~1 :]
    return found[0]


def _larger(a: tuple[Value, Any], b: tuple[Value, Any]) -> tuple[Value, Any]:
    better = b[0] > a[0]
    return jnp.where(better, b[0], a[0]), jnp.where(better, b[1], a[1])
