"""Halfspaces: risks against samples, errors against theorems, real data."""

from __future__ import annotations

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases_halfspaces import LAWS, examples

from icl_sim.bounds.angles import least_squares_error, one_step_mean_error
from icl_sim.bounds.classification import (
    basis_mean_error,
    halfspace_mean_bound,
    margin_mean_bound,
)
from icl_sim.data.vectors import real_data
from icl_sim.errors import InputError
from icl_sim.execution.trials import run_blocks
from icl_sim.halfspaces import (
    SOLVERS,
    basis,
    error_trial,
    gaussian,
    hard_margin_svm,
    heavy_light,
    margin,
    one_step,
    pool,
    real_law,
    separable,
)

# --- Risks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_risk_is_the_error_frequency(law):
    rng = np.random.default_rng(8)
    fresh = examples(law, 40_000, seed=1)
    x, y = np.asarray(fresh.inputs), np.asarray(fresh.labels)
    for weights in (fresh.target + rng.standard_normal(law.dim) / 3, -rng.standard_normal(law.dim)):
        risk = float(law.risk(jnp.asarray(weights, jnp.float32), fresh.target.astype(jnp.float32)))
        frequency = np.mean(y * (x @ np.asarray(weights)) <= 0)
        assert abs(frequency - risk) < 5 * math.sqrt(risk * (1 - risk) / 40_000) + 1e-6


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_no_weights_at_all_are_always_wrong(law):
    target = law.sample(jax.random.key(2), 3).target
    assert law.risk(jnp.zeros(law.dim, jnp.float32), target) == 1


def test_the_teacher_makes_no_error():
    for law in LAWS[:-1]:
        target = law.sample(jax.random.key(2), 3).target
        np.testing.assert_allclose(law.risk(5 * target, target), 0, atol=1e-6)


def test_small_angles_are_resolved():
    target = jnp.array([1.0, 0.0], jnp.float32)
    for angle in (1e-6, 1e-3, 3.0):
        weights = jnp.array([math.cos(angle), math.sin(angle)], jnp.float32)
        np.testing.assert_allclose(gaussian(2).risk(weights, target), angle / math.pi, rtol=1e-4)


def test_a_tie_costs_what_is_said():
    weights, target = jnp.array([1.0, 0.0], jnp.float32), jnp.ones(2, jnp.float32)
    for tie in (0.0, 0.5, 1.0):
        np.testing.assert_allclose(basis((0.75, 0.25), tie=tie).risk(weights, target), tie / 4)


def test_the_margin_law_has_its_margin():
    x, y, target = examples(margin(5, 0.2), 100)
    np.testing.assert_allclose(y * (x @ target), 0.2, rtol=1e-5)
    np.testing.assert_allclose(jnp.linalg.norm(x, axis=1), 1, rtol=1e-5)


# --- Errors after n examples ---------------------------------------------------------------------


def mean_errors(law, learner, sizes, trials, rows=None):
    """Means and standard errors; padded to one compiled function unless rows is 0."""
    results = []
    for n in sizes:
        trial = error_trial(law, SOLVERS[learner], rows or n)
        key = jax.random.fold_in(jax.random.key(4), n)
        errors = run_blocks(trial, key=key, trials=trials, args=(np.int32(n),))
        results.append((errors.mean(), errors.std() / math.sqrt(trials)))
    return np.array(results).T


def slope(sizes, means):
    return np.polyfit(np.log(sizes), np.log(means), 1)[0]


@pytest.mark.parametrize("learner", ["svm", "perceptron"])
def test_basis_errors_are_the_closed_form(learner):
    law, n = heavy_light(5, 0.4), 8
    mean, spread = mean_errors(law, learner, [n], 2000)
    masses = [0.6, 0.1, 0.1, 0.1, 0.1]
    expected = basis_mean_error(masses=masses, n=n, miss=1.0)
    assert abs(mean[0] - expected) < 5 * spread[0]
    assert mean[0] <= halfspace_mean_bound(dim=5, n=n)


def test_svm_s_error_is_of_order_d_over_n():
    sizes = (40, 80, 160, 320)
    means, spreads = mean_errors(gaussian(10), "svm", sizes, 256, rows=320)
    assert abs(slope(sizes, means) + 1) <= 0.1
    assert (np.array(sizes) / 10 * (means + 5 * spreads)).max() <= 1


def test_one_step_and_least_squares_are_of_order_root_d_over_n():
    sizes = (80, 160, 320, 640)
    means, spreads = mean_errors(gaussian(10), "one-step", sizes, 1024, rows=640)
    exact = np.array([one_step_mean_error(dim=10, n=n) for n in sizes])
    assert (np.abs(means - exact) < 5 * spreads).all()
    assert abs(slope(sizes, means) + 0.5) <= 0.05
    means, spreads = mean_errors(gaussian(10), "least-squares", sizes, 1024, rows=640)
    expected = np.array([least_squares_error(dim=10, n=n) for n in sizes])
    assert (np.abs(means / expected - 1) < 0.03 + 5 * spreads / expected).all()
    assert abs(slope(sizes, means) + 0.5) <= 0.05


def test_perceptron_s_error_is_of_order_d_over_n():
    sizes = (40, 80, 160)
    means, _ = mean_errors(gaussian(5), "perceptron", sizes, 512, rows=160)
    assert abs(slope(sizes, means) + 1) <= 0.1


def test_the_margin_bound_does_not_feel_the_dimension():
    n, gap = 60, 0.5
    means, spreads = mean_errors(margin(100, gap), "svm", [n], 128)
    assert means[0] + 5 * spreads[0] <= margin_mean_bound(dim=100, radius=1, margin=gap, n=n)


@pytest.mark.slow
@pytest.mark.parametrize("dim", [5, 20, 50])
def test_slopes_in_full(dim):
    sizes = [n for n in (100, 200, 400, 800, 1600) if n >= 4 * dim]
    for learner, exponent, tolerance in (
        ("svm", -1, 0.1),
        ("perceptron", -1, 0.1),
        ("one-step", -0.5, 0.05),
        ("least-squares", -0.5, 0.05),
    ):
        means, spreads = mean_errors(gaussian(dim), learner, sizes, 512, rows=1600)
        assert abs(slope(sizes, means) - exponent) <= tolerance, (learner, means)
        if learner == "svm":
            assert (np.array(sizes) / dim * (means + 5 * spreads)).max() <= 1


# --- Data ----------------------------------------------------------------------------------------


def test_real_data_are_two_standardized_classes_and_a_constant():
    for name, shape in (
        ("digits-3-8", (357, 55)),
        ("breast-cancer", (569, 31)),
        ("wine-0-2", (107, 14)),
        ("iris-1-2", (100, 5)),
    ):
        inputs, labels = real_data(name)
        assert inputs.shape == shape
        assert set(labels.tolist()) == {-1.0, 1.0}
        np.testing.assert_allclose(inputs[:, :-1].mean(axis=0), 0, atol=1e-9)
        np.testing.assert_allclose(inputs[:, :-1].std(axis=0), 1, rtol=1e-9)
        assert (inputs[:, -1] == 1).all()


def test_separability_is_found_out():
    assert separable(*real_data("iris-0-1"))
    assert not separable(*real_data("iris-1-2"))
    with pytest.raises(InputError, match="iris-1-2"):
        real_law("iris-1-2")


def test_svm_separates_a_real_pool_whose_error_it_then_leaves_at_zero():
    inputs, labels = real_data("wine-0-1")
    law = pool("wine", inputs, labels)
    svm = hard_margin_svm(jnp.asarray(inputs), jnp.asarray(labels))
    assert abs(float(svm.gap)) < 1e-9
    assert law.risk(svm.weights.astype(jnp.float32), jnp.zeros(law.dim, jnp.float32)) == 0


def test_trials_of_one_setting_are_compiled_once():
    trial = error_trial(gaussian(3), one_step, 16)
    assert trial is error_trial(gaussian(3), one_step, 16)
    chex.clear_trace_counter()
    traced = chex.assert_max_traces(trial, n=3)  # by eval_shape, jit and vmap of one compilation
    for n in (4, 9, 16):
        run_blocks(traced, key=jax.random.key(0), trials=10, args=(np.int32(n),))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: gaussian(1), "dim"),
        (lambda: margin(3, 1.0), "gap"),
        (lambda: basis((0.5, 0.4)), "masses"),
        (lambda: pool("x", np.ones((3, 2)), np.array([1, 0, 1])), "labels"),
        (lambda: real_data("mnist"), "mnist"),
        (lambda: real_data("iris-0-3"), "classes"),
        (lambda: real_data("digits-4-4"), "classes"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(InputError, match=words):
        call()


def test_no_examples_leave_no_weights():
    x, y = jnp.ones((3, 2), jnp.float32), jnp.zeros(3, jnp.float32)
    for name in ("svm", "perceptron", "least-squares", "one-step"):
        assert not SOLVERS[name](x, y).any(), name
