"""Keys and values kept from token to token: dense decoding of any causal decoder, in batches.

Every head attends to its whole past, so a token costs O(S). What all rows of a batch share, such
as demonstrations in front of many queries, is computed and kept once.

Letters: B rows, t new tokens of each, P tokens of the shared prefix, S places for a row's own
tokens, G heads of keys and values, n layers of a run of equal ones.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from constructions.spec import Layer, TransformerSpec
from constructions.support import require_supported
from icl_sim.errors import InputError
from icl_sim.transformer import Arithmetic, Params, switches
from icl_sim.transformer.arithmetic import CERTIFIED
from icl_sim.transformer.forward_pass import embed, layer_runs, run_leaves, unembed
from icl_sim.transformer.sublayers import (
    average,
    einsum,
    join_heads,
    project,
    relative_bias,
    residual_layer,
    visible,
)
from icl_sim.transformer.switches import WEIGHTS, norm

# The forward pass's own sublayers, so all that it knows but what cannot be read token by token.
KNOWN = {**switches.KNOWN, "inputs": ("tokens",), "mask": ("causal",)}


class KeyValues(NamedTuple):
    """Keys and values of a run of equal layers.

    shared_k, shared_v: [n, G, P, K] and [n, G, P, U], before every row's own.
    k, v: [n, B, G, S, K] and [n, B, G, S, U].
    """

    shared_k: jax.Array
    shared_v: jax.Array
    k: jax.Array
    v: jax.Array


class KVCache(NamedTuple):
    """What has been read so far.

    runs: one for each run of equal layers, in the order of their turns; None without heads.
    place: int32 [B], how many tokens of its own each row has read; [1] if all have read as many.
    """

    runs: tuple[KeyValues | None, ...]
    place: jax.Array

    @property
    def prefix(self) -> int:
        """P, tokens of the shared prefix."""
        kept = next((run for run in self.runs if run is not None), None)
        return 0 if kept is None else int(kept.shared_k.shape[2])


def check_decodable(spec: TransformerSpec) -> None:
    """Raises InputError unless the spec decodes tokens one after another."""
    instead = "compute the whole sequence with forward"
    require_supported(spec, known=KNOWN, engine="kv cache", instead=instead, error=InputError)


def cache_bytes(spec: TransformerSpec, *, batch: int, room: int, itemsize: int = 4) -> int:
    """Memory of a cache without a shared prefix."""
    heads = sum(layer.groups * (layer.key_size + layer.value_size) for layer in spec.layers)
    return itemsize * spec.loops * batch * room * heads


def empty_cache(
    spec: TransformerSpec, *, batch: int, room: int, dtype: Any = jnp.float32
) -> KVCache:
    """A cache for ``batch`` rows of at most ``room`` tokens.

    >>> spec = TransformerSpec(2, 4, 2, (Layer(heads=2, key_size=3, value_size=5),))
    >>> cache = empty_cache(spec, batch=7, room=9)
    >>> cache.runs[0].v.shape, cache.prefix
    ((1, 7, 2, 9, 5), 0)
    """
    check_decodable(spec)
    empty = partial(jnp.zeros, dtype=dtype)

    def one(run: range) -> KeyValues | None:
        layer, n = spec.layers[run[0]], len(run)
        if not layer.heads:
            return None
        G, K, U = layer.groups, layer.key_size, layer.value_size
        shared = empty((n, G, 0, K)), empty((n, G, 0, U))
        return KeyValues(*shared, empty((n, batch, G, room, K)), empty((n, batch, G, room, U)))

    runs = spec.loops * tuple(map(one, layer_runs(spec)))
    return KVCache(runs, jnp.zeros(batch, jnp.int32))


def share(cache: KVCache, *, batch: int, room: int, length: int | None = None) -> KVCache:
    """The one row of ``cache`` as the prefix of ``batch`` rows with ``room`` tokens of their own.

    Under jit, where what it has read is not known, ``length`` says how much of it.

    Raises:
      InputError: a cache of several rows, or one that has a shared prefix already.
    """
    rows = max([len(cache.place), *(run.k.shape[1] for run in cache.runs if run is not None)])
    if rows != 1 or cache.prefix:
        raise InputError(f"prefix: expected a cache of one row, got {rows} of them")
    length = int(cache.place[0]) if length is None else length

    def one(run: KeyValues | None) -> KeyValues | None:
        if run is None:
            return None
        own = (
            jnp.zeros((len(x), batch, x.shape[2], room, x.shape[4]), x.dtype)
            for x in (run.k, run.v)
        )
        return KeyValues(run.k[:, 0, :, :length], run.v[:, 0, :, :length], *own)

    return KVCache(tuple(map(one, cache.runs)), jnp.zeros(batch, jnp.int32))


def rows_of(cache: KVCache, rows: jax.Array) -> KVCache:
    """The cache of these rows, int32 [B'], of those that ``cache`` has; some of them repeatedly.

    >>> spec = TransformerSpec(2, 4, 2, (Layer(heads=2, key_size=3, value_size=5),))
    >>> rows_of(empty_cache(spec, batch=2, room=9), jnp.array([0, 1, 1])).runs[0].k.shape
    (1, 3, 2, 9, 3)
    """

    def one(run: KeyValues | None) -> KeyValues | None:
        return None if run is None else run._replace(k=run.k[:, rows], v=run.v[:, rows])

    place = cache.place if len(cache.place) == 1 else cache.place[rows]
    return KVCache(tuple(map(one, cache.runs)), place)


def extend(
    spec: TransformerSpec,
    params: Params,
    tokens: jax.Array,
    cache: KVCache,
    *,
    lengths: jax.Array | None = None,
    how: Arithmetic = CERTIFIED,
) -> tuple[jax.Array, KVCache]:
    """Reads further tokens of every row: outputs at each row's last one, and the cache.

    Args:
      spec, params: the model; params plain or stacked.
      tokens: int32 [B, t], filled up on the right.
      cache: with room for them; the caller sees to it.
      lengths: int32 [B], or [1] for all rows, how many of a row's tokens count, at least 1; all by
        default. What stands behind them is overwritten by the next ones and never seen.
      how: the arithmetic.

    Returns:
      Outputs [B, V] after the last token that counts, and the cache.
    """
    t = tokens.shape[1]
    lengths = jnp.full_like(cache.place, t) if lengths is None else lengths
    x, cache = extend_stream(spec, params, tokens, cache, lengths=lengths, how=how)
    last = jnp.take_along_axis(x, (lengths - 1)[:, None, None], axis=1)[:, 0]
    return unembed(spec, params, norm(spec, last, params, "norm_out"), how=how), cache


def extend_stream(
    spec: TransformerSpec,
    params: Params,
    tokens: jax.Array,
    cache: KVCache,
    *,
    lengths: jax.Array,
    how: Arithmetic = CERTIFIED,
) -> tuple[jax.Array, KVCache]:
    """Reads further tokens: the residual stream at all of them [B, t, D], and the cache.

    Arguments are those of `extend`; `icl_sim.transformer.readout` makes outputs of the stream.
    """
    t = tokens.shape[1]
    place = cache.place[:, None] + jnp.arange(t, dtype=jnp.int32)[None, :]
    index = place + cache.prefix
    x = embed(spec, params, tokens, index=index, how=how)
    runs, kept = layer_runs(spec), []
    for turn, keys in enumerate(cache.runs):
        run = runs[turn % len(runs)]
        layer = spec.layers[run[0]]

        def step(x: jax.Array, of_layer: tuple[Params, KeyValues | None]) -> tuple[Any, Any]:
            leaf, old = of_layer
            attend = partial(_attend, spec, layer, leaf, old, cache.place, index, how)  # noqa: B023
            return residual_layer(spec, layer, leaf, x, attend, how)  # noqa: B023

        x, new = jax.lax.scan(step, x, (run_leaves(params, run), keys), len(run))
        kept.append(new)
    return x, KVCache(tuple(kept), cache.place + lengths)


def _attend(
    spec: TransformerSpec,
    layer: Layer,
    leaf: Params,
    kept: Any,
    start: jax.Array,
    index: jax.Array,
    how: Arithmetic,
    x: jax.Array,
) -> tuple[jax.Array, KeyValues]:
    """The heads' sum at the new tokens [B, t, D], and the layer's keys and values with theirs."""
    B, t, _ = x.shape
    q, k, v = project(spec, layer, leaf, x, index, how)

    def write(old: jax.Array, new: jax.Array, at: jax.Array) -> jax.Array:
        return jax.lax.dynamic_update_slice_in_dim(old, new.astype(old.dtype), at, axis=-2)

    # Of rows at places of their own XLA makes a scatter, which takes longer to compile and to run.
    put = partial(write, at=start[0]) if len(start) == 1 else partial(jax.vmap(write), at=start)
    keys, values = (put(old, new) for old, new in ((kept.k, k), (kept.v, v)))
    # The R heads that share keys stand below one another, as further queries of them.
    P, S = kept.shared_k.shape[1], keys.shape[2]
    G, R = layer.groups, layer.heads // layer.groups
    q = q.reshape(B, G, R * t, layer.key_size)
    parts = [
        einsum("bgqk,gsk->bgqs", q, kept.shared_k.astype(q.dtype), how=how),
        einsum("bgqk,bgsk->bgqs", q, keys.astype(q.dtype), how=how),
    ]
    scores = jnp.concatenate(parts, axis=-1) * jnp.asarray(layer.scale, q.dtype)
    places = jnp.arange(P + S, dtype=jnp.int32)
    mask = jax.vmap(lambda row: visible(layer, row, places, length=P + S, prefix=None))(index)
    if layer.window:
        bias = jax.vmap(lambda row: relative_bias(layer, leaf, row[:, None] - places[None, :]))(
            index
        )
        scores = scores + bias.reshape(-1, *scores.shape[1:])
    mask = jnp.broadcast_to(mask[:, None, None], (B, G, R, t, P + S)).reshape(scores.shape)

    weight, total = WEIGHTS[layer.attend](scores, mask)
    head = einsum("bgqs,bgsu->bgqu", weight[..., P:], values.astype(weight.dtype), how=how)
    if P:
        shared = kept.shared_v.astype(weight.dtype)
        head = einsum("bgqs,gsu->bgqu", weight[..., :P], shared, how=how) + head
    head = average(head, total).reshape(B, layer.heads, t, layer.value_size)
    return join_heads(layer, leaf, head.astype(x.dtype), how), kept._replace(k=keys, v=values)
