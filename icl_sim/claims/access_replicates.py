"""Replicates for part of the data: subsets of a pool (C5), and retrieval into a prompt (C6).

Letters: m contexts, V outputs, N demonstrations in all, n of each context, K in a prompt.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import jax
import jax.numpy as jnp

from constructions.construction import Construction
from icl_sim.data.tasks import Demonstrations, draw_outputs
from icl_sim.predictors import get_predictor
from icl_sim.predictors.counting import lookup_weights
from icl_sim.predictors.selected import retrieve
from icl_sim.training.base_model import load_base

# What the figures call a predictor, where not by its own name.
LABELS = {"in-context": "base"}
_ANSWER = 7  # the predictor's stream, apart from what draws its data


def label(predictor: str) -> str:
    """What the figures call a predictor."""
    return LABELS.get(predictor, predictor)


def lookup_of(m: int, V: int, K: int) -> Construction:
    """The hand-written lookup for prompts of K demonstrations and a query."""
    return lookup_weights(m, V, 2 * K + 2)


def base_fit() -> int:
    """Demonstrations that fit the base's window beside a query."""
    return (load_base().window - 1) // 2


def prompts(contexts: jax.Array, outputs: jax.Array, V: int) -> Demonstrations:
    """Demonstrations of each query, [m, K] of both, with the counts of what is shown of its own."""
    m = contexts.shape[0]
    own = contexts == jnp.arange(m, dtype=contexts.dtype)[:, None]
    hits = own[:, :, None] & (outputs[:, :, None] == jnp.arange(V, dtype=outputs.dtype)[None, None])
    return Demonstrations(contexts, outputs, hits.sum(axis=1, dtype=jnp.int32))


def shuffled(key: jax.Array, size: int) -> jax.Array:
    """A uniformly random order of 0..size-1, int32 [size].

    Each draws 32 random bits and takes the place that it has among them, earlier ones first among
    equals. Counting costs size^2, and compiles at once where a sort takes seconds.
    """
    bits = jax.random.bits(key, (size,), jnp.uint32)
    place = jnp.arange(size, dtype=jnp.int32)
    before = bits[None, :] < bits[:, None]
    before |= (bits[None, :] == bits[:, None]) & (place[None, :] < place[:, None])
    return jnp.zeros(size, jnp.int32).at[before.sum(axis=1)].set(place)


@lru_cache(maxsize=64)
def subset_trial(answer: str, n: int, worst: bool) -> Callable[..., jax.Array]:
    """Replicate (key, pools [m, N], laws [m, V]) -> total variation from the laws.

    n outputs of each context's pool, drawn without replacement, stand in one prompt for all
    queries; the greatest distance over contexts if ``worst``, else their mean.
    """

    def trial(key: jax.Array, pools: jax.Array, laws: jax.Array) -> jax.Array:
        m, N = pools.shape
        keys = jax.random.split(key, m)
        chosen = jax.vmap(lambda k, pool: pool[shuffled(k, N)[:n]])(keys, pools)
        return _distance(answer, key, _shown_to_all(chosen, laws.shape[1]), laws, worst)

    return trial


@lru_cache(maxsize=64)
def fresh_subset_trial(answer: str, N: int, n: int) -> Callable[..., jax.Array]:
    """Replicate (key, laws [m, V]) -> greatest total variation from the laws themselves.

    Each context's pool is drawn from its law, and the subset from the pool.
    """

    def trial(key: jax.Array, laws: jax.Array) -> jax.Array:
        m = laws.shape[0]
        draw_key, choose_key = jax.random.split(key)
        pools = _store(draw_key, laws, N).outputs.reshape(m, N)
        return subset_trial(answer, n, True)(choose_key, pools, laws)

    return trial


def _store(key: jax.Array, laws: jax.Array, n: int) -> Demonstrations:
    """N demonstrations of each context, in the order of the contexts, drawn from the laws."""
    contexts = jnp.repeat(jnp.arange(laws.shape[0], dtype=jnp.int32), n)
    return _counted(contexts, draw_outputs(key, laws, contexts), laws)


def _counted(contexts: jax.Array, outputs: jax.Array, laws: jax.Array) -> Demonstrations:
    counts = jnp.zeros(laws.shape, jnp.int32).at[contexts, outputs].add(1)
    return Demonstrations(contexts, outputs, counts)


def _shown_to_all(outputs: jax.Array, V: int) -> Demonstrations:
    """Prompts [m, m n] that all hold the outputs [m, n] of every context."""
    m, n = outputs.shape
    contexts = jnp.repeat(jnp.arange(m, dtype=jnp.int32), n)
    return prompts(jnp.tile(contexts, (m, 1)), jnp.tile(outputs.reshape(-1), (m, 1)), V)


def _ask(answer: str, key: jax.Array, data: Demonstrations) -> jax.Array:
    """The laws [m, V] of the predictor of that name; the key is not consumed."""
    laws: jax.Array = get_predictor(answer)(data, jax.random.fold_in(key, _ANSWER))
    return laws


def _distance(
    answer: str, key: jax.Array, data: Demonstrations, laws: jax.Array, worst: bool
) -> jax.Array:
    found = _ask(answer, key, data)
    distance = jnp.abs(found - laws).sum(axis=1) / 2
    return distance.max() if worst else distance.mean()


def retrieved(key: jax.Array, data: Demonstrations, K: int, retriever: str) -> Demonstrations:
    """Prompts of K of the N demonstrations for each query: contexts and outputs [m, K].

    ``own`` takes demonstrations of the query's context first, ``random`` takes any; in random
    order, so that what is left out says nothing about outputs.
    """
    m, V = data.counts.shape
    N = data.contexts.shape[0]
    order = jax.vmap(lambda k: shuffled(k, N))(jax.random.split(key, m))
    if retriever == "own":
        found = retrieve(data, K, order=order)
        return prompts(found.contexts, found.outputs, V)
    rows = order[:, :K]
    return prompts(data.contexts[rows], data.outputs[rows], V)


@lru_cache(maxsize=64)
def retrieval_trial(
    answer: str, retriever: str, n: int, K: int, bad: int = 0
) -> Callable[..., jax.Array]:
    """Replicate (key, laws [m, V]) -> greatest total variation over the m queries.

    A store of n demonstrations of each context, K retrieved for each query, and ``bad`` more in its
    prompt that bear the query's context but another's output, its law's least likely.
    """

    def trial(key: jax.Array, laws: jax.Array) -> jax.Array:
        m, V = laws.shape
        draw_key, choose_key = jax.random.split(key)
        found = retrieved(choose_key, _store(draw_key, laws, n), K, retriever)
        own = jnp.tile(jnp.arange(m, dtype=jnp.int32)[:, None], (1, bad))
        wrong = jnp.tile(jnp.argmin(laws, axis=1).astype(jnp.int32)[:, None], (1, bad))
        contexts = jnp.concatenate([found.contexts, own], axis=1)
        outputs = jnp.concatenate([found.outputs, wrong], axis=1)
        return _distance(answer, key, prompts(contexts, outputs, V), laws, True)

    return trial


@lru_cache(maxsize=64)
def shown_trial(answer: str) -> Callable[..., jax.Array]:
    """Replicate (key, laws [m, V], contexts [N], chosen [m, K], allowed [m]) -> most over allowed.

    The store's outputs are drawn from the laws of its contexts; the chosen ones stand in query c's
    prompt under its own context. The greatest total variation of a query above what it is allowed.
    """

    def trial(
        key: jax.Array,
        laws: jax.Array,
        contexts: jax.Array,
        chosen: jax.Array,
        allowed: jax.Array,
    ) -> jax.Array:
        m, V = laws.shape
        draw_key, answer_key = jax.random.split(key)
        outputs = draw_outputs(draw_key, laws, contexts)[chosen]
        own = jnp.tile(jnp.arange(m, dtype=jnp.int32)[:, None], (1, chosen.shape[1]))
        found = _ask(answer, answer_key, prompts(own, outputs, V))
        return (jnp.abs(found - laws).sum(axis=1) / 2 - allowed).max()

    return trial


@lru_cache(maxsize=64)
def comparison_trial(answer: str, N: int, K: int) -> Callable[..., jax.Array]:
    """Replicate (key, laws [m, V]) -> mean total variation: retrieved K and random K, float [2].

    A store of N demonstrations, contexts uniform.
    """

    def trial(key: jax.Array, laws: jax.Array) -> jax.Array:
        m = laws.shape[0]
        context_key, output_key, own_key, random_key = jax.random.split(key, 4)
        contexts = jax.random.randint(context_key, (N,), 0, m, jnp.int32)
        data = _counted(contexts, draw_outputs(output_key, laws, contexts), laws)
        return jnp.stack(
            [
                _distance(answer, k, retrieved(k, data, K, retriever), laws, False)
                for k, retriever in ((own_key, "own"), (random_key, "random"))
            ]
        )

    return trial


@lru_cache(maxsize=64)
def gain_trial(answer: str, N: int, K: int) -> Callable[..., jax.Array]:
    """Replicate -> (1 + TV of retrieved - TV of random)/2: a mean below 1/2 if retrieval helps."""

    def trial(key: jax.Array, laws: jax.Array) -> jax.Array:
        own, random = comparison_trial(answer, N, K)(key, laws)
        return (1 + own - random) / 2

    return trial


@lru_cache(maxsize=64)
def same_answer_trial(answer: str, n: int) -> Callable[..., jax.Array]:
    """Replicate (key, laws [m, V]) -> greatest distance between two answers to the same query.

    One with all m n demonstrations in the prompt, one with the n of the query's own context.
    """

    def trial(key: jax.Array, laws: jax.Array) -> jax.Array:
        m, V = laws.shape
        draw_key, choose_key = jax.random.split(key)
        data = _store(draw_key, laws, n)
        few = _ask(answer, key, retrieved(choose_key, data, n, "own"))
        full = _ask(answer, key, _shown_to_all(data.outputs.reshape(m, n), V))
        return jnp.abs(full - few).sum(axis=1).max() / 2

    return trial
