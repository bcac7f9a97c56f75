from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import gammaln

from icl_sim.data.bayes import posterior_predictive

RNG = np.random.default_rng(0)


def by_quadrature(counts, low=0.1, high=2.0):
    """The integral over ln a, done adaptively in float64."""
    V = counts.shape[1]
    n = counts.sum(axis=1)

    def log_likelihood(a):
        each = gammaln(a + counts).sum(axis=1) - V * gammaln(a)
        return float((gammaln(a * V) - gammaln(a * V + n) + each).sum())

    t = np.linspace(np.log(low), np.log(high), 2000)
    top = max(log_likelihood(np.exp(x)) for x in t)

    def integral(f):
        def integrand(x):
            return np.exp(log_likelihood(np.exp(x)) - top) * f(np.exp(x))

        return quad(integrand, np.log(low), np.log(high), epsabs=1e-12, limit=200)[0]

    evidence = integral(lambda a: 1.0)
    law = np.zeros(counts.shape)
    for c, y in np.ndindex(counts.shape):
        law[c, y] = integral(lambda a, c=c, y=y: (counts[c, y] + a) / (n[c] + a * V)) / evidence
    return law


@pytest.mark.parametrize("total", [0, 3, 40, 400])
def test_it_is_the_integral_over_the_concentration(total):
    truth = RNG.dirichlet(np.full(4, 0.5), 3)
    counts = np.stack([RNG.multinomial(total, row) for row in truth])
    law = posterior_predictive(counts, most=total)
    np.testing.assert_allclose(law, by_quadrature(counts), rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(law.sum(axis=1), 1, atol=1e-6)


def test_a_narrow_prior_is_add_a_smoothing():
    counts = np.array([[3, 1, 0], [0, 0, 0]])
    law = posterior_predictive(counts, most=9, interval=(0.4999, 0.5001))
    np.testing.assert_allclose(law, (counts + 0.5) / (counts.sum(1, keepdims=True) + 1.5), 1e-4)


def test_no_table_of_the_prior_is_predicted_better_on_average():
    # Bayes minimizes the expected loss under the prior: a 5-sigma comparison with smoothing.
    gains = []
    for _ in range(200):
        a = np.exp(RNG.uniform(np.log(0.1), np.log(2)))
        truth = RNG.dirichlet(np.full(8, a), 8)
        counts = np.stack([RNG.multinomial(8, row) for row in truth])
        bayes = np.asarray(posterior_predictive(counts, most=64))
        smoothed = (counts + 0.5) / (counts.sum(1, keepdims=True) + 4)
        gains.append((truth * np.log(bayes / smoothed)).sum(1).mean())
    assert np.mean(gains) > 5 * np.std(gains) / np.sqrt(len(gains))


def test_too_many_counts_give_nan_and_not_a_wrong_law():
    assert np.isnan(posterior_predictive(np.array([[4, 0]]), most=3)).all()


def test_it_is_jittable_vmappable_and_float32():
    counts = jnp.asarray(RNG.integers(0, 5, (6, 3, 4)), jnp.int32)
    laws = jax.jit(jax.vmap(lambda c: posterior_predictive(c, most=20)))(counts)
    assert laws.dtype == jnp.float32
    np.testing.assert_allclose(laws[2], posterior_predictive(counts[2], most=20), rtol=1e-6)
