"""Predictors: the one map from data to laws, whatever the kind of data.

`register_predictor` adds your own; ``compare`` and its report then treat it like the others.
"""

from __future__ import annotations

from icl_sim.predictors.kinds import KINDS, Kind, Predictor
from icl_sim.predictors.registry import (
    PREDICTORS,
    get_predictor,
    predictor_names,
    register_predictor,
)

__all__ = [
    "KINDS",
    "PREDICTORS",
    "Kind",
    "Predictor",
    "get_predictor",
    "predictor_names",
    "register_predictor",
]
