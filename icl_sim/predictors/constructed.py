"""Hand-written transformers as predictors: retrieval of the nearest pairs, and a Bayes mixture."""

from __future__ import annotations

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np

from constructions.construction import Construction
from constructions.learners.mixture import mixture as build_mixture
from constructions.learners.retrieval import retrieval as build_retrieval
from icl_sim.data.tasks import Demonstrations, random_table
from icl_sim.transformer import forward

HYPOTHESES = 32
FIRST = 20_000  # index of the first hypothesis, apart from all tasks
FLOOR = 0.05  # share of the uniform law in a hypothesis, whose logarithms must be finite


def retrieval(data: Demonstrations, key: jax.Array) -> jax.Array:
    """The labels of the K = N/m pairs nearest to the query, a context being a unit vector.

    Pairs of the query's own context are at distance 0, the earliest first; where there are fewer
    than K, pairs of other contexts fill up. All queries stand behind one copy of the data: they
    have no slot, so none is retrieved for another.
    """
    del key
    m, V = data.counts.shape
    N = data.contexts.shape[0]
    built = _retrieval(m, V, N)
    items = built.residual.sizes["slot"]
    pairs = [
        jax.nn.one_hot(data.contexts, m, dtype=jnp.float32),
        jax.nn.one_hot(data.outputs, V, dtype=jnp.float32),
        jnp.eye(N, items, dtype=jnp.float32),
        jnp.zeros((N, m), jnp.float32),
    ]
    queries = jnp.concatenate([jnp.zeros((m, m + V + items)), jnp.eye(m)], axis=1)
    tokens = jnp.concatenate([jnp.concatenate(pairs, axis=1), queries.astype(jnp.float32)])
    tokens = jnp.concatenate([tokens, jnp.ones((N + m, 1), jnp.float32)], axis=1)
    return forward(built.spec, built.params, tokens)[-m:, :V]


def mixture(data: Demonstrations, key: jax.Array) -> jax.Array:
    """The posterior predictive law under 32 tables drawn from the pretraining prior.

    What a model would do that knew these tables and nothing else; the truth is not among them.
    """
    del key
    m, V = data.counts.shape
    N = data.contexts.shape[0]
    built = _mixture(m, V, HYPOTHESES + N + m)
    pairs = HYPOTHESES + data.contexts * V + data.outputs
    ends = [jnp.arange(HYPOTHESES), pairs, HYPOTHESES + m * V + jnp.arange(m)]
    tokens = jnp.concatenate([part.astype(jnp.int32) for part in ends])
    return forward(built.spec, built.params, tokens)[-m:]


@lru_cache(maxsize=64)
def _retrieval(m: int, V: int, N: int) -> Construction:
    # Slots for all tokens, so that the certified length covers the queries too.
    return build_retrieval(dim=m, outputs=V, items=N + m - 1, nearest=-(-N // m), radius=1.0)


@lru_cache(maxsize=64)
def _mixture(m: int, V: int, length: int) -> Construction:
    tables = [
        random_table(FIRST + i, contexts=m, vocab=V, concentration=None).law
        for i in range(HYPOTHESES)
    ]
    laws = (1 - FLOOR) * np.stack(tables) + FLOOR / V
    return build_mixture(tables=laws / laws.sum(axis=2, keepdims=True), length=length)
