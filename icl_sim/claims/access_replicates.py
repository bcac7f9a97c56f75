"""Replicates for part of the data: subsets of a pool (C5), and retrieval into a prompt (C6).

Answers come from a model run by its ordinary forward pass: the hand-written ``lookup``, or the
pretrained ``base``; or from ``counts``, the arithmetic that the lookup implements.

Letters: m contexts, V outputs, N demonstrations in all, n of each context, K in a prompt.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import jax
import jax.numpy as jnp

from constructions.construction import Construction
from constructions.learners.lookup import lookup as build_lookup
from icl_sim.data.sampling import integer_thresholds
from icl_sim.data.tasks import empirical_law
from icl_sim.errors import InputError
from icl_sim.training.base_model import load_base, output_laws
from icl_sim.training.pretraining_sequences import CONTEXTS
from icl_sim.transformer import forward

# answer(contexts [m, K], outputs [m, K], V): row c is the prompt of query c -> laws [m, V]
Answer = Callable[[jax.Array, jax.Array, int], jax.Array]


@lru_cache(maxsize=64)
def lookup_of(m: int, V: int, K: int) -> Construction:
    """The hand-written lookup for prompts of K demonstrations and a query."""
    return build_lookup(vocab=V, contexts=m, length=max(4, 2 * K + 2))


def lookup_answer(contexts: jax.Array, outputs: jax.Array, V: int) -> jax.Array:
    """The lookup's laws, each query with a prompt of its own."""
    m, K = contexts.shape
    built = lookup_of(m, V, K)
    pairs = jnp.stack([contexts, outputs + m], axis=2).reshape(m, 2 * K)
    start = jnp.full((m, 1), m + V, pairs.dtype)
    queries = jnp.arange(m, dtype=pairs.dtype)[:, None]
    tokens = jnp.concatenate([start, pairs, queries], axis=1)
    return forward(built.spec, built.params, tokens)[:, -1]


def counting_answer(contexts: jax.Array, outputs: jax.Array, V: int) -> jax.Array:
    """The empirical laws; uniform where the prompt has nothing of its query's context."""
    m = contexts.shape[0]
    own = contexts == jnp.arange(m, dtype=contexts.dtype)[:, None]
    hits = own[:, :, None] & (outputs[:, :, None] == jnp.arange(V, dtype=outputs.dtype)[None, None])
    return empirical_law(hits.sum(axis=1))


def base_fit() -> int:
    """Demonstrations that fit the base's window beside a query."""
    return (load_base().window - 1) // 2


def base_answer(contexts: jax.Array, outputs: jax.Array, V: int) -> jax.Array:
    """The pretrained base's laws, its weights untouched, each query with a prompt of its own.

    Raises:
      InputError: a prompt beyond the base's window.
    """
    base = load_base()
    m, K = contexts.shape
    if base.window < 2 * K + 1:
        raise InputError(
            f"base: expected at most {base_fit()} demonstrations in a prompt, its window, got {K}"
        )
    pairs = jnp.stack([contexts, outputs + CONTEXTS], axis=2).reshape(m, 2 * K)
    queries = jnp.arange(m, dtype=pairs.dtype)[:, None]
    prompts = jnp.concatenate([pairs, queries], axis=1)
    return output_laws(base.spec, base.params, prompts, V)


ANSWERS: dict[str, Answer] = {
    "base": base_answer,
    "counts": counting_answer,
    "lookup": lookup_answer,
}


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


def draw(key: jax.Array, laws: jax.Array, contexts: jax.Array) -> jax.Array:
    """int32 [N]: an output of each context's law, rows of laws [m, V], to within 2^-31 V."""
    thresholds = jax.vmap(integer_thresholds)(laws)
    uniform = jax.random.bits(key, contexts.shape, jnp.uint32) >> 1
    return (uniform[:, None] >= thresholds[contexts]).sum(axis=1, dtype=jnp.int32)


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
        return _distance(answer, _shown_to_all(chosen), laws, worst)

    return trial


@lru_cache(maxsize=64)
def fresh_subset_trial(answer: str, N: int, n: int) -> Callable[..., jax.Array]:
    """Replicate (key, laws [m, V]) -> greatest total variation from the laws themselves.

    Each context's pool is drawn from its law, and the subset from the pool.
    """

    def trial(key: jax.Array, laws: jax.Array) -> jax.Array:
        m = laws.shape[0]
        draw_key, choose_key = jax.random.split(key)
        pools = draw(draw_key, laws, jnp.repeat(jnp.arange(m, dtype=jnp.int32), N)).reshape(m, N)
        return subset_trial(answer, n, True)(choose_key, pools, laws)

    return trial


def _shown_to_all(outputs: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Prompts [m, m n] that all hold the outputs [m, n] of every context."""
    m, n = outputs.shape
    contexts = jnp.repeat(jnp.arange(m, dtype=jnp.int32), n)
    return jnp.tile(contexts, (m, 1)), jnp.tile(outputs.reshape(-1), (m, 1))


def _distance(
    answer: str, prompts: tuple[jax.Array, jax.Array], laws: jax.Array, worst: bool
) -> jax.Array:
    found = ANSWERS[answer](*prompts, laws.shape[1])
    distance = jnp.abs(found - laws).sum(axis=1) / 2
    return distance.max() if worst else distance.mean()


def retrieve(
    key: jax.Array, contexts: jax.Array, outputs: jax.Array, m: int, K: int, retriever: str
) -> tuple[jax.Array, jax.Array]:
    """Prompts of K of the N demonstrations for each of m queries: contexts and outputs [m, K].

    ``own`` takes demonstrations of the query's context first, ``random`` takes any; in random
    order, so that what is left out says nothing about outputs.
    """
    N = contexts.shape[0]
    order = jax.vmap(lambda k: shuffled(k, N))(jax.random.split(key, m))
    if retriever == "own":
        own = contexts[order] == jnp.arange(m, dtype=contexts.dtype)[:, None]
        # A stable partition: own ones are numbered from 0, the others after them.
        place = jnp.where(
            own,
            jnp.cumsum(own, axis=1) - 1,
            own.sum(axis=1, keepdims=True) + jnp.cumsum(~own, axis=1) - 1,
        )
        rows = jnp.arange(m, dtype=jnp.int32)[:, None]
        order = jnp.zeros_like(order).at[rows, place].set(order)
    chosen = order[:, :K]
    return contexts[chosen], outputs[chosen]


@lru_cache(maxsize=64)
def retrieval_trial(
    answer: str, retriever: str, n: int, K: int, bad: int = 0
) -> Callable[..., jax.Array]:
    """Replicate (key, laws [m, V]) -> greatest total variation over the m queries.

    A store of n demonstrations of each context, K retrieved for each query, and ``bad`` more in its
    prompt that bear the query's context but another's output, its law's least likely.
    """

    def trial(key: jax.Array, laws: jax.Array) -> jax.Array:
        m = laws.shape[0]
        draw_key, choose_key = jax.random.split(key)
        stored = jnp.repeat(jnp.arange(m, dtype=jnp.int32), n)
        outputs = draw(draw_key, laws, stored)
        found = retrieve(choose_key, stored, outputs, m, K, retriever)
        own = jnp.tile(jnp.arange(m, dtype=jnp.int32)[:, None], (1, bad))
        wrong = jnp.tile(jnp.argmin(laws, axis=1).astype(jnp.int32)[:, None], (1, bad))
        prompts = (
            jnp.concatenate([found[0], own], axis=1),
            jnp.concatenate([found[1], wrong], axis=1),
        )
        return _distance(answer, prompts, laws, True)

    return trial


@lru_cache(maxsize=64)
def comparison_trial(answer: str, N: int, K: int) -> Callable[..., jax.Array]:
    """Replicate (key, laws [m, V]) -> mean total variation: retrieved K and random K, float [2].

    A store of N demonstrations, contexts uniform.
    """

    def trial(key: jax.Array, laws: jax.Array) -> jax.Array:
        m = laws.shape[0]
        context_key, output_key, own_key, random_key = jax.random.split(key, 4)
        stored = jax.random.randint(context_key, (N,), 0, m, jnp.int32)
        outputs = draw(output_key, laws, stored)
        return jnp.stack(
            [
                _distance(answer, retrieve(k, stored, outputs, m, K, retriever), laws, False)
                for k, retriever in ((own_key, "own"), (random_key, "random"))
            ]
        )

    return trial


@lru_cache(maxsize=64)
def gain_trial(answer: str, N: int, K: int) -> Callable[..., jax.Array]:
    """Replicate -> (1 + TV of retrieved - TV of random)/2: a mean below 1/2 if retrieval helps."""

    def trial(key: jax.Array, laws: jax.Array) -> jax.Array:
        retrieved, random = comparison_trial(answer, N, K)(key, laws)
        return (1 + retrieved - random) / 2

    return trial


@lru_cache(maxsize=64)
def same_answer_trial(answer: str, n: int) -> Callable[..., jax.Array]:
    """Replicate (key, laws [m, V]) -> greatest distance between two answers to the same query.

    One with all m n demonstrations in the prompt, one with the n of the query's own context.
    """

    def trial(key: jax.Array, laws: jax.Array) -> jax.Array:
        m, V = laws.shape
        draw_key, choose_key = jax.random.split(key)
        stored = jnp.repeat(jnp.arange(m, dtype=jnp.int32), n)
        outputs = draw(draw_key, laws, stored)
        few = ANSWERS[answer](*retrieve(choose_key, stored, outputs, m, n, "own"), V)
        full = ANSWERS[answer](*_shown_to_all(outputs.reshape(m, n)), V)
        return jnp.abs(full - few).sum(axis=1).max() / 2

    return trial
