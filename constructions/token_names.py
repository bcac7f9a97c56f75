"""Texts of tokens that have names."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

import numpy as np


class TokenNames:
    """What vocabularies share whose every token has a name."""

    @cached_property
    def words(self) -> tuple[str, ...]:
        """The name of every token; all differ, and none has a blank in it."""
        raise NotImplementedError

    @cached_property
    def step(self) -> np.ndarray:
        """The tokens of a machine's steps, integers in order."""
        raise NotImplementedError

    @property
    def example(self) -> str:
        """Names of tokens, and how many there are."""
        raise NotImplementedError

    @cached_property
    def _codes(self) -> dict[str, int]:
        return {word: token for token, word in enumerate(self.words)}

    def is_step(self, word: str) -> bool:
        """Whether the word is the name of a step."""
        return bool(self.step.flat[0] <= self._codes.get(word, -1) <= self.step.flat[-1])

    def text(self, tokens: Iterable[int]) -> str:
        """The tokens' names, blanks between them."""
        return " ".join(self.words[token] for token in tokens)

    def read(self, text: str) -> np.ndarray:
        """The tokens of a text of names, int32 [tokens].

        Raises:
          ValueError: a word that is no name, and which word it is.
        """
        words = text.split()
        for i, word in enumerate(words):
            if word not in self._codes:
                raise ValueError(
                    f"word {i}: expected a token such as {self.example}, got {word[:40]!r}"
                )
        return np.array([self._codes[word] for word in words], np.int32)
