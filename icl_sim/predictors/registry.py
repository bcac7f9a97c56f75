"""Every route from data to laws, by name; `register_predictor` adds your own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax

from icl_sim.errors import InputError, did_you_mean
from icl_sim.execution.signatures import checked
from icl_sim.halfspaces import hard_margin_svm, least_squares, perceptron
from icl_sim.predictors.classifiers import (
    halfspace,
    logistic,
    logistic_in_context,
    perceptron_in_context,
    svm_in_context,
)
from icl_sim.predictors.constructed import mixture, retrieval
from icl_sim.predictors.counting import bayes, counts, lookup, smoothed
from icl_sim.predictors.emulated import HEAD_SGD, emulator, emulator_bound
from icl_sim.predictors.kinds import CLASSIFICATION, KINDS, LANGUAGE, NOISES, TABLE, Predictor
from icl_sim.predictors.language_routes import LANGUAGE_ROUTES
from icl_sim.predictors.machine import universal
from icl_sim.predictors.prompted import in_context, zero_shot
from icl_sim.predictors.selected import random_choice, retrieved
from icl_sim.predictors.tuned import RANKS, fine_tuned, tuned, tuned_in_context, validated
from icl_sim.training.base_model import CONFIGS

Function = Callable[..., Any]

_BASE = "The base fine-tuned on the data until converged:"
_SHOWN = "with as many demonstrations as its prompt holds,"


def _tuned(function: Function, leaves: str) -> Predictor:
    return Predictor(function, counts_only=True, about=f"{_BASE} {leaves}.")


def _chosen(name: str, function: Function) -> dict[str, Predictor]:
    """A route whose prompt does not hold all data, with each way to choose those that it shows."""
    return {
        f"{name}-random": Predictor(
            random_choice(function), about=f"{name} {_SHOWN} chosen at random."
        ),
        f"{name}-retrieved": Predictor(
            retrieved(function), about=f"{name} {_SHOWN} retrieved for the query."
        ),
    }


def _classifier(solver: Function, about: str) -> Predictor:
    return Predictor(halfspace(solver), CLASSIFICATION, host=True, about=about)


_TABLES = {
    "bayes": Predictor(bayes),
    "counts": Predictor(counts, counts_only=True),
    "emulator": Predictor(emulator, counts_only=True, bound=emulator_bound),
    "fine-tuned": Predictor(fine_tuned, counts_only=True),
    "full": _tuned(tuned(CONFIGS["full"]), "all leaves"),
    "full-validated": Predictor(validated),
    "head": _tuned(tuned(CONFIGS["head"]), "the output layer alone"),
    "head-sgd": _tuned(tuned(HEAD_SGD), "the output layer alone, by plain gradient descent"),
    "in-context": Predictor(in_context),
    **_chosen("in-context", in_context),
    "lookup": Predictor(lookup),
    **_chosen("lookup", lookup),
    **{
        f"lora-{rank}": _tuned(tuned(replace(CONFIGS["lora"], rank=rank)), f"LoRA of rank {rank}")
        for rank in RANKS
    },
    "mixture": Predictor(mixture),
    **_chosen("mixture", mixture),
    "retrieval": Predictor(retrieval),
    "smoothed": Predictor(smoothed, counts_only=True),
    "tuned-in-context": Predictor(tuned_in_context),
    "universal": Predictor(universal, host=True),
    "zero-shot": Predictor(zero_shot, counts_only=True),
}
_IN_WEIGHTS = {
    "logistic": logistic,
    "logistic-in-context": logistic_in_context,
    "perceptron-in-context": perceptron_in_context,
    "svm-in-context": svm_in_context,
}
# A route has one name, whatever it reads: those of language models have their kind in front here.
PREDICTORS: dict[str, Predictor] = {
    **_TABLES,
    "least-squares": _classifier(least_squares, "The halfspace of least squares."),
    "perceptron": _classifier(perceptron, "The halfspace of the perceptron, run to convergence."),
    "svm": _classifier(hard_margin_svm, "The halfspace of the hard-margin SVM."),
    **{name: Predictor(f, CLASSIFICATION, host=True) for name, f in _IN_WEIGHTS.items()},
    **{
        f"{LANGUAGE.name}/{name}": Predictor(route, LANGUAGE, host=True, moved_by=noises)
        for name, (route, noises) in LANGUAGE_ROUTES.items()
    },
}


@checked
def register_predictor(
    name: str,
    function: Callable[[Any, jax.Array], Any],
    *,
    kind: str = "table",
    counts_only: bool = False,
    host: bool = False,
    about: str = "",
    bound: Callable[[Any], float] | None = None,
) -> None:
    """Adds a predictor under a new name; ``compare``, its report and ``list`` then know it.

    Those of kind ``language`` stand in PREDICTORS as ``language/NAME``, since a route may have one
    name for tables and for language models; `compare` knows them by their names alone.

    Args:
      name: not taken among those of its kind.
      function: (data, key) -> laws; see `Predictor`.
      kind: a name in `KINDS`: what it reads and answers.
      counts_only, host, about, bound: see `Predictor`.

    Raises:
      InputError: the name is taken, no such kind, one without counts for ``counts_only``, or one
        whose comparisons record no bounds.

    >>> import jax.numpy as jnp
    >>> register_predictor("uniform", lambda data, key: jnp.full(data.counts.shape, 0.5))
    >>> "uniform" in PREDICTORS
    True
    >>> del PREDICTORS["uniform"]
    """
    if kind not in KINDS:
        raise InputError(
            f"kind of {name!r}: expected one of {', '.join(sorted(KINDS))}, got {kind}"
        )
    place = _place(name, kind)
    if place in PREDICTORS:
        raise InputError(f"predictor {name!r} exists already: choose another name")
    found = KINDS[kind]
    if counts_only and "counts" not in found.data.__annotations__:
        raise InputError(f"predictor {name!r}: data of kind {kind} have no counts to read alone")
    if bound is not None and found is not TABLE:
        raise InputError(f"predictor {name!r}: expected a bound of kind table only, got {kind}")
    # All that may move the law of an unknown route is tried.
    noises = NOISES if kind == LANGUAGE.name else ()
    PREDICTORS[place] = Predictor(
        function, found, counts_only, host or found.host, noises, about, bound
    )


def get_predictor(name: str, kind: str | None = None) -> Predictor:
    """The predictor of that name; for kind ``language``, of its name alone.

    Raises:
      InputError: no such predictor.
    """
    place = name if kind is None else _place(name, kind)
    if place not in PREDICTORS:
        names = predictor_names(kind) if kind == LANGUAGE.name else predictor_names()
        raise InputError(
            f"predictor: expected one of {', '.join(names)}, got {name}" + did_you_mean(name, names)
        )
    return PREDICTORS[place]


def predictor_names(kind: str | None = None) -> list[str]:
    """Sorted names: of all predictors, or of those of one kind.

    >>> predictor_names("classification")[:2]
    ['least-squares', 'logistic']
    >>> predictor_names("language")[:2]
    ['calibrated', 'counts']
    """
    if kind == LANGUAGE.name:
        ahead = _place("", kind)
        return sorted(name.removeprefix(ahead) for name in PREDICTORS if name.startswith(ahead))
    return sorted(n for n, p in PREDICTORS.items() if kind is None or p.kind.name == kind)


def _place(name: str, kind: str) -> str:
    return f"{kind}/{name}" if kind == LANGUAGE.name else name
