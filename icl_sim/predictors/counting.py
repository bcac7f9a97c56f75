"""Laws computed from the counts: by arithmetic, by Bayes, and by the hand-written transformer."""

from __future__ import annotations

from functools import lru_cache

import jax

from constructions.construction import Construction
from constructions.learners.lookup import lookup as build_lookup
from icl_sim.data.bayes import posterior_predictive
from icl_sim.data.tasks import Demonstrations, empirical_law
from icl_sim.predictors.queries import laws_of_queries
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
    """The law of `counts`, computed by the lookup's weights from a prompt that holds the data."""
    del key
    m, V = data.counts.shape

    def ask(contexts: jax.Array, outputs: jax.Array, queries: jax.Array) -> jax.Array:
        built = lookup_weights(m, V, 1 + 2 * len(contexts) + len(queries))
        prompt = built.fill(contexts=contexts, outputs=outputs, queries=queries)
        return forward(built.spec, built.params, prompt)[-len(queries) :]

    return laws_of_queries(ask, data)


@lru_cache(maxsize=64)
def lookup_weights(m: int, V: int, length: int) -> Construction:
    """The hand-written lookup for prompts of ``length`` tokens."""
    return build_lookup(vocab=V, contexts=m, length=max(length, 4))
