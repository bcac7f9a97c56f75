"""What enters a comparison, or the distances over many contexts, is what it must be."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_sim.comparison import compare
from icl_sim.comparison.entry import checked_laws
from icl_sim.divergence import distances_over
from icl_sim.errors import InputError
from icl_sim.predictors import PREDICTORS, register_predictor
from icl_sim.storage.result_store import MemoryStore


@pytest.mark.parametrize("host", [False, True])
@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda law: 2 * law, InputError),
        (lambda law: law.at[0, 0].add(-1.5).at[0, 1].add(1.5), InputError),
        (lambda law: law + 0j, InputError),
        (lambda law: law * jnp.nan, FloatingPointError),
    ],
)
def test_a_predictor_whose_law_is_none_is_named(change, error, host):
    def odd(data, key):
        m, V = data.counts.shape
        return change(jnp.full((m, V), 1 / V))

    register_predictor("odd", odd, counts_only=True, host=host)
    try:
        with pytest.raises(error, match="odd, 8 demonstrations: "):
            compare("tables", sizes=(8,), predictors=("counts", "odd"), tasks=1)
    finally:
        del PREDICTORS["odd"]


def test_laws_within_rounding_pass():
    law = np.array([[0.1] * 10, [0.0] * 9 + [1.0005]])
    assert checked_laws(law, name="x", shown="1", shape=(2, 10)).dtype == np.float32


@pytest.mark.parametrize("rows", [1, 5, 1023])
def test_a_pair_must_give_a_row_for_each_context(rows):
    def pair(keys):
        x = jax.vmap(lambda key: jax.random.normal(key, (3,)))(keys)
        return x, x[:rows]

    options = {"contexts": 100, "key": jax.random.key(0), "store": MemoryStore()}
    with pytest.raises(InputError, match=r"pair: expected hidden states \[1024, D\]"):
        distances_over("few", pair, jnp.eye(3), jnp.eye(3), **options)
