"""Copies trained side by side: each as if alone, in any chunks, stopped and resumed."""

from __future__ import annotations

from functools import partial

import jax
import numpy as np
import pytest
from small_base import BASE, COUNTS, MODEL, SPEC
from tolerances import F32

from icl_sim.data.tasks import empirical_law
from icl_sim.divergence import total_variation
from icl_sim.storage.checkpoints import Checkpoints
from icl_sim.training import (
    Examples,
    TrainConfig,
    context_laws,
    fine_tune,
    fine_tune_copies,
    table_examples,
)


@pytest.mark.parametrize(("adapt", "batch"), [("full", None), ("lora", 8)])
def test_copies_in_one_jit_equal_single_runs(adapt, batch):
    config = TrainConfig(steps=11, adapt=adapt, batch=batch, learning_rate=5e-3)
    counts = np.stack([COUNTS, COUNTS[::-1], np.zeros_like(COUNTS)])
    keys = jax.random.split(jax.random.key(3), 3)
    inputs = np.broadcast_to(np.arange(6, dtype=np.int32)[:, None], (3, 6, 1))
    calls = []
    copies = fine_tune_copies(
        MODEL,
        BASE,
        Examples(inputs, counts),
        config=config,
        keys=keys,
        chunk=4,
        progress=lambda *call: calls.append(call),
    )
    assert [call[1:] for call in calls] == [(4, 11), (8, 11), (11, 11)]
    assert calls[0][0].startswith("fine-tuning, loss ")
    assert copies.losses.shape == (3, 11)
    for r in range(3):
        single = fine_tune(MODEL, BASE, table_examples(counts[r]), config=config, key=keys[r])
        for name in BASE:
            np.testing.assert_allclose(copies.params[name][r], single[name], rtol=1e-4, atol=1e-5)


def distance_to(params, law):
    return total_variation(context_laws(SPEC, params, 6), law).mean()[None]


def test_a_stopped_run_of_copies_goes_on_to_the_same_bits(tmp_path):
    config = TrainConfig(steps=12, batch=8)
    examples = Examples(*(np.asarray(field)[None] for field in table_examples(COUNTS)))
    tune = partial(
        fine_tune_copies,
        MODEL,
        BASE,
        examples,
        config=config,
        keys=jax.random.split(jax.random.key(3), 1),
        chunk=5,
        measure=distance_to,
        targets=empirical_law(examples.counts),
    )
    whole = tune()

    def stop(label, done, total):
        if done == 10:
            raise KeyboardInterrupt

    with Checkpoints(tmp_path / "c", config={}) as checkpoints, pytest.raises(KeyboardInterrupt):
        tune(checkpoints=checkpoints, progress=stop)
    done = []
    with Checkpoints(tmp_path / "c", config={}) as checkpoints:
        resumed = tune(checkpoints=checkpoints, progress=lambda *call: done.append(call[1]))
    assert done == [12]
    for one, two in zip(jax.tree.leaves(whole), jax.tree.leaves(resumed), strict=True):
        np.testing.assert_array_equal(one, two)


def test_chunks_do_not_change_the_bits():
    config = TrainConfig(steps=12, batch=8)
    examples = Examples(*(np.asarray(field)[None] for field in table_examples(COUNTS)))
    keys = jax.random.split(jax.random.key(3), 1)
    targets = empirical_law(examples.counts)
    whole, parts = (
        fine_tune_copies(
            MODEL,
            BASE,
            examples,
            config=config,
            keys=keys,
            chunk=chunk,
            measure=distance_to,
            targets=targets,
        )
        for chunk in (12, 5)
    )
    assert whole.looks.shape == (1, 2, 1)
    assert parts.looks.shape == (1, 4, 1)
    np.testing.assert_array_equal(whole.looks[:, [0, -1]], parts.looks[:, [0, -1]])
    tuned = context_laws(SPEC, {name: leaf[0] for name, leaf in whole.params.items()}, 6)
    np.testing.assert_allclose(
        whole.looks[0, -1, 0], total_variation(tuned, targets[0]).mean(), **F32
    )
    for name in BASE:
        np.testing.assert_array_equal(whole.params[name], parts.params[name])
    np.testing.assert_array_equal(whole.losses, parts.losses)


def test_copies_without_a_measure_are_checkpointed_too(tmp_path):
    examples = Examples(*(np.stack([field] * 2) for field in table_examples(COUNTS)))
    options = {"config": TrainConfig(steps=4), "chunk": 2}

    def run(checkpoints=None):
        keys = jax.random.split(jax.random.key(3), 2)
        return fine_tune_copies(
            MODEL, BASE, examples, keys=keys, checkpoints=checkpoints, **options
        )

    for _ in range(2):  # the second time from the last checkpoint
        with Checkpoints(tmp_path / "c", config={}) as checkpoints:
            found = run(checkpoints)
        assert found.looks.shape == (2, 3, 0)
        for name, leaf in run().params.items():
            np.testing.assert_array_equal(found.params[name], leaf)
