"""A prompt with room for K demonstrations, of many more: those of the query's own context, or any.

Retrieval is what claim C6 speaks of: each query has a prompt of its own.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from icl_sim.data.tasks import Demonstrations

SHOWN = 90  # K
CHOICES = ("retrieved", "random")  # ends of the names of these predictors

Route = Callable[[Demonstrations, jax.Array], jax.Array]


def retrieve(data: Demonstrations, size: int) -> Demonstrations:
    """For each context its own demonstrations, at most ``size``, in their order.

    Returns:
      contexts and outputs int32 [m, K], K the lesser of ``size`` and N: row c is the prompt of
      query c, filled up with the first demonstrations of other contexts where its own are fewer;
      counts as they were.

    >>> data = Demonstrations(jnp.array([0, 1, 1, 0]), jnp.array([1, 0, 1, 0]), jnp.ones((2, 2)))
    >>> retrieve(data, 2).outputs.tolist()
    [[1, 0], [0, 1]]
    """
    K = min(size, data.contexts.shape[0])
    queries = jnp.arange(data.counts.shape[0], dtype=data.contexts.dtype)
    foreign = data.contexts[None, :] != queries[:, None]
    rows = jnp.sort(jnp.argsort(foreign, axis=1, stable=True)[:, :K], axis=1)
    return Demonstrations(data.contexts[rows], data.outputs[rows], data.counts)


def at_random(data: Demonstrations, size: int, key: jax.Array) -> Demonstrations:
    """``size`` of the demonstrations (all, if they are fewer), the same for every query.

    Returns:
      contexts and outputs int32 [K]; counts as they were. The key is consumed.
    """
    rows = jax.random.permutation(key, data.contexts.shape[0])[:size]
    return Demonstrations(data.contexts[rows], data.outputs[rows], data.counts)


def one_prompt_a_query(route: Route) -> Route:
    """``route``, which reads one prompt for all queries, as one that reads a prompt for each."""

    def predict(data: Demonstrations, key: jax.Array) -> jax.Array:
        def answer(contexts: jax.Array, outputs: jax.Array, query: jax.Array) -> jax.Array:
            return route(Demonstrations(contexts, outputs, data.counts), key)[query]

        queries = jnp.arange(data.counts.shape[0])
        return jax.vmap(answer)(data.contexts, data.outputs, queries)

    return predict


def retrieved(route: Route) -> Route:
    """``route`` with K retrieved demonstrations in each query's prompt."""

    def predict(data: Demonstrations, key: jax.Array) -> jax.Array:
        return route(retrieve(data, SHOWN), key)

    return predict


def random_choice(route: Route) -> Route:
    """``route`` with K random demonstrations in the prompt."""

    def predict(data: Demonstrations, key: jax.Array) -> jax.Array:
        choice_key, route_key = jax.random.split(key)
        return route(at_random(data, SHOWN, choice_key), route_key)

    return predict
