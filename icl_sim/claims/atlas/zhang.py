"""Zhang, Frei and Bartlett 2023: the risk of trained linear attention at another prompt length."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from icl_sim.claims.atlas.preconditioned import ROUNDING, optimum, risk
from icl_sim.claims.claim import FALSE, HOLDS, Claim, Outcome, Run, Statement

EIGENVALUES = (1.0, 0.5)
TRAINED, ASKED = (1, 4, 20), (1, 2)


def closed_form(eigenvalues: Sequence[float], trained: int, asked: int) -> float:
    """sum_i lam_i (a_i^2 ((M+1)/M lam_i^2 + lam_i sum lam/M) - 2 a_i lam_i + 1).

    >>> round(closed_form((1.0,), 1, 1), 4)
    0.6667
    """
    lam = np.asarray(eigenvalues)
    a = optimum(eigenvalues, trained)
    square = (asked + 1) / asked * lam**2 + lam * lam.sum() / asked
    return float(lam @ (a**2 * square - 2 * a * lam + 1))


def limit(eigenvalues: Sequence[float], trained: int) -> float:
    """What is left however long the prompt: sum_i lam_i (1 - a_i lam_i)^2."""
    lam = np.asarray(eigenvalues)
    return float(lam @ (1 - optimum(eigenvalues, trained) * lam) ** 2)


def risk_experiment(run: Run, *, formula: Callable[..., float] = closed_form) -> Outcome:
    """Zhang.risk: is the risk at M examples, trained at N, the closed form; and what is left?"""
    rows = [_row(N, M, formula) for N in TRAINED for M in ASKED]
    off = max(abs(row["risk"] - row["formula"]) for row in rows)
    left = [limit(EIGENVALUES, N) for N in TRAINED]
    reached = all(
        abs(formula(EIGENVALUES, N, 10**9) - rest) < 1e-7
        for N, rest in zip(TRAINED, left, strict=True)
    )
    return Outcome(
        verdict=HOLDS if off <= ROUNDING and reached and min(left) > 0 else FALSE,
        why=f"{len(rows)} pairs of lengths: off by at most {off:.1e}; as the prompt grows "
        + ", ".join(f"{rest:.3g} (N = {N})" for N, rest in zip(TRAINED, left, strict=True))
        + " is left",
        figures={"risks": rows},
    )


def _row(trained: int, asked: int, formula: Callable[..., float]) -> dict[str, Any]:
    matrix = np.diag(optimum(EIGENVALUES, trained))
    return {
        "trained": trained,
        "asked": asked,
        "risk": risk(matrix, EIGENVALUES, asked),
        "formula": formula(EIGENVALUES, trained, asked),
        "limit": limit(EIGENVALUES, trained),
    }


CLAIM = Claim(
    id="Zhang",
    title="trained transformers learn linear models in-context",
    abstract="When given a test prompt of labeled examples from a new prediction task, the "
    "transformer achieves prediction error competitive with the best linear predictor over the "
    "test prompt distribution. (arXiv:2306.09927)",
    statements=(
        Statement(
            id="Zhang.risk",
            statement="Linear attention trained on prompts of N examples has, on prompts of M, the "
            "risk sum_i lam_i (a_i^2 ((M+1)/M lam_i^2 + lam_i tr/M) - 2 a_i lam_i + 1).",
            reading="Theorems 4.1 and 4.2 there, without noise, the tasks' law isotropic; gradient "
            "flow ends at the minimum, Ahn.preconditioner's matrix. The risk is that of one "
            "squared error, over prompts, tasks and queries.",
            premises="x ~ N(0, Lambda), w ~ N(0, I), no noise; trained to the minimum.",
            formula="a_i = 1/((N+1)/N lam_i + tr/N); as M grows sum_i lam_i (1 - a_i lam_i)^2 "
            "is left, of order 1/N^2.",
            lower="It is an equality.",
            basis="PROOF, EXACT",
            derived=HOLDS,
            sources="Zhang, Frei and Bartlett 2023 (arXiv:2306.09927); docs/atlas.md",
            experiment=risk_experiment,
        ),
    ),
)
