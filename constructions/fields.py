"""Prompt layout: the named fields of an input vector, the named ranges of tokens, and filling them.

A layout is written once and serves NumPy and JAX: these functions use the array library of the
data that they are given. They are pure and build one prompt, so that `jax.jit` takes them as they
are and `jax.vmap` makes a batch of prompts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from constructions.residual import Residual


@dataclass(frozen=True)
class TokenRanges:
    """Named ranges of tokens, one after another from 0.

    Args:
      sizes: how many tokens there are of each name.

    >>> tokens = TokenRanges({"context": 3, "output": 2, "start": 1})
    >>> tokens.size, tokens["output"]
    (6, range(3, 5))
    """

    sizes: Mapping[str, int] = field(hash=False)

    @property
    def size(self) -> int:
        """Tokens in all."""
        return sum(self.sizes.values())

    @property
    def words(self) -> tuple[str, ...]:
        """A word for each token: its number among those of its name, and the name in brackets.

        >>> TokenRanges({"symbol": 2, "start": 1}).words
        ('0', '1', '<start>')
        >>> TokenRanges({"context": 1, "output": 1, "start": 1}).words
        ('context0', 'output0', '<start>')
        """
        several = sum(name != "start" for name in self.sizes) > 1
        return tuple(
            f"<{name}>" if name == "start" else f"{name * several}{i}"
            for name, size in self.sizes.items()
            for i in range(size)
        )

    def __getitem__(self, name: str) -> range:
        """The tokens of that name."""
        if name not in self.sizes:
            raise ValueError(f"tokens: expected one of {', '.join(self.sizes)}, got {name}")
        names = list(self.sizes)
        first = sum(self.sizes[other] for other in names[: names.index(name)])
        return range(first, first + self.sizes[name])


def namespace(*values: Any) -> Any:
    """The array library of the values: NumPy, unless one of them is another library's array.

    >>> namespace(np.zeros(2), 1.0, [3]).__name__
    'numpy'
    """
    for value in values:
        if not isinstance(value, np.ndarray | np.generic) and hasattr(value, "__array_namespace__"):
            return value.__array_namespace__()
    return np


def vectors(fields: Residual, *groups: tuple[int, Mapping[str, Any]]) -> Any:
    """Input vectors, group after group, with values in the named fields and 0 in the others.

    Args:
      fields: the named columns of an input vector.
      groups: of each, how many vectors n, and field -> what broadcasts to [n, size].

    Returns:
      float32 [T, I].

    >>> fields = Residual(one=1, x=2)
    >>> vectors(fields, (1, {"one": 1}), (2, {"x": np.array([[3, 4], [5, 6]])})).tolist()
    [[1.0, 0.0, 0.0], [0.0, 3.0, 4.0], [0.0, 5.0, 6.0]]
    """
    if unknown := {name for _, values in groups for name in values} - fields.sizes.keys():
        raise ValueError(
            f"fields: expected some of {', '.join(fields.sizes)}, got {', '.join(sorted(unknown))}"
        )
    xp = namespace(*(value for _, values in groups for value in values.values()))

    def group(count: int, values: Mapping[str, Any]) -> Any:
        columns = [
            xp.broadcast_to(xp.asarray(values.get(name, 0), dtype=np.float32), (count, size))
            for name, size in fields.sizes.items()
        ]
        return xp.concatenate(columns, axis=1)

    return xp.concatenate([group(count, values) for count, values in groups])


def sequence(*parts: Any) -> Any:
    """Tokens one after another: int32 [T].

    >>> sequence([5], np.array([0, 3]), range(2)).tolist()
    [5, 0, 3, 0, 1]
    """
    xp = namespace(*parts)
    return xp.concatenate([xp.asarray(part, dtype=np.int32) for part in parts])
