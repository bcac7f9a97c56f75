"""Halfspaces: batched solvers, and laws on which their risk has a closed form."""

from __future__ import annotations

from icl_sim.halfspaces.hard_margin import Svm, hard_margin_svm
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
from icl_sim.halfspaces.separable_data import real_law, separable
from icl_sim.halfspaces.solvers import (
    SOLVERS,
    Perceptron,
    Solver,
    least_squares,
    logistic,
    one_step,
    perceptron,
)

__all__ = [
    "SOLVERS",
    "Examples",
    "Law",
    "Perceptron",
    "Solver",
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
    "real_law",
    "separable",
    "uniform_basis",
]
