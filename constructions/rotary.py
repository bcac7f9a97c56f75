"""Rotary positions, and the checks that all switches of the architecture share."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from constructions.argument_types import check_fields, short

SCALINGS = ("none", "linear", "llama3", "yarn")


def check_choice(name: str, value: object, allowed: tuple[str, ...]) -> None:
    """Raises ValueError unless the value is one of those allowed."""
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{name}: expected one of {', '.join(allowed)}, got {short(value)}")


def check_size(name: str, value: int, least: int) -> None:
    """Raises ValueError unless the value is an integer, at least ``least``."""
    if not isinstance(value, int) or value < least:
        raise ValueError(f"{name}: expected an integer >= {least}, got {short(value)}")


def check_number(name: str, value: object, least: float) -> None:
    """Raises ValueError unless the value is a finite number above ``least``."""
    if not isinstance(value, int | float) or not least < value < math.inf:
        raise ValueError(f"{name}: expected a finite number > {least:g}, got {short(value)}")


@dataclass(frozen=True)
class Rotary:
    """Rotary positions: queries and keys turn with the index, pair by pair of their entries.

    Entries i and i + K/2 of a head turn by the angle p f_i at index p, with f_i = theta^(-2 i/K)
    and then scaled, so that the score of two tokens depends on their distance. The larger theta,
    the more pairs stand as good as still.

    Args:
      theta: the base of the frequencies.
      scaling: ``none``; ``linear`` divides every f_i by ``factor``; ``llama3`` does so to those
        that turn less than ``low`` times within ``length``, leaves those that turn more than
        ``high`` times and blends between; ``yarn`` blends along i between the pairs that turn
        ``high`` and ``low`` times, and stretches queries and keys by sqrt(1/temperature) each.
      factor: by how much the window was lengthened.
      low, high: turns within ``length`` between which the scaling blends.
      length: tokens of the window before it was lengthened.
      attention: what ``yarn`` multiplies cosines and sines with; 0 means .1 ln(factor) + 1.

    References: Su et al. 2021 (arXiv:2104.09864); Peng et al. 2023 (arXiv:2309.00071); Llama team
    2024 (arXiv:2407.21783).

    >>> Rotary(theta=10_000.0).frequencies(4).tolist()
    [1.0, 0.01]
    """

    theta: float = 10_000.0
    scaling: str = "none"
    factor: float = 1.0
    low: float = 1.0
    high: float = 4.0
    length: int = 0
    attention: float = 0.0

    def __post_init__(self) -> None:
        check_choice("Rotary.scaling", self.scaling, SCALINGS)
        check_number("Rotary.theta", self.theta, 0)
        check_number("Rotary.factor", self.factor, 0)
        if self.scaling in ("llama3", "yarn"):
            check_size("Rotary.length", self.length, 1)
            check_fields(self)
            if not 0 < self.low < self.high:
                raise ValueError(f"Rotary: expected 0 < low < high, got {self.low}, {self.high}")

    def frequencies(self, key_size: int) -> np.ndarray:
        """f_i in radians a token, float64 [K/2]."""
        pair = np.arange(key_size // 2)
        plain = self.theta ** (-2.0 * pair / key_size)
        if self.scaling == "none":
            return plain
        if self.scaling == "linear":
            return plain / self.factor
        if self.scaling == "llama3":
            turns = self.length * plain / (2 * np.pi)
            keep = (turns - self.low) / (self.high - self.low)
        else:
            # The pairs at which the window holds ``high`` and ``low`` turns, to whole pairs.
            first, last = (
                key_size * np.log(self.length / (turns * 2 * np.pi)) / (2 * np.log(self.theta))
                for turns in (self.high, self.low)
            )
            start, stop = max(np.floor(first), 0), min(np.ceil(last), key_size - 1)
            keep = 1 - (pair - start) / max(stop - start, 0.001)
        keep = np.clip(keep, 0, 1)
        return keep * plain + (1 - keep) * plain / self.factor

    @property
    def stretch(self) -> float:
        """What cosines and sines are multiplied with: 1 but for ``yarn``."""
        if self.scaling != "yarn":
            return 1.0
        return self.attention or 0.1 * math.log(self.factor) + 1.0
