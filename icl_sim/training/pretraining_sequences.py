"""What the base is pretrained on: sequences that only their own beginning can predict.

One alphabet of A = 16 symbols. In a sequence of pairs c_1 y_1 c_2 y_2 ..., contexts are symbols 0
to 7 and outputs 8 to 15, drawn from a table of its own; a Markov stream has a chain of its own on
all 16; a text stream is real English under a substitution of its own, so that nothing about the
letters can be memorized. A sequence is a pure function of its key.

Letters: A symbols, m contexts, V outputs, T tokens, B sequences.
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from icl_sim.data.bayes import CONCENTRATION
from icl_sim.data.corpora import letters

CONTEXTS = 8
OUTPUTS = 8
ALPHABET = CONTEXTS + OUTPUTS


class Batch(NamedTuple):
    """B sequences and where their next symbol is to be predicted.

    tokens: int32 [B, T].
    weights: float32 [B, T - 1], weight of the loss at token t of predicting token t + 1; each
      sequence's weights sum to one.
    """

    tokens: jax.Array
    weights: jax.Array


def random_law(key: jax.Array, rows: int, columns: int) -> jax.Array:
    """float32 [rows, columns]: logs of Dirichlet rows, one log-uniform concentration for all.

    The normalized logs of Gamma variables; in logs because at concentration 0.1 most of them
    underflow.
    """
    concentration_key, gamma_key = jax.random.split(key)
    low, high = np.log(CONCENTRATION).astype(np.float32)
    log_a = jax.random.uniform(concentration_key, (), jnp.float32, low, high)
    gammas = jax.random.loggamma(gamma_key, jnp.exp(log_a), (rows, columns), jnp.float32)
    return jax.nn.log_softmax(gammas, axis=-1)


def pairs(key: jax.Array, length: int) -> jax.Array:
    """int32 [length]: c_1 y_1 c_2 y_2 ... of a fresh table, contexts uniform."""
    table_key, context_key, output_key = jax.random.split(key, 3)
    law = random_law(table_key, CONTEXTS, OUTPUTS)
    count = (length + 1) // 2
    contexts = jax.random.randint(context_key, (count,), 0, CONTEXTS, jnp.int32)
    outputs = jax.random.categorical(output_key, law[contexts])
    return interleaved(contexts, outputs)[:length]


def interleaved(contexts: jax.Array, outputs: jax.Array) -> jax.Array:
    """int32 [..., 2 N]: the symbols c_1 y_1 ... c_N y_N of pairs [..., N] of a table.

    >>> interleaved(jnp.array([0, 2]), jnp.array([1, 0])).tolist()
    [0, 9, 2, 8]
    """
    symbols = jnp.stack([contexts, CONTEXTS + outputs], axis=-1).astype(jnp.int32)
    return symbols.reshape(*contexts.shape[:-1], -1)


def markov_stream(key: jax.Array, length: int) -> jax.Array:
    """int32 [length]: a walk of a fresh chain, its first symbol uniform.

    One uniform number u_t drives all A states at once, f_t(s) = the inverse distribution function
    of row s at u_t; the walk is the composition f_1, f_2 f_1, ..., an associative scan.
    """
    chain_key, first_key, step_key = jax.random.split(key, 3)
    below = jnp.cumsum(jnp.exp(random_law(chain_key, ALPHABET, ALPHABET)), axis=-1)[:, :-1]
    first = jax.random.randint(first_key, (), 0, ALPHABET, jnp.int32)
    u = jax.random.uniform(step_key, (length - 1, 1, 1), jnp.float32)
    maps = jnp.sum(u >= below[None], axis=-1, dtype=jnp.int32)
    walks = jax.lax.associative_scan(lambda f, g: jnp.take_along_axis(g, f, axis=-1), maps)
    return jnp.concatenate([first[None], walks[:, first]])


def text_stream(key: jax.Array, length: int) -> jax.Array:
    """int32 [length]: a passage of the text, its symbols permuted at random."""
    passage_key, permutation_key = jax.random.split(key)
    text = jnp.asarray(folded_text())
    start = jax.random.randint(passage_key, (), 0, text.shape[0] - length + 1, jnp.int32)
    permutation = jax.random.permutation(permutation_key, ALPHABET).astype(jnp.int32)
    return permutation[jax.lax.dynamic_slice(text, (start,), (length,))]


def short_block(key: jax.Array, number: jax.Array, length: int) -> Batch:
    """Three sequences: two of pairs, and a stream, Markov or text as ``number`` is even or odd."""
    first, second, markov, text = jax.random.split(key, 4)
    even = number % 2 == 0
    stream = jnp.where(even, markov_stream(markov, length), text_stream(text, length))
    tokens = jnp.stack([pairs(first, length), pairs(second, length), stream])
    return Batch(tokens, _weights([True, True, False], length))


def long_block(key: jax.Array, length: int) -> Batch:
    """One long sequence of pairs."""
    return Batch(pairs(key, length)[None], _weights([True], length))


def _weights(of_pairs: list[bool], length: int) -> jax.Array:
    """Pairs are judged on their outputs, which follow the tokens of even index; streams always."""
    before_output = np.arange(length - 1) % 2 == 0
    rows = np.stack([before_output | (not row) for row in of_pairs]).astype(np.float32)
    return jnp.asarray(rows / rows.sum(axis=1, keepdims=True))


@lru_cache(maxsize=1)
def folded_text() -> np.ndarray:
    """int32: the shipped extract of Python's documentation in 16 symbols.

    Lower case; every run of other characters is one space. The 15 most frequent characters are
    symbols 0 to 14, the rest is 15.
    """
    text = letters()
    common = [c for c, _ in sorted(Counter(text).items(), key=lambda item: (-item[1], item[0]))]
    rank = {c: min(i, ALPHABET - 1) for i, c in enumerate(common)}
    return np.array([rank[c] for c in text], np.int32)
