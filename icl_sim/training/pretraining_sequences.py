"""What the base is pretrained on: sequences that only their own beginning can predict.

One alphabet of A = 16 symbols. In a sequence of pairs c_1 y_1 c_2 y_2 ..., contexts are symbols 0
to 7 and outputs 8 to 15, drawn from a table of its own. A stream is one of six kinds: a Markov walk
of a chain of its own; real English; and four whose next symbol depends on earlier ones than the
last: a repeated string, echoes of the context before, a table of order 2, sums of two digits. All
but the chain and the sums are under a substitution of their own, so that nothing about the symbols
can be memorized. A sequence is a pure function of its key.

Letters: A symbols, m contexts, V outputs, T tokens, B sequences.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
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
PERIODS = (4, 25)  # of copies; the second is not reached
DIGITS = 4  # in a table of order 2


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
    return _substitution(permutation_key)[jax.lax.dynamic_slice(text, (start,), (length,))]


def copies(key: jax.Array, length: int) -> tuple[jax.Array, jax.Array]:
    """int32 [length], and the period: a random string of 4 to 24 symbols, over and over."""
    period_key, string_key = jax.random.split(key)
    period = jax.random.randint(period_key, (), *PERIODS, jnp.int32)
    string = jax.random.randint(string_key, (PERIODS[1],), 0, ALPHABET, jnp.int32)
    return string[jnp.arange(length) % period], period


def echoes(key: jax.Array, length: int) -> jax.Array:
    """int32 [length]: c_1 y_1 c_2 y_2 ..., where y_t is the context before, c_(t-1).

    Contexts are any 8 symbols.
    """
    context_key, permutation_key = jax.random.split(key)
    count = (length + 1) // 2
    drawn = jax.random.randint(context_key, (count,), 0, CONTEXTS, jnp.int32)
    contexts = _substitution(permutation_key)[drawn]
    return jnp.stack([contexts, jnp.roll(contexts, 1)], axis=-1).reshape(-1)[:length]


def triples(key: jax.Array, length: int) -> jax.Array:
    """int32 [length]: a_1 b_1 y_1 a_2 b_2 y_2 ..., y = f(a, b) of a fresh table of order 2.

    The table has 4 x 4 cells, each an answer out of 8, under a substitution of all symbols.
    """
    table_key, digit_key, permutation_key = jax.random.split(key, 3)
    table = jax.random.randint(table_key, (DIGITS, DIGITS), CONTEXTS, ALPHABET, jnp.int32)
    a, b = jax.random.randint(digit_key, (2, -(-length // 3)), 0, DIGITS, jnp.int32)
    return _substitution(permutation_key)[_in_threes(a, b, table[a, b])[:length]]


def sums(key: jax.Array, length: int) -> jax.Array:
    """int32 [length]: a_1 b_1 y_1 a_2 b_2 y_2 ..., y = 8 + (a + b mod 8).

    >>> sums(jax.random.key(0), 6).tolist()
    [5, 0, 13, 0, 5, 13]
    """
    a, b = jax.random.randint(key, (2, -(-length // 3)), 0, CONTEXTS, jnp.int32)
    return _in_threes(a, b, CONTEXTS + (a + b) % OUTPUTS)[:length]


def _in_threes(*parts: jax.Array) -> jax.Array:
    return jnp.stack(parts, axis=-1).reshape(-1)


def _substitution(key: jax.Array) -> jax.Array:
    return jax.random.permutation(key, ALPHABET).astype(jnp.int32)


def short_block(key: jax.Array, number: jax.Array, length: int) -> Batch:
    """Three sequences: two of pairs, and a stream, its kind by ``number``."""
    first, second, own = jax.random.split(key, 3)
    kinds = list(streams(length).values())
    stream, judged = jax.lax.switch(number % len(kinds), kinds, own)
    tokens = jnp.stack([pairs(first, length), pairs(second, length), stream])
    before_output = jnp.arange(length - 1) % 2 == 0
    return Batch(tokens, _weights(jnp.stack([before_output, before_output, judged])))


def long_block(key: jax.Array, length: int) -> Batch:
    """One long sequence of pairs."""
    return Batch(pairs(key, length)[None], _weights(jnp.arange(length - 1)[None] % 2 == 0))


def _weights(judged: jax.Array) -> jax.Array:
    """float32 [B, T - 1]: equal weights where a sequence is judged, of sum one."""
    rows = judged.astype(jnp.float32)
    return rows / rows.sum(axis=1, keepdims=True)


Stream = Callable[[jax.Array], tuple[jax.Array, jax.Array]]


def streams(length: int) -> dict[str, Stream]:
    """By kind: key -> tokens [T], and where the next one is judged, bool [T - 1].

    Pairs are judged on their answers, which follow the tokens of even index, triples on theirs,
    copies from the second period on; the rest everywhere.
    """
    t = jnp.arange(length - 1)
    everywhere, second, third = t >= 0, t % 2 == 0, t % 3 == 1

    def copied(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        tokens, period = copies(key, length)
        return tokens, t >= period - 1

    def judged(make: Callable[[jax.Array, int], jax.Array], where: jax.Array) -> Stream:
        return lambda key: (make(key, length), where)

    return {
        "Markov": judged(markov_stream, everywhere),
        "text": judged(text_stream, everywhere),
        "copies": copied,
        "echoes": judged(echoes, second & (t > 0)),
        "triples": judged(triples, third),
        "sums": judged(sums, third),
    }


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
