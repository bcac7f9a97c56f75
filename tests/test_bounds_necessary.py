"""What every estimator needs: hidden coins, two coins, Assouad, below the risk of the best rule."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise, product

import numpy as np
import pytest
from scipy.stats import binom
from tolerances import F64

from icl_sim.bounds import (
    assouad,
    assouad_failure,
    hidden_coin,
    lower,
    two_coins,
)

# Necessary sizes


@pytest.mark.parametrize("tosses", [0, 1, 2, 5, 8, 13])
@pytest.mark.parametrize("bias", ["0.05", "0.2", "0.45"])
def test_a_hidden_coin_has_the_error_of_the_best_test(tosses, bias):
    up, down = Fraction(1, 2) + Fraction(bias), Fraction(1, 2) - Fraction(bias)
    overlap = sum(
        math.comb(tosses, k) * min(up**k * down ** (tosses - k), down**k * up ** (tosses - k))
        for k in range(tosses + 1)
    )
    got = float(hidden_coin(tosses, float(bias)))
    np.testing.assert_allclose(got, float(overlap / 2), **F64)
    assert got >= (1 - 4 * float(bias) ** 2) ** tosses / 4  # Le Cam's bound


@pytest.mark.parametrize(("eps", "delta", "contexts"), [(0.15, 0.1, 1), (0.05, 0.01, 50)])
def test_two_coins_is_where_the_best_test_of_all_contexts_reaches_delta(eps, delta, contexts):
    n = two_coins(eps=eps, delta=delta, contexts=contexts)

    def error(tosses):
        wrong = binom.cdf((tosses - 1) // 2, tosses, 0.5 + eps)
        if tosses % 2 == 0:
            wrong += binom.pmf(tosses // 2, tosses, 0.5 + eps) / 2
        return 1 - (1 - wrong) ** contexts

    assert error(n) <= delta < error(n - 1)


def test_no_rule_for_two_coins_beats_the_bound():
    # Every deterministic estimator on two symbols: a subset of outcomes it answers with "up".
    n, eps = 4, Fraction(1, 5)
    bias = eps + Fraction(1, 10**6)
    chance = [
        [math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)]
        for p in (Fraction(1, 2) + bias, Fraction(1, 2) - bias)
    ]
    best = min(
        max(
            sum(q for k, q in enumerate(chance[0]) if not rule >> k & 1),
            sum(q for k, q in enumerate(chance[1]) if rule >> k & 1),
        )
        for rule in range(2 ** (n + 1))
    )
    assert float(best) >= float(hidden_coin(n, float(bias))) >= 0.9 * float(best) / 2


@pytest.mark.parametrize(("pairs", "n"), [(1, 6), (2, 5), (2, 9), (3, 7)])
def test_assouad_stays_below_the_least_risk_of_its_own_problem(pairs, n):
    # The best rule guesses each sign by majority; its number of wrong guesses is enumerated.
    for eps in (0.02, 0.08):
        risks = []
        for g in np.linspace(2 * eps, 1, 80)[1:]:
            risk = 0.0
            for visits in product(range(n + 1), repeat=pairs):
                if sum(visits) != n:
                    continue
                weight = math.factorial(n) / pairs**n
                wrong = np.ones(1)
                for v in visits:
                    weight /= math.factorial(v)
                    e = float(hidden_coin(v, g / 2))
                    wrong = np.convolve(wrong, [1 - e, e])
                risk += weight * sum(w for k, w in enumerate(wrong) if k > pairs * 2 * eps / g)
            risks.append(risk)
        bound = assouad_failure(vocab=2 * pairs, eps=eps, n=n)
        assert 0 <= bound <= max(risks)
        assert bound > 0 or eps > 0.02


def test_assouad_is_reverse_markov_on_the_mean_number_of_wrong_guesses():
    vocab, eps, n = 64, 0.1, 15
    visits = np.arange(n + 1)
    weights = binom.pmf(visits, n, 2 / vocab)
    bounds = [
        ((weights * hidden_coin(visits, eps / x)).sum() - x) / (1 - x)
        for x in np.linspace(2 * eps, 1, 2000)[:-1]
    ]
    got = assouad_failure(vocab=vocab, eps=eps, n=n)
    assert 0.98 * max(bounds) <= got <= max(bounds) * (1 + 1e-6)
    size = assouad(vocab=vocab, eps=eps, delta=0.1)
    assert assouad_failure(vocab=vocab, eps=eps, n=size) <= 0.1
    assert assouad_failure(vocab=vocab, eps=eps, n=size - 1) > 0.1


def test_assouad_is_of_order_v_over_eps_squared():
    sizes = [assouad(vocab=v, eps=0.01, delta=0.1) for v in (64, 256, 1024)]
    for small, large in pairwise(sizes):
        assert 3.9 < large / small < 4.1
    assert 3.8 < assouad(vocab=64, eps=0.005, delta=0.1) / sizes[0] < 4.2
    assert lower(vocab=1024, eps=0.1, delta=0.1) > two_coins(eps=0.1, delta=0.1)


def test_nothing_is_necessary_of_one_half_or_more():
    assert two_coins(eps=0.5, delta=0.1) == 0
    assert assouad_failure(vocab=8, eps=0.5, n=0) == 0
