"""Derivatives of the distances at zero mass: finite and right; values keep their bits."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tolerances import F32

from icl_sim.divergence import (
    jensen_shannon,
    jensen_shannon_from_logits,
    kl_divergence,
    kl_from_logits,
)

INF = float("inf")


def slope(distance, p, q):
    p, q = (jnp.array([x], jnp.float32) for x in (p, q))
    return jax.grad(lambda q: distance(p, q)[0])(q)[0]


@pytest.mark.parametrize(
    ("distance", "p", "q", "expected"),
    [
        (kl_divergence, [0, 1], [0.5, 0.5], [0, -2]),
        (kl_divergence, [0, 0, 1], [0, 0.5, 0.5], [0, 0, -2]),
        (kl_divergence, [0.5, 0.5], [0.5, 0.5], [-1, -1]),
        (jensen_shannon, [0, 1], [0.5, 0.5], [np.log(2) / 2, np.log(2 / 3) / 2]),
        (jensen_shannon, [0, 0, 1], [0, 0.5, 0.5], [0, np.log(2) / 2, np.log(2 / 3) / 2]),
        (kl_from_logits, [np.log(3), 0, -INF], [0, 0, -INF], [-0.25, 0.25, 0]),
        (kl_from_logits, [0, np.log(3), -INF], [0, 0, 0], [1 / 12, -5 / 12, 1 / 3]),
        (jensen_shannon_from_logits, [0, 0, -INF], [0, 0, -INF], [0, 0, 0]),
    ],
)
def test_slopes_at_zero_mass(distance, p, q, expected):
    np.testing.assert_allclose(slope(distance, p, q), expected, **F32)


@pytest.mark.parametrize("distance", [kl_from_logits, jensen_shannon_from_logits])
def test_slopes_of_masked_logits_are_differences(distance):
    a, b = np.random.default_rng(0).normal(size=(2, 1, 6))
    a[0, :2] = -INF
    b[0, 1] = -INF
    found = jax.grad(lambda b: distance(a, b)[0])(jnp.asarray(b))
    for i in (0, 2, 3, 4, 5):
        step = np.eye(6)[i] * 1e-6
        expected = (distance(a, b + step) - distance(a, b - step))[0] / 2e-6
        np.testing.assert_allclose(found[0, i], expected, rtol=1e-5, atol=1e-8)
    assert found[0, 1] == 0
