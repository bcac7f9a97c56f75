"""The one architecture in JAX: a pure forward pass.

`forward` computes what `constructions.reference.forward` defines, in the dtype of its params, for
any leading batch axes.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from constructions.spec import Layer, TransformerSpec
from icl_sim.errors import InputError
from icl_sim.transformer.activation_memory import require_memory
from icl_sim.transformer.arithmetic import CERTIFIED, Arithmetic
from icl_sim.transformer.sublayers import Params, attention, dot, lift, mlp, norm


def forward(
    spec: TransformerSpec,
    params: Mapping[str, Any],
    inputs: Any,
    *,
    prefix: Any = None,
    offset: Any = 0,
    segments: Any = None,
    how: Arithmetic = CERTIFIED,
) -> jax.Array:
    """The decoder's output at every position; pure and jittable with ``spec`` and ``how`` static.

    Args:
      spec: the architecture.
      params: leaves of `param_shapes(spec)`, all of one floating dtype, which is the dtype of all
        arithmetic unless ``how`` says otherwise.
      inputs: int [..., T] below ``spec.input_size`` (tokens), or float [..., T, I] (vectors).
      prefix: how many leading tokens the ``prefix`` mask shows to every token, by default all;
        may be traced.
      offset: index of the first token, for the positions; may be traced.
      segments: int [..., T], equal numbers side by side for the tokens of one sequence of several
        that are packed: each sees its own, and its positions start at ``offset``.
      how: the arithmetic.

    Returns:
      Logits or laws (see `TransformerSpec.readout`), [..., T, V].

    Raises:
      InputError: inputs of the wrong rank or kind, or more of them than memory lasts for.

    >>> import numpy as np
    >>> from constructions.spec import blank
    >>> spec = TransformerSpec(input_size=2, width=2, output_size=2, layers=())
    >>> params = blank(spec) | {"embed": np.eye(2, dtype="f4"), "w_out": np.eye(2, dtype="f4")}
    >>> forward(spec, params, np.array([1, 0])).tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    require_memory(spec, params, inputs)
    params = {name: jnp.asarray(leaf) for name, leaf in params.items()}
    x = hidden(spec, params, inputs, prefix=prefix, offset=offset, segments=segments, how=how)
    return unembed(spec, params, x, how=how)


def hidden(
    spec: TransformerSpec,
    params: Params,
    inputs: Any,
    *,
    prefix: Any = None,
    offset: Any = 0,
    segments: Any = None,
    how: Arithmetic = CERTIFIED,
) -> jax.Array:
    """The normalized residual stream that the readout multiplies, [..., T, D].

    Arguments are those of `forward`.
    """
    x = embed(spec, params, inputs, offset=offset, segments=segments, how=how)
    turn = partial(loop, spec, params, prefix=prefix, offset=offset, segments=segments, how=how)
    x = turn(x) if spec.loops == 1 else jax.lax.fori_loop(0, spec.loops, lambda _, x: turn(x), x)
    return norm(spec, x, params, "norm_out")


def embed(
    spec: TransformerSpec,
    params: Params,
    inputs: Any,
    *,
    offset: Any = 0,
    segments: Any = None,
    how: Arithmetic = CERTIFIED,
) -> jax.Array:
    """The residual stream before the first layer, [..., T, D]; arguments are those of `forward`."""
    x = _embed(spec, params["embed"], jnp.asarray(inputs), how)
    if how.dtype is not None:
        x = x.astype(how.dtype)
    if spec.embed_scale != 1:
        x = x * jnp.asarray(spec.embed_scale, x.dtype)
    if spec.positions or spec.position_rows:
        index = positions(x.shape[-2], offset, segments)
        if spec.positions:
            features = position_features(spec, index, x.dtype)
            x = x + lift(dot(features, params["positions"], how), x.ndim)
        if spec.position_rows:
            most = spec.position_rows - spec.position_offset
            if x.shape[-2] > most:
                raise InputError(
                    f"inputs: expected at most {most} tokens, the learned positions, got "
                    f"{x.shape[-2]}: shorten the prompt"
                )
            rows = params["position_table"].at[index + spec.position_offset]
            # With a traced offset an index behind the last row becomes NaN: it cannot pass unseen.
            x = x + lift(rows.get(mode="fill", fill_value=jnp.nan), x.ndim).astype(x.dtype)
    return x


def loop(
    spec: TransformerSpec,
    params: Params,
    x: jax.Array,
    *,
    prefix: Any = None,
    offset: Any = 0,
    segments: Any = None,
    how: Arithmetic = CERTIFIED,
) -> jax.Array:
    """The stack of layers, once: [..., T, D] -> [..., T, D]."""
    index = positions(x.shape[-2], offset, segments)

    def step(layer: Layer, x: jax.Array, leaf: Params) -> jax.Array:
        if layer.heads:
            h = norm(spec, x, leaf, "norm_attention")
            h = attention(
                spec, layer, leaf, h, index=index, prefix=prefix, segments=segments, how=how
            )
            x = x + (norm(spec, h, leaf, "norm_attention_out") if spec.post_norm else h)
        if layer.hidden:
            h = mlp(layer, leaf, norm(spec, x, leaf, "norm_mlp"), how)
            x = x + (norm(spec, h, leaf, "norm_mlp_out") if spec.post_norm else h)
        return x

    if how.remat:
        step = jax.checkpoint(step, static_argnums=0)
    if how.scan and scannable(spec):
        stack = layer_leaves(params, "layers.") or stacked(spec, params)
        one = spec.layers[0]
        return jax.lax.scan(lambda x, leaf: (step(one, x, leaf), None), x, stack)[0]
    for i, layer in enumerate(spec.layers):
        x = step(layer, x, layer_leaves(params, f"layer_{i}."))
    return x


def readout(
    spec: TransformerSpec, params: Params, x: jax.Array, *, how: Arithmetic = CERTIFIED
) -> jax.Array:
    """The outputs of a residual stream: [..., T, D] -> [..., T, V]."""
    return unembed(spec, params, norm(spec, x, params, "norm_out"), how=how)


def unembed(
    spec: TransformerSpec, params: Params, x: jax.Array, *, how: Arithmetic = CERTIFIED
) -> jax.Array:
    """The outputs of the normalized residual stream: [..., T, D] -> [..., T, V]."""
    return dot(x, unembedding(spec, params), how)


def unembedding(spec: TransformerSpec, params: Params) -> jax.Array:
    """[D, V]: the leaf ``w_out``, or the rows of ``embed`` where the readout is tied to them."""
    return params["embed"].T if spec.readout == "tied" else params["w_out"]


def positions(length: int, offset: Any, segments: Any) -> jax.Array:
    """The index of each token: int32 [T], or [..., T] with segments, all from ``offset``."""
    place = jnp.arange(length, dtype=jnp.int32)
    if segments is None:
        return place + jnp.asarray(offset, jnp.int32)
    segments = jnp.asarray(segments)
    first = jnp.ones((*segments.shape[:-1], 1), bool)
    starts = jnp.concatenate([first, segments[..., 1:] != segments[..., :-1]], axis=-1)
    start = jax.lax.cummax(jnp.where(starts, place, 0), axis=segments.ndim - 1)
    return place - start + jnp.asarray(offset, jnp.int32)


def position_features(spec: TransformerSpec, index: jax.Array, dtype: Any) -> jax.Array:
    """[..., P]: the spec's features of the indices, int32 [...].

    The square is taken in ``dtype``: exact below 2^12 in float32, rounded beyond.
    """
    columns: list[jax.Array] = []
    for feature in spec.positions:
        if feature == "index":
            columns.append(index.astype(dtype))
        elif feature == "square":
            columns.append(index.astype(dtype) * index.astype(dtype))
        else:
            bits = int(feature.removeprefix("bits"))
            columns.extend((2 * ((index >> k) & 1) - 1).astype(dtype) for k in range(bits))
    return jnp.stack(columns, axis=-1)


def layer_leaves(params: Params, start: str) -> dict[str, jax.Array]:
    """The leaves whose names begin with ``start``, without it."""
    found = {name: leaf for name, leaf in params.items() if name.startswith(start)}
    return {name.removeprefix(start): leaf for name, leaf in found.items()}


def scannable(spec: TransformerSpec) -> bool:
    """Whether all layers are equal, and more than one."""
    return len(spec.layers) > 1 and len(set(spec.layers)) == 1


def stacked(spec: TransformerSpec, params: Params) -> dict[str, jax.Array]:
    """The leaves of equal layers, one behind the other: name -> [layers, ...]."""
    rows = [layer_leaves(params, f"layer_{i}.") for i in range(len(spec.layers))]
    return {name: jnp.stack([row[name] for row in rows]) for name in rows[0]}


def stack_layers(spec: TransformerSpec, params: Params) -> dict[str, jax.Array]:
    """Params with the layers' leaves stacked as ``layers.NAME`` [layers, ...], made once.

    A scanned forward pass takes them as they are, without a copy at every call.
    """
    if not scannable(spec):
        return dict(params)
    rest = {name: leaf for name, leaf in params.items() if not name.startswith("layer_")}
    return rest | {f"layers.{name}": leaf for name, leaf in stacked(spec, params).items()}


def unstack_layers(spec: TransformerSpec, params: Params) -> dict[str, jax.Array]:
    """The inverse of `stack_layers`."""
    stack = layer_leaves(params, "layers.")
    if not stack:
        return dict(params)
    rest = {name: leaf for name, leaf in params.items() if not name.startswith("layers.")}
    layers = range(len(spec.layers))
    return rest | {f"layer_{i}.{name}": leaf[i] for i in layers for name, leaf in stack.items()}


def _embed(spec: TransformerSpec, embed: jax.Array, inputs: jax.Array, how: Arithmetic) -> Any:
    if spec.inputs == "vectors":
        if inputs.ndim < 2 or inputs.shape[-1] != spec.input_size:
            raise InputError(
                f"inputs: expected shape [..., T, {spec.input_size}], got {inputs.shape}"
            )
        return dot(inputs.astype(embed.dtype), embed, how)
    if inputs.ndim < 1 or not jnp.issubdtype(inputs.dtype, jnp.integer):
        raise InputError(f"inputs: expected integers [..., T], got {inputs.dtype} {inputs.shape}")
    # Out-of-range tokens become NaN instead of the last row, so that they cannot pass unseen.
    return embed.at[inputs].get(mode="fill", fill_value=jnp.nan)
