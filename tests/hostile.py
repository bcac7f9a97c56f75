"""Values that nobody means, and whether a call with one of them ends as it may."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

HOSTILE = {
    "none": None,
    "nan": float("nan"),
    "inf": float("inf"),
    "minus inf": float("-inf"),
    "true": True,
    "minus one": -1,
    "zero": 0,
    "half": 0.5,
    "fraction": Fraction(1, 3),
    "2^31": 2**31,
    "2^32 + 1": 2**32 + 1,
    "2^64": 2**64,
    "10^400": 10**400,
    "tiny": 5e-324,
    "huge": 1e308,
    "complex": 1 + 2j,
    "text": "text",
    "digits": "9" * 5000,
    "empty text": "",
    "bytes": b"bytes",
    "object": object(),
    "type": int,
    "function": len,
    "dict": {"a": 1},
    "set": {1},
    "empty list": [],
    "ragged": [[1, 2], [3]],
    "deep": [[[[[[1]]]]]],
    "nan array": np.array([np.nan, 1]),
    "inf array": np.array([[np.inf, -np.inf]]),
    "negative array": np.array([[-1.0, 2.0]]),
    "no rows": np.zeros((0, 2)),
    "no columns": np.zeros((2, 0)),
    "scalar array": np.array(1.5),
    "five axes": np.zeros((1, 1, 1, 1, 2)),
    "objects": np.array([None, 1], object),
    "words": np.array(["a", "b"]),
    "dates": np.array(["2020-01-01"], "datetime64[D]"),
    "record": np.zeros(2, [("a", "f4")]),
    "half precision": np.array([0.5, 0.5], np.float16),
    "unsigned": np.array([0, 2**63], np.uint64),
    "longdouble": np.array([[0.5, 0.5]], np.longdouble),
}


def of(function, *first, **named):
    """A call that works, by the names of its arguments; the first ones have no keyword."""
    return function, first, named


class Begun(Exception):  # noqa: N818 - no error
    """What would take long has begun."""


def places(calls):
    """The name of each call and each of its arguments, by position or keyword."""
    for name, (_, first, named) in calls.items():
        yield from ((name, place) for place in [*range(len(first)), *named])


def faults(calls, name, place, *, left=()):
    """What is wrong with how a call ends, for each hostile value there but those left out."""
    function, first, named = calls[name]
    wrong = {}
    for what, value in HOSTILE.items():
        if what in left:
            continue
        arguments, options = list(first), dict(named)
        (arguments if isinstance(place, int) else options)[place] = value
        fault = fault_of(name, lambda: function(*arguments, **options))  # noqa: B023
        if fault:
            wrong[what] = fault
    return wrong


def fault_of(name, call):
    """What is wrong with how a call ends; an empty text if nothing is."""
    try:
        found = call()
    except Begun:
        return ""
    except ValueError as error:  # InputError is one
        text = str(error)
        return f"a message of {len(text)} characters" * ("\n" in text or len(text) > 1000)
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:200]
    return "" if can_be_right(name, found) else f"answered {found}"


def can_be_right(name, found):
    """Whether an answer can be true at all."""
    if not name.startswith(("total_variation", "jensen", "exact")):
        return True
    values = np.asarray(found, float)
    distance = not name.startswith("exact")  # of NaN it is NaN
    return bool(((values >= 0) & (values <= 1) | (distance & np.isnan(values))).all())
