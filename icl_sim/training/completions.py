"""Prompts and completions as training data: filled up or packed, and the loss on the completions.

The loss of token t + 1 is read at token t; only a completion's tokens count. Causal masks hide what
stands behind a row's end, and segment numbers hide the other sequences of a packed row.

Letters: E rows, T tokens of each, D width, V outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from constructions.spec import TransformerSpec
from icl_sim.errors import InputError
from icl_sim.execution.memory_guard import require
from icl_sim.execution.signatures import checked
from icl_sim.transformer import Arithmetic, Params, hidden
from icl_sim.transformer.arithmetic import CERTIFIED
from icl_sim.transformer.forward_pass import unembedding
from icl_sim.transformer.sublayers import dot

CHUNK = 256  # tokens whose logits are held at once


class Completions(NamedTuple):
    """E rows of sequences to be fitted.

    tokens: int32 [E, T], filled up with 0.
    weights: float32 [E, T - 1], weight of the loss at token t of predicting token t + 1.
    segments: int32 [E, T], numbers of the sequences in a row from 1; 0 where it is filled up.
    """

    tokens: Any
    weights: Any
    segments: Any


@checked
def completions(
    pairs: Sequence[tuple[Sequence[int], Sequence[int]]],
    *,
    length: int | None = None,
    pack: bool = False,
) -> Completions:
    """Rows of (prompt, completion) pairs of any lengths; every completion token has weight one.

    Args:
      pairs: tokens of prompt and completion; neither may be empty.
      length: T; by default the longest pair's.
      pack: put several pairs into a row, in their order, as many as fit.

    Raises:
      InputError: no pairs, an empty prompt or completion, or a pair longer than ``length``.

    >>> rows = completions([([5, 6], [7]), ([8], [9, 1])], pack=True, length=6)
    >>> rows.tokens.tolist(), rows.weights.tolist(), rows.segments.tolist()
    ([[5, 6, 7, 8, 9, 1]], [[0.0, 1.0, 0.0, 1.0, 1.0]], [[1, 1, 1, 2, 2, 2]])
    """
    if not pairs:
        raise InputError("examples: expected one or more pairs of prompt and completion, got none")
    for i, pair in enumerate(pairs):
        if len(pair) != 2 or not all(map(np.ndim, pair)):
            raise InputError(f"example {i}: expected tokens of prompt and completion, got {pair!r}")
        prompt, completion = pair
        if not len(prompt) or not len(completion):
            raise InputError(
                f"example {i}: expected tokens in prompt and completion, got {len(prompt)} and "
                f"{len(completion)}"
            )
    sizes = [len(prompt) + len(completion) for prompt, completion in pairs]
    length = max(sizes) if length is None else length
    if max(sizes) > length:
        i = int(np.argmax(sizes))
        raise InputError(f"example {i}: expected at most {length} tokens, got {sizes[i]}")
    rows: list[list[int]] = []  # numbers of the pairs
    used = length
    for i, size in enumerate(sizes):
        if not pack or used + size > length:
            rows.append([])
            used = 0
        rows[-1].append(i)
        used += size
    require("rows of examples", _bytes_of_rows, length=length, rows=len(rows))
    tokens, segments = np.zeros((2, len(rows), length), np.int32)
    weights = np.zeros((len(rows), length - 1), np.float32)
    for row, members in enumerate(rows):
        at = 0
        for number, i in enumerate(members, start=1):
            prompt, completion = pairs[i]
            stop = at + sizes[i]
            tokens[row, at:stop] = [*prompt, *completion]
            segments[row, at:stop] = number
            weights[row, at + len(prompt) - 1 : stop - 1] = 1
            at = stop
    return Completions(tokens, weights, segments)


def _bytes_of_rows(length: int, rows: int) -> int:
    return 12 * rows * length  # tokens, segments and weights


def completion_loss(
    spec: TransformerSpec, params: Params, rows: Completions, *, how: Arithmetic = CERTIFIED
) -> tuple[jax.Array, jax.Array]:
    """Weighted sums over tokens of the cross-entropy, in nats, and of the weights.

    Logits are formed CHUNK tokens at a time, forward and backward, so that no array [tokens, V] is
    ever held.
    """
    _, loss, _ = _scores(spec, params, rows, how)
    return loss, jnp.asarray(rows.weights).sum()


def completion_scores(
    spec: TransformerSpec, params: Params, rows: Completions, *, how: Arithmetic = CERTIFIED
) -> tuple[jax.Array, jax.Array]:
    """Log-probability [E] of each row's weighted tokens, and whether all are the most likely ones.

    The rows hold one sequence each.
    """
    each, _, hit = _scores(spec, params, rows, how)
    wrong = (jnp.asarray(rows.weights) > 0) & ~hit
    return -each.sum(axis=1), ~wrong.any(axis=1)


def _scores(
    spec: TransformerSpec, params: Params, rows: Completions, how: Arithmetic
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Weighted cross-entropy [E, T - 1], its sum, and whether the token is the most likely one."""
    tokens, weights, segments = (jnp.asarray(x) for x in rows)
    x = hidden(spec, params, tokens[:, :-1], segments=segments[:, :-1], how=how)
    shape = weights.shape
    size = weights.size
    pad = -size % CHUNK
    x = jnp.pad(x.reshape(size, -1), ((0, pad), (0, 0)))
    targets = jnp.pad(tokens[:, 1:].reshape(-1), (0, pad))
    weight = jnp.pad(weights.reshape(-1), (0, pad))
    readout = unembedding(spec, params)

    @jax.checkpoint
    def chunk(x: jax.Array, target: jax.Array, weight: jax.Array) -> tuple[jax.Array, jax.Array]:
        logits = dot(x, readout, how).astype(jnp.promote_types(x.dtype, jnp.float32))
        own = jnp.take_along_axis(logits, target[:, None], axis=1)[:, 0]
        loss = jax.nn.logsumexp(logits, axis=1) - own
        # A weight of 0 hides even an infinite loss.
        return jnp.where(weight > 0, weight * loss, 0), own >= logits.max(axis=1)

    def one(total: jax.Array, part: Any) -> tuple[jax.Array, Any]:
        loss, hit = chunk(*part)
        return total + loss.sum(), (loss, hit)

    parts = x.reshape(-1, CHUNK, x.shape[1]), targets.reshape(-1, CHUNK), weight.reshape(-1, CHUNK)
    start = jnp.zeros((), jnp.promote_types(x.dtype, jnp.float32))
    total, (loss, hit) = jax.lax.scan(one, start, parts)
    return loss.reshape(-1)[:size].reshape(shape), total, hit.reshape(-1)[:size].reshape(shape)


def check_completions(spec: TransformerSpec, rows: Completions) -> None:
    """Raises InputError unless the rows fit a model of this spec."""
    if spec.readout == "simplex" or spec.inputs != "tokens":
        raise InputError(
            f"fine-tuning on sequences: expected tokens in and logits out, got {spec.inputs} and "
            f"{spec.readout}"
        )
    prefixed = [i for i, x in enumerate(spec.layers) if x.heads and x.mask != "causal"]
    if prefixed:
        raise InputError(f"fine-tuning on sequences: expected causal masks, layer {prefixed[0]}")
    tokens, weights, segments = (np.asarray(x) for x in rows)
    if tokens.ndim != 2 or tokens.dtype.kind not in "iu" or tokens.shape[1] < 2:
        raise InputError(
            f"tokens: expected integers [E, T], T >= 2, got {tokens.dtype} {list(tokens.shape)}"
        )
    if weights.shape != (tokens.shape[0], tokens.shape[1] - 1) or segments.shape != tokens.shape:
        raise InputError(
            f"weights and segments: expected {[tokens.shape[0], tokens.shape[1] - 1]} and "
            f"{list(tokens.shape)}, got {list(weights.shape)} and {list(segments.shape)}"
        )
    if tokens.size and not 0 <= tokens.min() <= tokens.max() < spec.input_size:
        raise InputError(
            f"tokens: expected 0 to {spec.input_size - 1}, the vocabulary of the model, got "
            f"{tokens.min()} to {tokens.max()}"
        )
    if not (np.isfinite(weights).all() and weights.min(initial=0) >= 0 and weights.sum() > 0):
        raise InputError("weights: expected finite numbers >= 0 that are not all 0")
