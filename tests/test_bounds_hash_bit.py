"""The hash-bit family: risk and failure of the best rule, by enumeration."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from scipy.stats import binom
from tolerances import F64

from icl_sim.bounds.hash_bit import (
    empirical_sequence_floor,
    hash_bit_bayes_failure,
    hash_bit_failure,
    hash_bit_length,
    hash_bit_outputs,
    hash_bit_risk,
    occupancy_law,
)
from icl_sim.bounds.sequences import (
    abstract_sequence_size,
)


@pytest.mark.parametrize(("bins", "n"), [(1, 3), (3, 4), (5, 2), (4, 0)])
def test_occupancy_is_the_enumerated_law(bins, n):
    expected = np.zeros(bins + 1)
    for draws in product(range(bins), repeat=n):
        expected[len(set(draws))] += 1 / bins**n
    np.testing.assert_allclose(occupancy_law(bins=bins, n=n), expected, **F64)


def hash_bit_problem(pairs, n):
    """Every (secret, data) of the family, equally likely: law [k] and counts [k]."""
    for secret in product((0, 1), repeat=pairs):
        support = [2 * j + bit for j, bit in enumerate(secret)]
        law = np.zeros(2 * pairs)
        law[support] = 1 / pairs
        for draws in product(support, repeat=n):
            yield law, np.bincount(draws, minlength=2 * pairs)


def bayes(counts):
    pairs = counts.reshape(-1, 2)
    seen = pairs.sum(axis=1, keepdims=True) > 0
    return (np.where(seen, pairs > 0, 0.5) / len(pairs)).ravel()


def guess(counts):
    pairs = counts.reshape(-1, 2)
    seen = pairs.sum(axis=1, keepdims=True) > 0
    return (np.where(seen, pairs > 0, np.array([1.0, 0.0])) / len(pairs)).ravel()


def empirical(counts):
    return counts / counts.sum()


def smoothed(counts):
    return (counts + 0.3) / (counts + 0.3).sum()


@pytest.mark.parametrize("n", [1, 2, 3])
def test_hash_bit_risk_is_bayes_and_no_estimator_beats_it(n):
    vocab, length = 6, 1
    risk = {}
    for name, rule in (("bayes", bayes), ("guess", guess), ("mle", empirical), ("kt", smoothed)):
        errors = [np.abs(law - rule(c)).sum() / 2 for law, c in hash_bit_problem(3, n)]
        risk[name] = np.mean(errors)
    found = hash_bit_risk(vocab=vocab, length=length, n=n)
    np.testing.assert_allclose(risk["bayes"], found, **F64)
    assert min(risk.values()) >= found - 1e-12
    assert found > 1 / 1.2 * min(risk.values())  # equality: 20 % more would be false


@pytest.mark.parametrize(("n", "eps"), [(1, "1/10"), (2, "1/3"), (3, "1/5")])
def test_hash_bit_failures_of_bayes_and_of_every_rule(n, eps):
    bound = hash_bit_failure(vocab=6, length=1, n=n, eps=eps)
    for rule in (bayes, guess, empirical, smoothed):
        errors = [np.abs(law - rule(c)).sum() / 2 for law, c in hash_bit_problem(3, n)]
        failure = np.mean(np.array(errors) > float(Fraction(eps)) + 1e-12)
        assert failure >= bound - 1e-12
        if rule is bayes:
            exact = hash_bit_bayes_failure(vocab=6, length=1, n=n, eps=eps)
            np.testing.assert_allclose(failure, exact, **F64)


def test_the_concentrated_bound_holds_for_a_guesser_exactly():
    vocab, length, eps = 2, 8, 0.1
    k = vocab**length
    for n in (0, 30, 60, 90):
        unseen = k // 2 - np.arange(k // 2 + 1)
        failures = binom.sf(math.floor(eps * k / 2), unseen, 0.5)  # TV = (2/k) Binomial(U, 1/2)
        exact = occupancy_law(bins=k // 2, n=n) @ failures
        assert hash_bit_failure(vocab=vocab, length=length, n=n, eps=eps) <= exact


def test_the_theory_s_hash_bit_example():
    sizes = {"vocab": 4, "length": 8}
    n = abstract_sequence_size(eps=0.1, delta=0.05, **sizes)
    assert (n, hash_bit_outputs(**sizes)) == (3323, 65536)
    assert round(hash_bit_risk(n=n, **sizes), 3) == 0.452
    assert hash_bit_failure(n=n, eps=0.1, **sizes) > 0.999
    k = 65536
    for samples in (0, k // 16, k // 8):
        assert hash_bit_failure(n=samples, eps=0.1, **sizes) >= (3 / 8 - 0.1) / 0.9


def test_every_constant_is_refuted_from_some_length_on():
    for C in (1, 2, 4, 8, 1000):
        scale = C * math.log(4) * math.log(20) / 0.01
        length = hash_bit_length(vocab=4, scale=scale)
        assert scale * length <= 4**length / 8
        assert scale * (length - 1) > 4 ** (length - 1) / 8
        assert all(scale * more <= 4**more / 8 for more in range(length, length + 20))


def test_the_empirical_law_of_n_samples_is_as_near_as_its_floor_says_at_the_best():
    V, length = 2, 3
    for n in range(1, 10):
        samples = [np.arange(n) % 8, np.zeros(n, int)]  # all different as far as they go, or alike
        nearest, alike = (abs(np.bincount(s, minlength=8) / n - 1 / 8).sum() / 2 for s in samples)
        floor = empirical_sequence_floor(vocab=V, length=length, n=n)
        assert floor == pytest.approx(max(0, 1 - n / 8), abs=1e-14)
        assert floor - 1e-14 <= nearest <= alike
        assert n > 8 or nearest == pytest.approx(floor, abs=1e-14)
