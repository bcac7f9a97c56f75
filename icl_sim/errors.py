"""Bad input as one line: what was expected, what came, how to fix it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

LONGEST = 900  # characters of a message


class InputError(ValueError):
    """A user's mistake. The command line prints its message alone and exits with code 2.

    A message that quotes something long loses its middle.

    >>> len(str(InputError("name: expected a name, got " + "9" * 5000)))
    900
    """

    def __init__(self, message: str) -> None:
        more = len(message) - LONGEST
        half = LONGEST // 2
        cut = message if more <= 0 else f"{message[: half - 5]} ... {message[-half:]}"
        super().__init__(cut)


def require_type(value: object, *kinds: type, name: str) -> None:
    """Raises InputError unless a value is of one of the kinds; a truth value is no number.

    >>> require_type("bb2", str, name="machine")
    >>> require_type([1], str, name="machine")
    Traceback (most recent call last):
    icl_sim.errors.InputError: machine: expected str, got list
    """
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        wanted = " or ".join(kind.__name__ for kind in kinds)
        raise InputError(f"{name}: expected {wanted}, got {type(value).__name__}")


def same_name(got: str, names: Iterable[str]) -> str:
    """The one of ``names`` that is ``got`` in some case; if none is, ``got`` itself.

    >>> same_name("c1.SUM", ["C1.sum"]), same_name("lokup", ["lookup"])
    ('C1.sum', 'lokup')
    """
    names = list(names)
    return got if got in names else {n.lower(): n for n in names}.get(str(got).lower(), got)


def did_you_mean(got: str, names: Iterable[str]) -> str:
    """The end of a message about an unknown name: the name that is meant, if one is near.

    What was typed is never proposed: where it is a name, but none of these, no name is meant.

    >>> did_you_mean("lokup", ["counts", "lookup"])
    ': did you mean lookup?'
    >>> did_you_mean("c1.SUM", ["C1.sum"]), did_you_mean("x", ["lookup"])
    (': did you mean C1.sum?', '')
    >>> did_you_mean("--out", ["--out"])
    ''
    """
    by_case = {name.lower(): name for name in names if name != got}
    near = difflib.get_close_matches(str(got).lower(), by_case, n=1)
    return f": did you mean {by_case[near[0]]}?" if near else ""


def require_known(got: str, names: Iterable[str], *, what: str) -> None:
    """Raises InputError, with the name that is meant, unless ``got`` is one of ``names``.

    >>> require_known("lookup", ["counts", "lookup"], what="predictor")
    >>> require_known("lokup", ["counts", "lookup"], what="predictor")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    icl_sim.errors.InputError: predictor: expected one of counts, lookup, got lokup: did you ...
    """
    names = list(names)
    if got not in names:
        raise InputError(
            f"{what}: expected one of {', '.join(names)}, got {got}{did_you_mean(got, names)}"
        )
