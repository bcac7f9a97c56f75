"""Linear classification side by side: training in weights equals training by Optax."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from icl_sim.comparison import compare
from icl_sim.data.vectors import HELD_OUT, split
from icl_sim.errors import InputError
from icl_sim.predictors import classifiers, get_predictor
from icl_sim.storage.store import Store


def ask(name, data):
    return get_predictor(name)(data, jax.random.key(0))


@pytest.mark.parametrize(("task", "size"), [("gaussian", 24), ("iris", 30), ("digits-3-8", 40)])
def test_a_head_trained_in_the_forward_pass_equals_one_trained_by_optax(task, size):
    data, _ = split(task, 0, size, np.random.default_rng(1))
    trained, emulated = ask("logistic", data), ask("logistic-in-context", data)
    # The training moved the laws, so that equality says something.
    assert np.abs(trained - 0.5).max() > 0.2
    assert np.abs(trained - emulated).sum(axis=1).max() / 2 <= 1e-5


def test_weights_agree_with_the_solvers_on_data_that_a_halfspace_labels():
    wrong = {"svm": [], "perceptron": []}
    for index in range(4):
        data, labels = split("gaussian", index, 60, np.random.default_rng(index))
        for name, found in wrong.items():
            solved = ask(name, data)
            weights = ask(f"{name}-in-context", data)
            found.append(float((np.abs(solved - weights).sum(axis=1) > 0).mean()))
            truth = np.stack([labels > 0, labels < 0], axis=1)
            assert (weights.argmax(axis=1) == truth.argmax(axis=1)).mean() > 0.75
    # Frank-Wolfe after 512 steps, and another order of updates: some inputs near the boundary.
    assert np.mean(wrong["svm"]) <= 0.1
    assert np.mean(wrong["perceptron"]) <= 0.25


def test_splits_are_disjoint_and_a_function_of_their_seed():
    (first, truth), (again, same) = (split("wine", 2, 50, np.random.default_rng(7)) for _ in "ab")
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert np.array_equal(truth, same)
    assert first.queries.shape == (min(HELD_OUT, 119 - 50), 14)
    assert truth.shape == first.queries.shape[:1]
    assert set(first.labels.tolist()) == {-1, 1} == set(truth.tolist())
    other, _ = split("wine", 2, 50, np.random.default_rng(8))
    assert not np.array_equal(first.inputs, other.inputs)


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    with Store(tmp_path_factory.mktemp("classes"), config={}) as store:
        names = ("logistic", "logistic-in-context", "svm", "least-squares")
        options = {"sizes": (16, 96), "predictors": names, "tasks": 4, "store": store}
        return compare("gaussian", key=jax.random.key(0), **options)


def test_the_comparison_has_the_form_of_the_others(result):
    assert result.predictors[-1] == "truth"
    for size in (16, 96):
        cell = result.matrix[size]["logistic"]["logistic-in-context"]
        assert cell.max <= 1e-5
        assert result.matrix[size]["truth"]["truth"].mean == 0


def test_the_error_falls_faster_for_the_maximal_margin(result):
    # d/n against sqrt(d/n): on the few held-out inputs only the order of the exponents is sure.
    assert result.rates["svm"].slope < result.rates["least-squares"].slope < -0.2


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        ("iris", {"sizes": (99,)}, "at most 98 examples"),
        ("digits-3-3", {}, "two of the classes"),
        ("gaussian-9", {}, "task: expected gaussian"),
        ("iris", {"predictors": ("counts",)}, "predictor of iris"),
    ],
)
def test_bad_requests_are_refused(tmp_path, task, options, message):
    with Store(tmp_path, config={}) as store, pytest.raises(InputError, match=message):
        compare(task, **({"sizes": (8,), "key": jax.random.key(0), "store": store} | options))


@pytest.mark.parametrize(("task", "sizes"), [("iris", [16, 64]), ("wine", [16, 64])])
def test_without_sizes_a_task_takes_those_that_all_its_problems_have(tmp_path, task, sizes):
    options = {"predictors": ("least-squares",), "tasks": 3, "key": jax.random.key(0)}
    with Store(tmp_path, config={}) as store:
        result = compare(task, store=store, **options)
        assert result.sizes == tuple(sizes)
        with pytest.raises(InputError, match=r"at most (98|105) examples"):
            compare(task, sizes=(16, 106), store=store, **options)


@pytest.mark.parametrize(("task", "size"), [("digits", 64), ("gaussian", 256)])
def test_the_perceptron_s_weights_round_what_float32_does_not_hold(task, size):
    data, labels = split(task, 0, size, np.random.default_rng(0))
    built, step = classifiers._perceptron(data.inputs.shape[1], data.norm, size + 1)
    assert step > 1
    assert classifiers._perceptron(data.inputs.shape[1], data.norm, 17)[1] == 1
    coarse = np.rint(data.inputs / step)
    expected = built.oracle({"inputs": coarse, "labels": data.labels, "query": coarse[0]})
    right = np.sign(data.queries @ expected["weights"])
    law = ask("perceptron-in-context", data)
    np.testing.assert_array_equal(law[:, 0], (1 + right) / 2)
    assert (right == labels).mean() > 0.75


def test_beyond_every_grid_is_one_line():
    with pytest.raises(InputError, match="as coarse as it can be"):
        classifiers._perceptron(8, 91.0, 10**7)
