"""The comparison: identities between predictors, intervals, and the store."""

import jax
import numpy as np
import pytest

from constructions.learners.lookup import lookup as build_lookup
from icl_sim.comparison import compare
from icl_sim.errors import InputError
from icl_sim.predictors import PREDICTORS, get_predictor, register_predictor
from icl_sim.predictors.counting import lookup
from icl_sim.records import digest
from icl_sim.store import Store
from icl_sim.tasks import empirical_law, english_table, english_tables, sample_demonstrations
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


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    with Store(tmp_path_factory.mktemp("compare"), config={}) as store:
        options = {"sizes": (32, 64, 128), "tasks": 6, "key": jax.random.key(0), "store": store}
        first = compare("english", **options)
        before = digest(store.records())
        again = compare("english", **options)
        assert again == first
        assert digest(store.records()) == before
    return first


def test_identities(result):
    for size in result["sizes"]:
        matrix = result["matrix"][str(size)]
        assert matrix["lookup"]["counts"]["max"] <= 1e-6
        assert matrix["truth"]["truth"]["max"] == 0
        if size >= 64:
            assert matrix["fine-tuned"]["counts"]["mean"] <= 0.02


def test_matrix_is_symmetric_and_its_intervals_hold_the_mean(result):
    for matrix in result["matrix"].values():
        for row in matrix:
            for column in matrix[row]:
                cell = matrix[row][column]
                assert cell["low"] <= cell["mean"] + 1e-12
                assert cell["mean"] <= cell["high"] + 1e-12
                assert cell["mean"] <= cell["max"] + 1e-12
                assert cell == matrix[column][row]


def test_more_demonstrations_come_nearer_to_the_truth(result):
    errors = [result["matrix"][str(n)]["counts"]["truth"]["mean"] for n in result["sizes"]]
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
        assert result["matrix"]["16"]["uniform"]["truth"]["mean"] > 0.1
        with pytest.raises(InputError, match="exists already"):
            register_predictor("uniform", uniform)
    finally:
        del PREDICTORS["uniform"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "french"}, "expected one of english, tables"),
        ({"predictors": ("magic",)}, "predictor: expected one of"),
        ({"sizes": (12,)}, "multiples of 8"),
        ({"sizes": (0,)}, "multiples of 8"),
        ({"tasks": 0}, "at least one task"),
    ],
)
def test_bad_requests_are_refused(tmp_path, options, message):
    with Store(tmp_path, config={}) as store, pytest.raises(InputError, match=message):
        compare(**({"key": jax.random.key(0), "store": store} | options))


def test_unknown_predictor_is_named():
    with pytest.raises(InputError, match="got magic"):
        get_predictor("magic")
