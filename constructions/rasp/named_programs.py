"""The library by name, each program with its alphabet, and its member of the catalog."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from string import ascii_lowercase

from constructions.construction import Construction
from constructions.learners.options import check_sizes
from constructions.rasp.compiler import compile_program
from constructions.rasp.expressions import SOp
from constructions.rasp.library import (
    addition,
    count,
    count_less_frequent,
    detect_pattern,
    dyck,
    fraction_before,
    histogram,
    induction,
    length,
    majority,
    most_frequent,
    pair_balance,
    reverse,
    shift,
    shuffle_dyck,
    sort,
    sort_by_frequency,
    sort_unique,
    tokens,
)
from constructions.rasp.values import Value


@dataclass(frozen=True)
class Entry:
    """A program of the library.

    Args:
      build: the alphabet's values -> the program.
      alphabet: how many tokens -> their values.
    """

    build: Callable[[tuple[Value, ...]], SOp]
    alphabet: Callable[[int], tuple[Value, ...]]


def _numbers(size: int) -> tuple[Value, ...]:
    check_sizes(alphabet=(size, 1))
    return tuple(range(size))


def _letters(special: str = "") -> Callable[[int], tuple[Value, ...]]:
    """These tokens, and then small letters."""

    def alphabet(size: int) -> tuple[Value, ...]:
        least, most = max(1, len(special)), len(special) + len(ascii_lowercase)
        if not least <= size <= most:
            raise ValueError(f"alphabet: expected {least} to {most}, got {size}")
        return (*special, *ascii_lowercase)[:size]

    return alphabet


def _digits(size: int) -> tuple[Value, ...]:
    check_sizes(alphabet=(size, 3))
    return (*range(size - 1), "+")


LIBRARY: dict[str, Entry] = {
    "addition": Entry(lambda letters: addition(len(letters) - 1), _digits),
    "count": Entry(lambda letters: count(tokens == letters[0]).named("count"), _letters()),
    "count-less-frequent": Entry(lambda letters: count_less_frequent(2), _letters()),
    "detect-pattern": Entry(lambda letters: detect_pattern("aba"), _letters()),
    "dyck-1": Entry(lambda letters: dyck(["()"]), _letters("()")),
    "dyck-2": Entry(lambda letters: dyck(["()", "[]"]), _letters("()[]")),
    "fraction-before": Entry(lambda letters: fraction_before(tokens == letters[0]), _letters()),
    "histogram": Entry(lambda letters: histogram(), _letters()),
    "induction": Entry(lambda letters: induction(), _letters()),
    "length": Entry(lambda letters: length, _letters()),
    "majority": Entry(lambda letters: majority(), _letters()),
    "most-frequent": Entry(lambda letters: most_frequent(), _letters()),
    "pair-balance": Entry(lambda letters: pair_balance("(", ")"), _letters("()")),
    "previous": Entry(lambda letters: shift(tokens).named("previous"), _letters()),
    "reverse": Entry(lambda letters: reverse(), _letters()),
    "shuffle-dyck-1": Entry(lambda letters: shuffle_dyck(["()"]), _letters("()")),
    "shuffle-dyck-2": Entry(lambda letters: shuffle_dyck(["()", "[]"]), _letters("()[]")),
    "sort": Entry(lambda letters: sort(), _numbers),
    "sort-by-frequency": Entry(lambda letters: sort_by_frequency(), _letters()),
    "sort-unique": Entry(lambda letters: sort_unique(), _numbers),
}


def rasp(
    *, program: str = "reverse", length: int = 8, alphabet: int = 4, causal: bool = False
) -> Construction:
    """A program of the library, compiled.

    A problem is a sequence of tokens, the answer the list of the program's values at all positions.

    Args:
      program: its name in `LIBRARY`.
      length: the longest input.
      alphabet: how many tokens; numbers where they are sorted, digits and "+" where they are added,
        else letters, the program's own signs first.
      causal: whether a position sees only itself and those before it.

    Raises:
      ValueError: no such program, or it is not certified at these sizes.

    >>> rasp(program="histogram").oracle("abac")
    [2, 1, 2, 1]
    """
    entry = entry_of(program)
    letters = entry.alphabet(alphabet)
    return compile_program(
        entry.build(letters), length=length, alphabet=letters, causal=causal, name="rasp"
    )


def entry_of(program: str) -> Entry:
    """The program of that name.

    Raises:
      ValueError: there is none.
    """
    if program not in LIBRARY:
        raise ValueError(f"program: expected one of {', '.join(LIBRARY)}, got {program!r}")
    return LIBRARY[program]
