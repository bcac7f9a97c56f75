"""Laws whose truth is exactly known, and demonstrations drawn from them.

Letters: m contexts, V outputs, N demonstrations. A task is a table: one law on V outputs for each
of m contexts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from icl_sim.data.corpora import BIGRAMS, TEXT, english_bigrams, letter_pairs
from icl_sim.data.sampling import integer_thresholds
from icl_sim.data.vectors import VECTOR_TASKS
from icl_sim.errors import InputError, did_you_mean
from icl_sim.execution.integers import int32, is_traced
from icl_sim.execution.memory_guard import require
from icl_sim.execution.signatures import checked, short
from icl_sim.execution.streams import Fixed


@dataclass(frozen=True, eq=False)
class Task:
    """A table with exactly known truth.

    Args:
      name: e.g. ``english 3``.
      contexts, outputs: names of the m contexts and V outputs.
      law: float64 [m, V], rows summing to one.
      source: where the truth comes from.
      counts: int64 [m, V] if the law is a ratio of counts, else None.
    """

    name: str
    contexts: tuple[str, ...]
    outputs: tuple[str, ...]
    law: np.ndarray
    source: str
    counts: np.ndarray | None = None


class Demonstrations(NamedTuple):
    """N demonstrations of a table, in the order of the prompt.

    contexts: int32 [N]; or [m, N], where each context has demonstrations of its own to be shown.
    outputs: likewise.
    counts: int32 [m, V], how often output y was shown for context c.
    """

    contexts: Any
    outputs: Any
    counts: Any


def random_table(
    index: int = 0, *, contexts: int = 8, vocab: int = 8, concentration: float | None = 0.5
) -> Task:
    """A table with independent Dirichlet rows; ``index`` names the table and fixes its bits.

    Args:
      concentration: of every output; None draws it log-uniformly from 0.1 to 2.

    >>> random_table(3, contexts=2, vocab=4).law.sum(axis=1).round(12).tolist()
    [1.0, 1.0]
    """
    check_sizes(index, contexts, vocab)
    rng = Fixed.TABLES.stream(index, contexts, vocab)
    if concentration is None:
        concentration = float(np.exp(rng.uniform(np.log(0.1), np.log(2.0))))
    if not concentration > 0:
        raise InputError(f"concentration: expected a number > 0, got {concentration}")
    law = rng.dirichlet(np.full(vocab, concentration), contexts)
    return Task(
        name=f"tables {index}",
        contexts=tuple(f"c{i}" for i in range(contexts)),
        outputs=tuple(f"y{i}" for i in range(vocab)),
        law=law,
        source=f"Dirichlet({concentration:g}), table {index}",
    )


def english_table(index: int = 0, *, contexts: int = 8, vocab: int = 8) -> Task:
    """The ``index``-th sub-table of English: what follows each of ``contexts`` words.

    Left words go by frequency, so that table k holds the words ranked from k m to k m + m - 1
    (of those with at least V successors). Right words are the V that these words lead to most,
    each left word counting alike; a row left empty gets its own likeliest successor in place of
    the least of them. The truth is the bigram counts of the sub-table, normalized.

    >>> table = english_table(0, contexts=2, vocab=3)
    >>> table.contexts, table.outputs
    (('the', 'to'), ('the', 'be', 'a'))
    """
    check_sizes(index, contexts, vocab)
    tables = english_tables(contexts=contexts, vocab=vocab)
    if index >= tables:
        raise InputError(
            f"english: expected a table index below {tables} for {contexts} contexts and {vocab} "
            f"outputs, got {index}"
        )
    bigrams = english_bigrams()
    left = _eligible(vocab)[index * contexts : (index + 1) * contexts]
    share: dict[str, float] = {}
    for word in left:
        total = sum(bigrams[word].values())
        for successor, count in bigrams[word].items():
            share[successor] = share.get(successor, 0.0) + count / total
    ranked = sorted(share, key=lambda word: (-share[word], word))
    right = ranked[:vocab]
    needed = [max(bigrams[w], key=lambda s: (bigrams[w][s], s)) for w in left]
    for i, word in enumerate(left):
        if not any(successor in bigrams[word] for successor in right):
            # The least of them on which no other row depends.
            spare = [s for s in right if s not in needed[:i]]
            right[right.index(spare[-1] if spare else right[-1])] = needed[i]
    counts = np.array([[bigrams[a].get(b, 0) for b in right] for a in left], dtype=np.int64)
    if not counts.sum(axis=1).all():
        raise InputError(
            f"english {index}: {vocab} outputs are too few for {contexts} contexts to have one "
            "each: ask for more outputs or fewer contexts"
        )
    return Task(
        name=f"english {index}",
        contexts=tuple(left),
        outputs=tuple(right),
        law=counts / counts.sum(axis=1, keepdims=True),
        source=f"English bigram counts ({BIGRAMS})",
        counts=counts,
    )


def english_tables(*, contexts: int = 8, vocab: int = 8) -> int:
    """How many sub-tables of this size there are."""
    return len(_eligible(vocab)) // contexts


def markov_table(
    index: int = 0, *, contexts: int = 8, vocab: int = 8, concentration: float | None = 0.5
) -> Task:
    """The transition matrix of a random chain: a `random_table` whose outputs are its contexts.

    >>> chain = markov_table(1, contexts=3, vocab=3)
    >>> chain.contexts == chain.outputs
    True
    """
    if contexts != vocab:
        raise InputError(
            f"markov: expected as many outputs as contexts, its states, got {vocab} and {contexts}"
        )
    table = random_table(
        100_000 + index, contexts=contexts, vocab=vocab, concentration=concentration
    )
    states = tuple(f"s{i}" for i in range(vocab))
    return replace(table, name=f"markov {index}", contexts=states, outputs=states)


def text_table(index: int = 0, *, contexts: int = 8, vocab: int = 8) -> Task:
    """Which of ``vocab`` letters follows each of ``contexts`` letters in running text.

    The letters (a space is one) are drawn again for each index, from those that leave no row
    empty; the truth is the counts of neighbors in the text, normalized.

    >>> text_table(0, contexts=2, vocab=3).law.shape
    (2, 3)
    """
    check_sizes(index, contexts, vocab)
    alphabet, pairs = letter_pairs()
    if max(contexts, vocab) > len(alphabet):
        raise InputError(
            f"text: expected at most {len(alphabet)} contexts and outputs, its letters, got "
            f"{contexts} and {vocab}"
        )
    rng = Fixed.TEXT.stream(index, contexts, vocab)
    while True:
        left, right = (rng.permutation(len(alphabet))[:size] for size in (contexts, vocab))
        counts = pairs[np.ix_(left, right)]
        if (counts.sum(axis=1) > 0).all():
            break
    return Task(
        name=f"text {index}",
        contexts=tuple(alphabet[i] for i in left),
        outputs=tuple(alphabet[i] for i in right),
        law=counts / counts.sum(axis=1, keepdims=True),
        source=f"letters of {TEXT}",
        counts=counts,
    )


TASKS: dict[str, Callable[..., Task]] = {
    "english": english_table,
    "markov": markov_table,
    "tables": random_table,
    "text": text_table,
}


@checked
def make_task(name: str, index: int = 0, *, contexts: int = 8, vocab: int = 8) -> Task:
    """Table ``index`` of the named family.

    Raises:
      InputError: an unknown name, or sizes that the family does not have.
    """
    int32(index, name="index", least=0)
    if np.ndim(index):
        raise InputError(f"index: expected one integer, got shape {np.shape(index)}")
    if name not in TASKS:
        name = name[:100]
        raise InputError(
            f"task: expected one of {', '.join(sorted(TASKS))}, which are tables, or in compare "
            f"{', '.join(VECTOR_TASKS)}, got {name}" + did_you_mean(name, [*TASKS, *VECTOR_TASKS])
        )
    return TASKS[name](index, contexts=contexts, vocab=vocab)


@checked
def sample_demonstrations(
    key: jax.Array, law: Any, *, per_context: int | None = None, total: int | None = None
) -> Demonstrations:
    """Demonstrations of a table in random order.

    Exactly one of ``per_context`` (S1: each context gets that many) and ``total`` (contexts drawn
    uniformly) is given; both are static. Outputs are drawn from ``law`` to within 2^-31 V.

    Args:
      key: consumed.
      law: float [m, V], or a Task.

    Raises:
      InputError: not one of the two sizes, a negative size, or a law that is not a table.

    >>> data = sample_demonstrations(jax.random.key(0), jnp.eye(3), per_context=2)
    >>> data.counts.tolist()
    [[2, 0, 0], [0, 2, 0], [0, 0, 2]]
    """
    for name, size in (("per_context", per_context), ("total", total)):
        if size is not None and size < 0:
            raise InputError(f"sample_demonstrations: expected {name} >= 0, got {size}")
    law = law.law if isinstance(law, Task) else law
    try:
        law = jnp.asarray(law)
    except (TypeError, ValueError, OverflowError, SyntaxError):
        raise InputError(f"law: expected real numbers [m, V], got {short(law)}") from None
    if not jnp.issubdtype(law.dtype, jnp.floating):
        raise InputError(f"law: expected real numbers [m, V], got {law.dtype} {law.shape}")
    if law.ndim != 2 or 0 in law.shape:
        raise InputError(f"sample_demonstrations: expected a law [m, V], got shape {law.shape}")
    if not is_traced(law) and not bool((jnp.isfinite(law) & (law >= 0)).all()):
        raise InputError("law: expected shares of at least 0, got negative ones, NaN or infinity")
    m, V = law.shape
    size = total if per_context is None else m * per_context
    require("demonstrations", _bytes_of_draws, demonstrations=size or 0)
    context_key, output_key = jax.random.split(key)
    if per_context is not None and total is None:
        contexts = jnp.repeat(jnp.arange(m, dtype=jnp.int32), per_context)
        contexts = jax.random.permutation(context_key, contexts)
    elif total is not None and per_context is None:
        contexts = jax.random.randint(context_key, (total,), 0, m, jnp.int32)
    else:
        raise InputError("sample_demonstrations: expected one of per_context and total")
    outputs = draw_outputs(output_key, law, contexts)
    counts = jnp.zeros((m, V), jnp.int32).at[contexts, outputs].add(1)
    return Demonstrations(contexts, outputs, counts)


def _bytes_of_draws(demonstrations: int) -> int:
    # Contexts, outputs, random bits, and what a sort of them holds twice.
    return 32 * demonstrations


def subset(key: jax.Array, data: Demonstrations, size: int) -> Demonstrations:
    """``size`` of the demonstrations, drawn without replacement (S3: access to part of the data).

    >>> data = sample_demonstrations(jax.random.key(0), jnp.eye(2), per_context=2)
    >>> subset(jax.random.key(1), data, 4).counts.tolist()
    [[2, 0], [0, 2]]
    """
    pool = data.contexts.shape[0]
    if not 0 <= size <= pool:
        raise InputError(f"subset: expected 0 to {pool} demonstrations, got {size}")
    rows = jax.random.permutation(key, pool)[:size]
    contexts, outputs = data.contexts[rows], data.outputs[rows]
    counts = jnp.zeros(data.counts.shape, jnp.int32).at[contexts, outputs].add(1)
    return Demonstrations(contexts, outputs, counts)


def empirical_law(counts: Any, *, smoothing: float = 0.0) -> jax.Array:
    """float32 [..., m, V]: (count + smoothing) normalized; uniform for a row without any weight.

    Args:
      counts: [..., m, V], exact below 2^24.
      smoothing: added to every count, not negative; may be traced.

    >>> empirical_law(jnp.array([[3, 1], [0, 0]])).tolist()
    [[0.75, 0.25], [0.5, 0.5]]
    """
    weights = jnp.asarray(counts).astype(jnp.float32) + jnp.float32(smoothing)
    total = weights.sum(axis=-1, keepdims=True)
    return jnp.where(total > 0, weights / jnp.maximum(total, 1e-30), 1 / weights.shape[-1])


def draw_outputs(key: jax.Array, law: jax.Array, contexts: jax.Array) -> jax.Array:
    """int32 [N]: an output of each context's law, to within 2^-31 V.

    By bisection in the law's integer thresholds, which keeps N numbers where a comparison with all
    of them would hold N V.

    Args:
      key: consumed.
      law: [m, V].
      contexts: int32 [N].
    """
    thresholds = jax.vmap(integer_thresholds)(law)
    uniform = jax.random.bits(key, contexts.shape, jnp.uint32) >> 1
    V = law.shape[1]
    # The first threshold above the integer lies in low..high: the last, 2^31, is above them all.
    low, high = jnp.zeros_like(contexts), jnp.full_like(contexts, V - 1)
    for _ in range((V - 1).bit_length()):
        middle = (low + high) // 2
        beyond = uniform >= thresholds[contexts, middle]
        low, high = jnp.where(beyond, middle + 1, low), jnp.where(beyond, high, middle)
    return low


@lru_cache(maxsize=8)
def _eligible(vocab: int) -> list[str]:
    return [word for word, row in english_bigrams().items() if len(row) >= vocab]


def check_sizes(index: int, contexts: int, vocab: int) -> None:
    """Raises InputError unless there is such a table: an index, a context, two outputs, memory."""
    for name, value, least in (("index", index, 0), ("contexts", contexts, 1), ("vocab", vocab, 2)):
        if value < least:
            raise InputError(f"task: expected {name} >= {least}, got {value}")
    require("a task", _bytes_of_table, host=True, contexts=contexts, vocab=vocab)


def _bytes_of_table(contexts: int, vocab: int) -> int:
    # The law, what it is divided by, and a name of each row and column.
    return 16 * contexts * vocab + 128 * (contexts + vocab)
