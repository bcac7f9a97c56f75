"""Fu et al. 2023: Newton's iteration converges quadratically where gradient descent is linear."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from constructions.construction import Construction
from constructions.learners.least_squares import ridge
from constructions.learners.newton_schulz import newton_schulz
from constructions.reference import forward
from icl_sim.claims.claim import FALSE, HOLDS, Claim, Outcome, Run, Statement

# Of one feature: the inputs and the penalty.
INPUT, PENALTY = 0.25, 1 / 12
STEPS = (1, 2, 3, 4, 5, 6)
ROUNDING = 1e-6  # of float32 inputs


def left(steps: int) -> float:
    """The share of the ridge estimate that is missing: (1 - A X_0)^(2^steps).

    >>> round(left(1), 4), round(left(3), 4)
    (0.7489, 0.3145)
    """
    return float((1 - _curvature() / (1 + PENALTY)) ** 2**steps)


def _curvature() -> float:
    return INPUT**2 + PENALTY


def newton_experiment(run: Run, *, rate: Callable[[int], float] = left) -> Outcome:
    """Fu.newton: after k steps, is the missing share r^(2^k), and r^k for gradient descent?

    With one feature both are equalities, read off the predictions that the weights make.
    """
    rows = [_row(steps, rate) for steps in STEPS]
    off = max(abs(row["newton"] - row["formula"]) for row in rows)
    slow = max(abs(row["descent"] - row["linear"]) for row in rows)
    return Outcome(
        verdict=HOLDS if max(off, slow) <= ROUNDING else FALSE,
        why=f"after {STEPS[-1]} steps {rows[-1]['newton']:.2g} of the estimate is missing, "
        f"{rows[-1]['descent']:.2g} by gradient descent; off the formulas by at most "
        f"{max(off, slow):.1e}",
        figures={"rates": rows},
    )


def _row(steps: int, rate: Callable[[int], float]) -> dict[str, Any]:
    newton = newton_schulz(features=1, penalty=PENALTY, steps=steps)
    descent = ridge(features=1, penalty=PENALTY, steps=steps, learning_rate=1 / (1 + PENALTY))
    return {
        "steps": steps,
        "newton": _missing(newton),
        "formula": rate(steps),
        "descent": _missing(descent),
        "linear": left(0) ** steps,
    }


def _missing(built: Construction) -> float:
    """The share of the ridge estimate that a prediction lacks."""
    problem = {"features": [[INPUT]] * 2, "targets": [1.0] * 2, "queries": [[1.0]]}
    found = np.ravel(built.decode(forward(built.spec, built.params, built.encode(problem))))[0]
    return float(1 - found / (INPUT / _curvature()))


CLAIM = Claim(
    id="Fu",
    title="transformers learn higher-order optimization methods for in-context learning",
    abstract="Transformers learn to approximate second-order optimization methods for in-context "
    "linear regression, sharing a similar convergence rate as Iterative Newton's Method, both "
    "exponentially faster than gradient descent. (arXiv:2310.17086)",
    statements=(
        Statement(
            id="Fu.newton",
            statement="After k loops Newton's iteration misses r^(2^k) of the ridge estimate, "
            "gradient descent r^k.",
            reading="Ours is the rate of the algorithm in the weights, not what training finds: "
            "`newton-schulz` against `ridge` at the rate 1/(norm^2 + penalty), both from the same "
            "r = 1 - A/(norm^2 + penalty).",
            premises="One feature, where both rates are equalities; in d dimensions each "
            "eigenvector of A has its own r.",
            formula="I - A X_(k+1) = (I - A X_k)^2.",
            lower="It is an equality.",
            basis="PROOF, EXACT",
            derived=HOLDS,
            sources="Schulz 1933; Fu, Chen, Jia and Sharan 2023 (arXiv:2310.17086); docs/atlas.md",
            experiment=newton_experiment,
        ),
    ),
)
