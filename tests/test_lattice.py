"""Sub-probabilities on the integers: nothing is lost that is not on the account."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, poisson
from tolerances import F64

from icl_sim.bounds.lattice import (
    Mass,
    log_binomial,
    log_poisson,
    power,
    powers,
    trim,
    truncated_poisson,
)

DIE = Mass(1, np.full(6, 1 / 6))


def spread(mass, length):
    full = np.zeros(length)
    full[mass.first : mass.last + 1] = mass.values
    return full


@pytest.mark.parametrize("cut", [1e-2, 1e-3, 1e-6])
def test_what_is_cut_is_entered_as_lost(cut):
    exact = powers(DIE, 0, 12, 0.0)
    for rough, fine in zip(powers(DIE, 0, 12, cut), exact, strict=True):
        missing = spread(fine, 80) - spread(rough, 80)
        assert missing.min() >= -1e-15
        assert missing.sum() <= rough.lost + 1e-14
    squared = power(DIE, 12, cut)
    missing = spread(exact[-1], 80) - spread(squared, 80)
    assert 0 < missing.sum() <= squared.lost


def test_trim_cuts_what_it_may_and_no_more():
    mass = Mass(5, np.array([0.004, 0.004, 0.004, 0.976, 0.011, 0.001]))
    found = trim(mass, 0.01)
    assert (found.first, found.last) == (7, 9)
    assert found.lost == 0.02
    assert trim(mass, 2.0) is mass  # nothing would be left


def test_powers_are_sums_of_independent_variables():
    two = power(DIE, 2, 0.0)
    assert (two.first, two.last) == (2, 12)
    np.testing.assert_allclose(two.values * 36, [1, 2, 3, 4, 5, 6, 5, 4, 3, 2, 1], **F64)


@pytest.mark.parametrize("rate", [0.03, 1.0, 15.9, 300.5])
def test_logarithms_are_those_of_poisson_and_binomial(rate):
    for k in (0, 1, 3, 15, 16, 40, 301):
        np.testing.assert_allclose(log_poisson(k, rate), poisson.logpmf(k, rate), **F64)
    for k in (0, 1, 17, 40):
        np.testing.assert_allclose(log_binomial(k, 40, 0.3, 0.7), binom.logpmf(k, 40, 0.3), **F64)
    assert log_binomial(0, 5, 0.0, 1.0) == log_binomial(5, 5, 1.0, 0.0) == 0
    assert log_binomial(1, 5, 0.0, 1.0) == -np.inf


@pytest.mark.parametrize(
    ("rate", "least", "most"), [(9.5, 0, 9), (14.0, 10, None), (0.2, 1, None), (900.0, 0, 850)]
)
def test_a_truncated_poisson_is_the_conditional_law(rate, least, most):
    found, log_mass = truncated_poisson(rate, least, most)
    top = np.inf if most is None else most
    event = poisson.cdf(top, rate) - (poisson.cdf(least - 1, rate) if least else 0)
    np.testing.assert_allclose(log_mass, np.log(event), rtol=1e-9)
    k = np.arange(found.first, found.last + 1)
    np.testing.assert_allclose(found.values, poisson.pmf(k, rate) / event, rtol=1e-9, atol=1e-30)
    assert k[0] >= least
    assert k[-1] <= top
    assert found.lost < 1e-24
