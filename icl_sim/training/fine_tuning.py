"""Genuine fine-tuning: Optax on the leaves of the one Transformer class.

`train` is the pure loop, to be jitted and vmapped; `fine_tune` runs it for one model, on counts or
on prompts and completions.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from constructions.spec import TransformerSpec
from icl_sim.execution.memory_guard import require
from icl_sim.execution.signatures import checked
from icl_sim.training.adapters import merge, trainable, trainable_size
from icl_sim.training.completions import Completions
from icl_sim.training.config import TrainConfig
from icl_sim.training.examples import Examples, check_examples, draw, loss
from icl_sim.training.guarded import State, guarded_update, require_finite
from icl_sim.training.sequence_tuning import tune_sequences
from icl_sim.transformer import Params, Transformer, gradient_bytes
from icl_sim.transformer.leaves import check_leaves


class Trained(NamedTuple):
    """What training leaves: the params, the loss before each step, and the first fault.

    params: flat dict of leaves, the adapters merged.
    losses: float32 [steps], in nats.
    fault, leaf: see `State`.
    """

    params: dict[str, jax.Array]
    losses: jax.Array
    fault: jax.Array
    leaf: jax.Array


def training_bytes(
    spec: TransformerSpec,
    config: TrainConfig,
    examples: int,
    tokens: int,
    copies: int = 1,
    at_once: int | None = None,
) -> int:
    """Memory of training at its peak, without the base; ``copies`` of them take a step at once.

    A copy's state, before and after a step, has the trained leaves and the optimizer's one or two
    moments of each; in between come the gradient and the update, and the gaps that many small
    arrays leave between them, once the state and the leaves. Examples and their counts are
    there, and the activations of those that a step takes.
    """
    moments = 2 if config.optimizer == "adam" else int(config.momentum > 0)
    state = 4 * trainable_size(spec, config) * (3 * (1 + moments) + 3)
    data = 4 * examples * (tokens + 2 * spec.output_size)
    batch = examples if config.batch is None else config.batch
    stepping = copies if at_once is None else min(copies, at_once)
    return copies * (state + data) + stepping * gradient_bytes(spec, batch=batch, tokens=tokens)


def begin(params: Params, config: TrainConfig, key: jax.Array) -> State:
    """The state before the first step."""
    leaves = trainable(params, config, jax.random.fold_in(key, 0))
    optimizer = config.transformation().init(leaves)
    return State(leaves, optimizer, jnp.int32(-1), jnp.int32(0))


def advance(
    spec: TransformerSpec,
    params: Params,
    examples: Examples,
    config: TrainConfig,
    key: jax.Array,
    state: State,
    first: Any,
    steps: int,
    *,
    limit: Any = None,
) -> tuple[State, jax.Array]:
    """Takes steps first, first + 1, ... (``steps`` of them, static); also their losses.

    ``limit``: steps numbered from there on change nothing; may be traced.
    """
    transformation = config.transformation(sharded=True)

    def one(state: State, step: jax.Array) -> tuple[State, jax.Array]:
        batch = examples
        if config.batch is not None:
            batch = draw(jax.random.fold_in(key, step + 1), examples, config.batch)

        def objective(leaves: Params) -> jax.Array:
            return loss(spec, merge(params, leaves, config), batch)

        value, gradient = jax.value_and_grad(objective)(state.leaves)
        new = guarded_update(state, value, gradient, step, transformation)
        if limit is not None:
            new = jax.tree.map(lambda a, b: jnp.where(step < limit, a, b), new, state)
        return new, value

    numbers = jnp.asarray(first, jnp.int32) + jnp.arange(steps, dtype=jnp.int32)
    return jax.lax.scan(one, state, numbers)


def finish(
    params: Params, examples: Examples, config: TrainConfig, state: State
) -> dict[str, jax.Array]:
    """The params that the state stands for.

    Without data there is nothing to fit, so the base comes back: weight decay must not move it.
    """
    no_data = ~jnp.any(jnp.asarray(examples.counts) != 0)  # a sum of int32 may wrap to 0
    merged = merge(params, state.leaves, config)
    return {name: jnp.where(no_data, params[name], merged[name]) for name in params}


def train(
    spec: TransformerSpec,
    params: Params,
    examples: Examples,
    config: TrainConfig,
    key: jax.Array,
    *,
    limit: Any = None,
) -> Trained:
    """Pure training loop: one `lax.scan`, to be jitted and vmapped over copies.

    The key is consumed: it draws LoRA's start and the mini-batches. Only the first ``limit`` steps
    (may be traced; None is all) are taken, on the schedule of all of them.
    """
    state = begin(params, config, key)
    state, losses = advance(
        spec, params, examples, config, key, state, 0, config.steps, limit=limit
    )
    return Trained(finish(params, examples, config, state), losses, state.fault, state.leaf)


_train_jit = jax.jit(train, static_argnums=(0, 3))


@checked
def fine_tune(
    model: Transformer,
    params: Params,
    examples: Examples | Completions,
    *,
    config: TrainConfig | None = None,
    key: jax.Array,
) -> dict[str, jax.Array]:
    """The model's params after fine-tuning on ``examples``.

    Args:
      model, params: the base; its readout must be logits.
      examples: inputs int32 [E, T] and counts [E, V] of what followed, without any of which the
        base comes back unchanged; or prompts and completions of any lengths, as
        `icl_sim.training.completions` makes them (see `tune_sequences` for more options).
      config: how; by default 300 full-batch steps of Adam on all leaves, cosine schedule.
      key: consumed; it draws the mini-batches and LoRA's start.

    Returns:
      A flat dict of leaves, like ``params``.

    Raises:
      InputError: examples that do not fit the model, or more than memory lasts for.
      FloatingPointError: a step that was not finite; the message names step and leaf.

    >>> from constructions.spec import Layer
    >>> from icl_sim.training import context_laws, table_examples
    >>> model = Transformer(TransformerSpec(2, 8, 2, (Layer(hidden=8, gate="silu"),)))
    >>> base = model.init(jax.random.key(0), np.zeros(1, np.int32))["params"]
    >>> examples = table_examples(np.array([[9, 1], [0, 5]]))
    >>> tuned = fine_tune(model, base, examples, key=jax.random.key(1))
    >>> np.abs(context_laws(model.spec, tuned, 2) - np.array([[0.9, 0.1], [0, 1]])).max() < 1e-2
    np.True_
    """
    check_leaves(model.spec, params)
    config = TrainConfig() if config is None else config
    if isinstance(examples, Completions):
        return tune_sequences(model, params, examples, config=config, key=key).params
    check_examples(model.spec, examples, drawn=config.batch is not None)
    *lead, tokens = np.shape(examples.inputs)
    cost = partial(training_bytes, model.spec, config)
    require("fine-tuning", cost, examples=math.prod(lead), tokens=tokens)
    params = {name: jnp.asarray(leaf) for name, leaf in params.items()}
    result = _train_jit(model.spec, params, examples, config, key)
    require_finite(params, config, result.fault, result.leaf)
    return result.params
