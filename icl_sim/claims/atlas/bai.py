"""Bai et al. 2023: how many layers ridge regression in context takes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from constructions.learners.least_squares import ridge
from constructions.reference import forward
from icl_sim.claims.claim import FALSE, HOLDS, Claim, Outcome, Run, Statement

# Two examples e_1 and e_2 with these weights, so that they are the eigenvalues, less the penalty.
SETTINGS = ((0.95, 0.15), (0.9, 0.25), (0.8, 0.5))
PENALTY = 0.05
TARGETS = (0.5, 0.1, 0.01)  # eps


def layers(kappa: float, eps: float) -> int:
    """ceil(ln(1/eps)/ln((kappa + 1)/(kappa - 1))), at most kappa ln(1/eps)/2 + 1.

    >>> layers(5.0, 0.1)
    6
    """
    return math.ceil(math.log(1 / eps) / math.log((kappa + 1) / (kappa - 1)))


def ridge_experiment(run: Run, *, depth: Callable[[float, float], int] = layers) -> Outcome:
    """Bai.ridge: are so many layers within eps of the ridge estimate, and one less not?

    The share of the estimate that is missing, along the two eigenvectors, off the predictions.
    """
    rows = [_row(weights, eps, depth) for weights in SETTINGS for eps in TARGETS]
    broken = [row for row in rows if not row["missing"] <= row["eps"] < row["one_less"]]
    return Outcome(
        verdict=FALSE if broken else HOLDS,
        why=f"{len(rows) - len(broken)} of {len(rows)} depths are enough, and one layer less is "
        f"not: up to {max(row['layers'] for row in rows)} layers",
        figures={"depths": rows},
    )


def _row(
    weights: tuple[float, float], eps: float, depth: Callable[[float, float], int]
) -> dict[str, Any]:
    eigenvalues = np.array(weights) + PENALTY
    kappa = float(eigenvalues.max() / eigenvalues.min())
    count = depth(kappa, eps)
    return {
        "condition": kappa,
        "eps": eps,
        "layers": count,
        "missing": _missing(weights, count),
        "one_less": _missing(weights, count - 1),
        "rule": kappa * math.log(1 / eps) / 2 + 1,
    }


def _missing(weights: tuple[float, float], steps: int) -> float:
    """The largest share of the ridge estimate that a prediction lacks; all, without a layer."""
    if steps < 1:
        return 1.0
    eigenvalues = np.array(weights) + PENALTY
    built = ridge(
        features=2, penalty=PENALTY, steps=steps, queries=2,
        learning_rate=float(2 / (eigenvalues.min() + eigenvalues.max())),
    )  # fmt: skip
    tokens = built.fill(
        features=np.eye(2), targets=np.ones(2), weights=np.array(weights), queries=np.eye(2)
    )
    found = np.asarray(forward(built.spec, built.params, np.asarray(tokens, np.float64)))[-2:, 0]
    return float(np.abs(1 - found / (np.array(weights) / eigenvalues)).max())


CLAIM = Claim(
    id="Bai",
    title="transformers as statisticians",
    abstract="Transformers can implement a broad class of standard machine learning algorithms in "
    "context, such as least squares, ridge regression, Lasso, with near-optimal predictive power. "
    "(arXiv:2306.04637)",
    statements=(
        Statement(
            id="Bai.ridge",
            statement="ceil(ln(1/eps)/ln((kappa + 1)/(kappa - 1))) layers miss at most eps of the "
            "ridge estimate, and one layer less misses more.",
            reading="There O(kappa ln(1/eps)) layers do; ours is the number for one step of "
            "gradient descent a layer at the best rate, with its constant, kappa the condition "
            "number of the Gram matrix with the penalty.",
            premises="The rate 2/(least + greatest eigenvalue); the worst direction.",
            formula="((kappa - 1)/(kappa + 1))^k is missing along both extreme eigenvectors.",
            lower="One layer less misses more than eps.",
            basis="PROOF, EXACT",
            derived=HOLDS,
            sources="Bai, Chen, Wang, Xiong and Mei 2023 (arXiv:2306.04637); docs/atlas.md",
            experiment=ridge_experiment,
        ),
    ),
)
