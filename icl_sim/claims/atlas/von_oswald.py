"""Von Oswald et al. 2023: a layer of linear attention makes one step of gradient descent."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from constructions.learners.least_squares import least_squares
from constructions.reference import forward
from icl_sim.claims.claim import FALSE, HOLDS, Claim, Outcome, Run, Statement

SETTINGS = ((1, 4, 1), (2, 8, 1), (2, 4, 3), (3, 8, 2))  # d, n, steps
RATE = Fraction(1, 4)

Descent = Callable[[np.ndarray, np.ndarray, int, Fraction], np.ndarray]


def descent(inputs: np.ndarray, targets: np.ndarray, steps: int, rate: Fraction) -> np.ndarray:
    """The weights after that many steps on (1/2n) sum_i (<x_i, w> - y_i)^2 from 0, in fractions."""
    weights = np.array([Fraction(0)] * inputs.shape[1])
    for _ in range(steps):
        weights = weights - rate * (inputs.T @ (inputs @ weights - targets)) / len(inputs)
    return np.asarray(weights)


def step_experiment(run: Run, *, oracle: Descent = descent) -> Outcome:
    """Oswald.step: is the prediction that of gradient descent, without any rounding?

    Weights and prompts are fractions, and so is all that a layer of linear attention makes of them.
    """
    rows = [_row(run, d, n, steps, oracle) for d, n, steps in SETTINGS]
    differing = sum(row["differing"] for row in rows)
    return Outcome(
        verdict=FALSE if differing else HOLDS,
        why=f"{differing} of {sum(row['predictions'] for row in rows)} predictions differ, in "
        "exact arithmetic",
        figures={"steps": rows},
    )


def _row(run: Run, d: int, n: int, steps: int, oracle: Descent) -> dict[str, Any]:
    rng = run.stream("Oswald", d, n, steps)
    built = least_squares(features=d, steps=steps, learning_rate=float(RATE), queries=d, norm=2.0)
    # Dyadic, so that they are what the float32 prompt holds; n is a power of two for the same end.
    inputs, targets = rng.integers(-8, 9, (n, d)) / 8, rng.integers(-8, 9, n) / 8
    tokens = built.fill(
        features=inputs, targets=targets, weights=np.full(n, 1 / n), queries=np.eye(d)
    )
    found = forward(built.spec, built.params, np.asarray(tokens, np.float64), exact=True)[-d:, 0]
    fractions = np.vectorize(Fraction, otypes=[object])
    expected = oracle(fractions(inputs), fractions(targets), steps, RATE)
    return {
        "features": d,
        "examples": n,
        "steps": steps,
        "predictions": d,
        "differing": int(sum(a != b for a, b in zip(found, expected, strict=True))),
    }


CLAIM = Claim(
    id="Oswald",
    title="transformers learn in-context by gradient descent",
    abstract="We provide a simple weight construction that shows the equivalence of data "
    "transformations induced by 1) a single linear self-attention layer and by 2) gradient-descent "
    "on a regression loss. (arXiv:2212.07677)",
    statements=(
        Statement(
            id="Oswald.step",
            statement="k layers of linear attention predict what k steps of gradient descent on "
            "the squared error do.",
            reading="Proposition 1 there, one layer a step, the weights of `least-squares`; the "
            "prediction of a query, with W_0 = 0.",
            premises="Any data; exact arithmetic.",
            formula="f(x) = <x, w_k>, w_(t+1) = w_t - (eta/n) sum_i (<x_i, w_t> - y_i) x_i.",
            lower="It is an equality.",
            basis="PROOF, EXACT",
            derived=HOLDS,
            sources="von Oswald et al. 2023 (arXiv:2212.07677), proposition 1; docs/atlas.md",
            experiment=step_experiment,
        ),
    ),
)
