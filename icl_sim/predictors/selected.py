"""A prompt with room for K demonstrations, of many more: those of the query's own context, or any.

Retrieval is what claim C6 speaks of: each query has a prompt of its own.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from icl_sim.data.tasks import Demonstrations
from icl_sim.predictors.self_reading import Route, on_other_data

SHOWN = 90  # K
CHOICES = ("retrieved", "random")  # ends of the names of these predictors


def retrieve(data: Demonstrations, size: int, *, order: jax.Array | None = None) -> Demonstrations:
    """For each context its own demonstrations, at most ``size`` of them.

    Args:
      data: contexts and outputs [N].
      size: room for demonstrations in a prompt.
      order: int32 [m, N], in which each query goes through the data, and shows them, its own
        first; by default in their order, the prompt as well.

    Returns:
      contexts and outputs int32 [m, K], K the lesser of ``size`` and N: row c is the prompt of
      query c, filled up with the first demonstrations of other contexts where its own are fewer;
      counts as they were.

    >>> data = Demonstrations(jnp.array([0, 1, 1, 0]), jnp.array([1, 0, 1, 0]), jnp.ones((2, 2)))
    >>> retrieve(data, 2).outputs.tolist()
    [[1, 0], [0, 1]]
    """
    m, N = data.counts.shape[0], data.contexts.shape[0]
    queries = jnp.arange(m, dtype=data.contexts.dtype)[:, None]
    visited = jnp.tile(jnp.arange(N, dtype=jnp.int32), (m, 1)) if order is None else order
    own = data.contexts[visited] == queries
    # A stable partition: own ones are numbered from 0, the others after them. Counting compiles at
    # once where a sort takes seconds.
    after = own.sum(axis=1, keepdims=True)
    place = jnp.where(own, jnp.cumsum(own, axis=1), after + jnp.cumsum(~own, axis=1)) - 1
    rows = jnp.zeros_like(visited).at[jnp.arange(m)[:, None], place].set(visited)[:, :size]
    if order is None:
        rows = jnp.sort(rows, axis=1)
    return Demonstrations(data.contexts[rows], data.outputs[rows], data.counts)


def at_random(data: Demonstrations, size: int, key: jax.Array) -> Demonstrations:
    """``size`` of the demonstrations (all, if they are fewer), the same for every query.

    Returns:
      contexts and outputs int32 [K]; counts as they were. The key is consumed.
    """
    rows = jax.random.permutation(key, data.contexts.shape[0])[:size]
    return Demonstrations(data.contexts[rows], data.outputs[rows], data.counts)


def retrieved(route: Route) -> Route:
    """``route`` with K retrieved demonstrations in each query's prompt."""
    return on_other_data(route, lambda data, key: (retrieve(data, SHOWN), key))


def random_choice(route: Route) -> Route:
    """``route`` with K random demonstrations in the prompt."""

    def change(data: Demonstrations, key: jax.Array) -> tuple[Demonstrations, jax.Array]:
        choice_key, route_key = jax.random.split(key)
        return at_random(data, SHOWN, choice_key), route_key

    return on_other_data(route, change)
