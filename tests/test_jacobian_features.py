"""Full fine-tuning, linearized at the base: in the forward pass, and by Optax."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from constructions import Layer, TransformerSpec
from constructions.learners import softmax_head
from icl_sim.transformer import Transformer, init, jacobian_features
from icl_sim.transformer import forward as jax_forward


def total_variation(p, q):
    return 0.5 * np.abs(np.asarray(p, np.float64) - np.asarray(q, np.float64)).sum(-1)


@pytest.mark.slow
def test_linearized_full_fine_tuning():
    layer = Layer(heads=1, key_size=4, value_size=4, hidden=16, gate="silu", scale=0.5)
    spec = TransformerSpec(11, 12, 3, norm="rms", layers=(layer,))
    params = init(Transformer(spec), jax.random.key(1))
    rng = np.random.default_rng(3)
    prompts = rng.integers(0, spec.input_size, (20, 5))
    labels = rng.integers(0, 3, 12)
    names = ("layer_0.w_gate", "w_out")
    logits, jacobian = jacobian_features(spec, params, prompts, names)
    norm = float(jnp.sqrt((jacobian**2).sum((1, 2))).max())
    construction = softmax_head.softmax_head(
        classes=3,
        features=jacobian.shape[-1],
        steps=30,
        learning_rate=0.02,
        queries=8,
        norm=norm,
        jacobian=True,
    )
    posed = {
        "features": jacobian[:12],
        "queries": jacobian[12:],
        "logits": logits,
        "labels": labels,
    }
    inputs = construction.encode(posed)
    answer = construction.decode(jax_forward(construction.spec, construction.params, inputs))

    # The linearized model, fine-tuned by Optax through a Jacobian-vector product.
    def fine_tune(model):
        theta = {name: params[name] for name in names}
        optimizer = optax.sgd(0.02)
        state = optimizer.init(theta)

        @jax.jit
        def step(theta, state):
            def loss(theta):
                z = model(theta)[:12]
                return optax.softmax_cross_entropy_with_integer_labels(z, labels).mean()

            updates, state = optimizer.update(jax.grad(loss)(theta), state)
            return optax.apply_updates(theta, updates), state

        for _ in range(30):
            theta, state = step(theta, state)
        return jax.nn.softmax(model(theta)[12:])

    def full(theta):
        return jax_forward(spec, {**params, **theta}, prompts)[:, -1]

    start = {name: params[name] for name in names}

    def linear(theta):
        change = {name: theta[name] - start[name] for name in names}
        value, derivative = jax.jvp(full, (start,), (change,))
        return value + derivative

    tuned, linearized = fine_tune(full), fine_tune(linear)
    base = jax.nn.softmax(logits[12:])
    moved = total_variation(base, tuned).mean()
    assert moved >= 0.1
    assert total_variation(answer, linearized).max() <= 2e-6
    gap = total_variation(answer, tuned).mean()
    assert 1e-4 < gap < moved / 4, "curvature is there, and smaller than what was learnt"
