"""Sampling from a language model: many prompts at once, over a cache of keys and values.

A token comes from the softmax of logits/temperature, cut to the k largest and to the smallest set
that holds a mass of at least p. Row b draws its i-th token with the key fold_in(fold_in(key, b),
i), whatever else is in the batch.

Letters: B rows, V outputs.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from constructions.spec import TransformerSpec
from icl_sim.decoding.kv_cache import KVCache, cache_bytes, empty_cache, extend, share
from icl_sim.errors import InputError
from icl_sim.execution.memory_guard import require
from icl_sim.execution.progress import Progress, quiet
from icl_sim.execution.signatures import check_fields, checked
from icl_sim.transformer import Arithmetic, Params, Transformer, forward_bytes
from icl_sim.transformer.arithmetic import CERTIFIED
from icl_sim.transformer.leaves import check_leaves

BLOCK = 32  # tokens between two looks at stop conditions
LENGTHS = 64  # prompts are filled up to a multiple, so that few lengths are compiled


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen.

    Args:
      temperature: divides the logits; 0 is greedy, the first of equal maxima.
      top_k: only the k largest logits take part (0: all).
      top_p: only the most likely tokens take part, as few as hold this mass.

    Raises:
      InputError: a number out of range.

    >>> Sampling(temperature=0.7, top_p=0.9).greedy
    False
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        check_fields(self)
        if not 0 <= self.temperature < float("inf"):
            raise InputError(f"temperature: expected a number >= 0, got {self.temperature}")
        if self.top_k < 0:
            raise InputError(f"top_k: expected an integer >= 0, got {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise InputError(f"top_p: expected 0 < top_p <= 1, got {self.top_p}")

    @property
    def greedy(self) -> bool:
        """Whether the most likely token is taken."""
        return self.temperature == 0


GREEDY = Sampling()


def next_tokens(logits: jax.Array, keys: jax.Array, sampling: Sampling) -> jax.Array:
    """The next token of each row, int32 [B].

    Args:
      logits: [B, V]; -inf where a token cannot come.
      keys: [B] typed keys, consumed.
      sampling: how.

    >>> logits = jnp.log(jnp.array([[0.1, 0.6, 0.3]]))
    >>> keys = jax.random.split(jax.random.key(0), 1)
    >>> next_tokens(logits, keys, Sampling()).tolist()
    [1]
    >>> next_tokens(logits, keys, Sampling(1.0, top_k=1)).tolist()
    [1]
    """
    if sampling.greedy:
        return jnp.argmax(logits, axis=-1).astype(jnp.int32)
    logits = logits.astype(jnp.float32) / sampling.temperature
    if sampling.top_k and sampling.top_k < logits.shape[-1]:
        least = jax.lax.top_k(logits, sampling.top_k)[0][:, -1:]
        logits = jnp.where(logits < least, -jnp.inf, logits)
    if sampling.top_p < 1:
        # A token stays while the mass before it, from the largest down, is below p.
        order = jnp.argsort(-logits, axis=-1)
        law = jnp.take_along_axis(jax.nn.softmax(logits, axis=-1), order, axis=-1)
        keep = jnp.cumsum(law, axis=-1) - law < sampling.top_p
        rows = jnp.arange(len(logits), dtype=jnp.int32)[:, None]
        kept = jnp.zeros(logits.shape, bool).at[rows, order].set(keep)
        logits = jnp.where(kept, logits, -jnp.inf)
    return jax.vmap(jax.random.categorical)(keys, logits).astype(jnp.int32)


@checked
def sample_tokens(
    model: Transformer,
    params: Params,
    prompts: Sequence[Any],
    *,
    steps: int,
    prefix: Any = None,
    stop: Sequence[int] = (),
    done: Callable[[np.ndarray], bool] = lambda tokens: False,
    sampling: Sampling = GREEDY,
    key: jax.Array | None = None,
    how: Arithmetic = CERTIFIED,
    progress: Progress = quiet,
) -> list[np.ndarray]:
    """What the model writes behind each prompt, int32 [steps or fewer] each.

    Args:
      model, params: a causal decoder of tokens; params plain or stacked.
      prompts: sequences of tokens, of any lengths, none of them empty.
      steps: the most tokens to write.
      prefix: tokens in front of every prompt, read once.
      stop: tokens that end a row; the stop token is its last.
      done: called with a row's tokens now and then; True ends it, as a stop string found by its
        caller would.
      sampling: how tokens are chosen.
      key: randomness; may be left out if greedy.
      how: the arithmetic.
      progress: called as progress(label, tokens done, steps).

    Raises:
      InputError: an empty prompt, tokens out of range, no key, or more than memory lasts for.

    >>> from constructions import CONSTRUCTIONS
    >>> from icl_sim.transformer import load
    >>> built = CONSTRUCTIONS["lookup"](vocab=2, order=2)
    >>> prompt = built.encode({"stream": [0, 0, 1, 0, 0, 1, 0, 0]})
    >>> [row.tolist() for row in sample_tokens(*load(built), [prompt], steps=4)]
    [[1, 0, 0, 1]]
    """
    spec = model.spec
    check_leaves(spec, params)
    rows = [_tokens(spec, row, f"prompt {i}") for i, row in enumerate(prompts)]
    if steps < 1 or not rows:
        raise InputError(
            f"generate: expected 1 or more prompts and steps, got {len(rows)}, {steps}"
        )
    if key is None and not sampling.greedy:
        raise InputError("key: expected a random key with a temperature above 0, got None")
    key = jax.random.key(0) if key is None else key
    if odd := [token for token in stop if not 0 <= token < spec.output_size]:
        raise InputError(f"stop: expected tokens from 0 to {spec.output_size - 1}, got {odd[0]}")
    shared = _tokens(spec, prefix, "prefix") if prefix is not None and np.size(prefix) else None
    width = -(-max(map(len, rows)) // LENGTHS) * LENGTHS
    room = width + -(-steps // BLOCK) * BLOCK

    def cost(batch: int, room: int) -> int:
        reading = forward_bytes(spec, batch=batch, tokens=width)
        return 3 * cache_bytes(spec, batch=batch, room=room) + reading

    require("generation", cost, batch=len(rows), room=room)
    cache = _start(spec, params, shared, len(rows), room, how)
    lengths = jnp.array([len(row) for row in rows], jnp.int32)
    filled = np.zeros((len(rows), width), np.int32)
    for row, tokens in zip(filled, rows, strict=True):
        row[: len(tokens)] = tokens
    logits, cache = _read(spec, params, filled, cache, lengths, how)
    keys = jax.vmap(lambda b: jax.random.fold_in(key, b))(jnp.arange(len(rows), dtype=jnp.uint32))
    ends = jnp.array(sorted(stop), jnp.int32)
    ended, written = np.zeros(len(rows), bool), np.zeros((len(rows), 0), np.int32)
    while written.shape[1] < steps and not ended.all():
        first = jnp.uint32(written.shape[1])
        state = (logits, cache, jnp.asarray(ended))
        (logits, cache, now), more = _write(
            spec, params, state, keys, first, ends, sampling=sampling, how=how
        )
        written = np.concatenate([written, np.asarray(more)], axis=1)
        ended = np.asarray(now) | [done(row) for row in written]
        progress("tokens", min(written.shape[1], steps), steps)
    return [_cut(row[:steps], stop) for row in written]


def _tokens(spec: TransformerSpec, values: Any, name: str) -> np.ndarray:
    row = np.asarray(values)
    if row.ndim != 1 or not row.size or row.dtype.kind not in "iu":
        raise InputError(f"{name}: expected one or more tokens, got {row.dtype} {list(row.shape)}")
    if not 0 <= row.min() <= row.max() < spec.input_size:
        raise InputError(
            f"{name}: expected tokens from 0 to {spec.input_size - 1}, got {row.min()} to "
            f"{row.max()}"
        )
    return row.astype(np.int32)


def _start(
    spec: TransformerSpec,
    params: Params,
    prefix: np.ndarray | None,
    batch: int,
    room: int,
    how: Arithmetic,
) -> KVCache:
    dtype = how.dtype or next(iter(params.values())).dtype
    if prefix is None:
        return empty_cache(spec, batch=batch, room=room, dtype=dtype)
    one = empty_cache(spec, batch=1, room=len(prefix), dtype=dtype)
    _, one = _read(spec, params, prefix[None], one, None, how)
    return share(one, batch=batch, room=room)


@functools.partial(jax.jit, static_argnums=(0, 5))
def _read(
    spec: TransformerSpec,
    params: Params,
    tokens: jax.Array,
    cache: KVCache,
    lengths: jax.Array | None,
    how: Arithmetic,
) -> tuple[jax.Array, KVCache]:
    return extend(spec, params, tokens, cache, lengths=lengths, how=how)


@functools.partial(jax.jit, static_argnums=0, static_argnames=("sampling", "how"))
def _write(
    spec: TransformerSpec,
    params: Params,
    state: tuple[jax.Array, KVCache, jax.Array],
    keys: jax.Array,
    first: jax.Array,
    ends: jax.Array,
    *,
    sampling: Sampling,
    how: Arithmetic,
) -> tuple[Any, jax.Array]:
    """The next BLOCK tokens of every row, [B, BLOCK]; ended rows go on, and are cut later."""

    def one(state: Any, i: jax.Array) -> tuple[Any, jax.Array]:
        outputs, cache, ended = state
        logits = jnp.log(outputs) if spec.readout == "simplex" else outputs
        drawn = jax.vmap(lambda key: jax.random.fold_in(key, first + i))(keys)
        token = next_tokens(logits, drawn, sampling)
        ended = ended | (token[:, None] == ends[None, :]).any(axis=1)
        outputs, cache = extend(spec, params, token[:, None], cache, how=how)
        return (outputs, cache, ended), token

    state, tokens = jax.lax.scan(one, state, jnp.arange(BLOCK, dtype=jnp.uint32))
    return state, tokens.T


def _cut(row: np.ndarray, stop: Sequence[int]) -> np.ndarray:
    """The row up to its first stop token, which stays."""
    found = np.flatnonzero(np.isin(row, list(stop)))
    return row[: found[0] + 1] if found.size else row
