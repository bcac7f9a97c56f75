"""Values of programs, and what a function or predicate says of them.

Interpreter and compiler both ask here, so that they cannot differ on None or on a division by zero.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Collection, Iterable
from enum import Enum
from fractions import Fraction
from typing import Any

Value = Any  # None, a bool, a number, a string, or a tuple of these: hashable, told apart by ==

Number = int | Fraction  # a fraction only where it is no integer


class Comparison(Enum):
    """Predicates with a name. An order never holds for None.

    >>> Comparison.LT(1, 2), Comparison.LT(None, 2)
    (True, False)
    """

    EQ = "=="
    NEQ = "!="
    LT = "<"
    LEQ = "<="
    GT = ">"
    GEQ = ">="
    TRUE = "True"
    FALSE = "False"

    def __call__(self, key: Value, query: Value) -> bool:
        """Whether ``key`` stands in this relation to ``query``."""
        if self in (Comparison.TRUE, Comparison.FALSE):
            return self is Comparison.TRUE
        if self not in (Comparison.EQ, Comparison.NEQ) and (key is None or query is None):
            return False
        return bool(_RELATIONS[self.value](key, query))


_RELATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def called(name: str, f: Callable[..., Value], *values: Value) -> Value:
    """F of the values; None if one of them is None or if it divides by zero.

    Raises:
      ValueError: any other failure, or what is no value.

    >>> called("inverse", lambda x: 1 / x, 0) is None
    True
    >>> called("first", lambda x: x[0], 7)
    Traceback (most recent call last):
    ValueError: first: its function failed on 7: TypeError: 'int' object is not subscriptable
    """
    if any(value is None for value in values):
        return None
    try:
        value = f(*values)
    except ArithmeticError:
        return None
    except Exception as error:
        raise _failed(name, "function", values, error) from None
    return checked(name, value)


def holds(name: str, predicate: Callable[..., Any], key: Value, query: Value) -> bool:
    """Whether the predicate holds; not, where it raises TypeError of None or divides by zero.

    Raises:
      ValueError: any other failure.
    """
    try:
        return bool(predicate(key, query))
    except ArithmeticError:
        return False
    except TypeError as error:
        if key is None or query is None:
            return False
        raise _failed(name, "predicate", (key, query), error) from None
    except Exception as error:
        raise _failed(name, "predicate", (key, query), error) from None


def _failed(name: str, what: str, values: tuple[Value, ...], error: Exception) -> ValueError:
    shown = ", ".join(f"{plain(value)!r:.40}" for value in values)
    reason = str(error).splitlines()[0] if str(error) else ""
    return ValueError(
        f"{name}: its {what} failed on {shown}: {type(error).__name__}: {reason:.100}"
    )


def checked(name: str, value: Any) -> Value:
    """The value in its one form: what is no integer is a fraction, NumPy's scalars are Python's.

    Raises:
      ValueError: it is no value.

    >>> checked("half", 0.5), checked("two", 2.0)
    (Fraction(1, 2), 2)
    >>> checked("pair", [1, 2])
    Traceback (most recent call last):
    ValueError: pair: expected None, a bool, number, string or tuple of these, got [1, 2]
    """
    if hasattr(value, "dtype") and not getattr(value, "shape", ()):
        value = value.item()
    if isinstance(value, tuple):
        return tuple(checked(name, part) for part in value)
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, Fraction) or (isinstance(value, float) and math.isfinite(value)):
        return number(value)
    raise ValueError(
        f"{name}: expected None, a bool, number, string or tuple of these, got {value!r:.60}"
    )


def number(value: Any) -> Number:
    """A number in its one form, exactly.

    >>> number(True), number(0.25)
    (1, Fraction(1, 4))
    """
    exact = Fraction(value)
    return int(exact) if exact.denominator == 1 else exact


def numbers(name: str, values: Iterable[Value]) -> list[Number]:
    """All values as numbers.

    Raises:
      ValueError: one is none.

    >>> numbers("share", [True, None])  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: share: expected numbers of what is numerical, but it may be None: make it ...
    """
    found = list(values)
    for value in found:
        if not is_number(value):
            raise ValueError(
                f"{name}: expected numbers of what is numerical, but it may be {value!r:.40}: make "
                "it categorical, or give the aggregate before it a default"
            )
    return [number(value) for value in found]


def divided(x: Value, y: Value) -> Value:
    """X / y, of integers and fractions exactly."""
    if all(isinstance(value, int | Fraction) for value in (x, y)):
        return Fraction(x) / Fraction(y)
    return x / y


def is_number(value: Value) -> bool:
    """Whether it is a number; True and False are 1 and 0."""
    return isinstance(value, int | float | Fraction)


def plain(value: Value) -> Value:
    """The value with its fractions as integers or floats.

    >>> plain(Fraction(4, 2)), plain((Fraction(1, 2), "a"))
    (2, (0.5, 'a'))
    """
    if isinstance(value, tuple):
        return tuple(map(plain, value))
    if isinstance(value, Fraction):
        return int(value) if value.denominator == 1 else float(value)
    return value


def in_order(name: str, values: Collection[Value]) -> tuple[Value, ...]:
    """The different ones in an order of their own: numbers, strings, tuples, None.

    Raises:
      ValueError: True and 1, or False and 0, which are equal, are both among them.

    >>> in_order("mixed", ["b", None, 2, "a", Fraction(3, 2), True, 2])
    (True, Fraction(3, 2), 2, 'a', 'b', None)
    """
    found = list(dict.fromkeys(values))
    shown = dict.fromkeys(map(repr, values))
    if len(shown) > len(found):
        lost = next(text for text in shown if text not in set(map(repr, found)))
        raise ValueError(f"{name}: expected True and False, or 1 and 0, not both, got {lost} too")
    return tuple(sorted(found, key=_place))


def _place(value: Value) -> tuple[Any, ...]:
    if is_number(value):
        return (0, value)
    if isinstance(value, str):
        return (1, value)
    if isinstance(value, tuple):
        return (2, len(value), *map(_place, value))
    return (3,)
