"""Options of constructions are checked for their type, whatever their name."""

from __future__ import annotations

import inspect

import pytest

from constructions import CONSTRUCTIONS

NAMES = sorted(name for name, build in CONSTRUCTIONS.items())
HOSTILE = [float("nan"), 1.5, "3", [2], 2 + 0j, True]


def integer_options(name):
    parameters = inspect.signature(CONSTRUCTIONS[name]).parameters.values()
    return [p.name for p in parameters if type(p.default) is int]


@pytest.mark.parametrize(
    ("name", "option"), [(name, option) for name in NAMES for option in integer_options(name)]
)
def test_an_integer_option_takes_integers_only(name, option):
    for value in HOSTILE:
        with pytest.raises(ValueError, match=f"{option}.*expected"):
            CONSTRUCTIONS[name](**{option: value})
