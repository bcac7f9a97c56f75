"""Simultaneous intervals: formulas, and coverage over all outcomes."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from scipy.stats import beta, chi2
from tolerances import F64

from icl_sim import simultaneous_intervals
from icl_sim.errors import InputError
from icl_sim.statistics.simultaneous import METHODS, box_probability

COUNTS = [23, 12, 44]


def outcomes(n, V):
    """All counts of n samples in V outcomes, int [outcomes, V]."""
    bars = np.array(list(combinations(range(n + V - 1), V - 1))).reshape(-1, V - 1)
    edges = np.pad(bars, ((0, 0), (1, 1)), constant_values=((0, 0), (-1, n + V - 1)))
    return np.diff(edges, axis=1) - 1


def chances(counts, law):
    """The probability of each outcome."""
    n = int(counts[0].sum())
    words = np.array([math.factorial(n) / math.prod(map(math.factorial, c)) for c in counts])
    return words * np.prod(np.asarray(law) ** counts, axis=1)


def coverage(n, laws, method, alpha):
    counts = outcomes(n, len(laws[0]))
    limits = [simultaneous_intervals(c, alpha=alpha, method=method) for c in counts]
    low, high = (np.array(side) for side in zip(*limits, strict=True))
    found = []
    for law in laws:
        inside = ((low <= law) & (law <= high)).all(axis=1)
        found.append(chances(counts, law)[inside].sum())
    return np.array(found)


def laws_of(V, rng, count=25):
    sparse = np.full(V, 0.01)
    sparse[0] = 1 - 0.01 * (V - 1)
    return [np.full(V, 1 / V), sparse, *rng.dirichlet(np.ones(V), count)]


@pytest.mark.parametrize(("n", "V"), [(1, 2), (7, 2), (30, 2), (5, 3), (20, 3), (8, 4), (6, 5)])
@pytest.mark.parametrize("alpha", [0.05, 0.2])
def test_exact_intervals_cover_at_every_law(n, V, alpha):
    found = coverage(n, laws_of(V, np.random.default_rng(n)), "exact", alpha)
    assert found.min() >= 1 - alpha - 1e-12


def test_exact_intervals_cover_just_beside_their_own_limits():
    # The coverage is least there: all pairs of limits at V = 3.
    counts = outcomes(6, 3)
    ends = np.unique([s for c in counts for s in np.ravel(simultaneous_intervals(c))])
    ends = np.concatenate([ends - 1e-9, ends + 1e-9])
    laws = [np.array([a, b, 1 - a - b]) for a in ends for b in ends if a > 0 < b and a + b < 1]
    assert len(laws) > 100
    assert coverage(6, laws, "exact", 0.05).min() >= 0.95


@pytest.mark.parametrize(("method", "least"), [("goodman", 0.88), ("sison-glaz", 0.85)])
def test_the_other_methods_cover_nearly_at_large_n_and_miss_at_small(method, least):
    even = [np.array([0.3, 0.3, 0.4])]
    assert coverage(60, even, method, 0.1)[0] >= least
    sparse = [np.array([0.02, 0.03, 0.95])]
    assert coverage(5, sparse, method, 0.05)[0] < 0.95  # so they carry no promise


def test_the_least_coverage_of_the_three_methods_is_what_the_module_says():
    laws = laws_of(3, np.random.default_rng(30), 60)
    least = {method: coverage(30, laws, method, 0.05).min() for method in METHODS}
    assert {m: round(float(p), 2) for m, p in least.items()} == {
        "exact": 0.97,
        "goodman": 0.92,
        "sison-glaz": 0.4,
    }


def test_goodman_s_limits_solve_his_quadratic():
    low, high = simultaneous_intervals(COUNTS, alpha=0.1, method="goodman")
    share = np.array(COUNTS) / 79
    for limit in (low, high):
        squared = 79 * (share - limit) ** 2 / (limit * (1 - limit))
        np.testing.assert_allclose(squared, chi2.isf(0.1 / 3, 1), **F64)


def test_sison_and_glaz_s_limits_are_those_of_the_box_and_its_missing_share():
    k = np.array(COUNTS)
    low, high = simultaneous_intervals(k, method="sison-glaz")
    below, above = box_probability(k, 8), box_probability(k, 9)
    assert below < 0.95 <= above
    np.testing.assert_allclose(low, (k - 8) / 79, **F64)
    share = (0.95 - below) / (above - below)
    np.testing.assert_allclose(high, (k + 8 + 2 * share) / 79, **F64)


def test_the_box_s_probability_is_that_of_all_outcomes_in_it():
    for counts in ([3, 2, 4], [0, 5, 1], [9, 0, 0, 0]):
        k = np.array(counts)
        every = outcomes(int(k.sum()), len(k))
        law = chances(every, k / k.sum())
        for radius in range(10):
            inside = (np.abs(every - k) <= radius).all(axis=1)
            np.testing.assert_allclose(box_probability(k, radius), law[inside].sum(), **F64)


def test_two_outcomes_share_one_interval():
    low, high = simultaneous_intervals([3, 9], alpha=0.05)
    np.testing.assert_allclose(low + high[::-1], 1, **F64)
    np.testing.assert_allclose(low[0], beta.ppf(0.025, 3, 10), **F64)


@pytest.mark.parametrize("method", METHODS)
def test_certain_outcomes_have_limits_in_the_unit_interval(method):
    low, high = simultaneous_intervals([9, 0, 0], method=method)
    assert (low >= 0).all()
    assert (high <= 1).all()
    assert (low <= np.array([1, 0, 0])).all()
    assert (high >= np.array([1, 0, 0])).all()


@pytest.mark.parametrize(
    ("counts", "change", "word"),
    [
        ([1], {}, "counts"),
        ([0, 0], {}, "counts"),
        ([1, -1], {}, "counts"),
        ([0.5, 1], {}, "counts"),
        ([[1, 2]], {}, "counts"),
        ([1, 2], {"alpha": 0}, "alpha"),
        ([1, 2], {"alpha": math.nan}, "alpha"),
        ([1, 2], {"method": "wald"}, "method"),
        ([10**6] * 100, {"method": "sison-glaz"}, "multiply-adds"),
    ],
)
def test_bad_input_is_one_line(counts, change, word):
    with pytest.raises(InputError, match=word) as caught:
        simultaneous_intervals(counts, **change)
    assert "\n" not in str(caught.value)
