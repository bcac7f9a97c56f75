"""Arguments and fields are checked against their annotations, in one line each."""

from __future__ import annotations

import collections.abc
import inspect
import operator
import os
import types
import typing
from collections.abc import Callable, Collection
from functools import cache, wraps
from typing import Any, NamedTuple, ParamSpec, TypeVar

import numpy as np

P = ParamSpec("P")
R = TypeVar("R")
_INT64 = np.iinfo(np.int64)
_SHOWN = 40  # characters of a value in a message


class _Rule(NamedTuple):
    """What is expected, in words, and whether a value is that."""

    words: str
    fits: Callable[[Any], bool]


def checked(
    function: Callable[P, R],
    *,
    error: type[ValueError] = ValueError,
    left: Collection[str] = (),
) -> Callable[P, R]:
    """The function, whose arguments are what its annotations say, or are refused.

    Annotations that say nothing, as ``Any`` or a protocol that cannot be checked at run time, are
    left to the function. So are ranges: whether a number is finite or a name known.

    Args:
      function: with annotations.
      error: what is raised.
      left: arguments that are left to the function whatever is said of them.

    Raises:
      ValueError: an argument of another type; as ``error``.

    >>> @checked
    ... def repeat(text: str, *, times: int = 1) -> str:
    ...     return text * times
    >>> repeat("ab", times=2)
    'abab'
    >>> repeat("ab", times=1.5)
    Traceback (most recent call last):
    ValueError: times: expected an integer, got 1.5
    """
    signature = inspect.signature(function)
    rules: dict[str, _Rule | None] = {}

    @wraps(function)
    def call(*args: P.args, **named: P.kwargs) -> R:
        if not rules:  # at the first call, when all modules are there
            named_rules = {name: _rule_of(function, name) for name in signature.parameters}
            rules.update(named_rules | dict.fromkeys(left))
        try:
            given = signature.bind(*args, **named).arguments
        except TypeError:  # an argument too many or too few: Python says it better
            return function(*args, **named)
        for name, value in given.items():
            rule = rules[name]
            if rule and not rule.fits(value):
                raise error(f"{name}: expected {rule.words}, got {short(value)}")
        return function(*args, **named)

    return call


def check_fields(record: Any, *, error: type[ValueError] = ValueError) -> None:
    """For ``__post_init__`` of a dataclass: its fields are what their annotations say.

    Raises:
      ValueError: a field of another type; as ``error``.
    """
    kind: Any = type(record)
    for name, rule in _rules_of(kind).items():
        value = getattr(record, name)
        if rule and not rule.fits(value):
            raise error(f"{kind.__name__}: {name}: expected {rule.words}, got {short(value)}")


def short(value: Any) -> str:
    """A value for a message: a number or a text itself, if it is short, else its type.

    >>> short(1.5), short("ab"), short([1]), short("9" * 99)
    ('1.5', "'ab'", 'a list', "'999999999999999999999999999999999999999...")
    """
    kind = type(value).__name__
    if value is None:
        return "None"
    if isinstance(value, str | bool | int | float | complex) and not (
        isinstance(value, int) and abs(value) > _INT64.max
    ):
        text = repr(value)
        return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    if isinstance(value, int):
        return f"an integer of {value.bit_length()} bits"
    return f"{'an' if kind[0] in 'aeiouAEIOU' else 'a'} {kind}"


@cache
def _rules_of(kind: Any) -> dict[str, _Rule | None]:
    return {name: _rule(hint) for name, hint in typing.get_type_hints(kind).items()}


def _rule_of(function: Callable[..., Any], name: str) -> _Rule | None:
    said = inspect.signature(function).parameters[name]
    if said.kind in (said.VAR_POSITIONAL, said.VAR_KEYWORD) or said.annotation is said.empty:
        return None
    holder = types.SimpleNamespace(__annotations__={name: said.annotation})
    try:
        hint = typing.get_type_hints(holder, globalns=inspect.unwrap(function).__globals__)[name]
    except NameError:  # imported for type checkers alone
        return None
    return _rule(hint)


def _rule(hint: Any) -> _Rule | None:
    if hint in _SIMPLE:
        return _SIMPLE[hint]
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        rules = [_rule(one) for one in inner]
        return _either([rule for rule in rules if rule]) if all(rules) else None
    if origin is typing.Literal:
        return _Rule(" or ".join(map(repr, inner)), lambda value: any(value is x for x in inner))
    base = origin or hint
    if base in (collections.abc.Callable, typing.Callable):
        return _Rule("a function", callable)
    loose = getattr(base, "_is_protocol", False) and not getattr(
        base, "_is_runtime_protocol", False
    )
    if not isinstance(base, type) or loose:
        return None
    if base in (tuple, list) or base is collections.abc.Sequence:
        every = inner[0] if inner and (base is not tuple or inner[1:] == (...,)) else Any
        return _sequence(_rule(every))
    if issubclass(base, collections.abc.Mapping):
        return _Rule("a mapping", lambda value: isinstance(value, collections.abc.Mapping))
    if base.__module__ in ("builtins", "collections.abc", "typing"):
        return None
    return _Rule(f"a {base.__name__}", lambda value: isinstance(value, base))


def _either(rules: list[_Rule]) -> _Rule:
    words = dict.fromkeys(rule.words for rule in rules)
    return _Rule(" or ".join(words), lambda value: any(rule.fits(value) for rule in rules))


def _sequence(each: _Rule | None) -> _Rule:
    def fits(value: Any) -> bool:
        if isinstance(value, np.ndarray):
            return value.ndim > 0 and (each is None or all(map(each.fits, value)))
        if isinstance(value, str | bytes) or not isinstance(value, collections.abc.Sequence):
            return False
        return each is None or all(map(each.fits, value))

    return _Rule("a list" if each is None else f"a list, each {each.words}", fits)


def _is_integer(value: Any) -> bool:
    try:
        number = operator.index(value)
    except TypeError:
        return False
    return not isinstance(value, bool) and _INT64.min <= number <= _INT64.max


def _is_number(value: Any) -> bool:
    if isinstance(value, bool | str | bytes | complex | np.complexfloating):
        return False
    try:
        float(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def _is_array(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype")


_SIMPLE: dict[Any, _Rule | None] = {
    Any: None,
    object: None,
    type(None): _Rule("None", lambda value: value is None),
    bool: _Rule("True or False", lambda value: isinstance(value, bool | np.bool_)),
    int: _Rule("an integer", _is_integer),
    float: _Rule("a number", _is_number),
    str: _Rule("text", lambda value: isinstance(value, str)),
    os.PathLike: _Rule("a path", lambda value: isinstance(value, os.PathLike)),
    np.ndarray: _Rule("an array", _is_array),
}
