"""Decoding with the weights as matrices, passed at run time.

This is the architecture as `icl_sim.transformer` has it, for one token (or one a lane, or one
block) at a time; only the columns of the residual stream that a matrix reads are multiplied.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from icl_sim.decoding.memory import Memory, Reading, Single, row_of
from icl_sim.decoding.plan import Head, Plan
from icl_sim.transformer import gate, position_features

Params = Mapping[str, jax.Array]


class Token(NamedTuple):
    """What a token leads to, each of the reading's leading shape.

    Attributes:
      following: the first token with the largest logit, int32.
      lost: an address was out of range.
    """

    following: jax.Array
    lost: jax.Array


def prepare(plan: Plan, params: Params) -> dict[str, jax.Array]:
    """The matrices as `read` wants them; to be called once, before all tokens."""
    ready = dict(params)
    for i, (layer, heads) in enumerate(zip(plan.spec.layers, plan.heads, strict=True)):
        if layer.hidden:
            for name in ("w_gate", "w_up"):
                ready[f"layer_{i}.{name}"] = params[f"layer_{i}.{name}"][plan.part(f"{name}_{i}")]
            w_down = params[f"layer_{i}.w_down"]
            ready[f"layer_{i}.w_down"] = w_down[:, plan.part(f"w_down_{i}")]
        for j, head in enumerate(heads):
            query, key, values = (params[f"layer_{i}.{n}"][j] for n in ("w_q", "w_k", "w_v"))
            if address := head.address:
                # Of query and key only the codes are needed.
                query = _dot(query, jnp.array(address.query, jnp.float32)[:, None])
                key = _dot(key, jnp.array(address.key, jnp.float32)[:, None])
            read, write = plan.part(f"head_{i}.{j}"), plan.part(f"w_o_{i}.{j}")
            ready[f"query_{i}.{j}"] = query[read]
            ready[f"head_{i}.{j}"] = jnp.concatenate([query, key, values], axis=1)[read]
            ready[f"w_o_{i}.{j}"] = params[f"layer_{i}.w_o"][j][:, write]
    columns = plan.part("w_out")
    for r, (first, shape) in enumerate(plan.runs):
        w = params["w_out"][columns, first : first + math.prod(shape)].reshape(-1, *shape)
        lines = []
        for axis, n in enumerate(shape):
            # The terms along one axis, the others at 0; of all axes but one, less the first term.
            line = w[(slice(None), *(slice(None) if a == axis else 0 for a in range(len(shape))))]
            line = line - line[:, :1] if axis else line
            lines.append(jnp.pad(line, ((0, 0), (0, max(shape) - n))))
        ready[f"run_{r}"] = jnp.concatenate(lines, axis=1)
    return ready


def read(
    plan: Plan,
    ready: Params,
    memories: list[list[Memory]],
    token: jax.Array,
    position: jax.Array,
    reading: Reading,
    valid: jax.Array | None = None,
) -> tuple[list[list[Memory]], Token]:
    """Reads tokens and predicts what follows each.

    Args:
      ready: the weights, from `prepare`.
      token, position: int32, of the reading's leading shape.
      valid: bool, of the same shape: tokens that are not leave the memories as they are.
    """
    spec = plan.spec
    x = _embed(plan, ready, token, position)
    lost = jnp.zeros(token.shape, bool)
    kept = []
    for depth in range(spec.loops * len(spec.layers)):
        i = depth % len(spec.layers)
        h = _norm(x, ready.get(f"layer_{i}.norm_attention"))
        row = []
        for j, head in enumerate(plan.heads[i]):
            memory, answer, astray = _attend(
                plan, ready, i, j, head, h, memories[depth][j], position, reading, valid
            )
            row.append(memory)
            x = _add(x, plan.part(f"w_o_{i}.{j}"), _dot(answer, ready[f"w_o_{i}.{j}"]))
            lost = lost | astray
        kept.append(row)
        if spec.layers[i].hidden:
            y = _mlp(plan, ready, i, _norm(x, ready.get(f"layer_{i}.norm_mlp")))
            x = _add(x, plan.part(f"w_down_{i}"), y)
    return kept, Token(_choose(plan, ready, _norm(x, ready.get("norm_out"))), lost)


def _embed(plan: Plan, ready: Params, token: jax.Array, position: jax.Array) -> jax.Array:
    table = ready["embed"]
    x = table.at[token].get(mode="clip") if token.ndim else row_of(table, token)
    if plan.spec.positions:
        one = jax.vmap(lambda p: position_features(plan.spec, p, x.dtype))
        features = one(position.reshape(-1)).reshape(*position.shape, -1)
        x = x + _dot(features, ready["positions"])
    return x


def _attend(
    plan: Plan,
    ready: Params,
    i: int,
    j: int,
    head: Head,
    x: jax.Array,
    memory: Memory,
    position: jax.Array,
    reading: Reading,
    valid: jax.Array | None,
) -> tuple[Memory, jax.Array, Any]:
    """The head's new memory, its answer, and whether its query is out of range."""
    layer, address = plan.spec.layers[i], head.address
    part = x[..., plan.part(f"head_{i}.{j}")]
    settled = "averages" in memory
    both = _dot(part, ready[f"query_{i}.{j}" if settled else f"head_{i}.{j}"])
    if address:
        query = both[..., 0].astype(jnp.int32)
        for column in address.remainder:
            query = jnp.where(jnp.abs(x[..., column]) < 0.5, query, jnp.int32(0))
        lost = query == 0
        if settled:
            return memory, reading.recall(memory, address, query), lost
        key, values = both[..., 1].astype(jnp.int32), both[..., 2:]
        if valid is not None:
            # Code 0 is nobody's.
            key, values = jnp.where(valid, key, 0), jnp.where(valid[..., None], values, 0)
        return *reading.addressed(memory, address, key, query, values), lost
    query, key, values = jnp.split(both, (layer.key_size, 2 * layer.key_size), axis=-1)
    if head.kind == "dense":
        if not isinstance(reading, Single):
            raise ValueError("a dense head reads one token of one sequence at a time")
        bias = ready[f"layer_{i}.bias"][j] if layer.window else None
        return *reading.dense(memory, layer, bias, key, query, values, position), False
    answer = reading.mean if head.kind == "mean" else reading.offset
    changed, found = answer(memory, values, position)
    if valid is not None:
        changed = {
            name: jnp.where(valid.reshape(-1, *(1,) * (new.ndim - 1)), new, memory[name])
            for name, new in changed.items()
        }
    return changed, found, False


def _mlp(plan: Plan, ready: Params, i: int, x: jax.Array) -> jax.Array:
    leaf = f"layer_{i}."
    z, up = (
        _dot(x[..., plan.part(f"{w}_{i}")], ready[leaf + w]) + _lift(ready[leaf + b], x.ndim)
        for w, b in (("w_gate", "b_gate"), ("w_up", "b_up"))
    )
    return _dot(gate(plan.spec.layers[i].gate, z) * up, ready[leaf + "w_down"])


def _choose(plan: Plan, ready: Params, x: jax.Array) -> jax.Array:
    """The first token of the largest logit: the best of each run, and 0 for all other tokens."""
    lead = x.shape[:-1]
    candidates = []
    for r, (first, shape) in enumerate(plan.runs):
        # One row an axis: its terms, and nothing beyond its length.
        lines = _dot(x[..., plan.part("w_out")], ready[f"run_{r}"])
        lines = lines.reshape(*lead, len(shape), max(shape))
        place = _lift(jnp.arange(max(shape), dtype=jnp.int32), lines.ndim)
        length = _lift(jnp.array(shape, jnp.int32)[:, None], lines.ndim)
        lines = jnp.where(place < length, lines, -jnp.inf)
        best = lines.max(axis=-1, keepdims=True)
        # The first place of the largest term, at half the cost of argmax.
        places = jnp.where(lines == best, place, jnp.int32(max(shape))).min(axis=-1)
        strides = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
        steps = places * _lift(jnp.array(strides, jnp.int32), places.ndim)
        candidates.append((best.sum(axis=(-2, -1)), jnp.int32(first) + steps.sum(-1, jnp.int32)))
    if plan.silent is not None:
        candidates.append((jnp.zeros(lead, x.dtype), jnp.full(lead, plan.silent, jnp.int32)))
    most, token = candidates[0]
    for value, index in candidates[1:]:
        better = (value > most) | ((value == most) & (index < token))
        most, token = jnp.where(better, value, most), jnp.where(better, index, token)
    return token


def _norm(x: jax.Array, gain: jax.Array | None) -> jax.Array:
    if gain is None:
        return x
    scale = lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + 1e-6)
    return x * scale * _lift(gain, x.ndim)


def _lift(x: jax.Array, ndim: int) -> jax.Array:
    return x.reshape((1,) * (ndim - x.ndim) + x.shape)


def _add(x: jax.Array, columns: Any, y: jax.Array) -> jax.Array:
    """X + y, or y added to some columns of x."""
    return x + y if y.shape == x.shape else x.at[..., columns].add(y)


def _dot(x: jax.Array, w: jax.Array) -> jax.Array:
    if x.ndim == 1 and len(w) <= 32:
        # XLA fuses a sum of products with what surrounds it; a product of a vector and a small
        # matrix would be a call of its own.
        return (x[:, None] * w).sum(axis=0)
    return jnp.einsum("...i,ij->...j", x, w, precision=lax.Precision.HIGHEST)
