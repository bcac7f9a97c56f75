"""C5 and C6: verdicts, and how a wrong constant, learner or retriever turns them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

from icl_sim.bounds.partial import missing_error, subset_mean_error, subset_size
from icl_sim.bounds.retrieval import retrieval_error, softmax_leak
from icl_sim.claims import access_replicates, c5, c6
from icl_sim.claims.claim import FALSE, HOLDS, Run
from icl_sim.data.tasks import Demonstrations
from icl_sim.predictors import PREDICTORS, Predictor, get_predictor
from icl_sim.statistics.sweep import CellVerdict


def all_certified(run, name, cells, **_):
    return [CellVerdict(cell.id, "certified", 400, 0.1, 0.05, 0.2) for cell in cells]


@pytest.fixture
def forgetful(monkeypatch):
    """An answer that ignores its prompt."""
    answer = lambda data, key: jnp.full(data.counts.shape, jnp.float32(1 / data.counts.shape[1]))
    monkeypatch.setitem(PREDICTORS, "forgetful", Predictor(answer))
    return "forgetful"


@pytest.mark.slow
def test_a_random_subset_is_as_near_as_proved(run):
    outcome = c5.random_experiment(run)
    assert outcome.verdict == HOLDS
    rows = outcome.figures["exact"]
    assert all(row["mean"] == 0 == row["bound"] for row in rows if row["n"] == row["pool"])
    # Drawing without replacement is worth having: the bound is below the one with it.
    assert all(r["bound"] < r["with_replacement"] for r in rows if r["n"] > 1)


def test_a_subset_errs_less_than_fresh_samples():
    for row in c5._exact_rows(subset_mean_error):
        if row["n"] > 1:
            assert row["mean"] < row["fresh"]
        else:
            assert row["mean"] == pytest.approx(row["fresh"], rel=1e-12)


def test_a_smaller_factor_breaks_the_exact_means(run, monkeypatch):
    monkeypatch.setattr(Run, "sweep", all_certified)
    wrong = lambda **options: 0.9 * subset_mean_error(**options)
    assert c5.random_experiment(run, mean=wrong).verdict == FALSE


@pytest.mark.slow
def test_a_third_of_the_subset_is_refuted(run):
    wrong = lambda **options: subset_size(**options) // 3
    outcome = c5.random_experiment(run, size=wrong)
    assert outcome.verdict == FALSE
    assert "pool" in outcome.why


def test_an_answer_that_ignores_the_subset_is_refuted(run, forgetful):
    assert c5.random_experiment(run, answer=forgetful).verdict == FALSE


def test_what_is_missing_costs_its_share_and_no_more(run):
    outcome = c5.missing_experiment(run)
    assert outcome.verdict == HOLDS
    assert [row["bound"] for row in outcome.figures["through"]] == [
        0.1,
        0.25,
        0.5,
        0.5,
        0.75,
        0.875,
    ]


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_another_share_is_false_on_either_side(run, factor):
    wrong = lambda **options: factor * missing_error(**options)
    assert c5.missing_experiment(run, bound=wrong).verdict == FALSE


def test_an_answer_that_ignores_what_is_left_is_found_out(run, forgetful):
    assert c5.missing_experiment(run, answer=forgetful).verdict == FALSE


def test_retrieval_holds(run):
    outcome = c6.retrieval_experiment(run)
    assert outcome.verdict == HOLDS
    row = outcome.figures["same"][0]
    assert row["tokens"] - 2 == (row["full_tokens"] - 2) / c6.m
    for leak in outcome.figures["leak"]:
        assert abs(leak["tv"] - leak["exact"]) < 1e-6


@pytest.mark.slow
def test_random_demonstrations_do_not_keep_the_bound(run):
    outcome = c6.retrieval_experiment(run, retriever="random")
    assert outcome.verdict == FALSE
    assert "/random/" in outcome.why


@pytest.mark.slow
def test_half_the_bound_is_refuted(run):
    wrong = lambda **options: retrieval_error(**options) / 2
    assert c6.retrieval_experiment(run, bound=wrong).verdict == FALSE


def test_half_the_leak_is_refuted(run, monkeypatch):
    monkeypatch.setattr(Run, "sweep", all_certified)
    wrong = lambda **options: softmax_leak(**options) / 2
    assert c6.retrieval_experiment(run, leak=wrong).verdict == FALSE
    assert c6.retrieval_experiment(run).verdict == HOLDS


def test_a_shuffle_is_uniform_and_a_permutation():
    keys = jax.random.split(jax.random.key(1), 6000)
    orders = jax.vmap(lambda key: access_replicates.shuffled(key, 3))(keys)
    assert (jnp.sort(orders, axis=1) == jnp.arange(3)[None]).all()
    codes = orders @ jnp.array([9, 3, 1])
    _, counts = jnp.unique(codes, return_counts=True)
    assert counts.shape == (6,)
    assert abs(counts - 1000).max() < 5 * (1000 * 5 / 6) ** 0.5


def test_own_demonstrations_come_first_and_others_fill_up():
    contexts = jnp.array([0, 1, 0, 1, 1, 1], jnp.int32)
    outputs = jnp.arange(6, dtype=jnp.int32)
    data = Demonstrations(contexts, outputs, jnp.zeros((2, 6), jnp.int32))
    found, shown, counts = access_replicates.retrieved(jax.random.key(0), data, 4, "own")
    assert (contexts[shown] == found).all()
    assert found[0, :2].tolist() == [0, 0]
    assert found[0, 2:].tolist() == [1, 1]
    assert found[1].tolist() == [1, 1, 1, 1]
    assert all(len(set(row)) == 4 for row in shown.tolist())
    assert counts.sum(axis=1).tolist() == [2, 4]  # what a prompt shows of its query's context


def test_both_answers_agree():
    contexts = jnp.array([[0, 1, 0, 1], [1, 1, 1, 1], [0, 0, 1, 1]], jnp.int32)
    outputs = jnp.array([[0, 1, 2, 0], [0, 1, 1, 1], [2, 2, 2, 2]], jnp.int32)
    data, key = access_replicates.prompts(contexts, outputs, 3), jax.random.key(0)
    counted = get_predictor("counts")(data, key)
    found = get_predictor("lookup")(data, key)
    assert counted.tolist() == [[0.5, 0, 0.5], [0.25, 0.75, 0], pytest.approx([1 / 3] * 3)]
    assert abs(found - counted).max() < 1e-6
