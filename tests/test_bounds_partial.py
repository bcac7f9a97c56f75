"""Claims C5 and C6: formulas against hypergeometric enumeration, exact softmax and simulation.

Where a bound is tight, a change of its constant by 20 % in the unsafe direction is caught. Loose
by nature, so not caught at 20 %: subset_failure_mcdiarmid, subset_failure_serfling, subset_size,
certified_error, window_error.
"""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from scipy.stats import hypergeom
from tolerances import F64

from icl_sim.bounds.partial import (
    missing_error,
    subset_expected_total_variation,
    subset_failure_mcdiarmid,
    subset_failure_serfling,
    subset_mean_error,
    subset_size,
)
from icl_sim.bounds.retrieval import (
    certified_error,
    missed_error,
    retrieval_error,
    softmax_leak,
    window_error,
    window_fit,
)
from icl_sim.bounds.tokens import mcdiarmid, weissman
from icl_sim.errors import InputError

RNG = np.random.default_rng(50)


def subset_law(pool, n):
    """TV values and their probabilities, over all count vectors of a subset of a pool [V]."""
    values, weights = [], []
    total = sum(pool)
    for counts in product(*(range(min(c, n) + 1) for c in pool)):
        if sum(counts) == n:
            ways = math.prod(math.comb(c, k) for c, k in zip(pool, counts, strict=True))
            values.append(
                sum(abs(k / n - c / total) for c, k in zip(pool, counts, strict=True)) / 2
            )
            weights.append(ways / math.comb(total, n))
    return np.array(values), np.array(weights)


POOLS = [(5, 5), (1, 9), (3, 4, 2), (1, 1, 1, 1), (7, 1, 4), (1, 1)]


@pytest.mark.parametrize("pool", POOLS)
def test_subset_bounds_hold_for_every_subset_size(pool):
    V, N = len(pool), sum(pool)
    for n in range(1, N + 1):
        values, weights = subset_law(pool, n)
        np.testing.assert_allclose(weights.sum(), 1, rtol=1e-12)
        mean = subset_mean_error(vocab=V, pool=N, n=n)
        exact = subset_expected_total_variation(pool=pool, n=n)
        np.testing.assert_allclose(exact, weights @ values, **F64)
        assert exact <= mean + 1e-12
        for eps in (0.05, 0.1, 0.2, 0.4, 0.6):
            failure = weights[values > eps + 1e-12].sum()
            for bound in (subset_failure_mcdiarmid, subset_failure_serfling):
                assert failure <= bound(vocab=V, pool=N, n=n, eps=eps) + 1e-12


def test_serflings_bound_counts_one_draw_less_than_n():
    # 3 of two halves of 3, all alike: chance .1. With n/N for (n-1)/N the bound were .0997.
    values, weights = subset_law((3, 3), 3)
    failure = weights[values > 0.4999].sum()
    np.testing.assert_allclose(failure, 0.1, rtol=1e-12)
    assert failure <= subset_failure_serfling(vocab=2, pool=6, n=3, eps="0.4999")


def test_the_mean_is_sharp_for_one_draw_of_two_symbols():
    for N in (2, 10, 40):
        values, weights = subset_law((N // 2, N // 2), 1)
        mean = subset_mean_error(vocab=2, pool=N, n=1)
        np.testing.assert_allclose(weights @ values, mean, rtol=1e-12)


def test_the_variance_factor_is_the_hypergeometric_one():
    N, n, hits = 30, 12, 11
    p = hits / N
    factor = (2 * subset_mean_error(vocab=2, pool=N, n=n)) ** 2 * n
    np.testing.assert_allclose(hypergeom.var(N, hits, n), n * p * (1 - p) * factor, rtol=1e-12)


def test_the_whole_pool_has_no_error_at_all():
    for V, N in ((2, 1), (8, 30)):
        assert subset_mean_error(vocab=V, pool=N, n=N) == 0
        assert subset_failure_mcdiarmid(vocab=V, pool=N, n=N, eps=1e-9) == 0
        assert subset_failure_serfling(vocab=V, pool=N, n=N, eps=1e-9) == 0


def test_mcdiarmid_without_replacement_holds_around_the_exact_mean():
    # The concentration itself, with nothing lost in the mean.
    for pool in ((6, 6), (4, 5, 6), (10, 2)):
        N = sum(pool)
        for n in range(1, N):
            values, weights = subset_law(pool, n)
            spread = (N - n) / (n * (N - 0.5) * (1 - 1 / (2 * max(n, N - n))))
            for t in (0.05, 0.1, 0.2, 0.3):
                failure = weights[values >= weights @ values + t - 1e-12].sum()
                assert failure <= math.exp(-2 * t**2 / spread) + 1e-12


def test_subset_size_is_the_least_that_a_bound_allows():
    for V, N, eps, delta in ((8, 400, 0.12, 0.05), (2, 50, 0.1, 0.2), (64, 10**6, 0.1, 0.01)):
        n = subset_size(vocab=V, pool=N, eps=eps, delta=delta)
        both = lambda n, V=V, N=N, eps=eps: min(
            subset_failure_mcdiarmid(vocab=V, pool=N, n=n, eps=eps),
            subset_failure_serfling(vocab=V, pool=N, n=n, eps=eps),
        )
        assert both(n) <= delta < both(n - 1)
    large = subset_size(vocab=64, pool=10**9, eps=0.1, delta=0.01)
    sizes = {"vocab": 64, "eps": 0.1, "delta": 0.01}
    assert abs(large - min(mcdiarmid(**sizes), weissman(**sizes))) <= 1


def test_subset_size_keeps_its_promise():
    pool, eps, delta, trials = np.array([40, 80, 120, 60]), 0.12, 0.1, 2000
    n = subset_size(vocab=4, pool=300, eps=eps, delta=delta)
    draws = RNG.multivariate_hypergeometric(pool, n, trials)
    errors = np.abs(draws / n - pool / 300).sum(axis=1) / 2
    assert (errors > eps).sum() <= delta * trials


@pytest.mark.parametrize("removed", [0, 1, 5, 9])
def test_missing_demonstrations_cost_their_share_exactly(removed):
    whole = np.array([10 - removed, removed])  # the adversary withholds all of symbol 1
    left = np.array([1.0, 0.0])
    error = np.abs(whole / 10 - left).sum() / 2
    np.testing.assert_allclose(error, missing_error(vocab=2, missing=removed / 10), rtol=1e-12)


def test_no_withheld_part_costs_more_than_its_share():
    for _ in range(200):
        pool = RNG.integers(1, 10, 5)
        gone = RNG.integers(0, pool + 1)
        if gone.sum() < pool.sum():
            left = pool - gone
            error = np.abs(left / left.sum() - pool / pool.sum()).sum() / 2
            share = float(gone.sum() / pool.sum())
            assert error <= missing_error(vocab=5, missing=share) + 1e-12


def test_a_context_wholly_missing_costs_all_but_one_share():
    for V in (2, 7):
        answers = RNG.dirichlet(np.ones(V), 50)
        worst = 1 - answers.min(axis=1)  # against a point mass on the least likely symbol
        assert worst.min() >= missing_error(vocab=V, missing=1) - 1e-12
        np.testing.assert_allclose(1 - 1 / V, missing_error(vocab=V, missing=1))


def test_certified_error_inverts_the_sizes_of_claim_c1():
    for V, delta, m in product((2, 8, 64), (0.1, 0.01), (1, 50)):
        for eps in (0.3, 0.1):
            sizes = {"vocab": V, "eps": eps, "delta": delta, "contexts": m}
            n = min(mcdiarmid(**sizes), weissman(**sizes))
            assert certified_error(vocab=V, n=n, delta=delta, contexts=m) <= eps + 1e-12
            assert certified_error(vocab=V, n=n - 1, delta=delta, contexts=m) > eps - 1e-12


def test_retrieval_keeps_its_error_with_misses_and_contamination():
    V, n_c, recall, kappa, delta, trials = 6, 400, 0.7, 0.15, 0.1, 1000
    bound = retrieval_error(vocab=V, retrieved=n_c, delta=delta, recall=recall, contaminated=kappa)
    kept = math.floor(recall * n_c)
    alien = round(kept * kappa / (1 - kappa))
    failures = 0
    for _ in range(trials):
        p = RNG.dirichlet(np.ones(V))
        own = RNG.multinomial(kept, p)
        wrong = np.zeros(V)
        wrong[p.argmin()] = alien  # all of the contamination on one symbol
        found = (own + wrong) / (kept + alien)
        failures += np.abs(found - p).sum() / 2 > bound
    assert failures <= delta * trials


def test_contamination_alone_is_sharp():
    V, kappa = 4, 0.2
    n = 10**7  # enough for the sampling error to vanish
    bound = retrieval_error(vocab=V, retrieved=n, delta=0.05, contaminated=kappa)
    worst = kappa  # TV between p and (1 - kappa) p + kappa q with q where p has nothing
    assert 0.8 * bound < worst <= bound


def test_the_leak_is_what_softmax_leaves():
    for gap, total, matching in ((5.0, 400, 50), (0.0, 10, 3), (2.0, 7, 7), (20.0, 100, 1)):
        scores = np.where(np.arange(total) < matching, gap, 0.0)
        weights = np.exp(scores - gap) / np.exp(scores - gap).sum()
        leak = softmax_leak(gap=gap, total=total, matching=matching)
        np.testing.assert_allclose(weights[matching:].sum(), leak, rtol=1e-12, atol=1e-300)
    lower = np.where(np.arange(9) < 4, 3.0, RNG.uniform(-5, 0, 9))
    weights = np.exp(lower) / np.exp(lower).sum()
    assert weights[4:].sum() <= softmax_leak(gap=3.0, total=9, matching=4)


def test_windows():
    assert window_fit(window=4096, overhead=100, tokens=4) == 999
    assert window_fit(window=10, overhead=20, tokens=4) == 0
    assert window_error(vocab=8, window=10, overhead=20, tokens=4, delta=0.1) == 1.0
    n = window_fit(window=4096, overhead=0, tokens=4)
    root = math.sqrt(31) / 2 + math.sqrt(math.log(20) / 2)
    error = window_error(vocab=32, window=4096, overhead=0, tokens=4, delta=0.05)
    assert error <= root / math.sqrt(n)
    np.testing.assert_allclose(root / math.sqrt(n), 0.125, atol=5e-4)
    big = window_error(vocab=1024, window=10**6, overhead=0, tokens=2, delta=0.05)
    root = math.sqrt(1023) / 2 + math.sqrt(math.log(20) / 2)
    np.testing.assert_allclose(big, root / math.sqrt(500_000), rtol=1e-12)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: subset_mean_error(vocab=2, pool=5, n=6), "subset"),
        (lambda: subset_mean_error(vocab=1, pool=5, n=2), "vocab"),
        (lambda: subset_size(vocab=2, pool=0, eps=0.1, delta=0.1), "pool"),
        (lambda: missing_error(vocab=2, missing=1.5), "missing"),
        (lambda: certified_error(vocab=2, n=0, delta=0.1), "n"),
        (lambda: retrieval_error(vocab=2, retrieved=5, delta=0.1, recall=2), "recall"),
        (lambda: softmax_leak(gap=-1, total=5, matching=2), "gap"),
        (lambda: softmax_leak(gap=1, total=5, matching=6), "matching"),
        (lambda: window_fit(window=0, overhead=0, tokens=1), "window"),
    ],
)
def test_arguments_out_of_range_are_named(call, words):
    with pytest.raises(InputError, match=words):
        call()


def test_part_of_a_demonstration_is_none_and_what_is_foreign_counts_whole():
    sizes = {"vocab": 8, "delta": 0.05}
    assert retrieval_error(retrieved=501, recall=0.8, **sizes) == certified_error(n=400, **sizes)
    clean = missed_error(stored=500, recall=0.8, **sizes)
    mixed = missed_error(stored=500, recall=0.8, contaminated=0.3, **sizes)
    assert mixed == pytest.approx(0.7 * clean + 0.3)
