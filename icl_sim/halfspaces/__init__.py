"""Halfspaces: batched learners, and laws on which their risk has a closed form."""

from __future__ import annotations

from icl_sim.halfspaces.datasets import real_data, real_law, separable
from icl_sim.halfspaces.laws import (
    Examples,
    Law,
    basis,
    error_trial,
    gaussian,
    heavy_light,
    margin,
    pool,
    uniform_basis,
)
from icl_sim.halfspaces.learners import (
    LEARNERS,
    Learner,
    Perceptron,
    least_squares,
    logistic,
    one_step,
    perceptron,
)
from icl_sim.halfspaces.svm import Svm, hard_margin_svm

__all__ = [
    "LEARNERS",
    "Examples",
    "Law",
    "Learner",
    "Perceptron",
    "Svm",
    "basis",
    "error_trial",
    "gaussian",
    "hard_margin_svm",
    "heavy_light",
    "least_squares",
    "logistic",
    "margin",
    "one_step",
    "perceptron",
    "pool",
    "real_data",
    "real_law",
    "separable",
    "uniform_basis",
]
