"""Distances take real numbers and laws, and round no number unseen."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from icl_sim.divergence import (
    jensen_shannon,
    kl_divergence,
    total_variation,
    total_variation_from_hidden,
    total_variation_from_logits,
)
from icl_sim.errors import InputError

HALF = [[0.5, 0.5]]
inf = np.inf


@pytest.mark.parametrize("measure", [total_variation, kl_divergence, jensen_shannon])
@pytest.mark.parametrize(
    "row", [[2, 0], [-1, 2], [0, 0], [inf, 0], [inf, -inf], [0.5, 0.498], [2e-3, 1]]
)
def test_rows_that_are_no_laws_are_refused(measure, row):
    for pair in ((HALF, [row]), ([row], HALF), (HALF * 2, [*HALF, row])):
        with pytest.raises(InputError, match="expected laws"):
            measure(*pair)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_rounded_softmax_is_a_law(dtype):
    law = jax.nn.softmax(jax.random.normal(jax.random.key(0), (3, 50_000)), axis=-1)
    assert float(total_variation(law.astype(dtype), law.astype(dtype)).max()) == 0


@pytest.mark.parametrize(
    "odd",
    [
        np.array([[1j, 1]]),
        np.array([[0.5, 0.5]], object),
        np.array([["a", "b"]]),
        np.array([[0.5, 0.5]], np.longdouble),
        [[1, 2], [3]],
        None,
    ],
)
@pytest.mark.parametrize("x64", [False, True])
def test_what_is_not_real_is_refused(odd, x64):
    with jax.enable_x64(x64):
        for measure in (total_variation, total_variation_from_logits):
            with pytest.raises(InputError, match="expected an array of real numbers"):
                measure(odd, HALF)


@pytest.mark.parametrize("x64", [False, True])
@pytest.mark.parametrize("dtype", [np.float64, list])
def test_float64_is_measured_in_float64(x64, dtype):
    logits = [[1e9 + 1, 1e9]]
    logits = logits if dtype is list else np.array(logits, dtype)
    with jax.enable_x64(x64):
        found = total_variation_from_logits(logits, np.zeros((1, 2)))
        hidden = total_variation_from_hidden(
            logits, np.eye(2), np.zeros((1, 2), np.float32), np.eye(2)
        )
    expected = 1 / (1 + np.exp(-1.0)) - 0.5
    for got in (found, hidden):
        assert got.dtype == np.float64
        np.testing.assert_allclose(np.asarray(got), [expected], rtol=1e-12)


@pytest.mark.parametrize("x64", [False, True])
def test_integers_that_float32_cannot_hold_are_refused(x64):
    with jax.enable_x64(x64):
        for logits in ([[2**32, 0]], np.array([[10**9 + 1, 10**9]], np.int32)):
            with pytest.raises(InputError, match="integers that float32 holds"):
                total_variation_from_logits(logits, [[0, 0]])
        assert total_variation_from_logits([[2**24, 0]], [[0, 0]]).tolist() == [0.5]
