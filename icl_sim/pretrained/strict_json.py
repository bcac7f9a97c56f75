"""JSON files of others: each name once, no NaN, an object at the top, errors in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from icl_sim.errors import InputError


def read_object(path: Path) -> dict[str, Any]:
    """The object that a JSON file holds.

    Raises:
      InputError: no such file, or another content.
    """
    return object_of(read_text(path), name=str(path))


def read_text(path: Path) -> str:
    """The text of a file; InputError if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: expected a file, {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected UTF-8, {one_line(error)}") from None


def object_of(text: str, *, name: str) -> dict[str, Any]:
    """The object that ``text`` is; ``name`` is for messages.

    >>> object_of('{"a": 1, "a": 2}', name="x.json")
    Traceback (most recent call last):
    icl_sim.errors.InputError: x.json: expected each name once, got 'a' twice
    """
    try:
        return parse_object(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name}: expected {one_line(error)}") from None


def parse_object(text: str) -> dict[str, Any]:
    """As `object_of`, but raises ValueError with what was expected."""
    try:
        found = json.loads(text, object_pairs_hook=_unique, parse_constant=_constant)
    except json.JSONDecodeError as error:
        raise ValueError(f"JSON, got {one_line(error)}") from None
    if not isinstance(found, dict):
        raise ValueError(f"a JSON object, got {type(found).__name__}")
    return found


def one_line(error: BaseException) -> str:
    """An error's message on one line, or its type if it has none."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(
            f"each name once, got {next(n for n in names if names.count(n) > 1)!r} twice"
        )
    return found


def _constant(name: str) -> None:
    raise ValueError(f"finite numbers, got {name}")
