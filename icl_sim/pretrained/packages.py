"""Packages of the extra ``lm``, imported when they are needed."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from icl_sim.errors import InputError


def need(name: str) -> Any:
    """The package ``name``.

    Raises:
      InputError: it is not installed.

    >>> need("a_package_that_nobody_wrote")
    Traceback (most recent call last):
    icl_sim.errors.InputError: expected the package a_package_that_nobody_wrote, got none: pip \
install 'icl-sim[lm]'
    """
    try:
        return import_module(name)
    except ImportError:
        raise InputError(
            f"expected the package {name}, got none: pip install 'icl-sim[lm]'"
        ) from None
