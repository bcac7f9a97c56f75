"""Where the queries stand: all behind one copy of the data, or each behind its own."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from icl_sim.data.tasks import Demonstrations

# (contexts [N], outputs [N], queries [q]) -> laws [q, V]: one prompt.
Ask = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]


def laws_of_queries(ask: Ask, data: Demonstrations) -> jax.Array:
    """float32 [m, V]: all m queries in one prompt; or in m prompts, if each has data of its own.

    Args:
      ask: answers the queries behind one copy of the demonstrations.
      data: contexts and outputs [N], or [m, N].
    """
    queries = jnp.arange(data.counts.shape[0], dtype=jnp.int32)
    if data.contexts.ndim == 1:
        return ask(data.contexts, data.outputs, queries)
    alone = jax.vmap(lambda contexts, outputs, query: ask(contexts, outputs, query[None])[0])
    return alone(data.contexts, data.outputs, queries)
