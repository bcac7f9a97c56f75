"""Arguments of public functions are checked against their annotations, in one line each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from constructions import argument_types
from constructions.argument_types import short
from icl_sim.errors import InputError

__all__ = ["check_fields", "checked", "short"]

P = ParamSpec("P")
R = TypeVar("R")
_OWN_DOORS = ("seed",)  # checked by `icl_sim.execution.seeds` alone, which says the range too


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """The function, whose arguments are what its annotations say, or are refused.

    Raises:
      InputError: an argument of another type.

    >>> @checked
    ... def repeat(text: str, *, times: int = 1) -> str:
    ...     return text * times
    >>> repeat("ab", times=1.5)
    Traceback (most recent call last):
    icl_sim.errors.InputError: times: expected an integer, got 1.5
    """
    return argument_types.checked(function, error=InputError, left=_OWN_DOORS)


def check_fields(record: Any) -> None:
    """For ``__post_init__`` of a dataclass: its fields are what their annotations say.

    Raises:
      InputError: a field of another type.
    """
    argument_types.check_fields(record, error=InputError)
