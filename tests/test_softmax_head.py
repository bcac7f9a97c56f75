"""SFT inside the forward pass: the weights against Optax, their certificate, other masks and forms.

All of this is 'weights against algorithm' and deterministic; what the algorithm itself is worth
against the truth is the subject of the claims.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from constructions import CONSTRUCTIONS, forward
from constructions.learners import softmax_head
from icl_sim.training.base_model import load_base
from icl_sim.transformer import forward as jax_forward
from icl_sim.transformer import head_features

jitted = jax.jit(jax_forward, static_argnums=0)
STEPS, n, m, C, d = 100, 48, 16, 16, 64


def total_variation(p, q):
    return 0.5 * np.abs(np.asarray(p, np.float64) - np.asarray(q, np.float64)).sum(-1)


def run(construction, problem, engine=jitted):
    inputs = construction.encode(problem)
    return construction.decode(engine(construction.spec, construction.params, inputs))


@pytest.fixture(scope="module")
def problem():
    """Frozen features of the shipped base; labels that its head does not know."""
    base = load_base()
    rng = np.random.default_rng(8)
    prompts = rng.integers(0, base.spec.input_size, (n + m, 7))
    z = np.asarray(head_features(base.spec, base.params, prompts), np.float64)
    scale = np.linalg.norm(z, axis=1).max()
    labels = (z[:n] @ rng.normal(size=(d, C))).argmax(1)
    return {
        "features": z[:n] / scale,
        "labels": labels,
        "queries": z[n:] / scale,
        "head": np.asarray(base.params["w_out"], np.float64) * scale,
    }


RECIPES = {
    "sgd": ({"learning_rate": 0.5}, None, lambda rate: optax.sgd(rate)),
    "momentum": (
        {"learning_rate": 0.1, "momentum": 0.9},
        None,
        lambda rate: optax.sgd(rate, momentum=0.9),
    ),
    "momentum, decay, cosine": (
        {"learning_rate": 0.2, "momentum": 0.9, "weight_decay": 0.01, "schedule": "cosine"},
        None,
        lambda rate: optax.chain(
            optax.trace(0.9), optax.add_decayed_weights(0.01), optax.scale_by_learning_rate(rate)
        ),
    ),
    "decay before momentum, linear": (
        {
            "learning_rate": 0.2,
            "momentum": 0.9,
            "weight_decay": 0.01,
            "decoupled": False,
            "schedule": "linear",
        },
        None,
        lambda rate: optax.chain(optax.add_decayed_weights(0.01), optax.sgd(rate, momentum=0.9)),
    ),
    "everything at once, mini-batches": (
        {
            "learning_rate": 0.2,
            "momentum": 0.9,
            "weight_decay": 0.01,
            "schedule": "cosine",
            "batches": 5,
        },
        np.arange(n) * 7 % 5,
        lambda rate: optax.chain(
            optax.trace(0.9), optax.add_decayed_weights(0.01), optax.scale_by_learning_rate(rate)
        ),
    ),
}


def optax_laws(problem, options, batch, transformation):
    """Laws at the queries after genuine SFT of the head in float64."""
    schedules = {
        "constant": optax.constant_schedule,
        "cosine": lambda rate: optax.cosine_decay_schedule(rate, STEPS),
        "linear": lambda rate: optax.linear_schedule(rate, 0.0, STEPS),
    }
    rate = schedules[options.get("schedule", "constant")](options["learning_rate"])
    optimizer = transformation(rate)
    x, y = jnp.asarray(problem["features"]), jnp.asarray(problem["labels"])
    masks = np.ones((1, n)) if batch is None else np.arange(batch.max() + 1)[:, None] == batch
    masks = jnp.asarray(masks, jnp.float64)

    def loss(W, mask):
        each = optax.softmax_cross_entropy_with_integer_labels(x @ W, y)
        return (mask * each).sum() / mask.sum()

    def step(carry, mask):
        W, state = carry
        updates, state = optimizer.update(jax.grad(loss)(W, mask), state, W)
        return (optax.apply_updates(W, updates), state), None

    W = jnp.asarray(problem["head"])
    order = masks[jnp.arange(STEPS) % len(masks)]
    (W, _), _ = jax.lax.scan(step, (W, optimizer.init(W)), order)
    return jax.nn.softmax(jnp.asarray(problem["queries"]) @ W)


@pytest.mark.parametrize("name", RECIPES)
def test_a_forward_pass_is_a_hundred_steps_of_optax(name, problem):
    options, batch, transformation = RECIPES[name]
    construction = softmax_head.softmax_head(
        classes=C, features=d, steps=STEPS, queries=m, norm=1.0, **options
    )
    posed = problem if batch is None else problem | {"batch": batch}
    tuned = optax_laws(problem, options, batch, transformation)
    base = jax.nn.softmax(jnp.asarray(problem["queries"] @ problem["head"]))
    assert total_variation(base, tuned).mean() >= 0.2, "the test could not fail"
    # Optax takes its schedules in float32.
    same = 1e-8 if "schedule" in options else 1e-12
    assert total_variation(construction.oracle(posed), tuned).max() <= same
    assert total_variation(run(construction, posed), tuned).max() <= 1e-6
    exact = run(construction, posed, forward)
    # Weights and inputs are rounded to float32; the arithmetic is not.
    assert total_variation(exact, tuned).max() <= 2e-7


def test_example_weights_soft_labels_and_given_logits(problem):
    rng = np.random.default_rng(0)
    labels = rng.dirichlet(np.ones(C), n)
    weights = rng.dirichlet(np.ones(n))
    logits = np.concatenate([problem["features"], problem["queries"]]) @ problem["head"]
    posed = {k: problem[k] for k in ("features", "queries")}
    posed |= {"labels": labels, "weights": weights, "logits": logits}
    construction = softmax_head.softmax_head(
        classes=C, features=d, queries=m, norm=1.0, learning_rate=1.0, weight_decay=0.1
    )
    with_head = {k: v for k, v in posed.items() if k != "logits"} | {"head": problem["head"]}
    expected = construction.oracle(posed)
    np.testing.assert_allclose(construction.oracle(with_head), expected, rtol=1e-12)
    assert total_variation(run(construction, posed), expected).max() <= 2e-7
    # Weight n_i on one row is the same as n_i rows.
    counts = rng.integers(1, 4, n)
    shared = posed | {"weights": counts / counts.sum()}
    repeated = dict(posed)
    del repeated["weights"]
    repeated |= {k: np.repeat(posed[k], counts, 0) for k in ("features", "labels")}
    repeated["logits"] = np.concatenate([np.repeat(logits[:n], counts, 0), logits[n:]])
    assert total_variation(run(construction, repeated), run(construction, shared)).max() <= 2e-7


def test_error_falls_with_the_square_of_the_temperature_to_its_floor(problem):
    temperatures = np.array([0.4, 0.2, 0.1, 0.05])

    def worst(temperature, engine):
        construction = softmax_head.softmax_only(
            temperature=temperature, classes=C, features=d, steps=25, queries=m, norm=1.0
        )
        answer = run(construction, problem, engine)
        return total_variation(answer, construction.oracle(problem)).max()

    errors = [worst(eps, forward) for eps in temperatures]
    slope = np.polyfit(np.log(temperatures), np.log(errors), 1)[0]
    assert 1.9 <= slope <= 2.1
    floor = worst(0.01, jitted)
    assert floor <= 1e-5
    assert worst(1e-4, jitted) > 3 * floor, "rounding over temperature"


def test_with_one_causal_copy_of_the_data_it_is_another_algorithm(problem):
    one = {**problem, "queries": problem["queries"][:1]}
    construction = softmax_head.softmax_head(classes=C, features=d, steps=STEPS, norm=1.0)
    layers = tuple(dataclasses.replace(x, mask="causal") for x in construction.spec.layers)
    causal = dataclasses.replace(construction.spec, layers=layers)
    inputs = construction.encode(one)
    answer = construction.decode(jitted(causal, construction.params, inputs))
    difference = total_variation(answer, construction.oracle(one)).max()
    assert difference >= 5e-3
    assert total_variation(run(construction, one), construction.oracle(one)).max() <= 1e-6


def test_causal_with_a_copy_of_the_data_a_step_is_exact(problem):
    construction = softmax_head.softmax_head(
        classes=C, features=d, steps=6, queries=m, norm=1.0, mask="causal", batches=2
    )
    posed = problem | {"batch": np.arange(n) % 2}
    answer = run(construction, posed)
    assert total_variation(answer, construction.oracle(posed)).max() <= 2e-7
    base = jax.nn.softmax(jnp.asarray(problem["queries"] @ problem["head"]))
    assert total_variation(base, answer).max() > 0.05


def test_the_certificate_bounds_the_error_at_the_longest_prompt(problem):
    construction = softmax_head.softmax_head(
        classes=C, features=d, queries=m, norm=1.0, length=C + n + m
    )
    inputs = construction.encode(problem)
    assert len(inputs) == construction.certificate.limits["length"]
    error = total_variation(run(construction, problem), construction.oracle(problem)).max()
    assert error <= construction.certificate.error(length=len(inputs)) <= 1e-3
    longer = {key: problem[key] for key in ("queries", "head")}
    longer |= {
        key: np.concatenate([problem[key], problem[key][:1]]) for key in ("features", "labels")
    }
    with pytest.raises(ValueError, match=f"length: expected at most {C + n + m}"):
        construction.encode(longer)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("least-squares", {}),
        ("ridge", {}),
        ("newton-schulz", {}),
        ("logistic", {}),
        ("normalized-logistic", {}),
        ("network", {"weight_decay": 0.1}),
        ("softmax-head", {}),
        ("softmax-head", {"steps": 3, "schedule": "cosine", "momentum": 0.5, "batches": 2}),
        ("softmax-head-softmax-only", {}),
    ],
)
def test_every_small_change_of_a_weight_in_use_is_refused(name, options):
    construction = CONSTRUCTIONS[name](**options)
    construction.certify(construction.spec, construction.params)
    rng = np.random.default_rng(0)
    for leaf, weights in construction.params.items():
        for where in rng.permutation(np.argwhere(weights != 0))[:3]:
            params = {key: value.copy() for key, value in construction.params.items()}
            params[leaf][tuple(where)] *= np.float32(1 + 2.0**-20)
            with pytest.raises(ValueError, match=f"{name}: .*expected"):
                construction.certify(construction.spec, params)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": 1}, "classes: expected at least 2, got 1"),
        ({"schedule": "step"}, "schedule: expected one of constant, cosine, linear"),
        ({"momentum": 1.0}, "momentum: expected 0 to"),
        ({"learning_rate": float("nan")}, "rates: expected at least one, all finite"),
        ({"learning_rate": [0.1, 0.2]}, "learning_rate: expected a number, or 10"),
        ({"mask": "causal", "temperature": 0.1}, "reflected tokens need the prefix mask"),
        ({"temperature": 1e-5, "length": 4096}, "a gradient of size 1 may err by"),
        ({"dtype": "bfloat16"}, "bfloat16, linear heads: at norm 1 and length 512 a gradient"),
        ({"dtype": "tf32", "temperature": 0.01}, "tf32, temperature 0.01: at norm 1"),
        ({"dtype": "int8"}, "dtype: expected one of float64, float32"),
        ({"temperature": 50.0}, "a gradient of size 1 may err by inf"),
        ({"learning_rate": 1e4}, "does not hide the other tokens"),
        ({"jacobian": True, "weight_decay": 0.1}, "jacobian: expected linear heads and no weight"),
    ],
)
def test_impossible_options_are_refused_with_the_numbers(options, message):
    with pytest.raises(ValueError, match=message):
        softmax_head.softmax_head(**options)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": np.eye(7)[:4]}, r"features: expected shape \[n, 8\], got \[4, 7\]"),
        ({"queries": np.eye(8)[:2]}, r"queries: expected shape \[1, 8\], got \[2, 8\]"),
        ({"features": 2 * np.eye(8)[:4]}, "norms up to 1 .certified., got 2: build with norm=2"),
        ({"labels": [0, 1, 2, 4]}, "labels: expected 4 integers from 0 to 3"),
        ({"labels": [0, 1, 2]}, "labels: expected 4 integers"),
        ({"weights": [1, 1, 1, 1]}, "weights: expected numbers >= 0 of sum <= 1"),
        (
            {"batch": [0, 0, 1, 1]},
            "batch: expected 4 integers that name each of the batches 0 to 0",
        ),
        ({"head": np.full((8, 4), 20.0)}, "logits: expected -16 to 16 at the start"),
        ({"features": np.full((4, 8), np.nan)}, "features: expected finite numbers"),
    ],
)
def test_data_of_the_wrong_shape_is_refused(change, message):
    posed = {"features": np.eye(8)[:4], "labels": [0, 1, 2, 3], "queries": np.eye(8)[:1]}
    construction = CONSTRUCTIONS["softmax-head"]()
    construction.encode(posed)
    with pytest.raises(ValueError, match=message):
        construction.encode(posed | change)


@pytest.mark.parametrize("decoupled", [True, False])
def test_nesterov_in_a_forward_pass_is_optax(decoupled):
    rng = np.random.default_rng(0)
    z = rng.normal(size=(14, 5))
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    posed = {"features": z[:10], "labels": np.arange(10) % 3, "queries": z[10:]}
    built, plain = (
        softmax_head.softmax_head(
            classes=3, features=5, steps=9, learning_rate=0.7, schedule="cosine", momentum=0.8,
            weight_decay=0.05, decoupled=decoupled, queries=4, norm=1.01, nesterov=nesterov,
        )
        for nesterov in (True, False)
    )  # fmt: skip
    parts = [optax.trace(0.8, nesterov=True), optax.add_decayed_weights(0.05)]
    rate = optax.scale_by_learning_rate(optax.cosine_decay_schedule(0.7, 9))
    optimizer = optax.chain(*(parts if decoupled else parts[::-1]), rate)

    def loss(W):
        logits = jnp.asarray(posed["features"]) @ W
        labels = jnp.asarray(posed["labels"])
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    W = jnp.zeros((5, 3))
    state = optimizer.init(W)
    for _ in range(9):
        updates, state = optimizer.update(jax.grad(loss)(W), state, W)
        W = optax.apply_updates(W, updates)
    tuned = jax.nn.softmax(jnp.asarray(posed["queries"]) @ W)
    assert total_variation(built.oracle(posed), tuned).max() <= 1e-8  # its rates are float32
    assert total_variation(run(built, posed, forward), tuned).max() <= 2e-7
    assert total_variation(run(plain, posed, forward), tuned).max() >= 1e-2
    assert total_variation(run(built, posed), built.oracle(posed)).max() <= built.bound(posed)
