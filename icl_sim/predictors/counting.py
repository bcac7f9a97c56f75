"""Laws computed from the counts: by arithmetic, by Bayes, and by the hand-written transformer."""

from __future__ import annotations

from functools import lru_cache

import jax
import jax.numpy as jnp

from constructions.construction import Construction
from constructions.learners.lookup import lookup as build_lookup
from icl_sim.data.bayes import posterior_predictive
from icl_sim.data.tasks import Demonstrations, empirical_law
from icl_sim.predictors.queries import laws_of_queries
from icl_sim.predictors.self_reading import Prompt, SelfReading
from icl_sim.transformer import forward

ANSWERS = 8  # tokens of four queries and their answers


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


def _lookup(data: Demonstrations, key: jax.Array) -> Prompt:
    """The law of `counts`, computed by the lookup's weights from a prompt that holds the data."""
    del key
    m, V = data.counts.shape
    contexts, outputs = (jnp.arange(size, dtype=jnp.int32) for size in (m, V))
    built = lookup_weights(m, V, 1 + 2 * data.contexts.shape[-1] + max(m, ANSWERS))

    def ask(shown: jax.Array, labels: jax.Array, queries: jax.Array) -> jax.Array:
        prompt = built.fill(contexts=shown, outputs=labels, queries=queries)
        return forward(built.spec, built.params, prompt)[-len(queries) :]

    def before_query(shown: jax.Array, labels: jax.Array) -> jax.Array:
        filled: jax.Array = built.fill(contexts=shown, outputs=labels, queries=contexts[:0])
        return filled

    alone = data.contexts.ndim == 1
    tokens = (before_query if alone else jax.vmap(before_query))(data.contexts, data.outputs)
    laws = laws_of_queries(ask, data)
    params = {name: jnp.asarray(leaf) for name, leaf in built.params.items()}
    return Prompt(built.spec, params, tokens, contexts, m + outputs, outputs, laws)


lookup = SelfReading(_lookup)


@lru_cache(maxsize=64)
def lookup_weights(m: int, V: int, length: int) -> Construction:
    """The hand-written lookup for prompts of ``length`` tokens."""
    return build_lookup(vocab=V, contexts=m, length=max(length, 4))
