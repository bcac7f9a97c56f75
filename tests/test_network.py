"""A two-layer network fine-tuned inside the forward pass, against Optax; its certificate."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from constructions import CONSTRUCTIONS, forward
from constructions.learners import network
from icl_sim.transformer import forward as jax_forward
from icl_sim.transformer import load

jitted = jax.jit(jax_forward, static_argnums=0)
d, h, n, m, C = 5, 7, 64, 30, 4


def total_variation(p, q):
    return 0.5 * np.abs(np.asarray(p, np.float64) - np.asarray(q, np.float64)).sum(-1)


def draw(seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n + m, d))
    return {
        "features": x[:n],
        "labels": rng.integers(0, C, n),
        "queries": x[n:],
        "inner": rng.normal(size=(h, d)) / np.sqrt(d),
        "outer": rng.normal(size=(C, h)) / np.sqrt(h),
    }


def laws(theta, x):
    return jax.nn.softmax(jax.nn.relu(x @ theta[0].T) @ theta[1].T)


def fine_tune(problem, optimizer, steps):
    """Genuine SFT in float64 with autodiff: the laws at the queries before and after."""
    x, y = jnp.asarray(problem["features"]), jnp.asarray(problem["labels"])
    theta = (jnp.asarray(problem["inner"]), jnp.asarray(problem["outer"]))

    def loss(theta):
        f = jax.nn.relu(x @ theta[0].T) @ theta[1].T
        return optax.softmax_cross_entropy_with_integer_labels(f, y).mean()

    def step(carry, _):
        theta, state = carry
        updates, state = optimizer.update(jax.grad(loss)(theta), state, theta)
        return (optax.apply_updates(theta, updates), state), None

    (tuned, _), _ = jax.lax.scan(step, (theta, optimizer.init(theta)), length=steps)
    queries = jnp.asarray(problem["queries"])
    return laws(theta, queries), laws(tuned, queries)


@pytest.mark.parametrize(("seed", "decay"), [(0, 0.0), (1, 0.0), (2, 0.01)])
def test_a_forward_pass_is_fifty_momentum_steps_of_optax(seed, decay):
    problem = draw(seed)
    construction = network.network(
        classes=C, features=d, hidden=h, steps=50, learning_rate=0.5, momentum=0.9,
        weight_decay=decay, queries=m, norm=8.0, weight_norm=8.0,
    )  # fmt: skip
    optimizer = optax.chain(
        optax.trace(0.9), optax.add_decayed_weights(decay), optax.scale_by_learning_rate(0.5)
    )
    base, tuned = fine_tune(problem, optimizer, 50)
    assert total_variation(base, tuned).mean() >= 0.2, "the test could not fail"
    assert total_variation(construction.oracle(problem), tuned).max() <= 1e-9
    inputs = construction.encode(problem)
    answer = construction.decode(jitted(construction.spec, construction.params, inputs))
    assert total_variation(answer, tuned).max() <= 5e-6


def test_the_default_in_every_engine_and_at_the_longest_prompt():
    construction = CONSTRUCTIONS["network"](length=40)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(37, 3))
    x /= np.linalg.norm(x, axis=1).max()
    problem = {
        "features": x[:36], "labels": rng.integers(0, 3, 36), "queries": x[36:],
        "inner": rng.normal(size=(4, 3)) / 2.5, "outer": rng.normal(size=(3, 4)) / 2.5,
    }  # fmt: skip
    inputs = construction.encode(problem)
    assert len(inputs) == 40
    bound = construction.certificate.error(length=40)
    assert bound <= 1e-2
    model, params = load(construction)
    for outputs in (
        forward(construction.spec, construction.params, inputs),
        jitted(construction.spec, params, inputs),
        model.apply({"params": params}, inputs),
    ):
        error = total_variation(construction.decode(outputs), construction.oracle(problem)).max()
        assert error <= min(bound, 2e-7)
    longer = problem | {"features": x, "labels": rng.integers(0, 3, 37)}
    with pytest.raises(ValueError, match="length: expected at most 40"):
        construction.encode(longer)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": [0, 3]}, "labels: expected 2 integers from 0 to 2"),
        ({"inner": np.eye(3)}, r"inner: expected shape \[4, 3\], got \[3, 3\]"),
        ({"outer": np.full((3, 4), 2.0)}, "weights of norm up to 2 .certified., got 1 and 6.928"),
        ({"features": 5 * np.eye(3)[:2]}, "features of norm up to 1 and weights .*, got 5 and"),
    ],
)
def test_data_of_the_wrong_shape_is_refused(change, message):
    posed = {
        "features": np.eye(3)[:2], "labels": [0, 2], "queries": np.eye(3)[:1],
        "inner": np.eye(4)[:, :3], "outer": np.eye(4)[:3],
    }  # fmt: skip
    construction = CONSTRUCTIONS["network"]()
    construction.encode(posed)
    with pytest.raises(ValueError, match=message):
        construction.encode(posed | change)


def test_impossible_options_are_refused_with_the_numbers():
    with pytest.raises(ValueError, match="momentum: expected 0 to 0.99.*, got 1"):
        network.network(momentum=1.0)
    with pytest.raises(ValueError, match="hidden: expected 1 to"):
        network.network(hidden=0)
