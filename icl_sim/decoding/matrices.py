"""Decoding with the weights as matrices, passed at run time.

This is the architecture as `icl_sim.transformer` has it, for one token (or one a lane, or one
block) at a time; only the columns of the residual stream that a matrix reads are multiplied.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from constructions.support import ANY
from icl_sim.decoding.attention import WEIGHTS, Projected, Reading, answer, in_range, is_settled
from icl_sim.decoding.head_state import Memory, row_of
from icl_sim.decoding.plan import Plan
from icl_sim.transformer import position_features
from icl_sim.transformer.switches import FEATURES, GATES, NORMS, lift, norm

Params = Mapping[str, jax.Array]

KNOWN = {
    "inputs": ("tokens",),
    "positions": FEATURES,
    "attend": WEIGHTS,
    "mask": ("causal",),
    "window": ANY,
    "gate": GATES,
    "norm": NORMS,
    "readout": ("logits", "simplex"),
    "loops": ANY,
}


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
    token, position = jnp.int32(token), jnp.int32(position)  # numbers where nothing is compiled
    normed = partial(norm, spec)
    x = _embed(plan, ready, token, position)
    lost = jnp.zeros(token.shape, bool)
    kept = []
    for depth in range(spec.loops * len(spec.layers)):
        i = depth % len(spec.layers)
        row = []
        h = normed(x, ready, f"layer_{i}.norm_attention") if plan.heads[i] else x
        for j, (head, before) in enumerate(zip(plan.heads[i], memories[depth], strict=True)):
            projected = _project(plan, ready, i, j, h, before, position, valid)
            memory, found, astray = answer(spec.layers[i], head, before, projected, reading)
            row.append(memory)
            x = _add(x, plan.part(f"w_o_{i}.{j}"), _dot(found, ready[f"w_o_{i}.{j}"]))
            lost = lost | astray
        kept.append(row)
        if spec.layers[i].hidden:
            y = _mlp(plan, ready, i, normed(x, ready, f"layer_{i}.norm_mlp"))
            x = _add(x, plan.part(f"w_down_{i}"), y)
    return kept, Token(_choose(plan, ready, normed(x, ready, "norm_out")), lost)


def _embed(plan: Plan, ready: Params, token: jax.Array, position: jax.Array) -> jax.Array:
    table = ready["embed"]
    x = table.at[token].get(mode="clip") if token.ndim else row_of(table, token)
    if plan.spec.positions:
        one = jax.vmap(lambda p: position_features(plan.spec, p, x.dtype))
        features = one(position.reshape(-1)).reshape(*position.shape, -1)
        x = x + _dot(features, ready["positions"])
    return x


def _project(
    plan: Plan,
    ready: Params,
    i: int,
    j: int,
    x: jax.Array,
    memory: Memory,
    position: jax.Array,
    valid: jax.Array | None,
) -> Projected:
    """What a head reads off the normalized residual stream."""
    layer, address = plan.spec.layers[i], plan.heads[i][j].address
    name = f"query_{i}.{j}" if is_settled(memory) else f"head_{i}.{j}"
    both = _dot(x[..., plan.part(f"head_{i}.{j}")], ready[name])
    if address:
        remainders = (x[..., column] for column in address.remainder)
        query = in_range(both[..., 0].astype(jnp.int32), remainders)
        if is_settled(memory):
            return Projected(position, query)
        key, values = both[..., 1].astype(jnp.int32), both[..., 2:]
        return Projected(position, query, key, values, valid=valid)
    query, key, values = jnp.split(both, (layer.key_size, 2 * layer.key_size), axis=-1)
    bias = ready[f"layer_{i}.bias"][j] if layer.window else None
    return Projected(position, query, key, values, bias, valid)


def _mlp(plan: Plan, ready: Params, i: int, x: jax.Array) -> jax.Array:
    leaf = f"layer_{i}."
    z, up = (
        _dot(x[..., plan.part(f"{w}_{i}")], ready[leaf + w]) + lift(ready[leaf + b], x.ndim)
        for w, b in (("w_gate", "b_gate"), ("w_up", "b_up"))
    )
    return _dot(GATES[plan.spec.layers[i].gate](z) * up, ready[leaf + "w_down"])


def _choose(plan: Plan, ready: Params, x: jax.Array) -> jax.Array:
    """The first token of the largest logit: the best of each run, and 0 for all other tokens."""
    lead = x.shape[:-1]
    candidates = []
    for r, (first, shape) in enumerate(plan.runs):
        # One row an axis: its terms, and nothing beyond its length.
        lines = _dot(x[..., plan.part("w_out")], ready[f"run_{r}"])
        lines = lines.reshape(*lead, len(shape), max(shape))
        place = lift(jnp.arange(max(shape), dtype=jnp.int32), lines.ndim)
        length = lift(jnp.array(shape, jnp.int32)[:, None], lines.ndim)
        lines = jnp.where(place < length, lines, -jnp.inf)
        best = lines.max(axis=-1, keepdims=True)
        # The first place of the largest term, at half the cost of argmax.
        places = jnp.where(lines == best, place, jnp.int32(max(shape))).min(axis=-1)
        strides = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
        steps = places * lift(jnp.array(strides, jnp.int32), places.ndim)
        candidates.append((best.sum(axis=(-2, -1)), jnp.int32(first) + steps.sum(-1, jnp.int32)))
    if plan.silent is not None:
        candidates.append((jnp.zeros(lead, x.dtype), jnp.full(lead, plan.silent, jnp.int32)))
    most, token = candidates[0]
    for value, index in candidates[1:]:
        better = (value > most) | ((value == most) & (index < token))
        most, token = jnp.where(better, value, most), jnp.where(better, index, token)
    return token


def _add(x: jax.Array, columns: Any, y: jax.Array) -> jax.Array:
    """X + y, or y added to some columns of x."""
    return x + y if y.shape == x.shape else x.at[..., columns].add(y)


def _dot(x: jax.Array, w: jax.Array) -> jax.Array:
    if x.ndim == 1 and len(w) <= 32:
        # XLA fuses a sum of products with what surrounds it; a product of a vector and a small
        # matrix would be a call of its own.
        return (x[:, None] * w).sum(axis=0)
    return jnp.einsum("...i,ij->...j", x, w, precision=lax.Precision.HIGHEST)
