"""Prompts of a language model as tokens: what they share, what follows, and the choices behind."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

from icl_sim.data.text_pairs import LanguageData, TextPair
from icl_sim.errors import InputError
from icl_sim.predictors.language_model import LanguageModel


class Prompts(NamedTuple):
    """Tokens of the prompts of a question.

    shared: what all of them begin with.
    rows: what follows for each query; none is empty.
    choices: [m][C], tokens of each choice behind each prompt; C = 0 if completions are free.
    """

    shared: list[int]
    rows: list[list[int]]
    choices: list[list[list[int]]]


def prompts(
    base: LanguageModel, data: LanguageData, shown: Sequence[Sequence[TextPair]] | None = None
) -> Prompts:
    """The prompts of all queries, and the choices behind them.

    A choice is what the tokens of prompt and choice have behind the tokens of the prompt; so blanks
    belong to the words that they stand in front of. Where one choice is the beginning of another,
    all are followed by the template's end.

    Args:
      base, data: the question.
      shown: the demonstrations of each query; by default those of the data for all.

    Raises:
      InputError: a prompt that the window does not hold, or choices that have the same tokens.
    """
    if shown is None:
        shown = [data.demonstrations] * len(data.queries)
    rows, choices = [], []
    for query, pairs in zip(data.queries, shown, strict=True):
        text = prompt_text(data, pairs, query)
        row, ends = _behind(base, text, [data.template.completion(c) for c in data.choices])
        if _nested(ends):
            ended = [data.template.completion(c) + data.template.end for c in data.choices]
            row, ends = _behind(base, text, ended)
        rows.append(row)
        choices.append(ends)
    _check(base, data, rows, choices)
    shared = common(rows, keep=1)
    return Prompts(shared, [row[len(shared) :] for row in rows], choices)


def prompt_text(data: LanguageData, pairs: Sequence[TextPair], query: str) -> str:
    """Header, demonstrations and the head of a query, as the model reads them."""
    shown = "".join(map(data.template.demonstration, pairs))
    return f"{data.template.header}{shown}{data.template.head(query)}"


def _behind(
    base: LanguageModel, text: str, completions: Sequence[str]
) -> tuple[list[int], list[list[int]]]:
    """Tokens of the text, and of each completion behind it."""
    whole = [base.tokenizer.encode(text + completion) for completion in completions]
    row = common([base.tokenizer.encode(text), *whole])
    return row, [tokens[len(row) :] for tokens in whole]


def common(rows: Sequence[Sequence[int]], *, keep: int = 0) -> list[int]:
    """What all rows begin with, each keeping as many tokens of its own.

    >>> common([[1, 2, 3], [1, 2, 4]]), common([[1, 2], [1, 2, 4]], keep=1)
    ([1, 2], [1])
    """
    first, last = min(map(list, rows)), max(map(list, rows))
    same, most = 0, min(map(len, rows)) - keep
    while same < most and first[same] == last[same]:
        same += 1
    return first[:same]


def _nested(ends: Sequence[Sequence[int]]) -> bool:
    ordered = sorted(map(tuple, ends))
    return any(b[: len(a)] == a for a, b in itertools.pairwise(ordered))


def _check(
    base: LanguageModel,
    data: LanguageData,
    rows: Sequence[list[int]],
    choices: Sequence[list[list[int]]],
) -> None:
    for query, row, ends in zip(data.queries, rows, choices, strict=True):
        if not row:
            raise InputError(f"prompt of {query!r}: expected tokens, got none: add a header")
        for i, end in enumerate(ends):
            if not end or end in ends[:i]:
                other = data.choices[ends.index(end)] if end else ""
                raise InputError(
                    f"choices: expected different tokens of {base.name}, got the same for "
                    f"{data.choices[i]!r} and {other!r}: rename one, or take another base"
                )
        length = len(row) + max(map(len, ends), default=0)
        if base.window is not None and length > base.window:
            raise InputError(
                f"prompt of {query!r}: expected at most {base.window} tokens, the window of "
                f"{base.name}, got {length}: show fewer demonstrations (--sizes), or retrieve some"
            )
