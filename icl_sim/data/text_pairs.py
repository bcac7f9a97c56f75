"""Text as data: prompts and completions, the template that joins them, and what is held out.

Equal prompts are one context: a prompt that is seen several times, with other completions, has a
law of its own. Letters: N demonstrations, m held-out contexts, C choices.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from icl_sim.errors import InputError
from icl_sim.execution.seeds import checked_seed
from icl_sim.execution.signatures import check_fields
from icl_sim.execution.streams import Fixed

PROMPT, COMPLETION = "{prompt}", "{completion}"
ROUNDING = 1e-9  # of the sum of a law in float64
DEFAULT_TEMPLATE = f"Input: {PROMPT}\nOutput: {COMPLETION}\n\n"


class TextPair(NamedTuple):
    """One demonstration: a prompt, and what follows it."""

    prompt: str
    completion: str


@dataclass(frozen=True)
class Template:
    r"""How a pair is written out for a language model.

    A prompt with demonstrations is header, demonstrations, then the head of the query; without
    demonstrations it is header and head.

    Args:
      text: has {prompt} once, and behind it {completion} once; other braces are literal. A template
        that ends with {completion} gets a line break as its end.
      header: stands once in front of everything: an instruction, or nothing.

    Raises:
      InputError: a placeholder is missing, doubled or in the wrong order.

    >>> template = Template("Q: {prompt}\nA: {completion}\n")
    >>> template.head("2 + 3"), template.completion("5")
    ('Q: 2 + 3\nA:', ' 5')
    >>> template.demonstration(TextPair("2 + 3", "5"))
    'Q: 2 + 3\nA: 5\n'
    """

    text: str = DEFAULT_TEMPLATE
    header: str = ""

    def __post_init__(self) -> None:
        check_fields(self)
        for place in (PROMPT, COMPLETION):
            if (found := self.text.count(place)) != 1:
                raise InputError(
                    f"template: expected {place} once, as in {DEFAULT_TEMPLATE!r}, got it {found} "
                    f"times in {self.text!r}"
                )
        if self.text.index(PROMPT) > self.text.index(COMPLETION):
            raise InputError(
                f"template: expected {PROMPT} before {COMPLETION}, got {self.text!r}: a model "
                "answers what it has read"
            )

    @cached_property
    def _parts(self) -> tuple[str, str, str, str]:
        """What stands before the prompt, behind it, as white space before the completion, last."""
        before, rest = self.text.split(PROMPT)
        between, end = rest.split(COMPLETION)
        middle = between.rstrip()
        return before, middle, between[len(middle) :], end or "\n"

    def head(self, prompt: str) -> str:
        """The text up to the completion, without the white space in front of that."""
        before, middle, _, _ = self._parts
        return f"{before}{prompt}{middle}"

    def completion(self, text: str) -> str:
        """The completion with the white space in front of it, which is part of its tokens."""
        return self._parts[2] + text

    @property
    def end(self) -> str:
        """What stands behind a completion."""
        return self._parts[3]

    def demonstration(self, pair: TextPair) -> str:
        """The whole pair, with its end."""
        return self.head(pair.prompt) + self.completion(pair.completion) + self.end


class LanguageData(NamedTuple):
    """What a predictor of kind ``language`` reads beside the model.

    demonstrations: N pairs, in the order of the prompt.
    queries: m distinct prompts that are asked about.
    choices: C completions; empty if any text may follow.
    template: how they are written out.
    """

    demonstrations: tuple[TextPair, ...]
    queries: tuple[str, ...]
    choices: tuple[str, ...]
    template: Template


class HeldOut(NamedTuple):
    """What is known about the queries.

    labels: for each query its held-out completions, one or more.
    laws: float64 [m, C], the true law of the choices, where it is known.
    """

    labels: tuple[tuple[str, ...], ...]
    laws: np.ndarray | None


@dataclass(frozen=True, eq=False)
class TextTask:
    """Pairs to draw demonstrations from, and pairs that are held out.

    Args:
      name: e.g. ``vader 0``, or the file's.
      pool: pairs to draw demonstrations from.
      held_out: pairs whose distinct prompts, in order of appearance, are the m queries.
      choices: C >= 2 distinct completions, which all pairs have; empty if completions are free.
      laws: float64 [m, C], rows summing to one, where the truth is known; read-only afterwards.
      template: how pairs are written out.
      source, licence: where they come from, and under which terms.
      notes: what was done to them, in sentences for the user.

    Raises:
      InputError: no pairs, one choice only, a completion that is no choice, or laws of another
        shape.

    >>> pairs = (TextPair("up", "down"), TextPair("wet", "dry"), TextPair("hot", "cold"))
    >>> task = TextTask("opposites", pairs[:2], pairs[2:])
    >>> data, truth = task.split(1, seed=0)
    >>> len(data.demonstrations), data.queries, truth.labels
    (1, ('hot',), (('cold',),))
    """

    name: str
    pool: tuple[TextPair, ...]
    held_out: tuple[TextPair, ...]
    choices: tuple[str, ...] = ()
    laws: np.ndarray | None = None
    template: Template = Template()
    source: str = ""
    licence: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_fields(self)
        for kind, pairs in (("demonstrations", self.pool), ("held-out pairs", self.held_out)):
            if not pairs:
                raise InputError(f"{self.name}: expected one or more {kind}, got none")
        if self.choices:
            if len(self.choices) < 2 or len(set(self.choices)) < len(self.choices):
                raise InputError(
                    f"{self.name}: expected two or more distinct choices, got {self.choices}"
                )
            known = set(self.choices)
            for pair in (*self.pool, *self.held_out):
                if pair.completion not in known:
                    raise InputError(
                        f"{self.name}: expected one of the choices {', '.join(self.choices)}, got "
                        f"{pair.completion!r}"
                    )
        if self.laws is not None:
            expected = [len(self._held), len(self.choices)]
            got = f"shape {list(self.laws.shape)}, {self.laws.dtype}"
            if list(self.laws.shape) == expected and np.isfinite(self.laws).all():
                off = np.abs(self.laws.sum(axis=1) - 1).max()
                got = f"sums off by {off:.1e}, the least entry {self.laws.min():.1e}"
                if off <= ROUNDING and self.laws.min() >= 0:
                    got = ""
            if got:
                raise InputError(
                    f"{self.name}: expected laws {expected}, each row a law, got {got}"
                )
            self.laws.flags.writeable = False

    @cached_property
    def _held(self) -> dict[str, tuple[str, ...]]:
        found: dict[str, list[str]] = {}
        for pair in self.held_out:
            found.setdefault(pair.prompt, []).append(pair.completion)
        return {prompt: tuple(labels) for prompt, labels in found.items()}

    @property
    def queries(self) -> tuple[str, ...]:
        """The m distinct held-out prompts."""
        return tuple(self._held)

    def split(self, size: int, seed: int = 0) -> tuple[LanguageData, HeldOut]:
        """``size`` demonstrations of the pool, drawn without replacement, and what is held out.

        With one seed a smaller size is the beginning of a larger one.

        Args:
          size: N >= 0.
          seed: of the demonstrations and their order.

        Raises:
          InputError: more demonstrations than the pool has.
        """
        if not 0 <= size <= len(self.pool):
            raise InputError(
                f"{self.name}: expected 0 to {len(self.pool)} demonstrations, got {size}: ask for "
                "fewer, or give more data"
            )
        order = Fixed.SPLITS.stream(checked_seed(seed)).permutation(len(self.pool))[:size]
        demonstrations = tuple(self.pool[i] for i in order)
        data = LanguageData(demonstrations, self.queries, self.choices, self.template)
        return data, HeldOut(tuple(self._held.values()), self.laws)


def choice_counts(data: LanguageData) -> np.ndarray:
    """int64 [m, C]: how often the demonstrations of each query's own context show each choice.

    Raises:
      InputError: there are no choices to count.

    >>> pairs = (TextPair("a", "x"), TextPair("b", "y"), TextPair("a", "x"), TextPair("a", "y"))
    >>> choice_counts(LanguageData(pairs, ("b", "a"), ("x", "y"), Template())).tolist()
    [[0, 1], [2, 1]]
    """
    if not data.choices:
        raise InputError("counts: expected choices, got completions that are free")
    row = {query: i for i, query in enumerate(data.queries)}
    column = {choice: i for i, choice in enumerate(data.choices)}
    counts = np.zeros((len(row), len(column)), np.int64)
    for prompt, completion in data.demonstrations:
        if prompt in row:
            counts[row[prompt], column[completion]] += 1
    return counts


def equal_prompts(data: LanguageData) -> np.ndarray:
    """Whether a demonstration is of the query's own context: bool [m, N].

    >>> pairs = (TextPair("a", "x"), TextPair("b", "y"))
    >>> equal_prompts(LanguageData(pairs, ("b",), ("x", "y"), Template())).tolist()
    [[False, True]]
    """
    number = {query: i for i, query in enumerate(data.queries)}
    context = np.array([number.get(p.prompt, -1) for p in data.demonstrations], np.int64)
    return np.arange(len(data.queries))[:, None] == context
