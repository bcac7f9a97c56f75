"""Sizes of elicitation by prompts: against the family where they are tight.

Loose by nature, so a change of the constant by 20 % is not caught: misspecified_size,
elicitation_necessary.
"""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from scipy.special import rel_entr
from scipy.stats import binom
from tolerances import F64

from icl_sim.bounds.elicitation import (
    elicitation_failure,
    elicitation_necessary,
    elicitation_size,
    hadamard_signs,
    misspecified_size,
)

RNG = np.random.default_rng(20)


def hadamard_laws(K, bias):
    """Joint laws [K, 2 X] of (x, y): x uniform, y = +-1 with mean bias * sign."""
    signs = hadamard_signs(prompts=K).astype(float)
    return np.concatenate([1 + bias * signs, 1 - bias * signs], axis=1) / (2 * signs.shape[1])


@pytest.mark.parametrize("K", [2, 5, 16])
def test_the_hadamard_family_is_equidistant(K):
    bias = 0.4
    laws = hadamard_laws(K, bias)
    np.testing.assert_allclose(laws.sum(axis=1), 1, **F64)
    for a in range(K):
        for b in range(K):
            if a != b:
                np.testing.assert_allclose(np.abs(laws[a] - laws[b]).sum() / 2, bias / 2, **F64)
                expected = bias / 2 * math.log((1 + bias) / (1 - bias))
                np.testing.assert_allclose(rel_entr(laws[a], laws[b]).sum(), expected, **F64)


def likeliest_fails(laws, n, trials):
    """Failures of maximum likelihood when prompt 0 is the truth, ties broken against it."""
    counts = RNG.multinomial(n, laws[0], trials)
    scores = counts @ np.log(laws).T
    return int((scores[:, 1:].max(axis=1) >= scores[:, 0] - 1e-9).sum())


def test_elicitation_sizes_surround_the_truth():
    K, eps, delta, trials = 64, 0.2, 0.1, 2000
    laws = hadamard_laws(K, 2.02 * eps)
    enough = elicitation_size(prompts=K, eps=eps, delta=delta)
    too_few = math.floor(elicitation_necessary(prompts=K, eps=eps, delta=delta))
    assert enough == math.ceil(2 * math.log(K / delta) / eps**2)
    slack = 5 * math.sqrt(delta * trials)
    assert likeliest_fails(laws, enough, trials) <= delta * trials + slack
    assert likeliest_fails(laws, too_few, trials) >= delta * trials - slack
    assert elicitation_failure(prompts=K, n=enough, eps=eps) <= delta


def test_elicitation_size_is_sharp_for_two_coins_at_small_delta():
    eps, delta = 0.2, 1e-12
    n = elicitation_size(prompts=2, eps=eps, delta=delta)
    heads = (1 + eps) / 2  # against (1 - eps)/2: TV = eps; the likelier is the majority
    error = lambda n: binom.cdf(n // 2, n, heads)
    assert error(n) <= elicitation_failure(prompts=2, n=n, eps=eps) <= delta
    assert error(math.floor(0.8 * n)) > delta


def test_elicitation_necessary_is_its_formula_and_above_the_cruder_one():
    for K, eps, delta in product((8, 256), (0.05, 0.2), (0.05, 0.3)):
        found = elicitation_necessary(prompts=K, eps=eps, delta=delta)
        fano = (1 - delta) * math.log(K) - math.log(2)
        np.testing.assert_allclose(
            found, fano / (eps * math.log((1 + 2 * eps) / (1 - 2 * eps))), **F64
        )
        assert found > (1 - 16 * eps**2) * fano / (32 * eps**2)
        assert found < elicitation_size(prompts=K, eps=eps, delta=delta)
        assert elicitation_necessary(prompts=K, eps=eps, delta=delta, proper=False) < found


def test_minimum_distance_keeps_three_tau_and_twice_the_deviation():
    K, X, n = 6, 8, 40
    for _ in range(200):
        laws, truth = RNG.dirichlet(np.ones(X), K), RNG.dirichlet(np.ones(X))
        phat = RNG.multinomial(n, truth) / n
        sets = np.array([laws[i] > laws[j] for i in range(K) for j in range(i + 1, K)])
        distance = np.abs(laws @ sets.T - phat @ sets.T).max(axis=1)
        deviation = np.abs(truth @ sets.T - phat @ sets.T).max()
        variation = np.abs(laws - truth).sum(axis=1) / 2
        assert variation[distance.argmin()] <= 3 * variation.min() + 2 * deviation + 1e-12
    assert len(sets) == K * (K - 1) // 2


def test_misspecified_size_is_its_formula():
    n = misspecified_size(prompts=16, eps=0.1, delta=0.05)
    assert n == math.ceil(2 * (math.log(16 * 15) + math.log(20)) / 0.01)
    assert n <= 2 * (2 * math.log(16) + math.log(20)) / 0.01
