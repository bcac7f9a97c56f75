"""Regression in context: weights against algorithms, algorithms against what they seek."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.svm import SVC

from constructions import CONSTRUCTIONS, forward
from constructions.learners import least_squares, logistic, newton_schulz
from icl_sim.transformer import forward as jax_forward
from icl_sim.transformer import load

jitted = jax.jit(jax_forward, static_argnums=0)
d, n, m = 5, 40, 9


def regression(seed, noise=0.1):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n + m, d))
    z /= np.linalg.norm(z, axis=1).max()
    y = z[:n] @ rng.normal(size=d) + noise * rng.normal(size=n)
    return {"features": z[:n], "targets": y / np.abs(y).max(), "queries": z[n:]}


def classification(seed, margin=0.0):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(8 * (n + m), d))
    z /= np.linalg.norm(z, axis=1).max()
    direction = rng.normal(size=d)
    direction /= np.linalg.norm(direction)
    z = z[np.abs(z @ direction) >= margin][: n + m]
    signs = np.sign(z[:n] @ direction).astype(int)
    return {"features": z[:n], "labels": signs, "queries": z[n:]}


# Name in the catalog: (options, how to draw a problem, what float32 reaches).
LEARNERS = {
    "least-squares": ({"steps": 100, "learning_rate": 1.0}, regression, 1e-6),
    "ridge": ({"steps": 100, "learning_rate": 1.0}, regression, 3e-7),
    "newton-schulz": ({"penalty": 0.05}, regression, 1e-6),
    "logistic": (
        {"steps": 100, "momentum": 0.9, "weight_decay": 1e-3, "schedule": "cosine"},
        classification,
        3e-7,
    ),
    "normalized-logistic": ({"steps": 60, "learning_rate": 1.0}, classification, 3e-6),
}
names = pytest.mark.parametrize("name", LEARNERS)


def build(name, **changes):
    return CONSTRUCTIONS[name](features=d, queries=m, **(LEARNERS[name][0] | changes))


@names
def test_weights_equal_the_algorithm_in_every_engine(name):
    _, draw, reached = LEARNERS[name]
    construction = build(name)
    model, params = load(construction)
    apply = jax.jit(model.apply)
    for seed in range(2):
        problem = draw(seed)
        inputs = construction.encode(problem)
        expected = construction.oracle(problem)
        assert expected.shape == (m,)
        bound = construction.certificate.error(length=len(inputs))
        for outputs in (
            forward(construction.spec, construction.params, inputs),
            jitted(construction.spec, params, inputs),
            apply({"params": params}, inputs),
        ):
            error = np.abs(construction.decode(outputs) - expected).max()
            assert error <= min(reached, bound)


@names
def test_the_certificate_holds_at_the_longest_prompt_and_refuses_the_next(name):
    changes = {"steps": 6, "length": 200}
    if name == "logistic":
        changes |= {"momentum": 0.0}
    construction = build(name, **changes)
    limit = construction.certificate.limits["length"]
    problem = LEARNERS[name][1](0)
    extra = limit - len(construction.encode(problem))
    target = "targets" if "targets" in problem else "labels"
    problem["features"] = np.resize(problem["features"], (n + extra, d))
    problem[target] = np.resize(problem[target], n + extra)
    inputs = construction.encode(problem)
    assert len(inputs) == limit == 200
    answer = construction.decode(jitted(construction.spec, construction.params, inputs))
    error = np.abs(answer - construction.oracle(problem)).max()
    assert error <= construction.certificate.error(length=limit) <= 0.1
    problem["features"] = np.concatenate([problem["features"], problem["features"][:1]])
    problem[target] = np.concatenate([problem[target], problem[target][:1]])
    with pytest.raises(ValueError, match="length: expected at most 200 .*, got 201"):
        construction.encode(problem)


def test_ridge_reaches_its_estimate_at_the_rate_of_its_condition_number():
    problem = regression(1)
    x, y = problem["features"], problem["targets"]
    A = x.T @ x / n + 0.1 * np.eye(d)
    estimate = np.linalg.solve(A, x.T @ y / n)
    values = np.linalg.eigvalsh(A)
    kappa, reach = values[-1] / values[0], np.linalg.norm(estimate)
    rate = 2 / (values[0] + values[-1])
    for steps in (1, 4, 8, 16):
        ridge = least_squares.ridge(
            features=d, queries=m, steps=steps, learning_rate=min(rate, 2 / 1.1), norm=1.0
        )
        gap = np.abs(ridge.oracle(problem) - problem["queries"] @ estimate).max()
        # A rate capped for the certificate's norm contracts by 1 - rate * least eigenvalue.
        factor = max((kappa - 1) / (kappa + 1), 1 - min(rate, 2 / 1.1) * values[0])
        assert gap <= factor**steps * reach
    newton = newton_schulz.newton_schulz(features=d, queries=m, steps=9)
    assert np.abs(newton.oracle(problem) - problem["queries"] @ estimate).max() <= 1e-12


def test_newton_schulz_doubles_the_correct_digits():
    problem = regression(2)
    x, y = problem["features"], problem["targets"]
    A = x.T @ x / n + 0.1 * np.eye(d)
    truth = problem["queries"] @ np.linalg.solve(A, x.T @ y / n)
    gaps = []
    for steps in range(1, 9):
        newton = newton_schulz.newton_schulz(features=d, queries=m, steps=steps)
        answer = newton.decode(forward(newton.spec, newton.params, newton.encode(problem)))
        gaps.append(np.abs(answer - truth).max())
    largest = 1 - 0.1 / 1.1
    reach = np.linalg.norm(np.linalg.solve(A, x.T @ y / n))
    for steps, gap in enumerate(gaps, start=1):
        assert gap <= largest ** (2**steps) * reach + 1e-7
    assert gaps[-1] <= 1e-7
    assert gaps[-3] < 10 * gaps[-4] ** 2 < gaps[-4] / 10


def test_least_squares_without_noise_finds_the_weights():
    problem = regression(3, noise=0.0)
    w = np.linalg.lstsq(problem["features"], problem["targets"], rcond=None)[0]
    descent = least_squares.least_squares(
        features=d, queries=m, steps=3000, learning_rate=2.0, norm=1.0
    )
    answer = descent.decode(jitted(descent.spec, descent.params, descent.encode(problem)))
    np.testing.assert_allclose(answer, problem["queries"] @ w, atol=1e-5)


def test_logistic_equals_optax():
    problem = classification(5)
    construction = build("logistic")
    x, y = jnp.asarray(problem["features"]), jnp.asarray((problem["labels"] + 1) / 2)
    optimizer = optax.chain(
        optax.trace(0.9),
        optax.add_decayed_weights(1e-3),
        optax.scale_by_learning_rate(optax.cosine_decay_schedule(1.0, 100)),
    )

    @jax.jit
    def step(w, state):
        loss = lambda w: optax.sigmoid_binary_cross_entropy(x @ w, y).mean()
        updates, state = optimizer.update(jax.grad(loss)(w), state, w)
        return optax.apply_updates(w, updates), state

    w = jnp.zeros(d)
    state = optimizer.init(w)
    for _ in range(100):
        w, state = step(w, state)
    tuned = jax.nn.sigmoid(jnp.asarray(problem["queries"]) @ w)
    inputs = construction.encode(problem)
    answer = construction.decode(jitted(construction.spec, construction.params, inputs))
    assert np.abs(tuned - 0.5).max() >= 0.3, "the test could not fail"
    assert np.abs(answer - tuned).max() <= 1e-6


@pytest.mark.slow
def test_the_normalized_form_tends_to_the_hard_margin_direction():
    problem = classification(6, margin=0.1)
    machine = SVC(kernel="linear", C=1e6).fit(problem["features"], problem["labels"])
    # Without an intercept: mirror the data, which leaves the separators through 0.
    x, y = problem["features"], problem["labels"]
    machine.fit(np.concatenate([x, -x]), np.concatenate([y, -y]))
    direction = machine.coef_[0] / np.linalg.norm(machine.coef_)
    margin = (y * (x @ direction)).min()
    reached = []
    for steps in (30, 300, 3000):
        construction = logistic.normalized_logistic(
            features=d, queries=d, steps=steps, learning_rate=1.0
        )
        posed = problem | {"queries": np.eye(d)}
        inputs = construction.encode(posed)
        w = construction.decode(jitted(construction.spec, construction.params, inputs))
        reached.append((y * (x @ w)).min() / np.linalg.norm(w) / margin)
    assert reached[0] < reached[1] < reached[2] <= 1 + 1e-6
    assert reached[2] >= 0.99


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "least-squares",
            {"learning_rate": 3.0},
            "or descent diverges on some prompts, got 3 .1.2 . 0. = 3: a_posteriori=True builds",
        ),
        ("least-squares", {"steps": 0}, "steps: expected at least 1, got 0"),
        ("least-squares", {"penalty": -0.1}, "penalty: expected a finite number >= 0, got -0.1"),
        ("ridge", {"penalty": 0.0}, "penalty: expected a finite number > 0"),
        ("newton-schulz", {"penalty": 1e-7}, "float32 may err by .* raise the penalty"),
        ("newton-schulz", {"penalty": -1.0}, "penalty: expected a finite number > 0"),
        ("logistic", {"momentum": 1.5}, "momentum: expected 0 to"),
        ("normalized-logistic", {"learning_rate": 0.0}, "learning_rate: expected 0 <"),
        ("normalized-logistic", {"steps": 30000}, "where the mask of 16384 does not hide"),
        ("normalized-logistic", {"norm": 0.0}, "norm: expected 2.-20 to 2.20"),
    ],
)
def test_impossible_options_are_refused_with_the_numbers(name, options, message):
    with pytest.raises(ValueError, match=message):
        CONSTRUCTIONS[name](**options)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("ridge", {"features": np.eye(3)}, r"features: expected shape \[n, 4\], got \[3, 3\]"),
        ("ridge", {"targets": [1.0]}, r"targets: expected shape \[4\], got \[1\]"),
        ("ridge", {"targets": [1.0, 0, 0, 2]}, "up to 1 .certified., got 1 and 2"),
        ("ridge", {"weights": [1.0, 0, 0, 2]}, "weights: expected numbers >= 0 of sum <= 1"),
        ("newton-schulz", {"queries": np.eye(4)}, r"queries: expected shape \[1, 4\]"),
        ("logistic", {"labels": [0, 1, 1, 1]}, r"labels: expected \[n\] of -1 and \+1"),
        ("normalized-logistic", {"labels": [1, 1]}, r"labels: expected shape \[4\], got \[2\]"),
        ("normalized-logistic", {"features": 3 * np.eye(4)}, "norms up to 1 .certified., got"),
    ],
)
def test_data_of_the_wrong_shape_is_refused(name, change, message):
    posed = {"features": np.eye(4), "queries": np.eye(4)[:1]}
    posed |= {"targets": np.ones(4)} if name in ("ridge", "newton-schulz") else {"labels": [1] * 4}
    construction = CONSTRUCTIONS[name]()
    construction.encode(posed)
    with pytest.raises(ValueError, match=message):
        construction.encode(posed | change)


SIZES = {5: (50, 100, 200, 400), 20: (100, 200, 400, 800)}


@pytest.mark.slow
@pytest.mark.parametrize("dim", SIZES)
@pytest.mark.parametrize("steps", [1, 150])
def test_errors_on_a_halfspace_fall_as_one_over_the_root_of_n(steps, dim):
    """Statistical: one step, and least squares on the labels, through the weights."""
    replicates, means = 24, []
    for size in SIZES[dim]:
        rng = np.random.default_rng([3, dim, size])
        built = least_squares.least_squares(
            features=dim, queries=dim, steps=steps, learning_rate=1.9, length=size + dim
        )
        errors = []
        for _ in range(replicates):
            x, target = rng.normal(size=(size, dim)), rng.normal(size=dim)
            posed = {
                "features": x / np.linalg.norm(x, axis=1).max(),
                "targets": np.sign(x @ target),
                "queries": np.eye(dim),
            }
            w = built.decode(jitted(built.spec, built.params, built.encode(posed)))
            cosine = w @ target / np.linalg.norm(w) / np.linalg.norm(target)
            errors.append(np.arccos(min(cosine, 1)) / np.pi)
        means.append(np.mean(errors))
    slope = np.polyfit(np.log(SIZES[dim]), np.log(means), 1)[0]
    assert -0.6 <= slope <= -0.4
