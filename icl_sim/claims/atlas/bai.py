"""Bai et al. 2023: how many layers ridge regression and the Lasso in context take."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from constructions.learners.lasso import lasso
from constructions.learners.least_squares import ridge
from constructions.reference import forward
from icl_sim.claims.claim import FALSE, HOLDS, Claim, Outcome, Run, Statement

# Two examples e_1 and e_2 with these weights, so that they are the eigenvalues, less the penalty.
SETTINGS = ((0.95, 0.15), (0.9, 0.25), (0.8, 0.5))
PENALTY = 0.05
TARGETS = (0.5, 0.1, 0.01)  # eps
# The Lasso: its penalty and step, both exact in float32, the loops of its hardest designs, and eps.
THRESHOLD, STEP = 1 / 32, 1.0
DEPTHS = (1, 4, 16, 64)
WITHIN = (0.1, 0.03, 0.01)


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


def lasso_layers(distance: float, eps: float) -> int:
    """ceil(|w*|^2/(2 step eps)), |w*|^2 the squared distance from 0 to Lasso's estimate.

    >>> lasso_layers(4.0, 0.1)
    20
    """
    return math.ceil(distance / (2 * STEP * eps))


def lasso_gap(distance: float, loops: int) -> float:
    """|w*|^2/(2 e (2 loops + 1) step): the hardest design for so many loops misses more.

    >>> round(lasso_gap(4.0, 20), 4)
    0.0179
    """
    return distance / (2 * math.e * (2 * loops + 1) * STEP)


def lasso_experiment(
    run: Run, *,
    depth: Callable[[float, float], int] = lasso_layers,
    gap: Callable[[float, int], float] = lasso_gap,
) -> Outcome:  # fmt: skip
    """Bai.lasso: do so many loops come within eps of the least objective, and how few may not?

    Designs whose estimate is known by its optimality conditions: drawn ones of four features, of
    which two are used, and for each number of loops the one feature for which they do least.
    """
    hardest = []
    for loops in DEPTHS:
        x = np.array([[1 / math.sqrt(STEP * (2 * loops + 1))]], np.float32).astype(float)
        best = (x[0] - THRESHOLD) / x[0] ** 2
        row = _lasso_row(x, np.ones(1), best, gap(float(best @ best), loops), depth)
        hardest.append(row | {"fewer": loops, "left": _excess(x, np.ones(1), best, loops)})
    rows = [
        _lasso_row(*_drawn(run.stream("design", i)), eps, depth) for i in range(3) for eps in WITHIN
    ]
    late = [row for row in (*rows, *hardest) if row["missing"] > row["eps"]]
    wrong = late + [row for row in hardest if row["left"] <= row["eps"]]
    closest = min(row["loops"] / row["fewer"] for row in hardest)
    return Outcome(
        verdict=FALSE if wrong else HOLDS,
        why=f"{len(rows) + len(hardest) - len(late)} of {len(rows) + len(hardest)} depths are "
        f"enough; on the hardest designs one {closest:.1f} times smaller is not",
        figures={"drawn": rows, "hardest": hardest},
    )


def _lasso_row(
    x: np.ndarray, y: np.ndarray, best: np.ndarray, eps: float, depth: Callable[[float, float], int]
) -> dict[str, Any]:
    distance = float(best @ best)
    loops = depth(distance, eps)
    missing = _excess(x, y, best, loops)
    return {"distance": distance, "eps": eps, "loops": loops, "missing": missing}


def _drawn(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A design [8, 4] of norm 1, labels [8], and their estimate: X'(y - X w) = penalty signs."""
    x = rng.normal(size=(8, 4)) + rng.normal(size=(8, 1))
    x = (x / np.linalg.norm(x, 2)).astype(np.float32).astype(float)
    best = np.append(rng.uniform(0.5, 1, 2) * rng.choice((-1, 1), 2), (0, 0))
    signs = np.where(best == 0, rng.uniform(-0.9, 0.9, 4), np.sign(best))
    return x, x @ (best + THRESHOLD * np.linalg.solve(x.T @ x, signs)), best


def _excess(x: np.ndarray, y: np.ndarray, best: np.ndarray, loops: int) -> float:
    """Lasso's objective at the weights that so many loops answer, less the least."""
    built = lasso(
        dim=len(best), penalty=THRESHOLD, step=STEP, loops=loops, length=len(y) + 1,
        a_posteriori=True,
    )  # fmt: skip
    problem = {"inputs": x, "labels": y, "query": np.zeros(len(best))}
    tokens = np.asarray(built.encode(problem), np.float64)
    found = built.decode(forward(built.spec, built.params, tokens))["weights"]

    def objective(w: np.ndarray) -> float:
        return float(np.square(x @ w - y).sum() / 2 + THRESHOLD * np.abs(w).sum())

    return objective(found) - objective(best)


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
        Statement(
            id="Bai.lasso",
            statement="ceil(|w*|^2/(2 step eps)) layers come within eps of Lasso's least "
            "objective, and |w*|^2/(4 e step eps) - 1/2 may not.",
            reading="There layers in proportion to 1/eps do, within eps in the objective; ours is "
            "the number for one proximal step a layer from w = 0, with its constant, and what no "
            "smaller constant than 1/(4 e) can do.",
            premises="|X w - y|^2/2 + penalty |w|_1, a step of at most 1/|X|^2, w* its minimum.",
            formula="F(w_T) - F(w*) <= |w*|^2/(2 step T).",
            lower="One feature of step x^2 = 1/(2 T + 1): more than |w*|^2/(2 e (2 T + 1) step).",
            basis="PROOF, EXACT",
            derived=HOLDS,
            sources="Beck and Teboulle 2009; Bai, Chen, Wang, Xiong and Mei 2023 "
            "(arXiv:2306.04637); docs/atlas.md",
            experiment=lasso_experiment,
        ),
    ),
)
