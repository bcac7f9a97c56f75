"""Sup-norm tails by enumeration and by their formulas; coins; the uniform law's mean."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from scipy.stats import binom
from tolerances import F64

from icl_sim.bounds.coins import coins_needed, rounding_error
from icl_sim.bounds.sequences import deterministic_size, dkw_size, events_size, sup_norm_size
from icl_sim.bounds.suprema import (
    independent_events_failure,
    sup_norm_failure,
    sup_norm_failure_probability,
)
from icl_sim.bounds.tokens import expected_total_variation, uniform_mean_size
from icl_sim.errors import InputError


def enumerated(law, n, eps):
    """P(sup > eps) over all count vectors, in fractions."""
    failure = Fraction(0)
    for counts in product(range(n + 1), repeat=len(law)):
        if sum(counts) == n and any(
            abs(Fraction(c, n) - p) > eps for c, p in zip(counts, law, strict=True)
        ):
            ways = math.factorial(n)
            for c, p in zip(counts, law, strict=True):
                ways = Fraction(ways, math.factorial(c)) * p**c
            failure += ways
    return float(failure)


LAWS = [
    [Fraction(1, 2), Fraction(1, 2)],
    [Fraction(1, 3)] * 3,
    [Fraction(1, 2), Fraction(1, 4), Fraction(1, 4), Fraction(0)],
    [Fraction(7, 10), Fraction(1, 5), Fraction(1, 10)],
]


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("n", [1, 4, 7, 10])
@pytest.mark.parametrize("eps", [Fraction(1, 10), Fraction(1, 4), Fraction(1, 2)])
def test_the_exact_tail_is_the_enumerated_one(law, n, eps):
    found = sup_norm_failure_probability(outputs=len(law), n=n, eps=eps, law=law)
    np.testing.assert_allclose(found, enumerated(law, n, eps), rtol=0, atol=1e-10)


def test_a_lattice_without_a_point_in_the_window_always_fails():
    assert sup_norm_failure_probability(outputs=2, n=1, eps="0.1") == 1.0


@pytest.mark.parametrize("outputs", [2, 4, 64, 4096])
@pytest.mark.parametrize("n", [10, 100, 1000])
def test_the_formulas_bound_the_exact_tail(outputs, n):
    for eps in (0.05, 0.1, 0.3):
        exact = sup_norm_failure_probability(outputs=outputs, n=n, eps=eps)
        assert exact <= sup_norm_failure(n=n, eps=eps, outputs=outputs) + 1e-10
        assert exact <= sup_norm_failure(n=n, eps=eps) + 1e-10


@pytest.mark.parametrize("delta", [0.3, 0.05, 1e-6])
def test_the_tail_is_below_delta_at_the_sizes(delta):
    eps = 0.1
    for n in (sup_norm_size(eps=eps, delta=delta), dkw_size(eps=eps, delta=delta)):
        assert sup_norm_failure(n=n, eps=eps) <= delta
    n = events_size(events=64, eps=eps, delta=delta)
    assert sup_norm_failure(n=n, eps=eps, outputs=64) <= delta
    assert independent_events_failure(events=64, n=n, eps=eps) <= delta


def test_independent_events_are_nearly_as_bad_as_the_union_over_them():
    n = events_size(events=256, eps=0.1, delta=0.05) // 2
    one = independent_events_failure(events=1, n=n, eps=0.1)
    all_of_them = independent_events_failure(events=256, n=n, eps=0.1)
    np.testing.assert_allclose(all_of_them, 1 - (1 - one) ** 256, **F64)
    assert all_of_them > 0.05


def test_masses_may_be_given_by_their_multiplicities():
    listed = sup_norm_failure_probability(outputs=3, n=7, eps="0.2", law=["1/2", "1/4", "1/4"])
    counted = {Fraction(1, 2): 1, Fraction(1, 4): 2}
    assert sup_norm_failure_probability(outputs=3, n=7, eps="0.2", law=counted) == listed
    with pytest.raises(InputError, match="sum to 1"):
        sup_norm_failure_probability(outputs=3, n=7, eps="0.2", law={Fraction(1, 2): 1})


def test_too_many_masses_are_refused():
    law = np.arange(1, 1001) / 500500
    with pytest.raises(InputError, match="different masses"):
        sup_norm_failure_probability(outputs=1000, n=10, eps=0.1, law=law)


@pytest.mark.parametrize("vocab", [2, 8, 32])
@pytest.mark.parametrize("eps", [0.05, 0.02])
def test_the_mean_at_the_uniform_law_is_about_eps_at_its_size(vocab, eps):
    n = round(uniform_mean_size(vocab=vocab, eps=eps))
    mean = expected_total_variation(law=[Fraction(1, vocab)] * vocab, n=n)
    assert 0.95 * eps < mean < 1.02 * eps


def test_coins_are_the_least_that_suffice():
    for V, length, eps in product((2, 3, 50), (1, 7), ("0.5", "0.1", "0.001")):
        b = coins_needed(vocab=V, length=length, eps=eps)
        assert rounding_error(vocab=V, length=length, coins=b) <= float(eps)
        assert b == 1 or rounding_error(vocab=V, length=length, coins=b - 1) > float(eps)


def sup_failure(vocab, n, eps):
    """P(sup |Phat - 1/V| > eps) at the uniform law, exactly: Poisson counts given their sum."""
    kept = [c for c in range(n + 1) if abs(c - n / vocab) <= n * eps * (1 + 1e-12)]
    powers = np.zeros(n + 1)
    powers[0] = 1.0
    for _ in range(vocab):
        after = np.zeros(n + 1)
        for c in kept:
            after[c:] += powers[: n + 1 - c] * math.exp(-math.lgamma(c + 1))
        powers = after
    return 1 - powers[n] * math.exp(math.lgamma(n + 1) - n * math.log(vocab))


@pytest.mark.parametrize("vocab", [2, 3, 6])
@pytest.mark.parametrize(("eps", "delta"), [(0.3, 0.1), (0.2, 0.3), (0.25, 0.01)])
def test_sup_norm_sizes_suffice_at_uniform_laws(vocab, eps, delta):
    better, dkw = sup_norm_size(eps=eps, delta=delta), dkw_size(eps=eps, delta=delta)
    events = events_size(events=vocab, eps=eps, delta=delta)
    assert better < dkw
    for n in (better, dkw, events):
        assert sup_failure(vocab, n, eps) <= delta


def test_the_better_sup_norm_size_is_always_below_dkw():
    for delta in np.linspace(0.001, 0.999, 50):
        assert (1 + math.sqrt(-math.log(delta) / 2)) ** 2 < 2 * math.log(2 / delta)


def test_hoeffding_s_size_is_sharp_for_a_fair_coin_at_small_delta():
    assert events_size(events=1, eps=0.1, delta=0.05) == math.ceil(math.log(40) / 0.02) == 185
    n = events_size(events=1, eps=0.1, delta=1e-8)
    two_sided = lambda n: 2 * binom.sf(math.floor(0.6 * n + 1e-9), n, 0.5)
    assert two_sided(n) <= 1e-8 < two_sided(math.floor(0.8 * n))


def test_the_abstract_s_product_covers_the_events_from_four_outputs_on():
    for K, delta in product((4, 16, 4**8), (0.3, 0.05, 1e-4)):
        product_size = math.log(K) * math.log(1 / delta) / 0.01
        assert product_size >= (math.log(K) + math.log(2 / delta)) / 0.02


@pytest.mark.parametrize(("maps", "eps", "delta"), [(2, 0.01, 0.01), (50, 0.02, 0.05)])
def test_occam_s_size_is_sharp_for_independent_maps(maps, eps, delta):
    n = deterministic_size(maps=maps, eps=eps, delta=delta)
    some_survives = lambda n: 1 - (1 - (1 - eps) ** n) ** (maps - 1)
    assert some_survives(n) <= delta
    assert some_survives(math.floor(0.8 * n)) > delta
