"""One guarded optimizer step: what is not finite is not taken, nor is any step after it.

(`optax.apply_if_finite` lets NaN through after its limit.)
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from icl_sim.training.adapters import trainable_names
from icl_sim.training.config import TrainConfig
from icl_sim.transformer import Params


class State(NamedTuple):
    """A run between two steps.

    leaves: flat dict of the leaves that are trained, see `icl_sim.training.adapters`.
    optimizer: Optax's state.
    fault: int32, the first step whose update was not finite (training stopped there, the leaves are
      those before it), or -1.
    leaf: int32, index among the sorted names of ``leaves`` of the first that was not finite.
    """

    leaves: dict[str, jax.Array]
    optimizer: Any
    fault: jax.Array
    leaf: jax.Array


def guarded_update(
    state: State,
    value: jax.Array,
    gradient: Any,
    step: jax.Array,
    transformation: optax.GradientTransformation,
) -> State:
    """The state after one step, or unchanged but for the fault if anything is not finite."""
    new = _proposed(state, gradient, transformation)
    return _taken(state, new, finite_leaves(new[0]), value, step)


def finite_after(
    state: State, gradient: Any, transformation: optax.GradientTransformation
) -> jax.Array:
    """Bool [K]: which leaves a step would leave finite, without keeping what it would make."""
    return finite_leaves(_proposed(state, gradient, transformation)[0])


def update_in_place(
    state: State,
    value: jax.Array,
    gradient: Any,
    step: jax.Array,
    transformation: optax.GradientTransformation,
    finite: jax.Array,
) -> State:
    """`guarded_update`, told by `finite_after` before whether the step is to be taken.

    So each entry of the old state is read once, where its successor is written: where the state is
    given away, no second one stands beside it.
    """
    return _taken(state, _proposed(state, gradient, transformation), finite, value, step)


def finite_leaves(leaves: dict[str, jax.Array]) -> jax.Array:
    """Bool [K], in the order of their names."""
    return jnp.stack([jnp.isfinite(leaves[name]).all() for name in sorted(leaves)])


def _proposed(
    state: State, gradient: Any, transformation: optax.GradientTransformation
) -> tuple[dict[str, jax.Array], Any]:
    updates, optimizer = transformation.update(gradient, state.optimizer, state.leaves)
    return optax.apply_updates(state.leaves, updates), optimizer


def _taken(
    state: State,
    new: tuple[dict[str, jax.Array], Any],
    finite: jax.Array,
    value: jax.Array,
    step: jax.Array,
) -> State:
    fine = finite.all() & jnp.isfinite(value) & (state.fault < 0)
    first_fault = (state.fault < 0) & ~fine
    old = (state.leaves, state.optimizer)
    leaves, optimizer = jax.tree.map(lambda a, b: jnp.where(fine, a, b), new, old)
    return State(
        leaves,
        optimizer,
        jnp.where(first_fault, step, state.fault),
        jnp.where(first_fault, jnp.argmin(finite).astype(jnp.int32), state.leaf),
    )


def require_finite(params: Params, config: TrainConfig, fault: Any, leaf: Any) -> None:
    """Raises FloatingPointError, naming step and leaf, if a run (or one of several) stopped."""
    faults, leaves = np.atleast_1d(np.asarray(fault)), np.atleast_1d(np.asarray(leaf))
    stopped = np.flatnonzero(faults >= 0)
    if stopped.size:
        copy = int(stopped[0])
        where = f" of copy {copy} of {faults.size}" if faults.size > 1 else ""
        raise FloatingPointError(
            f"training{where} stopped at step {faults[copy]}: "
            f"{trainable_names(params, config)[leaves[copy]]} or the loss is not finite; lower the "
            "learning rate"
        )
