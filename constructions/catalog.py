"""The only list of constructions: name -> function from options to a `Construction`.

The functions are imported when called, so that listing names costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from inspect import signature
from typing import Any

from constructions.construction import Construction
from constructions.learners.options import check_types


def _lazy(module: str, function: str) -> Callable[..., Construction]:
    def build(**options: Any) -> Construction:
        make = getattr(import_module(module), function)
        parameters = signature(make).parameters.values()
        passed_on = any(one.kind is one.VAR_KEYWORD for one in parameters)
        types = {one.name: str(one.annotation) for one in parameters}
        check_types(options, dict.fromkeys(options, "Any") | types if passed_on else types)
        built: Construction = make(**options)
        return built

    build.__name__ = function
    build.__doc__ = f"`{module}.{function}`; no options give a small default."
    return build


CONSTRUCTIONS: dict[str, Callable[..., Construction]] = {
    "hash-lookup": _lazy("constructions.learners.hash_lookup", "hash_lookup"),
    "lasso": _lazy("constructions.learners.lasso", "lasso"),
    "least-squares": _lazy("constructions.learners.least_squares", "least_squares"),
    "logistic": _lazy("constructions.learners.logistic", "logistic"),
    "lookup": _lazy("constructions.learners.lookup", "lookup"),
    "looped": _lazy("constructions.machines.looped", "looped"),
    "mixture": _lazy("constructions.learners.mixture", "mixture"),
    "nadaraya-watson": _lazy("constructions.learners.retrieval", "nadaraya_watson"),
    "network": _lazy("constructions.learners.network", "network"),
    "newton-schulz": _lazy("constructions.learners.newton_schulz", "newton_schulz"),
    "normalized-logistic": _lazy("constructions.learners.logistic", "normalized_logistic"),
    "perceptron": _lazy("constructions.learners.perceptron", "perceptron"),
    "prompt-choice": _lazy("constructions.learners.mixture", "prompt_choice"),
    "retrieval": _lazy("constructions.learners.retrieval", "retrieval"),
    "ridge": _lazy("constructions.learners.least_squares", "ridge"),
    "selection": _lazy("constructions.learners.selection", "selection"),
    "single": _lazy("constructions.machines.single", "single"),
    "softmax-head": _lazy("constructions.learners.softmax_head", "softmax_head"),
    "softmax-head-softmax-only": _lazy("constructions.learners.softmax_head", "softmax_only"),
    "stock": _lazy("constructions.machines.stock", "stock"),
    "stock-pairs": _lazy("constructions.machines.stock_pairs", "stock_pairs"),
    "svm": _lazy("constructions.learners.svm", "svm"),
    "universal": _lazy("constructions.machines.universal", "universal"),
}
