"""Predictors: every route from demonstrations of a table to a law for each of its contexts.

`register_predictor` adds your own; the report and ``compare`` then treat it like the others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax

from icl_sim.data.tasks import Demonstrations
from icl_sim.errors import InputError
from icl_sim.predictors.constructed import mixture, retrieval
from icl_sim.predictors.counting import bayes, counts, lookup, smoothed
from icl_sim.predictors.emulated import HEAD_SGD, emulator
from icl_sim.predictors.machine import universal
from icl_sim.predictors.prompted import in_context, zero_shot
from icl_sim.predictors.selected import one_prompt_a_query, random_choice, retrieved
from icl_sim.predictors.tuned import (
    RANKS,
    fine_tuned,
    tuned,
    tuned_in_context,
    validated,
)
from icl_sim.training.base_model import CONFIGS

__all__ = ["PREDICTORS", "Predictor", "get_predictor", "register_predictor"]


@dataclass(frozen=True)
class Predictor:
    """One route from data to laws.

    Args:
      function: (data, key) -> law float32 [m, V], rows summing to one. Jittable and vmappable:
        shapes come from ``data.counts`` [m, V] and ``data.contexts`` [N]. The key is consumed;
        deterministic predictors ignore it.
      counts_only: the function reads ``data.counts`` alone, so one compiled program serves every
        number of demonstrations (the other fields are then None).
      host: the function takes concrete data, one data set at a time, and cannot be jitted.
    """

    function: Callable[[Demonstrations, jax.Array], Any]
    counts_only: bool = False
    host: bool = False

    def __call__(self, data: Demonstrations, key: jax.Array) -> Any:
        """The laws, float32 [m, V]."""
        return self.function(data, key)


PREDICTORS: dict[str, Predictor] = {
    "bayes": Predictor(bayes),
    "counts": Predictor(counts, counts_only=True),
    "emulator": Predictor(emulator, counts_only=True),
    "fine-tuned": Predictor(fine_tuned, counts_only=True),
    "full": Predictor(tuned(CONFIGS["full"]), counts_only=True),
    "full-validated": Predictor(validated),
    "head": Predictor(tuned(CONFIGS["head"]), counts_only=True),
    "head-sgd": Predictor(tuned(HEAD_SGD), counts_only=True),
    "in-context": Predictor(in_context),
    "in-context-random": Predictor(random_choice(in_context)),
    "in-context-retrieved": Predictor(retrieved(in_context)),
    "lookup": Predictor(lookup),
    "lookup-random": Predictor(random_choice(lookup)),
    "lookup-retrieved": Predictor(retrieved(lookup)),
    **{
        f"lora-{rank}": Predictor(tuned(replace(CONFIGS["lora"], rank=rank)), counts_only=True)
        for rank in RANKS
    },
    "mixture": Predictor(mixture),
    "mixture-random": Predictor(random_choice(mixture)),
    "mixture-retrieved": Predictor(retrieved(one_prompt_a_query(mixture))),
    "retrieval": Predictor(retrieval),
    "smoothed": Predictor(smoothed, counts_only=True),
    "tuned-in-context": Predictor(tuned_in_context),
    "universal": Predictor(universal, host=True),
    "zero-shot": Predictor(zero_shot, counts_only=True),
}


def register_predictor(
    name: str,
    function: Callable[[Demonstrations, jax.Array], Any],
    *,
    counts_only: bool = False,
    host: bool = False,
) -> None:
    """Adds a predictor under a new name; see `Predictor` for the arguments.

    Raises:
      InputError: the name is taken.

    >>> import jax.numpy as jnp
    >>> register_predictor("uniform", lambda data, key: jnp.full(data.counts.shape, 0.5))
    >>> "uniform" in PREDICTORS
    True
    >>> del PREDICTORS["uniform"]
    """
    if name in PREDICTORS:
        raise InputError(f"predictor {name!r} exists already: choose another name")
    PREDICTORS[name] = Predictor(function, counts_only, host)


def get_predictor(name: str) -> Predictor:
    """The predictor of that name.

    Raises:
      InputError: no such predictor.
    """
    if name not in PREDICTORS:
        raise InputError(f"predictor: expected one of {', '.join(sorted(PREDICTORS))}, got {name}")
    return PREDICTORS[name]
