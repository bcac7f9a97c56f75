"""Linear attention with a matrix between query and key, on all prompts of a law like a Gaussian.

Letters: d features, n examples in a prompt, A the matrix, lam the eigenvalues of the inputs' law.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import product

import numpy as np

from constructions.construction import Construction
from constructions.learners.least_squares import least_squares
from constructions.reference import forward

ROUNDING = 1e-6  # of inputs in float32
# -sqrt 3, 0, sqrt 3 with these probabilities: the first five moments are those of a Gaussian.
POINTS = ((-(3**0.5), 1 / 6), (0.0, 2 / 3), (3**0.5, 1 / 6))


def prompts(eigenvalues: Sequence[float], n: int) -> Iterator[tuple[float, np.ndarray]]:
    """All prompts [n, d] of independent inputs with these variances, and their probabilities."""
    d = len(eigenvalues)
    for chosen in product(POINTS, repeat=n * d):
        chance = float(np.prod([p for _, p in chosen]))
        yield chance, np.array([z for z, _ in chosen]).reshape(n, d) * np.sqrt(eigenvalues)


def predictions(matrix: np.ndarray, inputs: np.ndarray, task: np.ndarray) -> np.ndarray:
    """What one layer of linear attention predicts for the unit vectors, [d].

    The weights are those of one step of gradient descent, W_Q times A: for a query x it is
    x' A (mean of x_i y_i), y_i = <x_i, task>.
    """
    built = _one_step(len(task))
    params = {name: leaf.astype(np.float64) for name, leaf in built.params.items()}
    rows = built.residual["x"]
    params["layer_0.w_q"][0, rows] = matrix @ params["layer_0.w_q"][0, rows]
    n = len(inputs)
    examples = {"features": inputs, "targets": inputs @ task, "weights": np.full(n, 1 / n)}
    tokens = built.fill(**examples, queries=np.eye(len(task)))
    return np.asarray(forward(built.spec, params, tokens))[-len(task) :, 0]


@cache
def _one_step(d: int) -> Construction:
    return least_squares(features=d, steps=1, learning_rate=1.0, queries=d)


def risk(matrix: np.ndarray, eigenvalues: Sequence[float], n: int) -> float:
    """E (prediction - <x, w>)^2 over prompts, w ~ N(0, I) and x ~ N(0, lam), by enumeration.

    It is quadratic in w and in x, so the unit vectors give it; and of degree four in the examples,
    so that the three points do.
    """
    lam, eye = np.asarray(eigenvalues), np.eye(len(eigenvalues))
    return float(
        sum(
            chance * lam @ (predictions(matrix, inputs, task) - task) ** 2
            for chance, inputs in prompts(eigenvalues, n)
            for task in eye
        )
    )


def optimum(eigenvalues: Sequence[float], n: int) -> np.ndarray:
    """The diagonal of A that is best for prompts of n examples: 1/((n+1)/n lam + sum lam/n).

    >>> optimum((1.0, 1.0), 2)
    array([0.4, 0.4])
    """
    lam = np.asarray(eigenvalues, np.float64)
    return np.asarray(1 / ((n + 1) / n * lam + lam.sum() / n))
