"""Linear classification side by side: training in weights equals training by Optax."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from icl_sim.comparison import compare
from icl_sim.comparison.classification import CLASSIFIERS, HELD_OUT, split
from icl_sim.errors import InputError
from icl_sim.storage.store import Store


@pytest.mark.parametrize(("task", "size"), [("gaussian", 24), ("iris", 30), ("digits-3-8", 40)])
def test_a_head_trained_in_the_forward_pass_equals_one_trained_by_optax(task, size):
    data = split(task, 0, size, np.random.default_rng(1))
    trained, emulated = CLASSIFIERS["logistic"](data), CLASSIFIERS["logistic-in-context"](data)
    # The training moved the laws, so that equality says something.
    assert np.abs(trained - 0.5).max() > 0.2
    assert np.abs(trained - emulated).sum(axis=1).max() / 2 <= 1e-5


def test_weights_agree_with_the_solvers_on_data_that_a_halfspace_labels():
    wrong = {"svm": [], "perceptron": []}
    for index in range(4):
        data = split("gaussian", index, 60, np.random.default_rng(index))
        for name, found in wrong.items():
            solved = CLASSIFIERS[name](data)
            weights = CLASSIFIERS[f"{name}-in-context"](data)
            found.append(float((np.abs(solved - weights).sum(axis=1) > 0).mean()))
            truth = np.stack([data.truth > 0, data.truth < 0], axis=1)
            assert (weights.argmax(axis=1) == truth.argmax(axis=1)).mean() > 0.75
    # Frank-Wolfe after 512 steps, and another order of updates: some inputs near the boundary.
    assert np.mean(wrong["svm"]) <= 0.1
    assert np.mean(wrong["perceptron"]) <= 0.25


def test_splits_are_disjoint_and_a_function_of_their_seed():
    first, again = (split("wine", 2, 50, np.random.default_rng(7)) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert first.queries.shape == (min(HELD_OUT, 119 - 50), 14)
    assert set(first.labels.tolist()) == {-1, 1}
    other = split("wine", 2, 50, np.random.default_rng(8))
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
