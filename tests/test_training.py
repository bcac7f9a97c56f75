"""Fine-tuning: where it ends, what it leaves alone, its optimizers, adapters and refusals."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_base import BASE, COUNTS, MODEL, SPEC
from tolerances import F32

from constructions.spec import Layer
from icl_sim.data.tasks import empirical_law
from icl_sim.divergence import total_variation
from icl_sim.errors import InputError
from icl_sim.training import (
    Examples,
    TrainConfig,
    context_laws,
    draw,
    fine_tune,
    loss,
    table_examples,
    train,
)
from icl_sim.training.adapters import (
    LORA_SCALE,
    merge,
    trainable,
    trainable_names,
    trainable_size,
)
from icl_sim.training.guarded import State, guarded_update
from icl_sim.transformer import Transformer, init

HEADS = Layer(heads=2, key_size=6, value_size=7, hidden=20, gate="silu", scale=0.4)


def tuned_laws(config, seed=1):
    tuned = fine_tune(MODEL, BASE, table_examples(COUNTS), config=config, key=jax.random.key(seed))
    return context_laws(SPEC, tuned, 6)


@pytest.mark.parametrize(
    "config",
    [
        TrainConfig(),
        TrainConfig(schedule="linear", warmup=20, clip=1.0, beta2=0.98),
        TrainConfig(optimizer="sgd", learning_rate=0.5, momentum=0.9, steps=600),
        TrainConfig(adapt="lora", rank=4, steps=600),
        TrainConfig(adapt="head", learning_rate=0.1, steps=600),
    ],
    ids=lambda c: f"{c.optimizer}-{c.adapt}-{c.schedule}",
)
def test_converged_fine_tuning_ends_at_the_counts(config):
    distances = total_variation(tuned_laws(config), empirical_law(COUNTS))
    assert distances.mean() <= 0.02


def test_a_model_with_attention_ends_at_the_counts_too():
    model = Transformer(replace(SPEC, layers=(HEADS, HEADS)))
    base = init(model, jax.random.key(0))
    tuned = fine_tune(model, base, table_examples(COUNTS), key=jax.random.key(1))
    laws = context_laws(model.spec, tuned, 6)
    assert total_variation(laws, empirical_law(COUNTS)).mean() <= 0.02


def test_a_diverging_rate_stops_at_the_step_and_names_the_leaf():
    poisoned = dict(BASE)
    poisoned["w_out"] = BASE["w_out"].at[0, 0].set(3e38)
    with pytest.raises(FloatingPointError, match=r"^training stopped at step 0: [\w.]+ or the los"):
        fine_tune(MODEL, poisoned, table_examples(COUNTS), key=jax.random.key(0))


def test_nothing_after_a_step_that_is_not_finite_is_taken():
    # The rate overflows float32 on its way to the params at the very first step.
    config = TrainConfig(optimizer="sgd", learning_rate=1e6, steps=8, schedule="constant")
    huge = Examples(*table_examples(COUNTS))
    base = {name: leaf * jnp.float32(1e3) for name, leaf in BASE.items()}
    result = jax.jit(train, static_argnums=(0, 3))(SPEC, base, huge, config, jax.random.key(0))
    fault = int(result.fault)
    assert 0 <= fault < 8
    before = train(
        SPEC,
        base,
        huge,
        TrainConfig(optimizer="sgd", learning_rate=1e6, steps=fault, schedule="constant"),
        jax.random.key(0),
    )
    assert all(np.isfinite(result.params[name]).all() for name in base)
    for name in base:
        np.testing.assert_allclose(result.params[name], before.params[name], **F32)


def test_a_loss_that_is_not_finite_is_a_fault_though_all_leaves_are():
    step = optax.sgd(1.0)
    leaves = {"w": jnp.ones(2)}
    state = State(leaves, step.init(leaves), jnp.int32(-1), jnp.int32(0))
    for value, fault, left in ((0.0, -1, 0.0), (jnp.inf, 3, 1.0)):
        new = guarded_update(state, jnp.float32(value), leaves, jnp.int32(3), step)
        assert int(new.fault) == fault
        assert (new.leaves["w"] == left).all()


def test_a_fault_planted_in_one_leaf_is_named(monkeypatch):
    import optax

    def poison(updates, state, params=None):
        del params
        bad = updates["layer_0.w_up"] * jnp.where(state == 3, jnp.nan, 1.0).astype(jnp.float32)
        return updates | {"layer_0.w_up": bad}, state + 1

    planted = optax.GradientTransformation(lambda params: jnp.int32(0), poison)
    monkeypatch.setattr(
        TrainConfig, "transformation", lambda self, **_: optax.chain(planted, optax.sgd(1e-2))
    )
    with pytest.raises(FloatingPointError, match=r"step 3: layer_0\.w_up "):
        fine_tune(
            MODEL, BASE, table_examples(COUNTS), config=TrainConfig(steps=7), key=jax.random.key(0)
        )


def test_adam_for_several_devices_is_that_of_optax():
    config = TrainConfig(beta2=0.98, clip=1.0)
    leaves = {"a": jnp.ones((3, 2), jnp.float32), "b": jnp.zeros(4, jnp.float32)}
    states = {sharded: config.transformation(sharded=sharded).init(leaves) for sharded in (0, 1)}
    for step in range(5):
        keys = jax.random.split(jax.random.key(step))
        gradient = {
            name: jax.random.normal(key, leaf.shape, jnp.float32)
            for key, (name, leaf) in zip(keys, leaves.items(), strict=True)
        }
        found = []
        for sharded in (0, 1):
            update = config.transformation(sharded=bool(sharded)).update
            updates, states[sharded] = update(gradient, states[sharded], leaves)
            found.append((updates, states[sharded]))
        chex.assert_trees_all_close(*found, **F32)


@pytest.mark.parametrize(("adapt", "batch"), [("full", 4), ("lora", None), ("head", 4)])
def test_without_data_the_base_comes_back_even_under_weight_decay(adapt, batch):
    config = TrainConfig(weight_decay=0.1, steps=5, adapt=adapt, batch=batch)
    empty = table_examples(np.zeros((6, 5), int))
    tuned = fine_tune(MODEL, BASE, empty, config=config, key=jax.random.key(0))
    for name in BASE:
        np.testing.assert_array_equal(tuned[name], BASE[name])


def test_no_steps_leave_the_base():
    tuned = fine_tune(
        MODEL, BASE, table_examples(COUNTS), config=TrainConfig(steps=0), key=jax.random.key(0)
    )
    assert all((tuned[name] == BASE[name]).all() for name in BASE)


def test_a_linear_rate_would_be_zero_one_step_behind_the_last():
    config = TrainConfig(learning_rate=1.0, steps=4, schedule="linear")
    assert [float(config.rate(jnp.int32(s))) for s in range(5)] == [1, 0.75, 0.5, 0.25, 0]


@pytest.mark.parametrize("decay", [0.0, 0.01])
def test_sgd_with_momentum_and_a_schedule_equals_a_loop_by_hand(decay):
    config = TrainConfig(
        optimizer="sgd", learning_rate=0.3, momentum=0.8, steps=7, warmup=2, weight_decay=decay
    )
    examples = table_examples(COUNTS)
    tuned = fine_tune(MODEL, BASE, examples, config=config, key=jax.random.key(0))
    params = dict(BASE)
    velocity = {name: jnp.zeros_like(leaf) for name, leaf in BASE.items()}
    slope = jax.jit(jax.grad(loss, argnums=1), static_argnums=0)
    for step in range(7):
        gradient = slope(SPEC, params, examples)
        rate = 0.3 * min(1, (step + 1) / 2) * (1 + np.cos(np.pi * max(0, step - 2) / 5)) / 2
        for name in params:
            velocity[name] = np.float32(0.8) * velocity[name] + gradient[name]
            move = velocity[name] + np.float32(decay) * params[name]
            params[name] = params[name] - np.float32(rate) * move
    for name in params:
        np.testing.assert_allclose(tuned[name], params[name], rtol=2e-5, atol=2e-6)


def test_weighted_rows_have_the_gradient_of_separate_examples():
    rows = [(c, y) for c in range(6) for y in range(5) for _ in range(COUNTS[c, y])]
    contexts, outputs = np.array(rows, np.int32).T
    separate = Examples(contexts[:, None], np.eye(5, dtype=np.float32)[outputs])
    slope = jax.jit(jax.grad(loss, argnums=1), static_argnums=0)
    one, two = slope(SPEC, BASE, separate), slope(SPEC, BASE, table_examples(COUNTS))
    for name in BASE:
        np.testing.assert_allclose(one[name], two[name], **F32)


def test_mini_batches_are_a_function_of_the_key():
    config = TrainConfig(steps=5, batch=4)
    first, again, other = (tuned_laws(config, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_mini_batches_draw_in_proportion_to_the_counts():
    drawn = draw(jax.random.key(0), table_examples(COUNTS), 20_000)
    found = np.zeros((6, 5))
    np.add.at(found, np.asarray(drawn.inputs)[:, 0], np.asarray(drawn.counts))
    law = COUNTS / COUNTS.sum()
    assert (found[law == 0] == 0).all()
    sigma = np.sqrt(law * (1 - law) / 20_000)
    assert (np.abs(found / 20_000 - law) <= 5 * sigma).all()


def test_lora_starts_at_the_base_and_adds_a_product_of_its_rank():
    config = TrainConfig(adapt="lora", rank=2)
    base = init(Transformer(replace(SPEC, layers=(HEADS,))), jax.random.key(0))
    leaves = trainable(base, config, jax.random.key(0))
    assert sorted(leaves) == trainable_names(base, config)
    at_start = merge(base, leaves, config)
    assert all((at_start[name] == base[name]).all() for name in base)
    rng = np.random.default_rng(0)
    moved = {n: leaf + np.float32(rng.normal(size=leaf.shape)) for n, leaf in leaves.items()}
    merged = merge(base, moved, config)
    for name, rows in (("layer_0.w_q", 24), ("layer_0.w_o", 14), ("layer_0.w_up", 24)):
        change = np.asarray(merged[name] - base[name], np.float64)
        matrix = change.transpose(1, 0, 2) if name.endswith("w_q") else change
        matrix = matrix.reshape(rows, -1)
        singular = np.linalg.svd(matrix, compute_uv=False)
        assert singular[1] > 0.1
        assert (singular[2:] < 1e-5).all()
    product = LORA_SCALE * moved["layer_0.w_up.a"] @ moved["layer_0.w_up.b"]
    np.testing.assert_allclose(merged["layer_0.w_up"], base["layer_0.w_up"] + product, rtol=1e-4)
    spec = replace(SPEC, layers=(HEADS,))
    assert trainable_size(spec, config) == sum(leaf.size for leaf in leaves.values())
    assert (merged["embed"] == base["embed"]).all()


def test_counts_that_a_float32_sum_would_round_are_not_drawn_from():
    # 3 and 5 behind 2^24 would be drawn like 4 and 4; the whole gradient has no such sum.
    heavy = np.zeros((6, 5))
    heavy[0, 0], heavy[1, 1], heavy[2, 2] = 2**24, 3, 5
    tune = partial(fine_tune, MODEL, BASE, table_examples(heavy), key=jax.random.key(0))
    with pytest.raises(InputError, match=r"at most 2\^24 in all .* train without batch"):
        tune(config=TrainConfig(steps=1, batch=4))
    tune(config=TrainConfig(steps=1))


def test_lora_draws_each_leaf_from_a_key_of_its_own():
    base = init(Transformer(replace(SPEC, layers=(HEADS,))), jax.random.key(0))
    leaves = trainable(base, TrainConfig(adapt="lora", rank=2), jax.random.key(0))
    noise = {name: np.asarray(leaf).ravel()[:8] for name, leaf in leaves.items() if name[-1] == "a"}
    assert len(noise) > 3
    scaled = {tuple((values / values[0]).round(4).tolist()) for values in noise.values()}
    assert len(scaled) == len(noise)


def test_the_head_alone_moves_under_head():
    config = TrainConfig(adapt="head", steps=3)
    tuned = fine_tune(MODEL, BASE, table_examples(COUNTS), config=config, key=jax.random.key(0))
    assert [name for name in BASE if (tuned[name] != BASE[name]).any()] == ["w_out"]


def test_no_leaf_changes_its_dtype():
    for adapt in ("full", "lora", "head"):
        config = TrainConfig(steps=2, adapt=adapt, weight_decay=0.1, clip=1.0, warmup=1)
        result = jax.eval_shape(
            partial(train, SPEC, config=config), BASE, table_examples(COUNTS), key=jax.random.key(0)
        )
        assert {str(leaf.dtype) for leaf in result.params.values()} == {"float32"}
        assert result.losses.dtype == "float32"


@pytest.mark.parametrize(
    ("inputs", "counts", "message"),
    [
        ([[0]], [[1.0]], "counts of the model's 5 symbols"),
        ([0], np.ones((1, 5)), "inputs [E, T]"),
        ([[0], [1]], np.ones((1, 5)), "inputs [E, T]"),
        ([[6]], np.ones((1, 5)), "0 to 5, the vocabulary"),
        ([[-1]], np.ones((1, 5)), "0 to 5, the vocabulary"),
        ([[0.0]], np.ones((1, 5)), "integer inputs"),
        (np.zeros((1, 0), int), np.ones((1, 5)), "at least one token"),
        ([[0]], [[1, 1, 1, 1, -1]], "finite numbers >= 0"),
        ([[0]], [[1, 1, 1, 1, np.nan]], "finite numbers >= 0"),
    ],
)
def test_bad_examples_are_refused_in_one_line(inputs, counts, message):
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        fine_tune(MODEL, BASE, Examples(np.array(inputs), counts), key=jax.random.key(0))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "adamw"},
        {"schedule": "step"},
        {"adapt": "prefix"},
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
        {"steps": -1},
        {"warmup": 301},
        {"momentum": 1.0},
        {"batch": 0},
        {"rank": 0},
        {"clip": 0.0},
        {"weight_decay": -1.0},
    ],
    ids=str,
)
def test_bad_configurations_are_refused_in_one_line(options):
    with pytest.raises(InputError, match="expected") as caught:
        TrainConfig(**options)
    assert next(iter(options)) in str(caught.value)
