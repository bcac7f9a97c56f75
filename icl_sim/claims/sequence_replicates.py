"""Replicates for laws on sequences of l tokens: data, estimate, exact total variation over V^l.

Letters: V symbols; l tokens; M = (V^l - 1)/(V - 1) prefix contexts, numbered level by level, the
prefixes of one length in lexicographic order; k = V^l outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np

from icl_sim.data.sampling import multinomial_counts
from icl_sim.execution.streams import Fixed

Learner = Callable[[jax.Array], jax.Array]


def prefix_contexts(vocab: int, length: int) -> int:
    """M, the prefixes of fewer than l tokens.

    >>> prefix_contexts(4, 3)
    21
    """
    return int((vocab**length - 1) // (vocab - 1))


def add_one(counts: jax.Array) -> jax.Array:
    """(N_y + 1)/(N + V), counts int [..., V]."""
    smoothed = counts.astype(jnp.float32) + 1
    return smoothed / smoothed.sum(axis=-1, keepdims=True)


def empirical(counts: jax.Array) -> jax.Array:
    """N_y/N; uniform without data."""
    total = counts.sum(axis=-1, keepdims=True)
    share = counts.astype(jnp.float32) / jnp.maximum(total, 1).astype(jnp.float32)
    return jnp.where(total > 0, share, jnp.float32(1 / counts.shape[-1]))


LEARNERS: dict[str, Learner] = {"add-one": add_one, "empirical": empirical}


def joint_law(laws: jax.Array | np.ndarray, vocab: int) -> jax.Array:
    """The law of all l tokens, float [V^l], from the laws of the prefix contexts [M, V].

    >>> joint_law(np.array([[0.5, 0.5], [1.0, 0.0], [0.25, 0.75]]), 2).tolist()
    [0.5, 0.0, 0.125, 0.375]
    """
    laws = jnp.asarray(laws)
    joint, start, level = jnp.ones(1, laws.dtype), 0, 1
    while start < laws.shape[0]:
        joint = (joint[:, None] * laws[start : start + level]).reshape(-1)
        start, level = start + level, level * vocab
    return joint


def prefix_counts(outputs: jax.Array, vocab: int, length: int) -> jax.Array:
    """What followed each prefix context, int [M, V], from the counts of whole outputs [V^l].

    >>> prefix_counts(jnp.array([1, 0, 0, 2]), 2, 2).tolist()
    [[1, 2], [1, 0], [0, 2]]
    """
    levels = [outputs.reshape(vocab**t, vocab, -1).sum(axis=2) for t in range(length)]
    return jnp.concatenate(levels)


@lru_cache(maxsize=64)
def sequence_trial(
    vocab: int, length: int, sampling: str, learner: str
) -> Callable[..., jax.Array]:
    """Replicate (key, n, laws [M, V]) -> total variation over V^l of the learner's law.

    Args:
      sampling: ``contexts``, n demonstrations of every prefix context (S1), or ``trajectories``, n
        whole outputs (S2).
      learner: a name in `LEARNERS`.
    """

    def trial(key: jax.Array, n: jax.Array, laws: jax.Array) -> jax.Array:
        truth = joint_law(laws, vocab)
        if sampling == "contexts":
            keys = jax.random.split(key, laws.shape[0])
            counts = jax.vmap(lambda k, law: multinomial_counts(k, n, law))(keys, laws)
        else:
            counts = prefix_counts(multinomial_counts(key, n, truth), vocab, length)
        return jnp.abs(joint_law(LEARNERS[learner](counts), vocab) - truth).sum() / 2

    return trial


def prefix_laws(name: str, vocab: int, length: int) -> np.ndarray:
    """float32 [M, V]: ``uniform``, ``dirichlet`` (concentration 1) or ``skewed`` (0.1) rows."""
    M = prefix_contexts(vocab, length)
    if name == "uniform":
        return np.full((M, vocab), 1 / vocab, np.float32)
    rng = Fixed.PREFIX_LAWS.stream(vocab, length)
    concentration = {"dirichlet": 1.0, "skewed": 0.1}[name]
    return rng.dirichlet(np.full(vocab, concentration), M).astype(np.float32)
