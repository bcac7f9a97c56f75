"""The one architecture in JAX: a pure forward pass.

`forward` computes what `constructions.reference.forward` defines, in the dtype of its params, for
any leading batch axes.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from constructions.spec import Layer, TransformerSpec, feature_kind, feature_size
from icl_sim.errors import InputError
from icl_sim.execution.integers import int32, is_traced
from icl_sim.execution.signatures import checked
from icl_sim.transformer.activation_memory import require_memory
from icl_sim.transformer.arithmetic import CERTIFIED, Arithmetic
from icl_sim.transformer.leaves import check_leaves
from icl_sim.transformer.sublayers import (
    LORA_SCALE,
    Params,
    attention,
    dot,
    residual_layer,
)
from icl_sim.transformer.switches import FEATURES, lift, norm, require_known


@checked
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
      InputError: inputs of the wrong rank or kind, tokens out of range (traced ones become NaN),
        params that are not the spec's, or more inputs than memory lasts for.

    >>> import numpy as np
    >>> from constructions.spec import blank
    >>> spec = TransformerSpec(input_size=2, width=2, output_size=2, layers=())
    >>> params = blank(spec) | {"embed": np.eye(2, dtype="f4"), "w_out": np.eye(2, dtype="f4")}
    >>> forward(spec, params, np.array([1, 0])).tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    check_leaves(spec, params)
    if np.ndim(inputs) < 1:
        raise InputError(f"inputs: expected integers [..., T], got {type(inputs).__name__}")
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
    offset = int32(offset, name="offset")
    prefix = None if prefix is None else int32(prefix, name="prefix")
    segments = None if segments is None else int32(segments, name="segments")
    return _hidden(spec, params, read(spec, inputs), prefix, offset, segments, how)


# Called eagerly it is one program for each shape, instead of one for each of its operations.
@partial(jax.jit, static_argnames=("spec", "how"))
def _hidden(
    spec: TransformerSpec,
    params: Params,
    inputs: Any,
    prefix: Any,
    offset: Any,
    segments: Any,
    how: Arithmetic,
) -> jax.Array:
    length = np.shape(inputs)[-1 if spec.inputs == "tokens" else -2]
    index = positions(length, offset, segments)
    x = embed(spec, params, inputs, index=index, how=how)
    turn = partial(loop, spec, params, prefix=prefix, index=index, segments=segments, how=how)
    x = turn(x) if spec.loops == 1 else jax.lax.fori_loop(0, spec.loops, lambda _, x: turn(x), x)
    return norm(spec, x, params, "norm_out")


def embed(
    spec: TransformerSpec,
    params: Params,
    inputs: Any,
    *,
    index: jax.Array | None = None,
    how: Arithmetic = CERTIFIED,
) -> jax.Array:
    """The residual stream before the first layer, [..., T, D].

    Args:
      spec, params, inputs, how: those of `forward`.
      index: int32 [T] or [..., T], the tokens' positions; 0, 1, ... by default.
    """
    require_known(spec)
    x = _embed(spec, params["embed"], inputs, how)
    if how.dtype is not None:
        x = x.astype(how.dtype)
    if spec.embed_scale != 1:
        x = x * jnp.asarray(spec.embed_scale, x.dtype)
    if index is None:
        index = positions(x.shape[-2], 0, None)
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
        # A traced index behind the last row becomes NaN: it cannot pass unseen.
        x = x + lift(rows.get(mode="fill", fill_value=jnp.nan), x.ndim).astype(x.dtype)
    return x


def loop(
    spec: TransformerSpec,
    params: Params,
    x: jax.Array,
    *,
    prefix: Any = None,
    index: jax.Array | None = None,
    segments: Any = None,
    how: Arithmetic = CERTIFIED,
) -> jax.Array:
    """The stack of layers, once: [..., T, D] -> [..., T, D]; arguments as for `hidden`, `embed`."""
    if index is None:
        index = positions(x.shape[-2], 0, segments)

    def step(layer: Layer, x: jax.Array, leaf: Params) -> jax.Array:
        def attend(h: jax.Array) -> tuple[jax.Array, None]:
            return attention(
                spec, layer, leaf, h, index=index, prefix=prefix, segments=segments, how=how
            ), None

        return residual_layer(spec, layer, leaf, x, attend, how)[0]

    if how.remat:
        step = jax.checkpoint(step, static_argnums=0)
    for run in layer_runs(spec):
        if how.scan and len(run) > 1:
            turn = partial(step, spec.layers[run[0]])
            leaves = run_leaves(params, run)
            x = jax.lax.scan(lambda x, leaf: (turn(x, leaf), None), x, leaves)[0]  # noqa: B023
        else:
            for i in run:
                x = step(spec.layers[i], x, layer_leaves(params, i))
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
    if spec.readout == "tied":
        return params["embed"].T
    if "w_out.a" not in params:
        return params["w_out"]
    return params["w_out"] + LORA_SCALE * dot(params["w_out.a"], params["w_out.b"], CERTIFIED)


def positions(length: int, offset: Any, segments: Any) -> jax.Array:
    """The index of each token: int32 [T], or [..., T] with segments, all from ``offset``."""
    place = jnp.arange(length, dtype=jnp.int32)
    offset = jnp.asarray(int32(offset, name="offset"))
    if segments is None:
        return place + offset
    segments = jnp.asarray(int32(segments, name="segments"))
    place = lift(place, segments.ndim)
    first = jnp.ones((*segments.shape[:-1], 1), bool)
    starts = jnp.concatenate([first, segments[..., 1:] != segments[..., :-1]], axis=-1)
    start = jax.lax.cummax(jnp.where(starts, place, 0), axis=segments.ndim - 1)
    return place - start + offset


def position_features(spec: TransformerSpec, index: jax.Array, dtype: Any) -> jax.Array:
    """[..., P]: the spec's features of the indices, int32 [...].

    The square is taken in ``dtype``: exact below 2^12 in float32, rounded beyond.
    """
    columns: list[jax.Array] = []
    for feature in spec.positions:
        columns.extend(FEATURES[feature_kind(feature)](index, feature_size(feature), dtype))
    return jnp.stack(columns, axis=-1)


def layer_runs(spec: TransformerSpec) -> list[range]:
    """The numbers of the layers, equal ones side by side together.

    >>> layers = (Layer(hidden=1), Layer(hidden=1), Layer(hidden=2))
    >>> layer_runs(TransformerSpec(1, 1, 1, layers))
    [range(0, 2), range(2, 3)]
    """
    runs, start = [], 0
    for _, layers in itertools.groupby(spec.layers):
        stop = start + len(list(layers))
        runs.append(range(start, stop))
        start = stop
    return runs


def run_leaves(params: Params, run: range) -> dict[str, jax.Array]:
    """The leaves of a run of equal layers, one layer behind the other: name -> [layers, ...]."""
    stack = _starting(params, f"run_{run[0]}.")
    if stack:
        return stack
    rows = [_starting(params, f"layer_{i}.") for i in run]
    return {name: jnp.stack([row[name] for row in rows]) for name in rows[0]}


def layer_leaves(params: Params, i: int) -> dict[str, jax.Array]:
    """The leaves of layer i by their names in it."""
    return _starting(params, f"layer_{i}.")


def stack_layers(spec: TransformerSpec, params: Params) -> dict[str, jax.Array]:
    """Params with the leaves of each run of equal layers stacked, ``run_I.NAME`` [layers, ...].

    A scanned pass takes them as they are, without a copy at every call. I is the first layer's
    number; a layer that stands alone stays as it is.
    """
    leaves = dict(params)
    for run in layer_runs(spec):
        if len(run) > 1:
            stack = run_leaves(params, run)
            leaves = {n: x for n, x in leaves.items() if n.partition(".")[0] not in _names(run)}
            leaves |= {f"run_{run[0]}.{name}": leaf for name, leaf in stack.items()}
    return leaves


def unstack_layers(spec: TransformerSpec, params: Params) -> dict[str, jax.Array]:
    """The inverse of `stack_layers`."""
    leaves = {name: leaf for name, leaf in params.items() if not name.startswith("run_")}
    for run in layer_runs(spec):
        for name, leaf in _starting(params, f"run_{run[0]}.").items():
            leaves |= {f"layer_{i}.{name}": leaf[i - run[0]] for i in run}
    return leaves


def _names(run: range) -> set[str]:
    return {f"layer_{i}" for i in run}


def _starting(params: Params, start: str) -> dict[str, jax.Array]:
    found = {name: leaf for name, leaf in params.items() if name.startswith(start)}
    return {name.removeprefix(start): leaf for name, leaf in found.items()}


def read(spec: TransformerSpec, inputs: Any) -> Any:
    """The inputs as an array of the spec's kind; their values are checked unless they are traced.

    Raises:
      InputError: inputs of the wrong rank, kind or range.
    """
    if not hasattr(inputs, "dtype"):
        inputs = np.asarray(inputs)
    kinds = (np.integer,) if spec.inputs == "tokens" else (np.integer, np.floating, np.bool_)
    if not any(jnp.issubdtype(inputs.dtype, kind) for kind in kinds):
        wanted = "integers [..., T]" if spec.inputs == "tokens" else "real numbers [..., T, I]"
        raise InputError(f"inputs: expected {wanted}, got {inputs.dtype} {inputs.shape}")
    if spec.inputs == "vectors":
        if inputs.ndim < 2 or inputs.shape[-1] != spec.input_size:
            raise InputError(
                f"inputs: expected shape [..., T, {spec.input_size}], got {inputs.shape}"
            )
        return jnp.asarray(inputs)
    if inputs.ndim < 1:
        raise InputError(f"inputs: expected integers [..., T], got {inputs.dtype} {inputs.shape}")
    if is_traced(inputs):
        return inputs
    most = spec.input_size - 1
    return jnp.asarray(int32(inputs, name="inputs", least=0, most=most, what="the tokens"))


def _embed(spec: TransformerSpec, embed: jax.Array, inputs: Any, how: Arithmetic) -> Any:
    inputs = read(spec, inputs)
    if spec.inputs == "vectors":
        return dot(inputs.astype(embed.dtype), embed, how)
    # Traced tokens out of range become NaN instead of a row, so that they cannot pass unseen.
    return embed.at[inputs].get(mode="fill", fill_value=jnp.nan, wrap_negative_indices=False)
