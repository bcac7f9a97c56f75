"""The one architecture in JAX: a pure forward pass.

`forward` computes what `constructions.reference.forward` defines, in the dtype of its params, for
any leading batch axes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from constructions.spec import Layer, TransformerSpec, feature_kind, feature_size
from icl_sim.errors import InputError
from icl_sim.transformer.activation_memory import require_memory
from icl_sim.transformer.switches import (
    FEATURES,
    GATES,
    MASKS,
    NORMS,
    WEIGHTS,
    lift,
    require_known,
)

Params = Mapping[str, jax.Array]


def forward(
    spec: TransformerSpec,
    params: Mapping[str, Any],
    inputs: Any,
    *,
    prefix: Any = None,
    offset: Any = 0,
) -> jax.Array:
    """The decoder's output at every position; pure and jittable with ``spec`` static.

    Args:
      spec: the architecture.
      params: leaves of `param_shapes(spec)`, all of one floating dtype, which is the dtype of all
        arithmetic.
      inputs: int [..., T] below ``spec.input_size`` (tokens), or float [..., T, I] (vectors).
      prefix: how many leading tokens the ``prefix`` mask shows to every token, by default all;
        may be traced.
      offset: index of the first token, for the position features; may be traced.

    Returns:
      Logits or laws (see `TransformerSpec.readout`), [..., T, V].

    Raises:
      InputError: a switch that is not known, inputs of the wrong rank or kind, or more of them than
        memory lasts for.

    >>> import numpy as np
    >>> from constructions.spec import blank
    >>> spec = TransformerSpec(input_size=2, width=2, output_size=2, layers=())
    >>> params = blank(spec) | {"embed": np.eye(2, dtype="f4"), "w_out": np.eye(2, dtype="f4")}
    >>> forward(spec, params, np.array([1, 0])).tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    require_memory(spec, params, inputs)
    params = {name: jnp.asarray(leaf) for name, leaf in params.items()}
    return _dot(hidden(spec, params, inputs, prefix=prefix, offset=offset), params["w_out"])


def hidden(
    spec: TransformerSpec, params: Params, inputs: Any, *, prefix: Any = None, offset: Any = 0
) -> jax.Array:
    """The normalized residual stream that the leaf ``w_out`` reads, [..., T, D].

    Arguments are those of `forward`.
    """
    x = embed(spec, params, inputs, offset=offset)
    if spec.loops == 1:
        x = loop(spec, params, x, prefix=prefix)
    else:
        x = jax.lax.fori_loop(0, spec.loops, lambda _, x: loop(spec, params, x, prefix=prefix), x)
    return NORMS[spec.norm](x, params, "norm_out")


def embed(spec: TransformerSpec, params: Params, inputs: Any, *, offset: Any = 0) -> jax.Array:
    """The residual stream before the first layer, [..., T, D]; arguments are those of `forward`."""
    require_known(spec)
    x = _embed(spec, params["embed"], jnp.asarray(inputs))
    if spec.positions:
        features = position_features(spec, x.shape[-2], offset, x.dtype)
        x = x + lift(_dot(features, params["positions"]), x.ndim)
    return x


def loop(spec: TransformerSpec, params: Params, x: jax.Array, *, prefix: Any = None) -> jax.Array:
    """The stack of layers, once: [..., T, D] -> [..., T, D]."""
    for i, layer in enumerate(spec.layers):
        x = _layer(spec, params, i, layer, x, prefix)
    return x


def readout(spec: TransformerSpec, params: Params, x: jax.Array) -> jax.Array:
    """The outputs of a residual stream: [..., T, D] -> [..., T, V]."""
    return _dot(NORMS[spec.norm](x, params, "norm_out"), params["w_out"])


def position_features(spec: TransformerSpec, length: int, offset: Any, dtype: Any) -> jax.Array:
    """[T, P]: the spec's features of the indices offset, offset + 1, ... (int32 arithmetic).

    The square is taken in ``dtype``: exact below 2^12 in float32, rounded beyond.
    """
    p = jnp.arange(length, dtype=jnp.int32) + jnp.asarray(offset, jnp.int32)
    columns: list[jax.Array] = []
    for feature in spec.positions:
        columns.extend(FEATURES[feature_kind(feature)](p, feature_size(feature), dtype))
    return jnp.stack(columns, axis=1)


def visible(layer: Layer, length: int, prefix: Any) -> jax.Array:
    """Bool [T, S]: may token t attend to token s."""
    s = jnp.arange(length, dtype=jnp.int32)
    return MASKS[layer.mask](s[:, None], s[None, :], length if prefix is None else prefix)


def _layer(
    spec: TransformerSpec, params: Params, i: int, layer: Layer, x: jax.Array, prefix: Any
) -> jax.Array:
    norm = NORMS[spec.norm]
    leaf = {
        name.partition(".")[2]: value for name, value in params.items() if f"layer_{i}." in name
    }
    if layer.heads:
        x = x + attention(layer, leaf, norm(x, leaf, "norm_attention"), prefix)
    if layer.hidden:
        x = x + gated_mlp(layer, leaf, norm(x, leaf, "norm_mlp"))
    return x


def attention(layer: Layer, leaf: Params, x: jax.Array, prefix: Any) -> jax.Array:
    """[..., T, D] -> [..., T, D]: the sum of the heads' outputs.

    Softmax and hardmax accumulate the weighted values and the weights apart and divide once, so
    that an average of small integers has exact sums and a single rounding.
    """
    T = x.shape[-2]
    q = _einsum("...td,hdk->...htk", x, leaf["w_q"])
    k = _einsum("...td,hdk->...htk", x, leaf["w_k"])
    v = _einsum("...td,hdu->...htu", x, leaf["w_v"])
    scores = _einsum("...htk,...hsk->...hts", q, k) * jnp.asarray(layer.scale, x.dtype)
    if layer.window:
        t = jnp.arange(T, dtype=jnp.int32)
        distance = jnp.clip(t[:, None] - t[None, :], 0, layer.window - 1)
        bias = leaf["bias"][:, distance]
        # Copied along the batch by a product with ones: its gradient is a matrix product, that of a
        # broadcast a reduction over the leading axis, a third of a whole training step on a CPU.
        ones = jnp.ones((math.prod(scores.shape[:-3]), 1), x.dtype)
        scores = scores + _dot(ones, bias.reshape(1, -1)).reshape(scores.shape)
    mask = jnp.broadcast_to(visible(layer, T, prefix), scores.shape)
    weight, total = WEIGHTS[layer.attend](scores, mask)
    head = _einsum("...hts,...hsu->...htu", weight, v)
    if total is not None:
        # Behind the barrier the compiler cannot turn the division into a product with a reciprocal,
        # which it does or not depending on what else is compiled: other bits on other meshes.
        head = head / jax.lax.optimization_barrier(jnp.broadcast_to(total, head.shape))
    return _einsum("...htu,hud->...td", head, leaf["w_o"])


def gated_mlp(layer: Layer, leaf: Params, x: jax.Array) -> jax.Array:
    """[..., T, D] -> [..., T, D]: (gate(x W_g + b_g) * (x W_u + b_u)) W_d."""
    z = _dot(x, leaf["w_gate"]) + lift(leaf["b_gate"], x.ndim)
    up = _dot(x, leaf["w_up"]) + lift(leaf["b_up"], x.ndim)
    return _dot(GATES[layer.gate](z) * up, leaf["w_down"])


def _embed(spec: TransformerSpec, embed: jax.Array, inputs: jax.Array) -> jax.Array:
    if spec.inputs == "vectors":
        if inputs.ndim < 2 or inputs.shape[-1] != spec.input_size:
            raise InputError(
                f"inputs: expected shape [..., T, {spec.input_size}], got {inputs.shape}"
            )
        return _dot(inputs.astype(embed.dtype), embed)
    if inputs.ndim < 1 or not jnp.issubdtype(inputs.dtype, jnp.integer):
        raise InputError(f"inputs: expected integers [..., T], got {inputs.dtype} {inputs.shape}")
    # Out-of-range tokens become NaN instead of the last row, so that they cannot pass unseen.
    return embed.at[inputs].get(mode="fill", fill_value=jnp.nan)


def _einsum(formula: str, *operands: jax.Array) -> jax.Array:
    # TF32 and bfloat16 products break the margins of hand-written weights.
    return jnp.einsum(formula, *operands, precision=jax.lax.Precision.HIGHEST)


def _dot(x: jax.Array, w: jax.Array) -> jax.Array:
    return _einsum("...i,ij->...j", x, w)
