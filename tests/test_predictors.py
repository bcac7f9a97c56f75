"""Every predictor keeps the protocol, and the identities between them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_sim.data.tasks import Demonstrations, english_table, random_table, sample_demonstrations
from icl_sim.divergence import total_variation
from icl_sim.predictors import PREDICTORS, get_predictor

N = 16
LAW = random_table(40).law


def fresh():
    return jax.random.key(9)


def demonstrations(total, law=LAW, seed=0):
    return sample_demonstrations(jax.random.key(seed), law, total=total)


@pytest.mark.parametrize("name", sorted(n for n in PREDICTORS if not PREDICTORS[n].host))
def test_laws_are_float32_jittable_and_vmappable(name):
    predictor = get_predictor(name)
    data = jax.tree.map(lambda *x: jnp.stack(x), demonstrations(N), demonstrations(N, seed=1))
    if predictor.counts_only:
        data = Demonstrations(None, None, data.counts)
    laws = jax.jit(jax.vmap(predictor))(data, jax.random.split(fresh(), 2))
    assert laws.shape == (2, 8, 8)
    assert laws.dtype == jnp.float32
    assert (laws >= 0).all()
    np.testing.assert_allclose(laws.sum(axis=-1), 1, atol=1e-5)
    # Without data, or where no step is the best number of steps, the answer is the base's.
    if name not in ("zero-shot", "full-validated"):
        assert (laws[0] != laws[1]).any()


def test_the_universal_machine_answers_with_what_it_saw_most_often():
    law = random_table(3, contexts=2, vocab=3).law
    data = sample_demonstrations(jax.random.key(3), law, total=8)
    answer = get_predictor("universal")(data, fresh())
    assert answer.dtype == np.float32
    best = np.asarray(data.counts).max(axis=1)
    assert (np.asarray(data.counts)[np.arange(2), answer.argmax(axis=1)] == best).all()
    assert sorted(answer.ravel().tolist()) == [0, 0, 0, 0, 1, 1]


@pytest.mark.parametrize("name", ["bayes", "counts", "lookup", "smoothed"])
def test_without_data_counting_answers_uniformly(name):
    laws = get_predictor(name)(demonstrations(0), fresh())
    np.testing.assert_allclose(laws, 1 / 8, atol=1e-6)


def test_without_data_every_route_through_the_base_is_the_bare_base():
    data = demonstrations(0)
    bare = get_predictor("zero-shot")(data, fresh())
    for name in ("full", "head", "in-context"):
        np.testing.assert_allclose(
            get_predictor(name)(data, fresh()), bare, atol=1e-6, err_msg=name
        )


def test_a_run_that_diverged_is_no_law():
    from icl_sim.predictors.tuned import tuned
    from icl_sim.training import TrainConfig

    wild = tuned(TrainConfig(optimizer="sgd", learning_rate=1e6, weight_decay=1e6, steps=30))
    assert np.isnan(wild(demonstrations(N), fresh())).all()


def distances(pairs, laws, sizes, *, names, tasks, seed=3):
    """Mean TV over tables and contexts of each pair of names; "truth" is a name too."""
    keys = jax.random.split(jax.random.key(seed), tasks)
    laws = jnp.asarray(np.stack(laws), jnp.float32)

    def one(key, law):
        data = sample_demonstrations(key, law, total=sizes)
        found = {name: get_predictor(name)(data, key) for name in names} | {"truth": law}
        return jnp.stack([total_variation(found[a], found[b]).mean() for a, b in pairs])

    found = jax.jit(jax.vmap(one))(keys, laws).mean(axis=0)
    return dict(zip(pairs, np.asarray(found).tolist(), strict=True))


PAIRS = [
    ("full", "counts"),
    ("in-context", "bayes"),
    ("full", "in-context"),
    ("full", "truth"),
    ("in-context", "truth"),
    ("lora-4", "full"),
]


@pytest.mark.slow
def test_fine_tuning_ends_at_the_counts_and_prompting_at_bayes():
    # m = V = 8, N = 64, 12 fresh tables.
    laws = [random_table(700 + i).law for i in range(12)]
    names = ("bayes", "counts", "full", "in-context", "lora-4")
    found = distances(PAIRS, laws, 64, names=names, tasks=12)
    assert found["full", "counts"] <= 0.01
    assert found["in-context", "bayes"] < 0.08
    assert 0.15 <= found["full", "in-context"] <= 0.25
    assert found["lora-4", "full"] <= 0.02


@pytest.mark.slow
def test_the_same_predictors_work_on_english_without_retraining_the_base():
    laws = [english_table(i).law for i in range(12)]
    names = ("bayes", "counts", "full", "in-context", "lora-4")
    found = distances(PAIRS, laws, 64, names=names, tasks=12)
    assert found["full", "counts"] <= 0.01
    assert found["in-context", "bayes"] < 0.1
    assert found["in-context", "truth"] < 0.3


@pytest.mark.slow
@pytest.mark.parametrize("rank", [1, 4, 16])
def test_lora_ends_where_full_fine_tuning_ends(rank):
    laws = [random_table(800 + i).law for i in range(6)]
    name = f"lora-{rank}"
    found = distances([(name, "full")], laws, 64, names=("full", name), tasks=6)
    assert found[name, "full"] <= 0.02
