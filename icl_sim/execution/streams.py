"""Streams of random numbers by name: no two purposes draw the same ones.

Laws and tables that are the same in every run have a number of their own in `Fixed`, the first of
their seed. What depends on a run's key is named in words.
"""

from __future__ import annotations

import enum
import hashlib
import json

import jax
import numpy as np


@enum.unique
class Fixed(enum.IntEnum):
    """What is drawn the same in every run: the first number of its seed."""

    SKEWED_LAWS = 1
    PREFIX_LAWS = 3
    EVENTS = 4
    RAGGED_LAWS = 5
    TABLES = 7
    TEXT = 11
    TEACHERS = 13
    SPLITS = 17
    WORDS = 19
    PAIRS = 23
    RATINGS = 29
    TOPICS = 31
    HELD_OUT = 37

    def stream(self, *numbers: int) -> np.random.Generator:
        """The generator of this purpose and these numbers.

        >>> float(Fixed.TABLES.stream(0, 8).random()) == float(Fixed.TEXT.stream(0, 8).random())
        False
        """
        return np.random.default_rng([self, *numbers])


def stream(key: jax.Array, *name: str | int) -> np.random.Generator:
    """The generator of a key and a name; any other name, of whatever length, has another.

    Args:
      key: not consumed.
      name: words and numbers; hashed by SHA-256, the same on every machine.

    >>> key = jax.random.key(0)
    >>> [round(float(stream(key, name, 0).random()), 3) for name in ("counting", "logistic")]
    [0.979, 0.923]
    """
    root = np.asarray(jax.random.key_data(key)).tolist()
    words = hashlib.sha256(json.dumps(name).encode()).digest()
    return np.random.default_rng([*root, *np.frombuffer(words, "<u4").tolist()])
