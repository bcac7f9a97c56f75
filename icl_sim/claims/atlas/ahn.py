"""Ahn et al. 2023: the best preconditioner of one layer of linear attention on Gaussian tasks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from icl_sim.claims.atlas.preconditioned import ROUNDING, optimum, risk
from icl_sim.claims.claim import FALSE, HOLDS, Claim, Outcome, Run, Statement

SETTINGS = (((1.0, 1.0), 1), ((1.0, 0.25), 1), ((1.0, 0.25), 2), ((0.5,), 4))


def preconditioner_experiment(run: Run, *, formula: Callable[..., np.ndarray] = optimum) -> Outcome:
    """Ahn.preconditioner: is the risk least at the matrix of the formula?

    The risk is a quadratic function of A, so its slopes are differences of two values: all are 0
    at a least one. Each value is a sum over all prompts through the weights.
    """
    rows = [_row(eigenvalues, n, formula) for eigenvalues, n in SETTINGS]
    steepest = max(row["steepest"] for row in rows)
    return Outcome(
        verdict=HOLDS if steepest <= ROUNDING else FALSE,
        why=f"all {len(rows)} settings: the steepest slope of the risk is {steepest:.1e}, over "
        "every entry of A",
        figures={"preconditioners": rows},
    )


def _row(
    eigenvalues: tuple[float, ...], n: int, formula: Callable[..., np.ndarray]
) -> dict[str, Any]:
    d = len(eigenvalues)
    best = np.diag(formula(eigenvalues, n))
    slopes = []
    for i in range(d):
        for j in range(d):
            step = np.zeros((d, d))
            step[i, j] = 0.5
            slopes.append(risk(best + step, eigenvalues, n) - risk(best - step, eigenvalues, n))
    return {
        "eigenvalues": " ".join(map(str, eigenvalues)),
        "n": n,
        "diagonal": " ".join(f"{a:.4f}" for a in np.diag(best)),
        "risk": risk(best, eigenvalues, n),
        "steepest": max(map(abs, slopes)),
    }


CLAIM = Claim(
    id="Ahn",
    title="transformers learn to implement preconditioned gradient descent",
    abstract="For a single attention layer, the global minimum of the training objective "
    "implements a single iteration of preconditioned gradient descent. (arXiv:2306.00297)",
    statements=(
        Statement(
            id="Ahn.preconditioner",
            statement="On Gaussian tasks the best matrix between query and key has the eigenvalues "
            "1/((n+1)/n lam_i + (1/n) sum_k lam_k).",
            reading="Theorem 1 there: one layer of linear attention, prompts of n examples; the "
            "matrix stands in W_Q of the layer that makes one step of gradient descent.",
            premises="x ~ N(0, Sigma), w ~ N(0, I), no noise, squared error.",
            formula="A = ((n+1)/n Sigma + (tr Sigma/n) I)^-1.",
            lower="It is the minimum.",
            basis="PROOF, EXACT",
            derived=HOLDS,
            sources="Ahn, Cheng, Daneshmand and Sra 2023 (arXiv:2306.00297), theorem 1; "
            "docs/atlas.md",
            experiment=preconditioner_experiment,
        ),
    ),
)
