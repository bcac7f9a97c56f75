"""Prompts with weighted completions: training on them, and the log-probabilities of each.

Completions of one prompt that differ in their last token alone share a row, so that a table of m
contexts is m short rows, however many demonstrations there are.

Letters: E rows of T tokens, p places in a row that are asked about, k tokens at each, V outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from icl_sim.errors import InputError
from icl_sim.execution.progress import Progress, quiet
from icl_sim.training.config import TrainConfig
from icl_sim.training.guarded import State, guarded_update
from icl_sim.training.sequence_tuning import RowOrder
from icl_sim.transformer.arithmetic import Arithmetic
from icl_sim.transformer.sublayers import Params, dot

ROUND = 8  # rows are filled up by at most this share, so that few lengths are compiled
CHUNK = 256  # places whose logits are held at once

# (leaves, frozen, tokens [E, T]) -> normalized residual stream [E, T, D], and unembedding [D, V].
Stream = Callable[[Params, Any, jax.Array], tuple[jax.Array, jax.Array]]


class Targets(NamedTuple):
    """E rows, and what may follow at some of their places.

    tokens: int32 [E, T], filled up with 0.
    places: int32 [E, p]: the token behind which a target stands.
    targets: int32 [E, p, k].
    weights: float32 [E, p, k]; 0 where there is no target.
    """

    tokens: Any
    places: Any
    targets: Any
    weights: Any


class Located(NamedTuple):
    """Where the tokens of each completion are in `Targets`: row, place and target of each."""

    row: int
    targets: tuple[tuple[int, int], ...]


def targets(
    items: Iterable[tuple[Sequence[int], Sequence[int], float]],
) -> tuple[Targets, list[Located]]:
    """Rows of weighted (prompt, completion, weight); equal ones are joined, their weights added.

    Returns:
      The rows, in order of first appearance, and where each item's completion is in them.

    Raises:
      InputError: an empty prompt or completion.

    >>> rows, found = targets([([5], [7], 2.0), ([5], [8], 1.0), ([6], [7, 9], 1.0)])
    >>> rows.tokens.tolist(), rows.targets[:, :, :2].tolist()
    ([[5, 0], [6, 7]], [[[7, 8], [0, 0]], [[7, 0], [9, 0]]])
    >>> found[2]
    Located(row=1, targets=((0, 0), (1, 0)))
    """
    rows: dict[tuple[tuple[int, ...], int], list[dict[int, float]]] = {}
    number: dict[tuple[tuple[int, ...], int], int] = {}
    found = []
    for prompt, completion, weight in items:
        if not len(prompt) or not len(completion):
            raise InputError(
                f"expected tokens in prompt and completion, got {len(prompt)} and {len(completion)}"
            )
        key = (*prompt, *completion[:-1]), len(prompt)
        slots = rows.setdefault(key, [{} for _ in completion])
        for slot, token in zip(slots, completion, strict=True):
            slot[token] = slot.get(token, 0.0) + weight
        row = number.setdefault(key, len(number))
        where = tuple((i, list(s).index(t)) for i, (s, t) in enumerate(zip(slots, completion)))  # noqa: B905
        found.append(Located(row, where))
    longest = max(len(tokens) for tokens, _ in rows)
    step = max(1, longest // ROUND)
    length = -(-longest // step) * step
    most = max(len(slots) for slots in rows.values())
    wide = max(len(slot) for slots in rows.values() for slot in slots)
    wide = -(-wide // ROUND) * ROUND  # costs nothing beside the logits
    E = len(rows)
    tokens, places = np.zeros((E, length), np.int32), np.zeros((E, most), np.int32)
    asked, weights = np.zeros((E, most, wide), np.int32), np.zeros((E, most, wide), np.float32)
    for e, ((sequence, begin), slots) in enumerate(rows.items()):
        tokens[e, : len(sequence)] = sequence
        places[e] = begin - 1  # where there is no further token: any place, at weight 0
        for i, slot in enumerate(slots):
            places[e, i] = begin - 1 + i
            asked[e, i, : len(slot)], weights[e, i, : len(slot)] = list(slot), list(slot.values())
    return Targets(tokens, places, asked, weights), found


def log_probabilities(
    x: jax.Array, readout: jax.Array, rows: Targets, how: Arithmetic
) -> jax.Array:
    """Of each target, [E, p, k], from the normalized residual stream [E, T, D]; traced."""
    x = jnp.take_along_axis(x, jnp.asarray(rows.places)[:, :, None], axis=1)
    asked = jnp.asarray(rows.targets)
    flat, targets = x.reshape(-1, x.shape[2]), asked.reshape(-1, asked.shape[2])

    @jax.checkpoint
    def chunk(x: jax.Array, targets: jax.Array) -> jax.Array:
        logits = dot(x, readout, how).astype(jnp.promote_types(x.dtype, jnp.float32))
        return jnp.take_along_axis(logits, targets, axis=1) - jax.nn.logsumexp(
            logits, axis=1, keepdims=True
        )

    size = len(flat)
    if size <= CHUNK:
        return chunk(flat, targets).reshape(asked.shape)
    pad = -size % CHUNK
    parts = (jnp.pad(y, ((0, pad), (0, 0))).reshape(-1, CHUNK, y.shape[1]) for y in (flat, targets))
    found = jax.lax.map(lambda part: chunk(*part), tuple(parts))
    return found.reshape(-1, asked.shape[2])[:size].reshape(asked.shape)


def tune_targets(
    stream: Stream,
    leaves: Params,
    frozen: Any,
    rows: Targets,
    *,
    config: TrainConfig,
    key: jax.Array,
    how: Arithmetic,
    progress: Progress = quiet,
) -> dict[str, jax.Array]:
    """The leaves after ``config.steps`` steps down the weighted cross-entropy; key consumed.

    Args:
      stream: how leaves and frozen arrays read tokens; one object for one computation, since it is
        what is compiled for.
      leaves: flat dict of what is trained.
      frozen: what is not.
      rows: what is to be fitted; ``config.batch`` of them a step, in an order that is shuffled
        every epoch, or all.
      config: optimizer, schedule and steps.
      how: the arithmetic of the readout.
      progress: called as progress(label, steps done, steps).

    Raises:
      FloatingPointError: a step that was not finite.
    """
    E = len(rows.tokens)
    order = RowOrder(key, E, min(config.batch or E, E))
    # A copy: the state is given away at every step.
    leaves = {name: jnp.array(leaf) for name, leaf in leaves.items()}
    state = State(leaves, config.transformation().init(leaves), jnp.int32(-1), jnp.int32(0))
    for s in range(config.steps):
        here = jax.tree.map(lambda x, s=s: np.asarray(x)[order.rows(s)], rows)
        state = _step(stream, config, how, state, frozen, here, jnp.int32(s))
        progress("fine-tuning", s + 1, config.steps)
    if int(state.fault) >= 0:
        name = sorted(leaves)[int(state.leaf)]
        raise FloatingPointError(
            f"fine-tuning stopped at step {int(state.fault)}: {name} or the loss is not finite; "
            "lower the learning rate"
        )
    return state.leaves


@partial(jax.jit, static_argnums=(0, 1, 2), donate_argnums=3)
def _step(
    stream: Stream,
    config: TrainConfig,
    how: Arithmetic,
    state: State,
    frozen: Any,
    rows: Targets,
    step: jax.Array,
) -> State:
    def objective(leaves: Params) -> jax.Array:
        x, readout = stream(leaves, frozen, rows.tokens)
        logs = log_probabilities(x, readout, rows, how)
        # A weight of 0 hides even an infinite loss.
        total = jnp.where(rows.weights > 0, rows.weights * logs, 0).sum()
        return -total / jnp.maximum(rows.weights.sum(), 1e-30)

    value, gradient = jax.value_and_grad(objective)(dict(state.leaves))
    return guarded_update(state, value, gradient, step, config.transformation())
