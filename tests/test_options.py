"""Options of constructions are checked for their type, whatever their name."""

from __future__ import annotations

import inspect

import pytest

from constructions import CONSTRUCTIONS
from constructions.learners.lookup import lookup

HOSTILE = [float("nan"), 1.5, "3", [2], 2 + 0j, True]


def options_of(kind):
    for name, build in CONSTRUCTIONS.items():
        parameters = inspect.signature(build).parameters
        yield from ((name, p.name) for p in parameters.values() if p.annotation == kind)


@pytest.mark.parametrize(("name", "option"), [*options_of("int")])
def test_an_integer_option_takes_integers_only(name, option):
    for value in HOSTILE:
        with pytest.raises(ValueError, match=f"{option}.*expected"):
            CONSTRUCTIONS[name](**{option: value})


@pytest.mark.parametrize(("name", "option"), [*options_of("float")])
def test_a_real_option_takes_finite_numbers_only(name, option):
    for value in (float("nan"), float("inf"), "3", [2], 2 + 0j, True, None):
        with pytest.raises(ValueError, match=f"{option}: expected"):
            CONSTRUCTIONS[name](**{option: value})


def test_an_unknown_option_is_one_line():
    with pytest.raises(ValueError, match="lenght: expected one of the options"):
        CONSTRUCTIONS["lookup"](lenght=4)


@pytest.mark.parametrize("option", ["nan", 1.5, True])
def test_sizes_are_integers_without_the_catalog_too(option):
    with pytest.raises(ValueError, match="length: expected an integer"):
        lookup(length=float(option) if option == "nan" else option)


@pytest.mark.parametrize("pairs", [[(0, 1.5)], [(0.5, 1)], [(0, -1)], [(0, "1")], [(0, 2**64)]])
def test_lookup_takes_whole_symbols_in_range(pairs):
    built = lookup(vocab=2, contexts=3)
    for call in (built.encode, built.oracle):
        with pytest.raises(ValueError, match="pairs: expected"):
            call({"pairs": pairs, "query": 0})
    with pytest.raises(ValueError, match="query: expected"):
        built.oracle({"pairs": [(0, 1)], "query": 9})
