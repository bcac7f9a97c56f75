"""Every predictor keeps its kind's contract; kinds are open, and what breaks one is refused."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_language_model import question

from icl_sim.comparison import compare
from icl_sim.comparison.run import ROUTES
from icl_sim.data.tasks import Demonstrations, make_task, random_table, sample_demonstrations
from icl_sim.data.vectors import LabeledVectors, split
from icl_sim.errors import InputError
from icl_sim.predictors import (
    KINDS,
    PREDICTORS,
    Kind,
    Predictor,
    get_predictor,
    predictor_names,
    register_predictor,
)
from icl_sim.storage.store import Store


def table():
    law = random_table(3, contexts=2, vocab=3).law
    return sample_demonstrations(jax.random.key(3), law, total=8)


# One small data set of each kind.
EXAMPLES = {
    "classification": lambda: split("iris", 0, 20, np.random.default_rng(0))[0],
    "language": question,
    "table": table,
}


@pytest.fixture
def register():
    """`register_predictor` for one test."""
    before = dict(PREDICTORS)
    yield register_predictor
    PREDICTORS.clear()
    PREDICTORS.update(before)


def test_every_kind_has_an_example_a_predictor_and_a_default():
    assert EXAMPLES.keys() == KINDS.keys() == ROUTES.keys()
    for kind, routes in ROUTES.items():
        assert isinstance(EXAMPLES[kind](), KINDS[kind].data)
        assert set(routes) <= set(predictor_names(kind))
    assert {p.kind.name for p in PREDICTORS.values()} == KINDS.keys()


@pytest.mark.parametrize("name", sorted(PREDICTORS))
def test_every_predictor_keeps_its_kind(name):
    predictor = get_predictor(name)
    kind, key = predictor.kind, jax.random.key(1)
    data = EXAMPLES[kind.name]()
    assert predictor.host or not kind.host
    if predictor.host:
        laws, again = (np.asarray(predictor(data, jax.random.key(1))) for _ in range(2))
        assert laws.dtype == np.float32
        assert laws.shape == kind.shape(data)
        assert (laws >= 0).all()
        np.testing.assert_allclose(laws.sum(axis=-1), 1, atol=1e-5)
        np.testing.assert_array_equal(laws, again)
    else:  # its numbers are tested where all of these are, jitted and in batches
        laws = jax.eval_shape(predictor, data, key)
        assert (laws.shape, laws.dtype) == (kind.shape(data), jnp.float32)
    for other in KINDS.keys() - {kind.name}:
        with pytest.raises(InputError, match=f"expected {kind.data.__name__}, got"):
            predictor(EXAMPLES[other](), key)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_laws_of_another_shape_are_refused(kind):
    predictor = Predictor(lambda data, key: jnp.ones(7), KINDS[kind])
    with pytest.raises(InputError, match=r"got shape \[7\]"):
        predictor(EXAMPLES[kind](), jax.random.key(0))


def majority(data: LabeledVectors, key: jax.Array) -> np.ndarray:
    share = (data.labels > 0).mean()
    return np.tile(np.array([share, 1 - share], np.float32), (len(data.queries), 1))


def test_a_registered_classifier_is_compared_like_the_others(tmp_path, register):
    register("majority", majority, kind="classification")
    assert "majority" in predictor_names("classification")
    assert "majority" not in predictor_names("table")
    names = ("least-squares", "majority")
    options = {"sizes": (16,), "predictors": names, "tasks": 2, "key": jax.random.key(0)}
    with Store(tmp_path, config={}) as store:
        row = compare("iris", store=store, **options).matrix[16]["truth"]
    assert 0.3 < row["majority"].mean < 0.7
    assert row["least-squares"].mean < 0.1


def test_a_classifier_without_finite_laws_ends_the_comparison(tmp_path, register):
    register("broken", lambda data, key: majority(data, key) * np.nan, kind="classification")
    options = {"sizes": (16,), "predictors": ("broken",), "tasks": 1, "key": jax.random.key(0)}
    with Store(tmp_path, config={}) as store, pytest.raises(FloatingPointError, match="broken"):
        compare("iris", store=store, **options)


class Words(NamedTuple):
    """A kind of data of somebody else's."""

    counts: np.ndarray


def test_a_new_kind_is_one_entry(monkeypatch, register):
    kind = Kind("words", Words, lambda data: data.counts.shape, "words", "a law on them [V]")
    monkeypatch.setitem(KINDS, "words", kind)
    register("shares", lambda data, key: data.counts / data.counts.sum(), kind="words")
    laws = get_predictor("shares")(Words(np.array([1, 3])), jax.random.key(0))
    assert laws.tolist() == [0.25, 0.75]
    assert predictor_names("words") == ["shares"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "counts"}, "'counts' exists already"),
        ({"kind": "images"}, "expected one of classification, language, table, got images"),
        ({"kind": "classification", "counts_only": True}, "no counts"),
    ],
)
def test_what_cannot_be_registered_is_said(register, options, message):
    with pytest.raises(InputError, match=message):
        register(**({"name": "mine", "function": majority} | options))
    assert "mine" not in PREDICTORS


@pytest.mark.parametrize(
    ("task", "name", "message"),
    [
        ("iris", "counts", "predictor of iris: expected one of least-squares.* got counts"),
        ("english", "svm", "predictor of english: expected one of bayes.* got svm, which reads n"),
    ],
)
def test_a_predictor_of_other_data_is_refused_before_any_work(tmp_path, task, name, message):
    options = {"sizes": (8,), "predictors": (name,), "key": jax.random.key(0)}
    with Store(tmp_path, config={}) as store, pytest.raises(InputError, match=message):
        compare(task, store=store, **options)


def test_what_is_no_table_is_named_with_the_tasks_that_are():
    with pytest.raises(InputError, match=r"english, markov, tables, text.*digits.* got digits"):
        make_task("digits")


def test_a_query_may_have_demonstrations_of_its_own():
    data = table()
    shown = Demonstrations(
        jnp.tile(data.contexts, (2, 1)), jnp.tile(data.outputs, (2, 1)), data.counts
    )
    for name in ("in-context", "lookup", "mixture", "retrieval"):
        predict = jax.jit(get_predictor(name))
        alone, together = (predict(d, jax.random.key(0)) for d in (shown, data))
        np.testing.assert_allclose(alone, together, atol=1e-5, err_msg=name)
