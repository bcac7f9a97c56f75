"""Fine-tuning on prompts and completions: the loss, what moves, the same bits, checkpoints."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import LLAMA_LAYER

from constructions.spec import TransformerSpec
from icl_sim.errors import InputError
from icl_sim.execution.trials import device_mesh
from icl_sim.storage.checkpoints import Checkpoints
from icl_sim.training import TrainConfig
from icl_sim.training.adapters import merge, trainable
from icl_sim.training.completions import Completions, completion_loss, completions
from icl_sim.training.sequence_tuning import score, tune_sequences
from icl_sim.transformer import FAST, HALF, Transformer, forward, init, stack_layers

V = 5
SPEC = TransformerSpec(2 * V, 16, 2 * V, (LLAMA_LAYER, LLAMA_LAYER), norm="rms")
MODEL = Transformer(SPEC)
PARAMS = init(MODEL, jax.random.key(0))
# The sum of two digits: it depends on an earlier token than the last.
SUMS = [([a, b], [V + (a + b) % V]) for a in range(V) for b in range(V)]
RAGGED = [([1], [7, 2]), ([3, 4, 0, 2], [9]), ([2, 1], [5, 6, 8])]


def by_hand(params, pairs):
    """Cross-entropy of every completion token, sequence by sequence."""
    total = 0.0
    for prompt, completion in pairs:
        tokens = np.array([*prompt, *completion])
        logs = jax.nn.log_softmax(forward(SPEC, params, tokens), axis=-1)
        for t in range(len(prompt), len(tokens)):
            total -= float(logs[t - 1, tokens[t]])
    return total


# Compiled: operation by operation it takes ten times as long.
loss_on = jax.jit(partial(completion_loss, SPEC))


def gradient_on(rows):
    return jax.jit(jax.grad(lambda params: loss_on(params, rows)[0]))(PARAMS)


@pytest.mark.parametrize("arguments", [{}, {"length": 9}, {"pack": True, "length": 9}])
def test_the_loss_is_that_of_the_completions_alone(arguments):
    rows = completions(RAGGED, **arguments)
    total, weight = loss_on(PARAMS, rows)
    assert float(weight) == 6
    np.testing.assert_allclose(total, by_hand(PARAMS, RAGGED), rtol=1e-5)
    # What a wrong loss would give: on all tokens, or of the token itself.
    everywhere = rows._replace(weights=np.ones_like(rows.weights))
    unshifted = rows._replace(weights=np.roll(rows.weights, 1, axis=1))
    for wrong in (everywhere, unshifted):
        assert abs(float(loss_on(PARAMS, wrong)[0]) - float(total)) > 0.1


def test_packed_sequences_do_not_see_each_other():
    rows = completions(RAGGED, pack=True, length=9)
    assert rows.tokens.shape == (2, 9)
    mixed = rows._replace(segments=np.ones_like(rows.segments))
    assert abs(float(loss_on(PARAMS, mixed)[0]) - by_hand(PARAMS, RAGGED)) > 1e-3


def test_sequences_that_fill_a_row_exactly_share_it():
    assert completions([([1], [2]), ([3], [4])], pack=True, length=4).tokens.shape == (1, 4)


def test_no_gradient_comes_from_what_fills_a_row_up():
    rows = completions(RAGGED, length=9)
    noise = np.where(rows.segments == 0, 3, rows.tokens)
    gradients = [gradient_on(r) for r in (rows, rows._replace(tokens=noise))]
    for name, leaf in gradients[0].items():
        np.testing.assert_allclose(leaf, gradients[1][name], rtol=1e-5, atol=1e-6, err_msg=name)


def test_every_leaf_moves_and_the_task_is_learned():
    config = TrainConfig(learning_rate=1e-2, steps=200, warmup=10)
    rows = completions(SUMS)
    tuned = tune_sequences(MODEL, PARAMS, rows, config=config, key=jax.random.key(1))
    assert tuned.best == 200
    assert tuned.losses[-1] < 0.05 < tuned.losses[0]
    logs, right = score(MODEL, tuned.params, rows)
    assert right.all()
    np.testing.assert_allclose(-logs.sum(), by_hand(tuned.params, SUMS), rtol=1e-3)
    for name, leaf in PARAMS.items():
        assert np.abs(tuned.params[name] - leaf).max() > 1e-4, name


def test_a_one_token_prompt_moves_no_query_but_these_do():
    rows = completions([([a], [V + a]) for a in range(V)])
    gradient = gradient_on(rows)
    assert np.abs(gradient["layer_0.w_q"]).max() < 1e-6
    gradient = gradient_on(completions(SUMS))
    assert np.abs(gradient["layer_0.w_q"]).max() > 1e-4


@pytest.mark.parametrize("stacked", [False, True])
def test_thin_factors_give_what_the_merged_weights_give(stacked):
    base = stack_layers(SPEC, PARAMS) if stacked else PARAMS
    config = TrainConfig(adapt="lora", rank=2)
    leaves = trainable(base, config, jax.random.key(2))
    for i, (name, leaf) in enumerate(leaves.items()):
        leaves[name] = jax.random.normal(jax.random.key(i), leaf.shape, leaf.dtype)
    merged = forward(SPEC, merge(base, leaves, config), np.array([1, 2, 3]), how=FAST)
    thin = forward(SPEC, {**base, **leaves}, np.array([1, 2, 3]), how=FAST)
    np.testing.assert_allclose(thin, merged, rtol=1e-4, atol=1e-4)
    assert not np.allclose(merged, forward(SPEC, PARAMS, np.array([1, 2, 3])))


def test_chosen_leaves_alone_move():
    config = TrainConfig(learning_rate=1e-2, steps=3, adapt="lora", rank=2, leaves=("w_q", "w_v"))
    tuned = tune_sequences(MODEL, PARAMS, completions(SUMS), config=config, key=jax.random.key(1))
    moved = {n for n, leaf in PARAMS.items() if not np.array_equal(tuned.params[n], leaf)}
    assert moved == {f"layer_{i}.{kind}" for i in (0, 1) for kind in ("w_q", "w_v")}
    bad = replace(config, leaves=("w_x",))
    with pytest.raises(InputError, match="leaves: expected some of w_down"):
        tune_sequences(MODEL, PARAMS, completions(SUMS), config=bad, key=jax.random.key(1))


@pytest.mark.slow
def test_half_precision_computes_and_float32_is_kept():
    full, half = tune(parts=1), tune(parts=1, how=HALF)
    assert all(leaf.dtype == jnp.float32 for leaf in half.params.values())
    np.testing.assert_allclose(half.losses, full.losses, rtol=3e-2)
    # The masters move by less than bfloat16 can tell.
    changes = np.abs(half.params["layer_0.w_up"] - PARAMS["layer_0.w_up"])
    assert 0 < np.median(changes) < 0.1
    assert not np.array_equal(half.losses, full.losses)


def test_decay_of_matrices_leaves_gains_alone():
    config = TrainConfig(
        learning_rate=1e-3, steps=1, schedule="constant", weight_decay=1.0, decay="matrices"
    )
    shrunk = config.transformation().update(
        jax.tree.map(jnp.zeros_like, PARAMS), config.transformation().init(PARAMS), PARAMS
    )[0]
    moved = {name for name, leaf in shrunk.items() if np.abs(leaf).max() > 0}
    assert moved == {n for n in PARAMS if "norm" not in n}


def tune(**more):
    config = TrainConfig(learning_rate=1e-2, steps=6, batch=10)
    arguments = {"config": config, "key": jax.random.key(3), "every": 2, "parts": 5} | more
    return tune_sequences(MODEL, PARAMS, completions(SUMS), **arguments)


def same(a, b):
    return all(np.array_equal(a.params[n], b.params[n]) for n in PARAMS) and np.array_equal(
        a.losses, b.losses
    )


def test_bits_do_not_depend_on_the_number_of_devices():
    one, two = (tune(devices=jax.devices()[:n]) for n in (1, 2))
    assert same(one, two)


def test_leaves_shared_out_over_a_mesh_are_tuned_alike():
    whole, shared = tune(), tune(mesh=device_mesh(), parts=1)
    for name, leaf in whole.params.items():
        np.testing.assert_allclose(shared.params[name], leaf, atol=1e-4, err_msg=name)
    with pytest.raises(InputError, match="devices or a mesh, got both"):
        tune(mesh=device_mesh(), devices=jax.devices())


def test_a_stopped_run_goes_on_with_the_same_bits(tmp_path):
    class StopError(Exception):
        pass

    def stop(label, done, total):
        if done == 4:
            raise StopError

    rows = completions(SUMS[:5])
    whole = tune(held_out=rows)
    with (
        pytest.raises(StopError),
        Checkpoints(tmp_path / "run", config={"run": 1}) as checkpoints,
    ):
        tune(held_out=rows, checkpoints=checkpoints, progress=stop)
    with Checkpoints(tmp_path / "run", config={"run": 1}) as checkpoints:
        again = tune(held_out=rows, checkpoints=checkpoints)
    assert same(whole, again)
    assert (whole.looks, whole.held_out, whole.best) == (again.looks, again.held_out, again.best)


def test_the_best_look_is_kept_and_patience_ends_a_run():
    # Held out: the opposite of what is fitted, so that every step is one too many.
    wrong = completions([(prompt, [V + (y[0] - V + 1) % V]) for prompt, y in SUMS])
    config = TrainConfig(learning_rate=2e-2, steps=60)
    tuned = tune(config=config, held_out=wrong, every=10, patience=2, parts=1)
    assert len(tuned.looks) < 6
    assert tuned.best == tuned.looks[int(np.argmin(tuned.held_out))]
    assert len(tuned.losses) == tuned.looks[-1]


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([], "one or more pairs"),
        ([([1], [])], "example 0: expected tokens in prompt and completion, got 1 and 0"),
        ([([1], [2]), ([], [2])], "example 1"),
    ],
)
def test_pairs_that_teach_nothing_are_refused(pairs, message):
    with pytest.raises(InputError, match=message):
        completions(pairs)


def tied_and_prefixed(change):
    model = Transformer(replace(SPEC, **change))
    return model, init(model, jax.random.key(0))


def test_what_does_not_fit_is_refused():
    with pytest.raises(InputError, match="example 1: expected at most 3 tokens, got 5"):
        completions(RAGGED, length=3)
    with pytest.raises(InputError, match="parts: expected a divisor"):
        tune(parts=3)
    with pytest.raises(InputError, match="patience"):
        tune(patience=1)
    rows = completions(SUMS)
    config, key = TrainConfig(), jax.random.key(0)
    nothing = Completions(rows.tokens, 0 * rows.weights, rows.segments)
    with pytest.raises(InputError, match="that are not all 0"):
        tune_sequences(MODEL, PARAMS, nothing, config=config, key=key)
    beyond = completions([([1], [10])])
    with pytest.raises(InputError, match="tokens: expected 0 to 9"):
        tune_sequences(MODEL, PARAMS, beyond, config=config, key=key)
    prefixed = tied_and_prefixed({"layers": (replace(LLAMA_LAYER, mask="prefix"),)})
    with pytest.raises(InputError, match="causal"):
        tune_sequences(*prefixed, rows, config=config, key=key)
    tied = tied_and_prefixed({"readout": "tied"})
    with pytest.raises(InputError, match="got head: the readout is tied"):
        tune_sequences(*tied, rows, config=TrainConfig(adapt="head"), key=key)
