"""All copies of a fine-tuning run - tasks, sizes, seeds - in one vmapped jit.

Letters: R copies, E prompts, V symbols, K measures.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from constructions.spec import TransformerSpec
from icl_sim.budget import require
from icl_sim.errors import InputError
from icl_sim.training.config import TrainConfig
from icl_sim.training.examples import Examples, check_examples
from icl_sim.training.fine_tuning import (
    State,
    advance,
    begin,
    finish,
    require_finite,
    training_bytes,
)
from icl_sim.transformer import Params, Transformer

if TYPE_CHECKING:  # Orbax takes a second to import
    from icl_sim.checkpoints import Checkpoints

# (params of one copy, its targets) -> float32 [K]
Measure = Callable[[dict[str, jax.Array], Any], jax.Array]


class Copies(NamedTuple):
    """R fine-tuned copies.

    params: flat dict of leaves [R, ...].
    losses: float32 [R, steps], in nats, before each step.
    looks: float32 [R, chunks + 1, K], what was measured before the first and after each chunk.
    """

    params: dict[str, jax.Array]
    losses: np.ndarray
    looks: np.ndarray


def _nothing(params: dict[str, jax.Array], targets: Any) -> jax.Array:
    del params, targets
    return jnp.zeros(0, jnp.float32)


def fine_tune_copies(
    model: Transformer,
    params: Params,
    examples: Examples,
    *,
    config: TrainConfig | None = None,
    keys: jax.Array,
    chunk: int = 50,
    measure: Measure = _nothing,
    targets: Any = None,
    checkpoints: Checkpoints | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Copies:
    """Fine-tunes R copies of one base, each on its own examples, in one vmapped jit.

    Args:
      model, params: the base, shared by all copies.
      examples: inputs int32 [R, E, T] and counts [R, E, V].
      config: how, the same for all.
      keys: [R] typed keys, consumed; copy r does what `fine_tune` does with keys[r].
      chunk: steps between two returns to the host, for checkpoints, measures and progress.
      measure: a function of one copy's params and targets; pass the same object again to reuse
        its compiled code.
      targets: a pytree with a leading axis R, given to ``measure``.
      checkpoints: written after every chunk; a run that finds some goes on from the newest.
      progress: called as progress(label, steps done, steps) after each chunk.

    Raises:
      InputError, FloatingPointError: as `fine_tune`; the latter also names the copy.
    """
    config = TrainConfig() if config is None else config
    check_examples(model.spec, examples)
    inputs, counts = (np.shape(field) for field in examples)
    copies = counts[0]
    if len(counts) != 3 or keys.shape != (copies,):
        raise InputError(
            "copies: expected inputs [R, E, T], counts [R, E, V] and R keys, got "
            f"{list(inputs)}, {list(counts)}, {list(keys.shape)}"
        )
    cost = partial(training_bytes, model.spec, config)
    require("fine-tuning", cost, copies=copies, examples=inputs[1], tokens=inputs[2])
    params = {name: jnp.asarray(leaf) for name, leaf in params.items()}
    examples = Examples(*(jnp.asarray(field) for field in examples))
    if chunk < 1:
        raise InputError(f"chunk: expected at least one step, got {chunk}")

    def look(state: State) -> np.ndarray:
        return np.asarray(_look(params, examples, config, state, targets, measure))

    state = _begin(params, config, keys)
    losses = np.zeros((copies, config.steps), np.float32)
    first = look(state)
    looks = np.zeros((copies, -(-config.steps // chunk) + 1, first.shape[1]), np.float32)
    looks[:, 0] = first
    done = 0
    kept = looks if looks.size else None  # Orbax refuses arrays of size zero
    if checkpoints is not None and (found := checkpoints.restore((state, losses, kept))):
        done, (state, losses, kept) = found
        looks = looks if kept is None else kept
    while done < config.steps:
        last = min(done + chunk, config.steps)
        arguments = (params, examples, config, keys, state, np.int32(done), chunk)
        state, values = _advance(model.spec, *arguments)
        require_finite(params, config, state.fault, state.leaf)
        losses[:, done:last] = np.asarray(values)[:, : last - done]
        looks[:, -(-last // chunk)] = look(state)
        if checkpoints is not None:
            checkpoints.save(last, (state, losses, looks if looks.size else None))
        if progress is not None:
            progress(f"fine-tuning, loss {losses[:, done:last].mean():.3f}", last, config.steps)
        done = last
    return Copies(_finish(params, examples, config, state), losses, looks)


@partial(jax.jit, static_argnums=1)
def _begin(params: Params, config: TrainConfig, keys: jax.Array) -> State:
    return jax.vmap(lambda key: begin(params, config, key))(keys)


@partial(jax.jit, static_argnums=(0, 3, 7))
def _advance(
    spec: TransformerSpec,
    params: Params,
    examples: Examples,
    config: TrainConfig,
    keys: jax.Array,
    states: State,
    first: Any,
    steps: int,
) -> tuple[State, jax.Array]:
    # The last chunk may be cut short: the limit does it without compiling another length.
    def one(examples: Examples, key: jax.Array, state: State) -> tuple[State, jax.Array]:
        limit = config.steps
        return advance(spec, params, examples, config, key, state, first, steps, limit=limit)

    return jax.vmap(one)(examples, keys, states)


@partial(jax.jit, static_argnums=2)
def _finish(
    params: Params, examples: Examples, config: TrainConfig, states: State
) -> dict[str, jax.Array]:
    return jax.vmap(lambda e, s: finish(params, e, config, s))(examples, states)


@partial(jax.jit, static_argnums=(2, 5))
def _look(
    params: Params,
    examples: Examples,
    config: TrainConfig,
    states: State,
    targets: Any,
    measure: Measure,
) -> jax.Array:
    def one(examples: Examples, state: State, target: Any) -> jax.Array:
        return measure(finish(params, examples, config, state), target)

    return jax.vmap(one)(examples, states, targets)
