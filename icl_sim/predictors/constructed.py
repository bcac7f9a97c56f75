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
from icl_sim.predictors.queries import laws_of_queries
from icl_sim.transformer import forward

HYPOTHESES = 32
FIRST = 20_000  # index of the first hypothesis, apart from all tasks
FLOOR = 0.05  # share of the uniform law in a hypothesis, whose logarithms must be finite


def retrieval(data: Demonstrations, key: jax.Array) -> jax.Array:
    """The labels of the K = N/m pairs nearest to the query, a context being a unit vector.

    Pairs of the query's own context are at distance 0, the earliest first; where there are fewer
    than K, pairs of other contexts fill up.
    """
    del key
    m, V = data.counts.shape
    vectors = jnp.eye(m, dtype=jnp.float32)

    def ask(contexts: jax.Array, outputs: jax.Array, queries: jax.Array) -> jax.Array:
        built = _retrieval(m, V, len(contexts))
        prompt = built.fill(inputs=vectors[contexts], labels=outputs, queries=vectors[queries])
        return forward(built.spec, built.params, prompt)[-len(queries) :, :V]

    return laws_of_queries(ask, data)


def mixture(data: Demonstrations, key: jax.Array) -> jax.Array:
    """The posterior predictive law under 32 tables drawn from the pretraining prior.

    What a model would do that knew these tables and nothing else; the truth is not among them.
    """
    del key
    m, V = data.counts.shape

    def ask(contexts: jax.Array, outputs: jax.Array, queries: jax.Array) -> jax.Array:
        built = _mixture(m, V, HYPOTHESES + len(contexts) + len(queries))
        prompt = built.fill(contexts=contexts, outputs=outputs, queries=queries)
        return forward(built.spec, built.params, prompt)[-len(queries) :]

    return laws_of_queries(ask, data)


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
