"""Fine-tuning of the shipped base's head: by a hand-written forward pass, and by Optax."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from constructions.learners.descent import softmax
from icl_sim.comparison import compare
from icl_sim.data.tasks import Demonstrations
from icl_sim.errors import InputError
from icl_sim.predictors import PREDICTORS, register_predictor
from icl_sim.predictors.emulated import _emulation
from icl_sim.report.comparison_plots import tables
from icl_sim.training.base_model import CONTEXTS, table_examples


def laws(name, counts):
    data = Demonstrations(None, None, jnp.asarray(counts))
    predict = jax.jit(PREDICTORS[name].function)
    return np.asarray(predict(data, jax.random.key(0)), np.float64)


def draw(m, V, per_context, seed):
    rng = np.random.default_rng(seed)
    return np.stack(
        [rng.multinomial(per_context, rng.dirichlet(np.full(V, 0.3))) for _ in range(m)]
    )


@pytest.mark.parametrize(("m", "V", "per_context"), [(8, 8, 12), (3, 2, 1)])
def test_the_emulator_is_optax_on_the_head(m, V, per_context):
    counts = draw(m, V, per_context, seed=m)
    counts[0] = 0  # a context that the data do not show
    emulated, tuned = laws("emulator", counts), laws("head-sgd", counts)
    distance = 0.5 * np.abs(emulated - tuned).sum(axis=1)
    moved = 0.5 * np.abs(tuned - laws("zero-shot", counts)).sum(axis=1)
    assert moved[1:].mean() >= 0.2, "the test could not fail"
    assert distance.max() <= 1e-5
    np.testing.assert_allclose(emulated.sum(axis=1), 1, atol=1e-6)


def test_without_data_it_is_the_base():
    nothing = np.zeros((4, 4), np.int64)
    difference = laws("emulator", nothing) - laws("zero-shot", nothing)
    assert np.abs(difference).max() <= 1e-6


def test_tasks_are_batched():
    counts = jnp.asarray(np.stack([draw(4, 4, 6, seed) for seed in range(3)]))
    predict = PREDICTORS["emulator"].function
    keys = jax.random.split(jax.random.key(0), 3)
    together = jax.vmap(lambda c, key: predict(Demonstrations(None, None, c), key))(counts, keys)
    for row, each in zip(together, counts, strict=True):
        np.testing.assert_allclose(row, laws("emulator", each), atol=1e-6)


@pytest.mark.parametrize(("m", "V", "per_context"), [(8, 8, 12), (4, 4, 0)])
def test_its_answer_is_certified(m, V, per_context):
    """`emulator_bound` holds, against the training in float64, and says something."""
    counts = draw(m, V, per_context, seed=5)
    built, posed = _emulation(m)
    each = table_examples(counts).counts
    data = {"labels": each / np.maximum(each.sum(axis=1, keepdims=True), 1)}
    data["weights"] = np.tile(each.sum(axis=1) / max(each.sum(), 1), (len(posed["weights"]), 1))
    logits = posed["logits"][-m:]
    exact = built.oracle(posed | data) if counts.any() else softmax(logits)
    exact = exact[:, CONTEXTS : CONTEXTS + V]
    exact /= exact.sum(axis=1, keepdims=True)
    off = 0.5 * np.abs(laws("emulator", counts) - exact).sum(axis=1).max()
    assert off <= PREDICTORS["emulator"].bound(Demonstrations(None, None, counts)) <= 2e-3


def test_a_comparison_records_what_a_route_certifies():
    def even(data, key):
        return jnp.full(data.counts.shape, 0.25)

    asked = {"sizes": (16,), "tasks": 2, "contexts": 4, "vocab": 4}
    register_predictor("even", even, counts_only=True, bound=lambda data: data.counts.sum() / 1024)
    try:
        found = compare("tables", predictors=("even", "counts"), **asked)
    finally:
        del PREDICTORS["even"]
    assert found.bounds == {16: {"even": 16 / 1024}}
    (rows,) = [rows for title, rows in tables(found).items() if title.startswith("certified")]
    assert rows == [{"N": 16, "predictor": "even", "total variation": 16 / 1024}]
    assert compare("tables", predictors=("counts",), **asked).bounds is None
    with pytest.raises(InputError, match="expected a bound of kind table only, got language"):
        register_predictor("even", even, kind="language", bound=lambda data: 0.0)
