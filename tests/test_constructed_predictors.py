"""Hand-written predictors of tables: their weights against the algorithm, stated plainly."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from icl_sim.data.tasks import random_table, sample_demonstrations
from icl_sim.predictors import PREDICTORS
from icl_sim.predictors.constructed import FIRST, FLOOR, HYPOTHESES

M, V, N = 3, 4, 25


@pytest.fixture(scope="module")
def data():
    law = random_table(1, contexts=M, vocab=V).law.astype(np.float32)
    return sample_demonstrations(jax.random.key(1), law, total=N)


def predicted(name, data):
    laws = np.asarray(jax.jit(PREDICTORS[name])(data, jax.random.key(0)), np.float64)
    np.testing.assert_allclose(laws.sum(axis=1), 1, atol=1e-5)
    return laws


def test_retrieval_averages_the_first_pairs_of_the_context(data):
    laws = predicted("retrieval", data)
    contexts, outputs = np.asarray(data.contexts), np.asarray(data.outputs)
    K = -(-N // M)
    for c in range(M):
        order = np.argsort(contexts != c, kind="stable")[:K]
        expected = np.bincount(outputs[order], minlength=V) / K
        np.testing.assert_allclose(laws[c], expected, atol=1e-6)


def test_the_mixture_is_the_posterior_over_its_tables(data):
    laws = predicted("mixture", data)
    tables = np.stack(
        [
            random_table(FIRST + i, contexts=M, vocab=V, concentration=None).law
            for i in range(HYPOTHESES)
        ]
    )
    tables = (1 - FLOOR) * tables + FLOOR / V
    scores = (np.asarray(data.counts) * np.log(tables)).sum(axis=(1, 2))
    posterior = np.exp(scores - scores.max())
    expected = np.einsum("k,kcy->cy", posterior / posterior.sum(), tables)
    np.testing.assert_allclose(laws, expected, atol=2e-4)
    assert np.abs(laws - tables.mean(axis=0)).max() > 0.1  # the data moved it
