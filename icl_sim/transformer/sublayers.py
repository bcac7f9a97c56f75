"""Attention and MLP in JAX, written once for training and for every dense pass.

Shape letters are those of `constructions.spec`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from constructions.rotary import Rotary
from constructions.spec import Layer, TransformerSpec
from icl_sim.transformer.arithmetic import CERTIFIED, Arithmetic
from icl_sim.transformer.switches import GATES, MASKS, WEIGHTS, lift, norm

Params = Mapping[str, jax.Array]

MOST_BLOCKS = 8  # of attention, since each is compiled

LORA_SCALE = 2.0  # alpha/r of Hu et al. (arXiv:2106.09685)


def visible(
    layer: Layer, queries: jax.Array, keys: jax.Array, *, length: int, prefix: Any
) -> jax.Array:
    """Bool [T, S]: may the token at place t attend to the token at place s.

    Args:
      layer: its mask and reach.
      queries, keys: int32 [T], [S], places in the sequence.
      length: the prefix if ``prefix`` is None.
      prefix: how many tokens the prefix mask shows to all; may be traced.
    """
    t, s = queries[:, None], keys[None, :]
    seen = MASKS[layer.mask](t, s, length if prefix is None else prefix)
    return seen & (s > t - layer.reach) if layer.reach else seen


def project(
    spec: TransformerSpec,
    layer: Layer,
    leaf: Params,
    x: jax.Array,
    index: jax.Array,
    how: Arithmetic,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Queries [..., H, T, K], keys [..., G, T, K] and values [..., G, T, U], turned and normed.

    Args:
      spec, layer, leaf: the layer and its params.
      x: the normed residual stream, [..., T, D].
      index: int32 [T] or [..., T], what rotary positions turn by.
      how: the arithmetic.
    """
    q, k, v = (_into_heads(x, leaf, name, how) for name in ("w_q", "w_k", "w_v"))
    if layer.projection_bias != "none":
        q, k, v = (
            y + lift(leaf[name][:, None, :].astype(y.dtype), y.ndim)
            for y, name in ((q, "b_q"), (k, "b_k"), (v, "b_v"))
        )
    if layer.head_norm:
        q, k = norm(spec, q, leaf, "norm_q"), norm(spec, k, leaf, "norm_k")
    if layer.rotary is not None:
        q, k = rotate(layer.rotary, q, index), rotate(layer.rotary, k, index)
    return q, k, v


def _into_heads(x: jax.Array, leaf: Params, name: str, how: Arithmetic) -> jax.Array:
    """[..., T, D] -> [..., H, T, K], LoRA's correction included if the leaf has one."""
    y = einsum("...td,hdk->...htk", x, leaf[name], how=how)
    low = low_rank(x, leaf, name, how)
    if low is None:
        return y
    low = low.reshape(*low.shape[:-1], y.shape[-3], y.shape[-1])
    return y + jnp.swapaxes(low, -2, -3)


def low_rank(x: jax.Array, leaf: Params, name: str, how: Arithmetic) -> jax.Array | None:
    """LoRA's correction of the product of x and the leaf, x A B times its scale; None without."""
    if f"{name}.a" not in leaf:
        return None
    return LORA_SCALE * dot(dot(x, leaf[f"{name}.a"], how), leaf[f"{name}.b"], how)


def rotate(rotary: Rotary, y: jax.Array, index: jax.Array) -> jax.Array:
    """[..., H, T, K]: entries i and i + K/2 turned, as a vector of the plane, by index f_i."""
    kind = jnp.promote_types(y.dtype, jnp.float32)
    frequencies = jnp.asarray(rotary.frequencies(y.shape[-1]), kind)
    angle = index[..., None].astype(kind) * lift(frequencies, index.ndim + 1)
    angle = lift(angle[..., None, :, :], y.ndim)  # the same for all heads
    cos, sin = rotary.stretch * jnp.cos(angle), rotary.stretch * jnp.sin(angle)
    a, b = jnp.split(y.astype(kind), 2, axis=-1)
    return jnp.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1).astype(y.dtype)


def relative_bias(layer: Layer, leaf: Params, distance: jax.Array) -> jax.Array:
    """[H, T, S]: what each head adds to its scaled scores at these distances [T, S]."""
    return leaf["bias"][:, jnp.clip(distance, 0, layer.window - 1)]


def average(head: jax.Array, total: jax.Array | None) -> jax.Array:
    """Weighted sums [..., T, U] over the sum of their weights [..., T, 1]; None leaves the sums.

    Softmax and hardmax accumulate the weighted values and the weights apart (`WEIGHTS`) and divide
    once, so that an average of small integers has exact sums and a single rounding.
    """
    if total is None:
        return head
    # Behind the barrier the compiler cannot turn the division into a product with a reciprocal,
    # which it does or not depending on what else is compiled: other bits on other meshes.
    return head / jax.lax.optimization_barrier(jnp.broadcast_to(total, head.shape))


def attention(
    spec: TransformerSpec,
    layer: Layer,
    leaf: Params,
    x: jax.Array,
    *,
    index: jax.Array,
    prefix: Any,
    segments: jax.Array | None,
    how: Arithmetic,
    watch: Callable[[jax.Array], None] | None = None,
) -> jax.Array:
    """[..., T, D] -> [..., T, D]: the sum of the heads' outputs.

    ``watch`` is shown the weights that the values get, [..., H, T, S].
    """
    T = x.shape[-2]
    q, k, v = project(spec, layer, leaf, x, index, how)
    place = jnp.arange(T, dtype=jnp.int32)
    mask = visible(layer, place, place, length=T, prefix=prefix)
    if segments is not None:
        same = segments[..., :, None] == segments[..., None, :]
        mask = (lift(mask, same.ndim) & same)[..., None, :, :]
    if layer.groups != layer.heads:
        k, v = (jnp.repeat(y, layer.heads // layer.groups, axis=-3) for y in (k, v))
    heads = []
    for rows, keys in attention_blocks(layer, T, how if watch is None else CERTIFIED):
        seen = mask[..., rows, keys]
        # Nothing here holds the scores, which are large, when operations run one by one.
        weight, total = WEIGHTS[layer.attend](
            *_scores(layer, leaf, q[..., rows, :], k[..., keys, :], rows, keys, seen, how)
        )
        head = einsum("...ts,...su->...tu", weight, v[..., keys, :], how=how, out=weight.dtype)
        heads.append(average(head, total))
        if watch is not None:
            watch(average(weight, total))
    head = heads[0] if len(heads) == 1 else jnp.concatenate(heads, axis=-2)
    return join_heads(layer, leaf, head.astype(x.dtype), how)


def attention_blocks(layer: Layer, T: int, how: Arithmetic) -> list[tuple[slice, slice]]:
    """Queries, and all the keys that one of them may see: T x T at once, or block by block."""
    if not how.block or layer.mask != "causal":
        return [(slice(0, T), slice(0, T))]
    size = max(how.block, -(-T // MOST_BLOCKS))
    stops = [*range(size, T, size), T]
    starts = [0, *stops[:-1]]
    first = [max(0, start + 1 - layer.reach) if layer.reach else 0 for start in starts]
    return [(slice(*q), slice(*k)) for q, k in zip(zip(starts, stops), zip(first, stops))]  # noqa: B905


def _scores(
    layer: Layer,
    leaf: Params,
    q: jax.Array,
    k: jax.Array,
    rows: slice,
    keys: slice,
    seen: jax.Array,
    how: Arithmetic,
) -> tuple[jax.Array, jax.Array]:
    """Of queries and keys [..., H, T, K], the scores [..., H, T, S] and which of them are seen."""
    out = jnp.promote_types(q.dtype, jnp.float32)
    scores = einsum("...htk,...hsk->...hts", q, k, how=how, out=out)
    scores = scores * jnp.asarray(layer.scale, scores.dtype)
    if layer.window:
        bias = _bias_rows(layer, leaf, rows, keys)
        # Copied along the batch by a product with ones: its gradient is a matrix product, that of a
        # broadcast a reduction over the leading axis, a third of a training step on a CPU.
        ones = jnp.ones((math.prod(scores.shape[:-3]), 1), q.dtype)
        scores = scores + dot(ones, bias.reshape(1, -1), how).reshape(scores.shape)
    return scores, jnp.broadcast_to(seen, scores.shape)


def _bias_rows(layer: Layer, leaf: Params, rows: slice, keys: slice) -> jax.Array:
    """`relative_bias` of neighboring queries and keys, [H, T, S], row after row one to the right.

    Sums over shifted rows are its gradient; that of a table look-up would add entry by entry.
    """
    T, S = rows.stop - rows.start, keys.stop - keys.start
    distance = rows.stop - 1 - keys.start - jnp.arange(T + S, dtype=jnp.int32)
    line = relative_bias(layer, leaf, distance)  # of the last query and the first key first
    # In rows of T + S the line is under itself; read in rows one shorter, it moves right.
    line = jnp.roll(line, 1 - T, axis=-1)
    shape = (layer.heads, T, T + S)
    rows_of = jnp.broadcast_to(line[:, None], shape).reshape(layer.heads, -1)
    return rows_of[:, : T * (T + S - 1)].reshape(layer.heads, T, -1)[..., :S]


def join_heads(layer: Layer, leaf: Params, head: jax.Array, how: Arithmetic) -> jax.Array:
    """[..., H, T, U] -> [..., T, D]: the sum of the heads' outputs."""
    out = einsum("...htu,hud->...td", head, leaf["w_o"], how=how)
    if "w_o.a" in leaf:
        rows = jnp.swapaxes(head, -2, -3)
        low = low_rank(rows.reshape(*rows.shape[:-2], -1), leaf, "w_o", how)
        out = out if low is None else out + low
    if layer.projection_bias != "all":
        return out
    return out + lift(leaf["b_o"].astype(out.dtype), out.ndim)


def residual_layer(
    spec: TransformerSpec,
    layer: Layer,
    leaf: Params,
    x: jax.Array,
    attend: Callable[[jax.Array], tuple[jax.Array, Any]],
    how: Arithmetic,
) -> tuple[jax.Array, Any]:
    """One layer, [..., T, D] -> [..., T, D], and what its attention keeps.

    ``attend`` maps the normed stream to the heads' sum and to what is kept, None without heads.
    """
    kept = None
    if layer.heads:
        h, kept = attend(norm(spec, x, leaf, "norm_attention"))
        x = x + (norm(spec, h, leaf, "norm_attention_out") if spec.post_norm else h)
    if layer.hidden:
        h = mlp(layer, leaf, norm(spec, x, leaf, "norm_mlp"), how)
        x = x + (norm(spec, h, leaf, "norm_mlp_out") if spec.post_norm else h)
    return x, kept


def mlp(layer: Layer, leaf: Params, x: jax.Array, how: Arithmetic) -> jax.Array:
    """[..., T, D] -> [..., T, D]: the MLP, gated or plain, as `Layer` defines it."""

    def linear(x: jax.Array, name: str) -> jax.Array:
        y = dot(x, leaf[f"w_{name}"], how)
        low = low_rank(x, leaf, f"w_{name}", how)
        y = y if low is None else y + low
        bias = leaf.get(f"b_{name}")
        return y if bias is None else y + lift(bias.astype(y.dtype), y.ndim)

    h = GATES[layer.gate](linear(x, "gate"))
    if layer.mlp == "gated":
        h = h * linear(x, "up")
    return linear(h, "down")


def einsum(formula: str, *operands: jax.Array, how: Arithmetic, out: Any = None) -> jax.Array:
    """The product of the operands in the arithmetic's dtype and precision, its sums in ``out``.

    An arithmetic without a dtype computes params in their own, and their sums too.
    """
    if how.dtype is None:
        return jnp.einsum(formula, *operands, precision=how.precision)
    operands = tuple(x.astype(how.dtype) for x in operands)
    return jnp.einsum(formula, *operands, precision=how.precision, preferred_element_type=out)


def dot(x: jax.Array, w: jax.Array, how: Arithmetic) -> jax.Array:
    """[..., I] times [I, J]."""
    return einsum("...i,ij->...j", x, w, how=how)
