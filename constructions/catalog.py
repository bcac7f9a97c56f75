"""The only list of constructions: name -> function from options to a `Construction`.

A function is imported when it is first asked for, so that listing names costs nothing;
`register_construction` adds your own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, MutableMapping
from functools import wraps
from importlib import import_module
from inspect import signature
from typing import Any

from constructions.argument_types import short
from constructions.construction import Construction
from constructions.learners.options import check_types

Build = Callable[..., Construction]


class Catalog(MutableMapping[str, Build]):
    """Functions by name; those given as ``module.function`` are imported when asked for.

    >>> import inspect
    >>> "cells" in inspect.signature(CONSTRUCTIONS["universal"]).parameters
    True
    """

    def __init__(self, homes: dict[str, str]) -> None:
        self._functions: dict[str, str | Build] = dict(homes)

    def __getitem__(self, name: str) -> Build:
        found = self._functions[name]
        if isinstance(found, str):
            found = self._functions[name] = _checked(found)
        return found

    def __setitem__(self, name: str, function: Build) -> None:
        self._functions[name] = function

    def __delitem__(self, name: str) -> None:
        del self._functions[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._functions)

    def __len__(self) -> int:
        return len(self._functions)


def _checked(home: str) -> Build:
    """The function at ``module.function``, whose options are checked against its signature."""
    module, _, function = home.rpartition(".")
    make = getattr(import_module(module), function)
    parameters = signature(make).parameters.values()
    passed_on = any(one.kind is one.VAR_KEYWORD for one in parameters)
    types = {one.name: str(one.annotation) for one in parameters}

    @wraps(make)  # with the signature that help() shows
    def build(**options: Any) -> Construction:
        check_types(options, dict.fromkeys(options, "Any") | types if passed_on else types)
        try:
            built: Construction = make(**options)
        except (MemoryError, OverflowError):  # NumPy refuses an array before it takes the memory
            said = ", ".join(f"{key}={short(value)}" for key, value in options.items())
            raise ValueError(
                f"{function}: expected options whose weights fit into memory and into float64, got "
                f"{said}: lower the largest"
            ) from None
        return built

    return build


def register_construction(name: str, function: Build) -> None:
    """Adds a construction under a new name; ``list`` and ``export`` then know it.

    Args:
      name: not taken; small letters, digits and hyphens, since it names files.
      function: options -> `Construction`; without options, a small default.

    Raises:
      ValueError: the name is taken or no name, or the function cannot be called.

    >>> register_construction("lookup", lambda: None)
    Traceback (most recent call last):
    ValueError: construction 'lookup' exists already: choose another name
    """
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", str(name)):
        raise ValueError(f"construction: expected a name such as my-lookup, got {name!r}")
    if name in CONSTRUCTIONS:
        raise ValueError(f"construction {name!r} exists already: choose another name")
    if not callable(function):
        raise ValueError(f"construction {name!r}: expected a function, got {function!r}")
    CONSTRUCTIONS[name] = function


CONSTRUCTIONS = Catalog(
    {
        "hash-lookup": "constructions.learners.hash_lookup.hash_lookup",
        "lasso": "constructions.learners.lasso.lasso",
        "least-squares": "constructions.learners.least_squares.least_squares",
        "logistic": "constructions.learners.logistic.logistic",
        "lookup": "constructions.learners.lookup.lookup",
        "looped": "constructions.machines.looped.looped",
        "mixture": "constructions.learners.mixture.mixture",
        "nadaraya-watson": "constructions.learners.retrieval.nadaraya_watson",
        "network": "constructions.learners.network.network",
        "newton-schulz": "constructions.learners.newton_schulz.newton_schulz",
        "normalized-logistic": "constructions.learners.logistic.normalized_logistic",
        "perceptron": "constructions.learners.perceptron.perceptron",
        "prompt-choice": "constructions.learners.mixture.prompt_choice",
        "rasp": "constructions.rasp.named_programs.rasp",
        "retrieval": "constructions.learners.retrieval.retrieval",
        "ridge": "constructions.learners.least_squares.ridge",
        "selection": "constructions.learners.selection.selection",
        "single": "constructions.machines.single.single",
        "softmax-head": "constructions.learners.softmax_head.softmax_head",
        "softmax-head-softmax-only": "constructions.learners.softmax_head.softmax_only",
        "stock": "constructions.machines.stock.stock",
        "stock-descent": "constructions.learners.stock_descent.stock_descent",
        "stock-lookup": "constructions.learners.stock_lookup.stock_lookup",
        "stock-pairs": "constructions.machines.stock_pairs.stock_pairs",
        "stock-rasp": "constructions.rasp.stock_program.stock_rasp",
        "stock-single": "constructions.machines.stock_single.stock_single",
        "svm": "constructions.learners.svm.svm",
        "universal": "constructions.machines.universal.universal",
    }
)
