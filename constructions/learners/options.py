"""Checks of the numbers that a construction is built with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

from constructions.argument_types import short

# What an annotation of a constructor takes, and how a message names it.
_TYPES = {
    "int": (Integral, "an integer"),
    "float": (Real, "a finite number"),
    "str": (str, "a name"),
    "bool": (bool, "True or False"),
}


def check_types(options: Mapping[str, Any], annotations: Mapping[str, str]) -> None:
    """Raises ValueError for an option that does not exist, or is not of its type.

    Args:
      options: name -> value.
      annotations: name -> the annotation's text; those that are no simple type are not judged.

    >>> check_types({"steps": 1.5}, {"steps": "int"})
    Traceback (most recent call last):
    ValueError: steps: expected an integer, got 1.5
    """
    for name, value in options.items():
        if name not in annotations:
            known = ", ".join(sorted(annotations)) or "none"
            raise ValueError(f"{name}: expected one of the options {known}")
        kind, _, rest = annotations[name].partition(" | ")
        if kind not in _TYPES or rest not in ("", "None") or (rest and value is None):
            continue
        wanted, words = _TYPES[kind]
        fits = isinstance(value, wanted) and (kind == "bool" or not isinstance(value, bool))
        if not fits or (kind == "float" and not abs(value) < math.inf):
            raise ValueError(f"{name}: expected {words}, got {value!r:.40}")


def check_sizes(**sizes: tuple[int, int]) -> None:
    """Raises ValueError for a size that is no integer or below its least; each is (size, least).

    >>> check_sizes(steps=(0, 1))
    Traceback (most recent call last):
    ValueError: steps: expected at least 1, got 0
    """
    for name, (size, least) in sizes.items():
        if isinstance(size, bool) or not isinstance(size, Integral):
            raise ValueError(f"{name}: expected an integer, got {short(size)}")
        if size < least:
            raise ValueError(f"{name}: expected at least {least}, got {size}")


def check_positive(**numbers: float) -> None:
    """Raises ValueError for a number that is not positive and finite."""
    for name, number in numbers.items():
        if not isinstance(number, Real) or not 0 < number < math.inf:
            raise ValueError(f"{name}: expected a positive number, got {short(number)}")


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
