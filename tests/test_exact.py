"""The exact failure probability at the uniform law and on two symbols."""

from __future__ import annotations

import tracemalloc
from fractions import Fraction
from math import comb

import numpy as np
import pytest
from multinomials import law_of_total_variation, uniform_failure
from tolerances import F64

from icl_sim.bounds import convex_order_bound, enclosures, exact_failure_probability
from icl_sim.bounds.exact import uniform_tails
from icl_sim.errors import InputError

RELATIVE = {"rtol": F64["rtol"], "atol": 0}


@pytest.mark.parametrize(
    ("vocab", "n", "eps", "expected"),
    [
        (32, 304, 0.15, 0.095671),
        (32, 320, 0.15, 0.050537),
        (64, 1344, 0.1, 0.047338),
        (256, 4096, 0.1, 0.416506),
    ],
)
def test_known_values(vocab, n, eps, expected):
    assert round(exact_failure_probability(vocab=vocab, n=n, eps=eps), 6) == expected


def test_ties_do_not_count():
    below = Fraction("0.15") - Fraction(1, 10**9)
    tie = exact_failure_probability(vocab=32, n=320, eps=below) - exact_failure_probability(
        vocab=32, n=320, eps=0.15
    )
    assert round(tie, 4) == 0.0205


@pytest.mark.parametrize("eps", [0.15, "0.15", "3/20", Fraction(3, 20), np.float64(0.15)])
def test_eps_means_the_number_written(eps):
    expected = exact_failure_probability(vocab=32, n=320, eps=Fraction(3, 20))
    assert exact_failure_probability(vocab=32, n=320, eps=eps) == expected


@pytest.mark.parametrize("vocab", [3, 4, 5, 7, 8])
def test_every_threshold_agrees_with_counting_words(vocab):
    for n in (1, 2, 3, 5, vocab, vocab + 1, 14):
        for step in range(1, vocab * n, max(1, vocab * n // 17)):
            eps = Fraction(step, vocab * n)  # every TV there is is such a fraction: all are ties
            for level in (eps, eps - Fraction(1, 10**6)):
                got = exact_failure_probability(vocab=vocab, n=n, eps=level)
                want = float(uniform_failure(vocab, n, level))
                np.testing.assert_allclose(got, want, **RELATIVE)


@pytest.mark.parametrize(
    ("vocab", "n", "eps"), [(3, 90, "0.62"), (4, 60, "0.69"), (6, 40, "0.79"), (4, 50, "0.7499")]
)
def test_tails_far_below_rounding_keep_their_relative_accuracy(vocab, n, eps):
    want = uniform_failure(vocab, n, Fraction(eps))
    assert 0 < want < 1e-24
    got = exact_failure_probability(vocab=vocab, n=n, eps=eps)
    np.testing.assert_allclose(got, float(want), **RELATIVE)


@pytest.mark.parametrize(("eps", "size"), [("0.43", 1e-25), ("0.46", 1e-29)])
def test_far_tails_agree_with_the_sequence_of_binomials(monkeypatch, eps, size):
    # The enclosure follows the symbols one by one: another algorithm, also without cancellation.
    monkeypatch.setattr(enclosures, "_DROPPED", 0.0)
    got = exact_failure_probability(vocab=16, n=160, eps=eps)
    found = enclosures.failure_enclosure(law=[Fraction(1, 16)] * 16, n=160, eps=eps)
    assert size / 30 < got < size * 30
    assert found.low <= got <= found.high
    np.testing.assert_allclose(found.low, found.high, rtol=1e-6, atol=0)


def test_sizes_that_share_their_powers_give_the_single_values():
    eps = Fraction("0.15")
    for sizes in (range(320, 352), range(13, 17), range(96, 128)):
        single = [float(uniform_tails(32, range(n, n + 1), eps)[0]) for n in sizes]
        np.testing.assert_allclose(uniform_tails(32, sizes, eps), single, rtol=1e-10, atol=0)


@pytest.mark.parametrize("n", [1, 2, 7, 60, 501, 1000])
@pytest.mark.parametrize("p", ["1/2", "0.4999", "0.01", "1"])
def test_two_symbols_give_the_binomial_sum(n, p):
    p = Fraction(p)
    masses = np.array([float(comb(n, c) * p**c * (1 - p) ** (n - c)) for c in range(n + 1)])
    for eps in map(Fraction, ("0.005", "0.1", "0.25", "0.5", "0.9")):
        failing = [abs(Fraction(c, n) - p) > eps for c in range(n + 1)]
        got = exact_failure_probability(vocab=2, n=n, eps=eps, law=[p, 1 - p])
        np.testing.assert_allclose(got, masses[failing].sum(), rtol=1e-9, atol=1e-300)


def test_two_symbols_by_convolution_and_by_the_binomial_sum_are_the_same():
    for n in (10**4, 10**5 + 1):
        got = exact_failure_probability(vocab=2, n=n, eps="0.005")
        want = uniform_tails(2, range(n, n + 1), Fraction("0.005"))[0]
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=0)


def test_uniform_is_not_the_worst_law():
    assert round(exact_failure_probability(vocab=2, n=60, eps=0.1), 4) == 0.0925
    worse = exact_failure_probability(vocab=2, n=60, eps=0.1, law=[0.4999, 0.5001])
    assert round(worse, 4) == 0.1237


def test_other_laws_with_a_small_common_denominator_are_exact():
    law = [Fraction(5, 10), Fraction(3, 10), Fraction(2, 10)]
    law_of_tv = law_of_total_variation(law, 20)
    want = float(sum(w for excess, w in law_of_tv.items() if excess > 20 * Fraction("0.2")))
    got = exact_failure_probability(vocab=3, n=20, eps=0.2, law=[0.5, 0.3, 0.2])
    np.testing.assert_allclose(got, want, rtol=2e-9)


def test_contexts_fail_independently():
    one = exact_failure_probability(vocab=32, n=304, eps=0.15)
    ten = exact_failure_probability(vocab=32, n=304, eps=0.15, contexts=10)
    np.testing.assert_allclose(ten, 1 - (1 - one) ** 10, **F64)


def test_certain_and_impossible_failures():
    assert exact_failure_probability(vocab=5, n=3, eps=0.3) == pytest.approx(1, abs=1e-12)
    assert exact_failure_probability(vocab=5, n=3, eps=0.8) == 0  # TV never exceeds 1 - 1/V


@pytest.mark.parametrize(("vocab", "n"), [(3, 40), (8, 90), (32, 260)])
def test_the_convex_order_bound_covers_every_larger_size(vocab, n):
    eps = Fraction("0.2")
    bound = convex_order_bound(vocab, n, eps)
    tails = [exact_failure_probability(vocab=vocab, n=k, eps=eps) for k in range(n, n + 80)]
    assert max(tails) <= bound <= 5 * tails[0]


def test_the_convex_order_bound_is_a_mean_excess():
    # Enumerated: E (TV - b)_+ / (eps - b) at the best b is what it may not undercut.
    vocab, n, eps = 3, 30, Fraction("0.25")
    law = law_of_total_variation([Fraction(1, vocab)] * vocab, n)
    ratios = [
        float(sum(w * max(x / n - b, 0) for x, w in law.items()) / (eps - b))
        for b in (eps * Fraction(i, 200) for i in range(200))
    ]
    bound = convex_order_bound(vocab, n, eps)
    assert min(ratios) * (1 - 1e-3) <= bound <= 1.2 * min(ratios)


def test_a_thousand_symbols_fit_in_little_memory():
    tracemalloc.start()
    value = exact_failure_probability(vocab=1024, n=20480, eps=0.09)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**30
    counts = np.random.default_rng(0).multinomial(20480, np.full(1024, 1 / 1024), size=4000)
    rate = float((np.abs(1024 * counts - 20480).sum(axis=1) > 2 * 0.09 * 1024 * 20480).mean())
    assert abs(rate - value) < 5 * (value * (1 - value) / 4000) ** 0.5


def test_a_tail_too_far_for_floats_is_refused_in_one_line():
    with pytest.raises(InputError, match="lower eps, n or vocab"):
        exact_failure_probability(vocab=16384, n=100_000, eps="0.18")
