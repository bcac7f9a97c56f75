"""Checks of the numbers that a construction is built with."""

from __future__ import annotations

import math
from numbers import Integral, Real


def check_sizes(**sizes: tuple[int, int]) -> None:
    """Raises ValueError for a size that is no integer or below its least; each is (size, least).

    >>> check_sizes(steps=(0, 1))
    Traceback (most recent call last):
    ValueError: steps: expected at least 1, got 0
    """
    for name, (size, least) in sizes.items():
        if isinstance(size, bool) or not isinstance(size, Integral):
            raise ValueError(f"{name}: expected an integer, got {size!r}")
        if size < least:
            raise ValueError(f"{name}: expected at least {least}, got {size}")


def check_positive(**numbers: float) -> None:
    """Raises ValueError for a number that is not positive and finite."""
    for name, number in numbers.items():
        if not isinstance(number, Real) or not 0 < number < math.inf:
            raise ValueError(f"{name}: expected a positive number, got {number!r}")


def check_ranges(**numbers: tuple[float, float, float]) -> None:
    """Raises ValueError, naming all numbers out of range at once; each is (number, low, high)."""
    faults = [
        f"{name}: expected {low:g} to {high:g}, got {_shown(number)}"
        for name, (number, low, high) in numbers.items()
        if not isinstance(number, Real) or not low <= number <= high
    ]
    if faults:
        raise ValueError("; ".join(faults))


def _shown(number: object) -> str:
    return f"{number:g}" if isinstance(number, Real) else repr(number)
