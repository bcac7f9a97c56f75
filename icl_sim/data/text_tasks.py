"""Tasks in words for a language model: tables whose truth is known, and real texts.

Nothing is fetched; the licences of what ships with this package are in icl_sim/data/NOTICE.
Letters: m contexts (held-out prompts), V outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from icl_sim.data.corpora import (
    RATINGS,
    RATINGS_SHA256,
    TOPICS,
    TOPICS_SHA256,
    english_bigrams,
    shipped,
)
from icl_sim.data.tasks import Task, check_sizes, english_table, random_table
from icl_sim.data.text_pairs import Template, TextPair, TextTask
from icl_sim.errors import InputError, did_you_mean
from icl_sim.execution.signatures import checked
from icl_sim.execution.streams import Fixed

PAIRS = Template("{prompt} {completion}\n", header="Pairs of words:\n")
DRAWN = 2**16  # demonstrations of a table, so that two seeds share few
LABELS = 8  # held-out outputs of each context
SENTIMENTS = ("negative", "neutral", "positive")
# Nouns that are one token of SmolLM2, at the beginning of a line as well as behind a space.
NOUNS = (
    "cat dog sun moon tree river stone bird fish house road boat book chair table wheel clock "
    "cloud fire glass horse king lion mouse paper salt ship snow star train wolf apple bread ant "
    "ball bell bridge brush button card castle coat coin corn cup door egg engine eye farm flag "
    "flower gate girl gold grass hand hat heart hill ice jar key lake leaf letter map mask milk "
    "nest nose nut ocean orange owl pen phone picture pig pipe plane plate rain ring rock rose "
    "sand school seed shell shirt sky snake square storm street sugar tail thumb toe tooth tower "
    "town wall watch water wave web window wing wood yard"
)


@checked
def text_task(
    name: str, index: int = 0, *, contexts: int | None = None, vocab: int | None = None
) -> TextTask:
    r"""The ``index``-th task of a family, its bits fixed by name, index and sizes.

    Args:
      name: one of `TEXT_TASKS`.
      index: of a table, or of another choice of what is held out.
      contexts: m held-out prompts; a family has its own default.
      vocab: V choices, of families that are tables (8).

    Raises:
      InputError: an unknown name, or sizes that the family does not have.

    >>> task = text_task("english", contexts=2, vocab=3)
    >>> task.queries, task.choices
    (('the', 'to'), ('the', 'be', 'a'))
    >>> data, truth = task.split(2)
    >>> data.template.header + data.template.demonstration(data.demonstrations[0])
    'Pairs of words:\nthe a\n'
    """
    if name not in TEXT_TASKS:
        raise InputError(
            f"task: expected one of {', '.join(TEXT_TASKS)}, which are in words, got {name}"
            + did_you_mean(name, TEXT_TASKS)
        )
    check_sizes(index, 1 if contexts is None else contexts, 2 if vocab is None else vocab)
    return TEXT_TASKS[name](index, contexts, vocab)


def text_of_table(task: Task, *, licence: str, number: int = 0, drawn: int = DRAWN) -> TextTask:
    """A table as pairs of words: contexts are prompts, outputs are completions.

    The pool is ``drawn`` demonstrations, contexts uniform and outputs from the law, so that the
    beginning of a split is a sample of independent draws up to its share of the pool.

    Args:
      task: names of contexts and outputs are taken as they are.
      licence: of the words and the law.
      number: tells apart tables of one size.
      drawn: demonstrations in the pool.
    """
    m, V = task.law.shape
    rng = Fixed.PAIRS.stream(number, m, V)
    edges = task.law.cumsum(axis=1)
    edges[:, -1] = 1.0

    def pairs(rows: np.ndarray) -> tuple[TextPair, ...]:
        drawn = np.empty(len(rows), np.int64)
        uniform = rng.random(len(rows))
        for c in range(m):
            mine = rows == c
            drawn[mine] = edges[c].searchsorted(uniform[mine], side="right")
        return tuple(every[c][y] for c, y in zip(rows.tolist(), drawn.tolist(), strict=True))

    every = [[TextPair(c, y) for y in task.outputs] for c in task.contexts]
    return TextTask(
        name=task.name,
        pool=pairs(rng.integers(0, m, drawn)),
        held_out=pairs(np.arange(m).repeat(LABELS)),
        choices=task.outputs,
        laws=task.law.copy(),
        template=PAIRS,
        source=task.source,
        licence=licence,
    )


def _english(index: int, contexts: int | None, vocab: int | None) -> TextTask:
    """What follows a frequent word of English; the truth is counted bigrams."""
    m, V = contexts or 8, vocab or 8
    return text_of_table(english_table(index, contexts=m, vocab=V), licence="MIT", number=2 * index)


def _tables(index: int, contexts: int | None, vocab: int | None) -> TextTask:
    """A random table whose contexts and outputs are nouns, and frequent words when these end."""
    m, V = contexts or 8, vocab or 8
    table = random_table(index, contexts=m, vocab=V)
    nouns = NOUNS.split()
    words = nouns
    if m + V > len(nouns):
        known = set(nouns)
        others = (w for w in english_bigrams() if w.isalpha() and len(w) > 3 and w not in known)
        words = [*nouns, *others]
    if m + V > len(words):
        raise InputError(
            f"tables: expected at most {len(words)} contexts and outputs together, one word each, "
            f"got {m + V}"
        )
    # No more words than needed: the frequent ones are one token, the rare ones several.
    words = words[: max(m + V, len(nouns))]
    words = [words[i] for i in Fixed.WORDS.stream(index, m, V).permutation(len(words))]
    named = Task(table.name, tuple(words[:m]), tuple(words[m : m + V]), table.law, table.source)
    return text_of_table(named, licence="none: drawn at random", number=2 * index + 1)


def _vader(index: int, contexts: int | None, vocab: int | None) -> TextTask:
    """Is a word negative, neutral or positive? The truth is the law of ten human raters.

    A demonstration is what one rater says about one word. Other words are held out.
    """
    _is_no_table("vader", vocab, len(SENTIMENTS))
    rated = [line.split("\t") for line in shipped(RATINGS, sha256=RATINGS_SHA256).splitlines()]
    pairs = {
        word: [TextPair(word, SENTIMENTS[int(np.sign(int(digit) - 4)) + 1]) for digit in digits]
        for word, digits in rated
    }
    held, pool = _apart("vader", list(pairs), contexts or 100, Fixed.RATINGS.stream(index))
    labels = [[pair.completion for pair in pairs[word]] for word in held]
    return TextTask(
        name=f"vader {index}",
        pool=tuple(pair for word in pool for pair in pairs[word]),
        held_out=tuple(pair for word in held for pair in pairs[word]),
        choices=SENTIMENTS,
        laws=np.array([[row.count(y) / len(row) for y in SENTIMENTS] for row in labels]),
        template=Template("{prompt}: {completion}\n", header="Sentiment of words.\n"),
        source="VADER's words, each rated by ten people (vaderSentiment 3.3.2)",
        licence="MIT",
    )


def _topics(index: int, contexts: int | None, vocab: int | None) -> TextTask:
    """Which field is a sentence about? Sentences of SciPy's documentation, eight fields."""
    pairs = [
        TextPair(*line.split("\t")[::-1])
        for line in shipped(TOPICS, sha256=TOPICS_SHA256).splitlines()
    ]
    fields = tuple(sorted({pair.completion for pair in pairs}))
    _is_no_table("topics", vocab, len(fields))
    held, pool = _apart("topics", pairs, contexts or 80, Fixed.TOPICS.stream(index))
    return TextTask(
        name=f"topics {index}",
        pool=tuple(pool),
        held_out=tuple(held),
        choices=fields,
        template=Template("{prompt} -> {completion}\n", header="Sentences and topics.\n"),
        source="first sentences of SciPy 1.16.3's docstrings, and the part they stand in",
        licence="BSD-3-Clause",
    )


def _is_no_table(name: str, vocab: int | None, choices: int) -> None:
    if vocab not in (None, choices):
        raise InputError(f"{name}: expected {choices} outputs, its choices, got {vocab}")


def _apart(
    name: str, items: list[Any], held: int, rng: np.random.Generator
) -> tuple[list[Any], list[Any]]:
    """``held`` of the items, drawn at random, and the others."""
    if held >= len(items):
        raise InputError(
            f"{name}: expected at most {len(items) - 1} of {len(items)} held out, got {held}"
        )
    order = rng.permutation(len(items))
    return [items[i] for i in order[:held]], [items[i] for i in order[held:]]


TEXT_TASKS: dict[str, Callable[[int, int | None, int | None], TextTask]] = {
    "english": _english,
    "tables": _tables,
    "topics": _topics,
    "vader": _vader,
}
