"""Claims C3 and C4: formulas against enumeration, exact laws and fixed-seed simulation.

Where a bound is tight, a change of its constant by 20 % in the unsafe direction is caught. Loose
by nature, so not caught at 20 %: halfspace_mean_bound (its worst basis law reaches 1/e of it),
halfspace_tail_size, margin_size, margin_mean_bound, perceptron_updates.
"""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from scipy.stats import binom, norm
from tolerances import F64

from icl_sim.bounds.angles import (
    bayes_error,
    gibbs_error,
    least_squares_error,
    one_step_error,
    one_step_failure,
    one_step_mean_error,
)
from icl_sim.bounds.classification import (
    abstract_fixed_context_size,
    basis_failure,
    basis_mean_error,
    halfspace_mean_bound,
    halfspace_mean_size,
    halfspace_necessary_mean,
    halfspace_necessary_tail,
    halfspace_tail_size,
    margin_mean_bound,
    margin_size,
    perceptron_updates,
    statistic_size,
)
from icl_sim.errors import InputError

RNG = np.random.default_rng(30)


# --- Basis laws ----------------------------------------------------------------------------------


def enumerated(masses, n, miss):
    """{err: probability} over all samples and all outcomes on unseen atoms."""
    law = {}
    d = len(masses)
    for draws in product(range(d), repeat=n):
        unseen = [i for i in range(d) if i not in draws]
        for wrong in product((0, 1), repeat=len(unseen)):
            error = sum(masses[i] for i, w in zip(unseen, wrong, strict=True) if w)
            weight = math.prod(masses[i] for i in draws)
            weight *= math.prod(miss if w else 1 - miss for w in wrong)
            law[error] = law.get(error, 0.0) + weight
    return law


@pytest.mark.parametrize("miss", [0.5, 1.0, 0.2])
@pytest.mark.parametrize(("light", "light_mass"), [(1, 0.25), (2, 0.5), (3, 0.375), (4, 1.0)])
@pytest.mark.parametrize("n", [0, 1, 4])
def test_basis_errors_are_the_enumerated_ones(light, light_mass, n, miss):
    masses = [light_mass / light] * light + ([1 - light_mass] if light_mass < 1 else [])
    law = enumerated(masses, n, miss)
    mean = sum(error * weight for error, weight in law.items())
    if len(masses) > 1:
        np.testing.assert_allclose(basis_mean_error(masses=masses, n=n, miss=miss), mean, **F64)
    for eps in (0.125, 0.25, 0.3, 0.5, 0.8):
        expected = sum(weight for error, weight in law.items() if error > eps + 1e-12)
        found = basis_failure(light=light, light_mass=light_mass, n=n, eps=eps, miss=miss)
        np.testing.assert_allclose(found, expected, **F64)


def test_the_two_point_law_defeats_every_constant():
    eps, light_mass = "0.05", "0.0505"
    found = [
        basis_failure(
            light=1, light_mass=light_mass, n=C * halfspace_mean_size(dim=2, eps=eps), eps=eps
        )
        for C in (1, 2, 4, 8)
    ]
    assert [f"{f:.2g}" for f in found] == ["0.063", "0.0079", "0.00013", "3.1e-08"]
    for C, failure in zip((1, 2, 4, 8), found, strict=True):
        np.testing.assert_allclose(failure, (1 - 0.0505) ** (40 * C) / 2, rtol=1e-12)


def test_free_dimension_costs_three_eighths():
    for n in (31, 75, 300):
        risk = basis_mean_error(masses=[1 / (4 * n)] * (4 * n), n=n)
        np.testing.assert_allclose(risk, (1 - 1 / (4 * n)) ** n / 2, rtol=1e-9)
        assert risk >= 0.389
    assert abstract_fixed_context_size(eps=0.1, delta=0.05) == 300
    assert abstract_fixed_context_size(eps=0.2, delta=0.05) == 75


# --- Sufficient and necessary sizes --------------------------------------------------------------


def test_sizes_are_the_theorems():
    for d, eps, delta in product((2, 7, 50), (0.05, 0.1, 0.3), (0.1, 1e-4)):
        assert halfspace_mean_size(dim=d, eps=eps) == math.ceil(round(d / eps, 9))
        tail = 2 * d + 2 / eps * (d * math.log(4) + math.log(1 / delta))
        assert halfspace_tail_size(dim=d, eps=eps, delta=delta) == math.ceil(tail)
        statistic = math.log(2 / delta) / (2 * eps**2)
        assert statistic_size(eps=eps, delta=delta) == math.ceil(statistic)
        margin = (2 * 3 + math.sqrt(math.log(1 / delta) / 2)) ** 2 / eps**2
        assert margin_size(radius=3, margin=1, eps=eps, delta=delta) == math.ceil(margin)
    assert halfspace_mean_bound(dim=halfspace_mean_size(dim=7, eps=0.1), n=699) == 0.1
    assert margin_mean_bound(dim=3, radius=2, margin=1, n=9) == 0.3
    assert margin_mean_bound(dim=30, radius=2, margin=1, n=9) == 0.4
    assert perceptron_updates(radius=3, margin=0.5) == 36


def test_the_mean_bound_holds_on_basis_laws_with_the_worst_tie_rule():
    best = 0.0
    for d, n in product((2, 5, 20), (0, 1, 10, 200)):
        for light in (0.01, 0.1, min(0.999, (d - 1) / (n + 1)), 0.9):
            masses = [1 - light] + [light / (d - 1)] * (d - 1)
            error = basis_mean_error(masses=masses, n=n, miss=1.0)
            bound = halfspace_mean_bound(dim=d, n=n)
            assert error <= bound
            best = max(best, error / bound) if n >= 10 else best
    assert 1 / math.e - 0.03 < best < 0.5


def test_the_tail_size_holds_on_basis_laws_with_the_worst_tie_rule():
    for d, eps, delta in product((2, 6), (0.1, 0.3), (0.2, 0.01)):
        n = halfspace_tail_size(dim=d, eps=eps, delta=delta)
        for light_mass in (1.01 * eps, 0.5, 1.0):
            found = basis_failure(light=d - 1, light_mass=light_mass, n=n, eps=eps, miss=1.0)
            assert found <= delta


@pytest.mark.parametrize(("d", "eps"), [(20, 0.05), (50, 0.02), (9, 0.15)])
def test_the_necessary_size_for_the_mean_is_what_its_family_proves(d, eps):
    def risk(n, light):
        return basis_mean_error(masses=[1 - light] + [light / (d - 1)] * (d - 1), n=n)

    bound = halfspace_necessary_mean(dim=d, eps=eps)
    below = math.ceil(bound) - 1
    assert risk(below, min(1.0, (d - 1) / (below + 1))) > eps
    beyond = math.ceil(1.2 * (bound + 1))  # 20 % more is more than the family proves
    assert max(risk(beyond, light) for light in np.linspace(0.01, 1, 100)) < eps


@pytest.mark.parametrize(("eps", "delta"), [(0.05, 0.05), (0.2, 0.01)])
def test_the_necessary_size_for_the_tail_is_exact_for_the_two_point_law(eps, delta):
    def failure(n):
        return basis_failure(light=1, light_mass=eps + 1e-9, n=n, eps=eps)

    bound = halfspace_necessary_tail(eps=eps, delta=delta)
    assert failure(math.ceil(bound) - 1) > delta
    assert failure(math.ceil(1.2 * bound)) < delta


def test_c4_s_size_falls_below_c3_s_necessary_one_at_the_stated_dimension():
    eps, delta = 0.1, 0.05
    crossing = 1 + 2 * math.e * (math.log(1 / delta) / eps + eps)
    size = math.log(1 / delta) / eps**2
    assert halfspace_necessary_mean(dim=math.floor(crossing), eps=eps) < size
    assert halfspace_necessary_mean(dim=math.ceil(crossing), eps=eps) > size


def test_one_statistic_keeps_its_promise_and_20_percent_less_does_not():
    fails = lambda n, eps: 2 * binom.sf(math.floor(n * (0.5 + eps) + 1e-9), n, 0.5)
    for eps, delta in product((0.1, 0.05), (0.1, 0.01, 1e-8)):
        assert fails(statistic_size(eps=eps, delta=delta), eps) <= delta
    assert fails(math.floor(0.8 * statistic_size(eps=0.1, delta=1e-8)), 0.1) > 1e-8


# --- Angles --------------------------------------------------------------------------------------


def one_step_errors(d, n, trials):
    """Errors of w = mean y x from Gaussian data itself."""
    errors = np.empty(trials)
    for i in range(trials):
        x = RNG.standard_normal((n, d))
        w = np.sign(x[:, 0]) @ x
        errors[i] = math.atan2(np.linalg.norm(w[1:]), w[0]) / math.pi
    return errors


@pytest.mark.parametrize(("d", "n"), [(2, 4), (2, 100), (20, 400), (5, 30)])
def test_one_step_s_error_has_its_exact_mean_and_tail(d, n):
    trials = 3000
    errors = one_step_errors(d, n, trials)
    mean = one_step_mean_error(dim=d, n=n)
    assert abs(errors.mean() - mean) < 5 * errors.std() / math.sqrt(trials)
    for eps in np.quantile(errors, (0.1, 0.5, 0.9)):
        failure = one_step_failure(dim=d, n=n, eps=float(eps))
        spread = math.sqrt(failure * (1 - failure) / trials)
        assert abs((errors > eps).mean() - failure) < 5 * spread


def test_one_step_s_mean_is_the_integral_of_its_tail():
    nodes, weights = np.polynomial.legendre.leggauss(120)
    for d, n in ((2, 4), (3, 50), (20, 1000)):
        tail = [one_step_failure(dim=d, n=n, eps=float((1 + x) / 4)) for x in nodes]
        np.testing.assert_allclose(one_step_mean_error(dim=d, n=n), weights @ tail / 4, rtol=1e-7)


def test_one_step_s_asymptotic_error_is_a_little_high():
    for d, n in product((20, 100), (400, 10_000)):
        ratio = one_step_error(dim=d, n=n) / one_step_mean_error(dim=d, n=n)
        assert 1 < ratio < 1.015
    assert 1.24 < one_step_error(dim=2, n=10_000) / one_step_mean_error(dim=2, n=10_000) < 1.26
    # 20 % less under the root is no longer above the truth
    assert math.sqrt(0.8) * one_step_error(dim=20, n=10_000) < one_step_mean_error(dim=20, n=10_000)


def test_one_step_and_least_squares_cost_the_square_of_eps():
    for error in (one_step_error, one_step_mean_error, least_squares_error):
        ratio = error(dim=20, n=400_000) / error(dim=20, n=100_000)
        np.testing.assert_allclose(ratio, 0.5, rtol=2e-3)


def test_least_squares_error_agrees_with_simulation():
    d, n, trials = 20, 640, 400
    errors = np.empty(trials)
    for i in range(trials):
        x = RNG.standard_normal((n, d))
        w = np.linalg.solve(x.T @ x, x.T @ np.sign(x[:, 0]))
        errors[i] = math.atan2(np.linalg.norm(w[1:]), w[0]) / math.pi
    expected = least_squares_error(dim=d, n=n)
    assert (
        abs(errors.mean() / expected - 1) < 0.02 + 5 * errors.std() / math.sqrt(trials) / expected
    )


def test_bayes_and_gibbs_have_their_constants_and_their_exact_values_at_two_dimensions():
    n = 10**6
    np.testing.assert_allclose(bayes_error(dim=101, n=100 * n) * n, 0.4417, rtol=2e-4)
    np.testing.assert_allclose(gibbs_error(dim=101, n=100 * n) * n, 0.6247, rtol=2e-4)
    # d = 2: the posterior is an arc whose two ends are exponential with rate n/pi from the teacher.
    ends = RNG.exponential(math.pi / 1000, (200_000, 2))
    bayes = np.abs(ends[:, 0] - ends[:, 1]).mean() / 2 / math.pi
    gibbs = ((ends**2).sum(axis=1) / (2 * ends.sum(axis=1))).mean() / math.pi
    np.testing.assert_allclose([bayes, gibbs], [0.5 / 1000, 2 / 3 / 1000], rtol=0.01)
    assert 0.85 < bayes_error(dim=2, n=1000) / bayes < 0.92  # which is not yet the limit
    assert 0.9 < gibbs_error(dim=2, n=1000) / gibbs < 0.98


def posterior_errors(d, n, steps, rng):
    """Errors of a posterior draw and of the posterior mean, by hit and run from the teacher.

    The teacher is itself a draw from the posterior, so the walk is stationary from its start.
    """
    teacher = rng.standard_normal(d)
    z = rng.standard_normal((n, d))
    z *= np.sign(z @ teacher)[:, None]
    w, mean = teacher.copy(), np.zeros(d)
    for _ in range(steps):
        u = rng.standard_normal(d)
        u /= np.linalg.norm(u)
        rates, values = z @ u, z @ w
        ends = -values / rates
        low, high = ends[rates > 0].max(initial=-40), ends[rates < 0].min(initial=40)
        center = w @ u  # along u the prior is N(-center, 1)
        a, b = norm.cdf(low + center), norm.cdf(high + center)
        w = w + np.clip(norm.ppf(rng.uniform(a, b)) - center, low, high) * (1 - 1e-12) * u
        mean += w / np.linalg.norm(w)

    def angle(v):
        return math.acos(v @ teacher / np.linalg.norm(v) / np.linalg.norm(teacher)) / math.pi

    return angle(w), angle(mean)


@pytest.mark.slow
def test_bayes_and_gibbs_agree_with_walks_through_the_posterior():
    d, n = 20, 100
    rng = np.random.default_rng(31)
    errors = np.array([posterior_errors(d, n, 3000, rng) for _ in range(100)])
    expected = np.array([gibbs_error(dim=d, n=n), bayes_error(dim=d, n=n)])
    spread = errors.std(axis=0) / 10
    assert (np.abs(errors.mean(axis=0) - expected) < 5 * spread).all()
    assert (spread < 0.03 * expected).all()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: halfspace_mean_bound(dim=0, n=1), "dim"),
        (lambda: halfspace_mean_size(dim=2, eps=0), "eps"),
        (lambda: halfspace_tail_size(dim=2, eps=0.1, delta=1), "delta"),
        (lambda: halfspace_necessary_mean(dim=5, eps=0.2), "0.1839"),
        (lambda: perceptron_updates(radius=1, margin=2), "margin"),
        (lambda: basis_failure(light=1, light_mass=0, n=1, eps=0.1), "light_mass"),
        (lambda: basis_mean_error(masses=[0.5, 0.4], n=1), "law"),
        (lambda: margin_size(radius=1, margin=0, eps=0.1, delta=0.1), "margin"),
        (lambda: one_step_failure(dim=2, n=10, eps=0.5), "1/2"),
        (lambda: one_step_mean_error(dim=2, n=3), "n"),
        (lambda: least_squares_error(dim=5, n=6), "n"),
    ],
)
def test_arguments_out_of_range_are_named(call, words):
    with pytest.raises(InputError, match=words):
        call()
