"""Derivatives of the distances, finite and right at zero mass; Jensen-Shannon's approximation."""

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
from icl_sim.divergence.measures import _JS_RATIO, _js_of_log_ratio

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


def test_jensen_shannon_of_a_log_ratio_is_what_it_approximates():
    x = np.linspace(1e-3, 60, 300_001, dtype=np.float32)
    t = np.exp(-x.astype(np.float64))
    expected = 2 * (np.log(2) - np.log1p(t) - x * t / (1 + t))  # h(tanh(x / 2)) without cancelling
    series = x.astype(np.float64) ** 2 / 4 * (1 - x.astype(np.float64) ** 2 / 8)
    expected = np.where(x < 0.02, series, expected)
    top, bottom, most = _JS_RATIO
    u = np.minimum((x.astype(np.float64) / 2) ** 2, most)
    exact = u * np.polyval(top[::-1], u) / np.polyval(bottom[::-1], u)
    np.testing.assert_allclose(exact, expected, rtol=3e-7)
    half = jnp.full_like(x, 0.5)
    for sign in (1, -1):
        np.testing.assert_allclose(_js_of_log_ratio(half, half, sign * x / 2), expected, rtol=8e-7)


@pytest.mark.parametrize(("moved", "rtol"), [(1e-3, 1e-4), (1e-2, 1e-5), (1.0, 1e-6)])
def test_jensen_shannon_of_close_logits_keeps_its_accuracy_and_slope(moved, rtol):
    a, b = np.random.default_rng(0).normal(size=(2, 4, 500)).astype(np.float32)
    b = a + np.float32(moved) * b

    def both(dtype):
        def total(b):
            found = jensen_shannon_from_logits(jnp.asarray(a, dtype), b)
            return found.sum(), found

        slopes, values = jax.grad(total, has_aux=True)(jnp.asarray(b, dtype))
        return np.asarray(values), np.asarray(slopes)

    (values, slopes), (exact, exact_slopes) = both(jnp.float32), both(jnp.float64)
    np.testing.assert_allclose(values, exact, rtol=rtol)
    np.testing.assert_allclose(slopes, exact_slopes, rtol=0, atol=rtol * np.abs(slopes).max())
