"""Learners of halfspaces against scikit-learn, textbooks and their own optimality conditions."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases_halfspaces import LAWS, examples
from sklearn.linear_model import LinearRegression
from sklearn.svm import SVC

from icl_sim.bounds.classification import (
    perceptron_updates,
)
from icl_sim.data.vectors import real_data
from icl_sim.execution.trials import run_blocks
from icl_sim.halfspaces import (
    SOLVERS,
    gaussian,
    hard_margin_svm,
    least_squares,
    logistic,
    margin,
    one_step,
    perceptron,
    uniform_basis,
)

solve = jax.jit(hard_margin_svm)


def direction(w):
    w = np.asarray(w, np.float64)
    return w / np.linalg.norm(w)


# --- The hard-margin machine ---------------------------------------------------------------------


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_svm_agrees_with_scikit_learn(law):
    x, y = (np.asarray(part) for part in examples(law, 60)[:2])
    x = np.pad(x, ((0, 0), (0, 12 - law.dim)))  # idle coordinates: one compiled function for all
    svm = solve(x, y)
    if abs(y.sum()) < len(y):
        # SVC has a bias, unpenalized: symmetric data make it zero.
        both = SVC(C=1e6, kernel="linear", tol=1e-4).fit(np.r_[x, -x], np.r_[y, -y])
        np.testing.assert_allclose(svm.weights, both.coef_[0], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose((y * (x @ np.asarray(svm.weights))).min(), 1, rtol=1e-9)
    assert abs(float(svm.gap)) < 1e-9
    assert int(svm.support.sum()) <= law.dim


@pytest.mark.parametrize(("dim", "n"), [(20, 320), (50, 60)])
def test_svm_is_certified_in_single_precision_too(dim, n):
    law = gaussian(dim)

    def trial(key):
        data = law.sample(key, n)
        svm = hard_margin_svm(data.inputs, data.labels)
        margins = data.labels * (data.inputs @ svm.weights)
        return svm.gap, jnp.min(margins), jnp.sum(svm.support), svm.steps

    gaps, margins, supports, steps = run_blocks(trial, key=jax.random.key(3), trials=64)
    assert gaps.dtype == np.float32
    assert gaps.max() < 1e-4
    np.testing.assert_allclose(margins, 1, rtol=1e-4)
    assert supports.max() <= dim
    assert steps.max() < 20 * dim


def test_leaving_out_what_is_not_support_changes_nothing():
    x, y, _ = examples(gaussian(12), 60)
    whole = solve(x, y)
    for i in range(60):
        without = solve(x, y.at[i].set(0.0)).weights
        if whole.support[i]:
            assert np.abs(without - whole.weights).max() > 1e-6
        else:
            np.testing.assert_allclose(without, whole.weights, rtol=1e-8, atol=1e-10)


def test_padding_rows_do_not_count():
    law = gaussian(5)
    x, y, _ = examples(law, 40)
    garbage = jnp.concatenate([x, 100 * jnp.ones((7, 5))])
    padded = jnp.concatenate([y, jnp.zeros(7)])
    for name, learner in SOLVERS.items():
        np.testing.assert_allclose(
            direction(learner(garbage, padded)), direction(learner(x, y)), rtol=1e-7, err_msg=name
        )


def test_svm_of_inseparable_data_gives_up():
    x = jnp.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    svm = solve(x, jnp.array([1.0, -1.0, 1.0]))
    assert not svm.weights.any()
    assert math.isinf(svm.gap)


def test_svm_survives_duplicates_and_dependent_inputs():
    rng = np.random.default_rng(5)
    x = np.repeat(rng.standard_normal((6, 3)), 4, axis=0) @ rng.standard_normal((3, 8))
    y = np.sign(x @ rng.standard_normal(8))
    svm = hard_margin_svm(jnp.asarray(x), jnp.asarray(y))
    assert abs(float(svm.gap)) < 1e-9
    assert int(svm.support.sum()) <= 3


# --- The other learners --------------------------------------------------------------------------


def test_perceptron_is_the_textbook_s():
    x, y, _ = (np.asarray(part) for part in examples(gaussian(4), 60))
    w, updates, mistakes = np.zeros(4), 0, True
    while mistakes:
        mistakes = 0
        for row, label in zip(x, y, strict=True):
            if label * (w @ row) <= 0:
                w, mistakes = w + label * row, mistakes + 1
        updates += mistakes
    found = perceptron(jnp.asarray(x), jnp.asarray(y))
    np.testing.assert_allclose(found.weights, w, rtol=1e-12)
    assert (int(found.updates), bool(found.consistent)) == (updates, True)
    assert not perceptron(jnp.asarray(x), jnp.asarray(y), max_passes=1).consistent


def test_perceptron_keeps_novikoff_s_bound():
    for law in (margin(3, 0.3), margin(12, 0.1), uniform_basis(6)):
        x, y, target = (np.asarray(part) for part in examples(law, 100))
        gap = (y * (x @ direction(target))).min()
        radius = np.linalg.norm(x, axis=1).max()
        updates = int(perceptron(jnp.asarray(x), jnp.asarray(y)).updates)
        assert 0 < updates <= perceptron_updates(radius=radius, margin=gap) + 1e-9


def test_least_squares_agrees_with_scikit_learn_also_without_full_rank():
    for law, n in ((gaussian(7), 30), (gaussian(7), 4), (uniform_basis(6), 5)):
        x, y, _ = examples(law, n)
        expected = LinearRegression(fit_intercept=False).fit(np.asarray(x), np.asarray(y)).coef_
        np.testing.assert_allclose(least_squares(x, y), expected, rtol=1e-6, atol=1e-8)


def test_one_step_is_the_mean_of_y_x():
    x, y, _ = examples(gaussian(3), 9)
    np.testing.assert_allclose(one_step(x, y) / 9, np.mean(np.asarray(y)[:, None] * x, axis=0))


def test_logistic_descent_tends_to_the_svm():
    x, y, _ = examples(margin(3, 0.3), 40)
    svm = direction(hard_margin_svm(x, y).weights)
    angles = [
        math.acos(min(1.0, direction(logistic(x, y, steps=steps)) @ svm)) for steps in (100, 10_000)
    ]
    assert angles[1] < angles[0] / 10
    assert angles[1] < 0.01


@pytest.mark.parametrize("name", ["digits-3-8", "wine-0-1", "iris-0-1"])
def test_learners_of_real_data_agree_with_scikit_learn(name):
    inputs, labels = real_data(name)
    x = np.pad(inputs, ((0, 357 - len(inputs)), (0, 55 - inputs.shape[1])))  # one compilation
    y = np.pad(labels, (0, 357 - len(labels)))
    svm = solve(jnp.asarray(x), jnp.asarray(y))
    both = SVC(C=1e6, kernel="linear", tol=1e-5).fit(np.r_[inputs, -inputs], np.r_[labels, -labels])
    size = np.linalg.norm(both.coef_[0])
    np.testing.assert_allclose(svm.weights[: inputs.shape[1]], both.coef_[0], atol=1e-3 * size)
    assert abs(float(svm.gap)) < 1e-9
    fitted = LinearRegression(fit_intercept=False).fit(inputs, labels).coef_
    found = least_squares(jnp.asarray(x), jnp.asarray(y))[: inputs.shape[1]]
    np.testing.assert_allclose(inputs @ found, inputs @ fitted, atol=1e-5)
