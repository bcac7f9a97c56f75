"""Checks of the numbers that a construction is built with."""

from __future__ import annotations

import math


def check_sizes(**sizes: tuple[int, int]) -> None:
    """Raises ValueError for a size below its least; each is (size, least).

    >>> check_sizes(steps=(0, 1))
    Traceback (most recent call last):
    ValueError: steps: expected at least 1, got 0
    """
    for name, (size, least) in sizes.items():
        if size < least:
            raise ValueError(f"{name}: expected at least {least}, got {size}")


def check_positive(**numbers: float) -> None:
    """Raises ValueError for a number that is not positive and finite."""
    for name, number in numbers.items():
        if not 0 < number < math.inf:
            raise ValueError(f"{name}: expected a positive number, got {number}")


def check_ranges(**numbers: tuple[float, float, float]) -> None:
    """Raises ValueError, naming all numbers out of range at once; each is (number, low, high)."""
    faults = [
        f"{name}: expected {low:g} to {high:g}, got {number:g}"
        for name, (number, low, high) in numbers.items()
        if not low <= number <= high
    ]
    if faults:
        raise ValueError("; ".join(faults))
