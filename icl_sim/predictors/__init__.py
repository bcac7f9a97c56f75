"""Predictors: every route from demonstrations of a table to a law for each of its contexts.

A predictor is a function ``(data, key) -> law [m, V]`` of `icl_sim.tasks.Demonstrations` and one
typed key (consumed; deterministic predictors ignore it).  It must be jittable and vmappable: shapes
come from ``data.counts`` [m, V] and ``data.contexts`` [N].  `register_predictor` adds your own.
"""

from __future__ import annotations

from typing import Protocol

import jax

from icl_sim.errors import InputError
from icl_sim.predictors.counting import counts, lookup
from icl_sim.predictors.tuned import fine_tuned
from icl_sim.tasks import Demonstrations

__all__ = ["PREDICTORS", "Predictor", "get_predictor", "register_predictor"]


class Predictor(Protocol):
    """The one protocol of this package."""

    def __call__(self, data: Demonstrations, key: jax.Array) -> jax.Array:
        """Laws float32 [m, V], rows summing to one."""


PREDICTORS: dict[str, Predictor] = {
    "counts": counts,
    "fine-tuned": fine_tuned,
    "lookup": lookup,
}


def register_predictor(name: str, function: Predictor) -> None:
    """Adds a predictor under a new name.

    Raises:
      InputError: the name is taken.

    >>> import jax.numpy as jnp
    >>> register_predictor("uniform", lambda data, key: jnp.full(data.counts.shape, 0.5))
    >>> sorted(PREDICTORS)[-1]
    'uniform'
    >>> del PREDICTORS["uniform"]
    """
    if name in PREDICTORS:
        raise InputError(f"predictor {name!r} exists already: choose another name")
    PREDICTORS[name] = function


def get_predictor(name: str) -> Predictor:
    """The predictor of that name.

    Raises:
      InputError: no such predictor.
    """
    if name not in PREDICTORS:
        raise InputError(f"predictor: expected one of {', '.join(sorted(PREDICTORS))}, got {name}")
    return PREDICTORS[name]
