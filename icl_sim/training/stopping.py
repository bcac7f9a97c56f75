"""When to stop: at convergence (`train` itself), by held-out loss with a refit, or by an oracle.

Both rules look every ``every`` steps, step 0 included, and keep the first of the best looks. Pure
functions, to be jitted and vmapped like `train`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from constructions.spec import TransformerSpec
from icl_sim.errors import InputError
from icl_sim.training.config import TrainConfig
from icl_sim.training.examples import Examples, loss
from icl_sim.training.fine_tuning import advance, begin, finish, train
from icl_sim.training.guarded import State
from icl_sim.transformer import Params

Measure = Callable[[dict[str, jax.Array]], jax.Array]  # params -> scalar, the smaller the better


class Stopped(NamedTuple):
    """A run that was stopped.

    params: flat dict of leaves at the chosen step.
    step: int32, the chosen number of steps.
    curve: float32 [steps / every + 1], the measure at each look.
    fault, leaf: see `icl_sim.training.fine_tuning.State`.
    """

    params: dict[str, jax.Array]
    step: jax.Array
    curve: jax.Array
    fault: jax.Array
    leaf: jax.Array


def train_to_best(
    spec: TransformerSpec,
    params: Params,
    examples: Examples,
    config: TrainConfig,
    key: jax.Array,
    *,
    measure: Measure,
    every: int,
) -> Stopped:
    """The params at the look where ``measure`` is smallest; key consumed.

    With the distance to the truth as the measure this is the oracle: no rule can stop better.

    Raises:
      InputError: ``every`` does not divide the number of steps.
    """
    if every < 1 or config.steps % every:
        raise InputError(f"every: expected a divisor of {config.steps} steps, got {every}")

    def look(state: State) -> tuple[dict[str, jax.Array], jax.Array]:
        current = finish(params, examples, config, state)
        return current, jnp.asarray(measure(current)).astype(jnp.float32)

    def stretch(
        carry: tuple[State, dict[str, jax.Array], jax.Array, jax.Array], first: jax.Array
    ) -> tuple[tuple[State, dict[str, jax.Array], jax.Array, jax.Array], jax.Array]:
        state, best, smallest, step = carry
        state, _ = advance(spec, params, examples, config, key, state, first, every)
        current, value = look(state)
        better = value < smallest
        best = jax.tree.map(lambda a, b: jnp.where(better, a, b), current, best)
        step = jnp.where(better, first + every, step)
        return (state, best, jnp.where(better, value, smallest), step), value

    state = begin(params, config, key)
    initial, value = look(state)
    firsts = jnp.arange(0, config.steps, every, dtype=jnp.int32)
    (state, best, _, step), curve = jax.lax.scan(
        stretch, (state, initial, value, jnp.int32(0)), firsts
    )
    return Stopped(best, step, jnp.concatenate([value[None], curve]), state.fault, state.leaf)


def train_validated(
    spec: TransformerSpec,
    params: Params,
    examples: Examples,
    held_out: Examples,
    config: TrainConfig,
    key: jax.Array,
    *,
    every: int,
) -> Stopped:
    """Chooses the number of steps by the loss on ``held_out``, then refits on all of the data.

    The two sets of examples have the same prompts. Without the refit the held-out data cost more
    than they buy. The key is consumed.

    Raises:
      InputError: ``every`` does not divide the number of steps.
    """
    chosen = train_to_best(
        spec,
        params,
        examples,
        config,
        key,
        measure=lambda current: loss(spec, current, held_out),
        every=every,
    )
    together = jnp.asarray(examples.counts) + jnp.asarray(held_out.counts)
    everything = Examples(examples.inputs, together)
    refit = train(spec, params, everything, config, key, limit=chosen.step)
    return Stopped(refit.params, chosen.step, chosen.curve, refit.fault, refit.leaf)
