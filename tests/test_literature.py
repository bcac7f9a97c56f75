"""Learners at the literature's sizes: built, certified of the prompt, and at the papers' rates."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import literature
from benchmarks.certificates import compared
from benchmarks.literature import D, N, _after, _posed, draw
from constructions import CONSTRUCTIONS


def test_one_step_is_certified_of_the_prompt_and_of_no_other():
    built = literature.gradient_descent()
    off, bound = compared(built, _posed(draw(np.random.default_rng(0)), False))
    assert off <= bound < 1e-3
    assert built.certificate.error(length=N + 1) == np.inf
    with pytest.raises(ValueError, match="or descent diverges"):
        CONSTRUCTIONS["least-squares"](**literature.SIZES, learning_rate=N / (N + D + 1))
    with pytest.raises(ValueError, match="raise the penalty, or shorten the prompt"):
        CONSTRUCTIONS["newton-schulz"](**literature.SIZES, penalty=1 / N)


@pytest.mark.parametrize("build", [literature.newton, literature.ridge_descent, literature.ista])
def test_what_is_certified_is_less_than_the_learner_does_not_know(build):
    built = build(300) if build is literature.ista else build()
    sparse = built.name == "lasso"
    problem = _posed(draw(np.random.default_rng(1), sparse=sparse), sparse)
    assert 0 < built.bound(problem) < 0.25 < built.certificate.error(length=N + 1)


@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_the_closed_form_of_one_steps_error(noise):
    rng = np.random.default_rng(4)
    eta, found = N / (N + D + 1), []
    for _ in range(3000):
        x, w = rng.normal(size=(N, D)), rng.normal(size=D)
        step = eta * x.T @ (x @ w + noise * rng.normal(size=N)) / N
        found.append(((step - w) ** 2).sum() / D)  # the mean over queries
    error = np.std(found) / len(found) ** 0.5
    assert abs(np.mean(found) - literature.one_step_risk(N, noise)) < 5 * error
    assert error < 0.01
    # Other rates are worse, without noise; with it the best is n/(n + d + 1 + noise^2).
    best = N / (N + D + 1 + noise**2)
    risk = [1 - 2 * e + e**2 * (1 + (D + 1 + noise**2) / N) for e in (0.9 * best, best, 1.1 * best)]
    assert min(risk) == risk[1]
    assert literature.one_step_risk(N, noise) < 1.001 * risk[1]


def test_newton_squares_what_gradient_descent_multiplies():
    task = draw(np.random.default_rng(2))
    problem, x = _posed(task, False), task["x"][:N]
    exact = task["x"][N] @ np.linalg.solve(x.T @ x + np.eye(D), x.T @ task["y"])

    def left(built, loops):
        return abs(float(np.squeeze(_after(built, problem, loops))) - exact)

    newton, descent = literature.newton(), literature.ridge_descent()
    assert left(newton, 9) > 0.1
    assert left(newton, 12) < 1e-4
    assert left(descent, 32) > 1e-2
    assert left(descent, 64) > 1e-5
