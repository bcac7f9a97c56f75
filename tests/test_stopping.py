"""Where fine-tuning stops: at the best look, after a number of steps that validation chose."""

from __future__ import annotations

from functools import partial

import jax
import numpy as np
import pytest
from small_base import BASE, COUNTS, SPEC
from tolerances import F32

from icl_sim.data.tasks import empirical_law
from icl_sim.divergence import total_variation
from icl_sim.errors import InputError
from icl_sim.training import (
    Examples,
    TrainConfig,
    context_laws,
    table_examples,
    train,
    train_to_best,
    train_validated,
)


def test_the_oracle_keeps_the_best_look():
    truth = empirical_law(COUNTS, smoothing=3.0)  # lies on the way: the best look is an early one
    config = TrainConfig(steps=60)

    def distance(params):
        return total_variation(context_laws(SPEC, params, 6), truth).mean()

    stopped = train_to_best(
        SPEC,
        BASE,
        table_examples(COUNTS),
        config,
        jax.random.key(0),
        measure=distance,
        every=10,
    )
    assert stopped.curve.shape == (7,)
    best = int(np.argmin(stopped.curve))
    assert 0 < best < 6
    assert int(stopped.step) == 10 * best
    np.testing.assert_allclose(distance(stopped.params), stopped.curve[best], **F32)


def test_validation_refits_on_all_data_for_the_chosen_steps():
    config = TrainConfig(steps=40, learning_rate=2e-2)
    held_out = np.roll(COUNTS, 1, axis=1) // 3
    inputs = table_examples(COUNTS).inputs
    stopped = jax.jit(partial(train_validated, SPEC, config=config, every=5), static_argnames=())(
        BASE, Examples(inputs, COUNTS), Examples(inputs, held_out), key=jax.random.key(0)
    )
    assert int(stopped.step) % 5 == 0
    assert int(stopped.step) == 5 * int(np.argmin(stopped.curve)) < 40
    together = Examples(inputs, COUNTS + held_out)
    same = train(SPEC, BASE, together, config, jax.random.key(0), limit=int(stopped.step))
    for name in BASE:
        np.testing.assert_allclose(stopped.params[name], same.params[name], rtol=1e-4, atol=1e-5)


def test_looks_must_divide_the_steps():
    with pytest.raises(InputError, match="divisor of 40 steps, got 7"):
        train_to_best(
            SPEC,
            BASE,
            table_examples(COUNTS),
            TrainConfig(steps=40),
            jax.random.key(0),
            measure=lambda params: 0.0,
            every=7,
        )
