"""The comparison: identities between predictors, intervals, and the store."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from constructions.learners.lookup import lookup as build_lookup
from icl_sim.comparison import compare
from icl_sim.data.tasks import (
    Demonstrations,
    empirical_law,
    english_table,
    english_tables,
    sample_demonstrations,
)
from icl_sim.errors import InputError
from icl_sim.predictors import PREDICTORS, get_predictor, register_predictor
from icl_sim.predictors.counting import lookup
from icl_sim.predictors.selected import at_random, retrieve
from icl_sim.storage.records import digest
from icl_sim.storage.store import Store
from icl_sim.transformer import forward


def largest_distance(p, q):
    return 0.5 * float(np.abs(np.asarray(p) - np.asarray(q)).sum(axis=-1).max())


def gap_on_table(index, key):
    law = english_table(index).law
    data = sample_demonstrations(key, law, per_context=1 + index % 40)
    return largest_distance(jax.jit(lookup)(data, key), empirical_law(data.counts))


def test_lookup_weights_equal_counts_on_english():
    keys = jax.random.split(jax.random.key(0), 12)
    assert max(gap_on_table(40 * i, key) for i, key in enumerate(keys)) <= 1e-6


@pytest.mark.slow
def test_lookup_weights_equal_counts_on_every_english_table():
    tables = english_tables()
    keys = jax.random.split(jax.random.key(0), tables)
    assert max(gap_on_table(i, key) for i, key in enumerate(keys)) <= 1e-6


def test_packed_queries_read_what_each_reads_alone():
    law = english_table(3, contexts=4, vocab=5).law
    data = sample_demonstrations(jax.random.key(1), law, per_context=6)
    together = lookup(data, jax.random.key(2))
    pairs = np.stack([data.contexts, data.outputs], axis=1).tolist()
    construction = build_lookup(vocab=5, contexts=4)
    for query in range(4):
        prompt = construction.encode({"pairs": pairs, "query": query})
        alone = construction.decode(forward(construction.spec, construction.params, prompt))
        assert largest_distance(together[query], alone) <= 1e-6


def test_retrieval_shows_a_query_its_own_demonstrations():
    data = sample_demonstrations(jax.random.key(4), english_table(2).law, total=90)
    own = np.asarray(data.counts).sum(axis=1)
    shown = retrieve(data, 12)
    assert shown.contexts.shape == (8, 12)
    for c, row in enumerate(np.asarray(shown.contexts)):
        assert (row == c).sum() == min(12, own[c])
    # Whoever sees all of its own demonstrations reads the counts.
    full = lookup(retrieve(data, int(own.max())), jax.random.key(5))
    assert largest_distance(full, empirical_law(data.counts)) <= 1e-6
    contexts, outputs, counts = retrieve(data, 12)
    rows = (Demonstrations(c, y, counts) for c, y in zip(contexts, outputs, strict=True))
    alone = np.stack([lookup(row, jax.random.key(5))[c] for c, row in enumerate(rows)])
    assert largest_distance(alone, lookup(retrieve(data, 12), jax.random.key(5))) <= 1e-6
    few = at_random(data, 12, jax.random.key(6))
    assert few.contexts.shape == (12,)
    assert at_random(data, 500, jax.random.key(6)).contexts.shape == (90,)


@pytest.mark.slow
def test_retrieved_demonstrations_bring_the_prompt_nearer_to_fine_tuning(tmp_path):
    # N = 800, K = 90: at most half of the distance of as many random ones.
    routes = ("in-context", "lookup")
    names = [f"{route}-{choice}" for route in routes for choice in ("retrieved", "random")]
    with Store(tmp_path, config={}) as store:
        found = compare(
            "tables",
            sizes=(800,),
            predictors=("full", *names),
            tasks=8,
            key=jax.random.key(0),
            store=store,
        )
    row = found.matrix[800]["full"]
    for route in routes:
        assert row[f"{route}-retrieved"].mean <= row[f"{route}-random"].mean / 2


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    with Store(tmp_path_factory.mktemp("compare"), config={}) as store:
        options = {
            "sizes": (32, 64, 128),
            "predictors": ("counts", "lookup", "fine-tuned"),
            "tasks": 6,
            "key": jax.random.key(0),
            "store": store,
        }
        first = compare("english", **options)
        before = digest(store.records())
        again = compare("english", **options)
        assert again == first
        assert digest(store.records()) == before
    return first


def test_identities(result):
    for size in result.sizes:
        matrix = result.matrix[size]
        assert matrix["lookup"]["counts"].max <= 1e-6
        assert matrix["truth"]["truth"].max == 0
        if size >= 64:
            assert matrix["fine-tuned"]["counts"].mean <= 0.02


def test_matrix_is_symmetric_and_its_intervals_hold_the_mean(result):
    for matrix in result.matrix.values():
        for row in matrix:
            for column in matrix[row]:
                cell = matrix[row][column]
                assert cell.low <= cell.mean + 1e-12
                assert cell.mean <= cell.high + 1e-12
                assert cell.mean <= cell.max + 1e-12
                assert cell == matrix[column][row]


def test_paired_differences_are_those_of_the_distances_to_truth(result):
    for size in result.sizes:
        matrix, paired = result.matrix[size], result.paired[size]
        for row in matrix:
            for column in matrix:
                cell = paired[row][column]
                expected = matrix[row]["truth"].mean - matrix[column]["truth"].mean
                assert abs(cell.mean - expected) <= 1e-9
                assert cell.low <= cell.mean + 1e-12 <= cell.high + 2e-12


def test_the_lookup_ignores_the_order_of_its_demonstrations(result):
    for rows in result.order.values():
        assert rows.keys() == {"lookup"}
        assert rows["lookup"] <= 1e-6


def test_the_error_falls_with_the_square_root_of_the_data(result):
    rate = result.rates["counts"]
    assert rate.low <= -0.5 <= rate.high


def test_sequences_of_one_symbol_are_the_laws_themselves(result):
    for size in result.sizes:
        lengths = result.lengths[size]
        for name, cell in lengths[1].items():
            assert abs(cell.mean - result.matrix[size][name]["truth"].mean) <= 1e-6
        # Errors of tokens add up, at most: TV of l symbols <= l times the worst token's.
        for name in lengths[2]:
            assert lengths[1][name].mean <= lengths[2][name].mean + 1e-9
            assert lengths[4][name].mean <= 1


def test_a_comparison_needs_neither_key_nor_store(tmp_path):
    options = {"sizes": (16,), "predictors": ("counts", "bayes"), "tasks": 2}
    with Store(tmp_path, config={}) as store:
        expected = compare("tables", key=jax.random.key(0), store=store, **options)
    assert compare("tables", **options) == expected


def test_more_demonstrations_come_nearer_to_the_truth(result):
    errors = [result.matrix[n]["counts"]["truth"].mean for n in result.sizes]
    assert errors == sorted(errors, reverse=True)


def test_a_registered_predictor_is_compared_like_the_others(tmp_path):
    def uniform(data, key):
        return np.full(data.counts.shape, 1 / data.counts.shape[1], np.float32)

    register_predictor("uniform", uniform, counts_only=True)
    try:
        with Store(tmp_path, config={}) as store:
            result = compare(
                "tables",
                sizes=(16,),
                tasks=2,
                predictors=("counts", "uniform"),
                key=jax.random.key(0),
                store=store,
            )
        assert result.matrix[16]["uniform"]["truth"].mean > 0.1
        with pytest.raises(InputError, match="exists already"):
            register_predictor("uniform", uniform)
    finally:
        del PREDICTORS["uniform"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "french"}, "expected one of english, markov, tables, text"),
        ({"predictors": ("magic",)}, "predictor: expected one of"),
        ({"predictors": ("counts", "counts")}, "distinct names"),
        ({"sizes": (0,)}, "at least 1"),
        ({"sizes": (16, 16)}, "distinct sizes"),
        ({"sizes": (1000,), "predictors": ("in-context",)}, "at most 287 demonstrations"),
        ({"vocab": 9, "predictors": ("in-context",)}, "at most 8 contexts"),
        ({"tasks": 0}, "at least one task"),
    ],
)
def test_bad_requests_are_refused(tmp_path, options, message):
    with Store(tmp_path, config={}) as store, pytest.raises(InputError, match=message):
        compare(**({"key": jax.random.key(0), "store": store} | options))


def test_unknown_predictor_is_named():
    with pytest.raises(InputError, match="got magic"):
        get_predictor("magic")
