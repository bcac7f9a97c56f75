"""Laws computed from the counts: by arithmetic, by Bayes, and by the hand-written transformer."""

from __future__ import annotations

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np

from constructions.construction import Construction
from constructions.learners.lookup import lookup as build_lookup
from icl_sim.data.bayes import posterior_predictive
from icl_sim.data.tasks import Demonstrations, empirical_law
from icl_sim.transformer import forward


def counts(data: Demonstrations, key: jax.Array) -> jax.Array:
    """The empirical law of each context; uniform where there is no data."""
    del key
    return empirical_law(data.counts)


def smoothed(data: Demonstrations, key: jax.Array) -> jax.Array:
    """Half a count added to every output (Krichevsky and Trofimov)."""
    del key
    return empirical_law(data.counts, smoothing=0.5)


def bayes(data: Demonstrations, key: jax.Array) -> jax.Array:
    """The exact posterior predictive under the prior that the base is pretrained on."""
    del key
    return posterior_predictive(data.counts, most=data.contexts.shape[-1])


def lookup(data: Demonstrations, key: jax.Array) -> jax.Array:
    """The same law, computed by the lookup's weights from a prompt that holds the data.

    All m queries stand behind one copy of the data: start, c_1, y_1, ..., c_N, y_N, 0, 1, ..., m-1.
    A query's own position is a key whose previous symbol is the query before it (or y_N), never
    the query itself, so no query counts as evidence for another: each reads what it would read
    alone. Where each query has demonstrations of its own ([m, N]), each has a prompt of its own.
    """
    del key
    m, V = data.counts.shape
    queries = jnp.arange(m, dtype=jnp.int32)
    pairs = jnp.stack([data.contexts, data.outputs + m], axis=-1).astype(jnp.int32)
    if pairs.ndim == 2:
        return _answers(m, V, pairs.reshape(-1), queries)
    rows = pairs.reshape(m, -1)
    return jax.vmap(lambda row, query: _answers(m, V, row, query[None])[0])(rows, queries)


def _answers(m: int, V: int, pairs: jax.Array, queries: jax.Array) -> jax.Array:
    """[queries, V]: the laws after one copy of the data, int32 [2 N], and the queries."""
    prompt = jnp.concatenate([jnp.full(1, m + V, jnp.int32), pairs, queries])
    construction = lookup_weights(m, V, prompt.shape[0])
    return forward(construction.spec, construction.params, prompt)[-queries.shape[0] :]


@lru_cache(maxsize=64)
def lookup_weights(m: int, V: int, length: int) -> Construction:
    """The hand-written lookup for prompts of ``length`` tokens."""
    return build_lookup(vocab=V, contexts=m, length=int(np.maximum(length, 4)))
