"""Multinomial counts: exact law, exact integers, one compilation for every n."""

from __future__ import annotations

from fractions import Fraction

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from icl_sim.data.sampling import integer_thresholds, multinomial_counts, scaled_total_variation

SKEWED = np.array([0.4, 0.0, 0.3, 0.0, 0.15, 0.1, 0.05, 1e-6], np.float32)
SKEWED /= SKEWED.sum()
LAWS = {
    "a fair coin": np.array([0.5, 0.5], np.float32),
    "a rare side": np.array([0.999, 0.001], np.float32),
    "uniform on 7": np.full(7, 1 / 7, np.float32),
    "skewed with gaps": SKEWED,
}


many_counts = jax.jit(jax.vmap(multinomial_counts, in_axes=(0, None, None)))


def draw(seed, trials, n, law):
    keys = jax.random.split(jax.random.key(seed), trials)
    return np.asarray(many_counts(keys, np.int32(n), jnp.asarray(law)), np.int64)


def test_the_remainder_goes_to_the_likeliest_and_never_to_an_empty_category():
    # Sevenths in float32 do not add up to 1: some parts of 2^31 are left, too few to be sampled.
    law = jnp.array([1, 1, 2, 1, 1, 1, 0], jnp.float32) / 7
    weights = np.diff(np.asarray(integer_thresholds(law), np.int64), prepend=0)
    cut = np.floor(np.asarray(law, np.float64) * 2**31)
    assert weights.sum() == 2**31 != cut.sum()
    assert (weights - cut).nonzero()[0].tolist() == [2]


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize("n", [0, 1, 255, 256, 257, 3000])
def test_counts_sum_to_n_and_leave_empty_categories_empty(name, n):
    law = LAWS[name]
    counts = draw(1, 50, n, law)
    assert (counts.sum(axis=1) == n).all()
    assert (counts >= 0).all()
    assert (counts[:, law == 0] == 0).all()


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize(("trials", "n"), [(20_000, 40), (2000, 700), (50, 1_000_000)])
def test_the_total_is_a_multinomial_sample_of_the_law(name, trials, n):
    """Pooled counts are Multinomial(trials n, law): Pearson's chi-square at 5 sigma."""
    law = LAWS[name].astype(np.float64)
    pooled = draw(2, trials, n, LAWS[name]).sum(axis=0)
    expected = trials * n * law
    seen = expected >= 10
    chi2 = ((pooled[seen] - expected[seen]) ** 2 / expected[seen]).sum()
    assert stats.chi2.sf(chi2, seen.sum() - 1) > 5.7e-7


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize(("trials", "n"), [(20_000, 40), (2000, 700)])
def test_variance_and_covariance_are_multinomial(name, trials, n):
    """z z' over trials against n (diag p - p p'), each entry within 5 of its standard errors."""
    law = LAWS[name].astype(np.float64)
    centred = draw(3, trials, n, LAWS[name]) - n * law
    products = centred[:, :, None] * centred[:, None, :]
    error = products.std(axis=0) / np.sqrt(trials)
    expected = n * (np.diag(law) - np.outer(law, law))
    common = np.outer(law, law) * n * trials > 100  # where the standard error is itself known
    assert (np.abs(products.mean(axis=0) - expected) <= 5 * error)[common].all()


def test_single_counts_follow_the_binomial_law():
    """V = 2, n = 12: all 13 outcomes, chi-square at 5 sigma."""
    counts = draw(4, 20_000, 12, np.array([0.3, 0.7], np.float32))[:, 0]
    observed = np.bincount(counts, minlength=13)
    expected = 20_000 * stats.binom.pmf(np.arange(13), 12, 0.3)
    observed = np.append(observed[:9], observed[9:].sum())
    expected = np.append(expected[:9], expected[9:].sum())
    assert stats.chi2.sf(((observed - expected) ** 2 / expected).sum(), 9) > 5.7e-7


def test_counts_are_these_integers_on_every_platform():
    law = jnp.array([0.5, 0.25, 0.125, 0.125], jnp.float32)
    counts = multinomial_counts(jax.random.key(0), 1000, law)
    assert counts.dtype == jnp.int32
    keys = [jax.random.fold_in(jax.random.key(0), chunk) for chunk in range(4)]
    drawn = np.concatenate([jax.random.bits(key, (256,), jnp.uint32) for key in keys])[:1000] >> 1
    edges = np.array([0, 0.5, 0.75, 0.875, 1]) * 2**31
    assert counts.tolist() == np.histogram(drawn, edges)[0].tolist()


def test_a_new_n_or_law_compiles_nothing():
    counts = jax.jit(chex.assert_max_traces(n=1)(multinomial_counts))
    for seed, n in enumerate([0, 3, 300, 40_000]):
        law = np.eye(4, dtype=np.float32)[seed]
        assert counts(jax.random.key(seed), np.int32(n), law)[seed] == n


def test_a_certain_outcome_takes_all():
    assert draw(5, 3, 1000, np.array([0, 1, 0], np.float32)).tolist() == [[0, 1000, 0]] * 3


@pytest.mark.parametrize("law", [[0.2, 0.2], [1.5, -0.5], [[1.0]], [np.nan, 1.0]])
def test_what_is_not_a_law_is_refused(law):
    with pytest.raises(ValueError, match="law must be"):
        multinomial_counts(jax.random.key(0), 10, jnp.array(law, jnp.float32))
    with pytest.raises(ValueError, match="law must be a float vector"):
        multinomial_counts(jax.random.key(0), 10, jnp.array([1, 0]))


def test_scaled_total_variation_is_exact():
    rng = np.random.default_rng(6)
    for _ in range(30):
        weights = rng.integers(0, 50, 6) + 1
        counts = rng.multinomial(500, weights / weights.sum())
        q, n = int(weights.sum()), 500
        tv = sum(
            abs(Fraction(int(c), n) - Fraction(int(w), q))
            for c, w in zip(counts, weights, strict=True)
        )
        assert int(scaled_total_variation(counts, weights)) == q * n * tv
