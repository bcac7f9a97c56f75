"""Certified enclosures of the failure probability at any law."""

from __future__ import annotations

import itertools
import random
from fractions import Fraction

import numpy as np
import pytest
from multinomials import failure

from icl_sim.bounds import convex_order_bound, exact_failure_probability, failure_enclosure
from icl_sim.bounds.enclosures import lasting_failure
from icl_sim.errors import InputError


def random_cases(count):
    rng = random.Random(5)
    while count:
        weights = [rng.randint(0, 9) for _ in range(rng.randint(2, 4))]
        if sum(weights) and len(weights) - weights.count(0) > 1:
            count -= 1
            law = [Fraction(w, sum(weights)) for w in weights]
            yield law, rng.randint(1, 12), Fraction(rng.randint(1, 99), 100)


def test_the_truth_lies_within_at_every_resolution():
    for law, n, eps in random_cases(60):
        truth = float(failure(law, n, eps))
        for steps in (None, 1, 3, 20, 101):
            found = failure_enclosure(law=law, n=n, eps=eps, steps=steps)
            assert found.low <= truth <= found.high, (law, n, eps, steps)


def test_it_is_exact_when_nothing_needs_rounding():
    for law, n, eps in random_cases(40):
        truth = float(failure(law, n, eps))
        found = failure_enclosure(law=law, n=n, eps=eps)
        np.testing.assert_allclose([found.low, found.high], truth, rtol=3e-9, atol=1e-28)


def test_the_width_falls_with_the_number_of_steps():
    law = np.random.default_rng(2).dirichlet(np.ones(12))
    found = [failure_enclosure(law=law, n=100, eps=0.2, steps=q) for q in (2, 8, 32, 128)]
    widths = [f.high - f.low for f in found]
    assert all(wide > 2 * narrow for wide, narrow in itertools.pairwise(widths))
    assert widths[-1] < 0.03 * found[-1].high
    assert max(f.low for f in found) <= min(f.high for f in found)


def test_it_agrees_with_the_convolutions_at_the_uniform_law():
    value = exact_failure_probability(vocab=32, n=304, eps=0.15)
    found = failure_enclosure(law=[Fraction(1, 32)] * 32, n=304, eps=0.15)
    assert found.low <= value <= found.high
    assert found.high - found.low < 3e-9


def test_it_agrees_with_the_binomial_sum_on_two_symbols():
    for p in ("0.3", "0.4999", "1/3"):
        law = [Fraction(p), 1 - Fraction(p)]
        value = exact_failure_probability(vocab=2, n=60, eps=0.1, law=law)
        found = failure_enclosure(law=law, n=60, eps=0.1)
        assert found.low <= value <= found.high


def test_sampling_agrees_on_a_skewed_law():
    law = [0.4, 0.25, 0.15, 0.1, 0.05, 0.03, 0.02]
    counts = np.random.default_rng(0).multinomial(50, law, size=100_000)
    tv = np.abs(counts / 50 - np.array(law)).sum(axis=1) / 2
    rate = float((tv > 0.15 + 1e-9).mean())
    found = failure_enclosure(law=law, n=50, eps=0.15)
    sigma = (found.high * (1 - found.high) / 100_000) ** 0.5
    assert found.low - 5 * sigma <= rate <= found.high + 5 * sigma


def test_contexts_raise_both_ends():
    one = failure_enclosure(law=[0.5, 0.3, 0.2], n=20, eps=0.2)
    ten = failure_enclosure(law=[0.5, 0.3, 0.2], n=20, eps=0.2, contexts=10)
    np.testing.assert_allclose(ten.low, 1 - (1 - one.low) ** 10)
    np.testing.assert_allclose(ten.high, 1 - (1 - one.high) ** 10)


def test_impossible_symbols_change_nothing():
    with_zero = failure_enclosure(law=[0.5, 0, 0.3, 0.2], n=20, eps=0.2)
    assert with_zero == failure_enclosure(law=[0.5, 0.3, 0.2], n=20, eps=0.2)


def test_a_law_known_too_roughly_is_refused_with_the_function_to_use():
    law = np.random.default_rng(0).dirichlet(np.ones(16))
    with pytest.raises(InputError, match=r"^law: .* use failure_enclosure$"):
        exact_failure_probability(vocab=16, n=100, eps=0.15, law=law)


@pytest.mark.parametrize(
    "wrong",
    [
        {"law": [0.5, 0.6]},
        {"law": [1.2, -0.2]},
        {"law": [1.0]},
        {"law": [0.5, float("nan")]},
        {"n": 0},
        {"eps": 1},
        {"contexts": 0},
        {"steps": 0},
        {"steps": 10**15},
    ],
)
def test_bad_input_is_one_line(wrong):
    with pytest.raises(InputError) as caught:
        failure_enclosure(**{"law": [0.5, 0.3, 0.2], "n": 20, "eps": 0.2} | wrong)
    assert "\n" not in str(caught.value)


def test_what_lasts_covers_the_size_and_all_larger_ones():
    for law, n, eps in random_cases(15):
        for steps in (1, 3, 20):
            low, lasting = lasting_failure(law=law, n=n, eps=eps, steps=steps)
            assert low <= float(failure(law, n, eps))
            for more in range(4):
                truth = float(failure(law, n + more, eps))
                assert truth <= lasting * (1 + 1e-9), (law, n, eps, steps, more)


@pytest.mark.parametrize(("vocab", "n"), [(8, 96), (32, 320)])
def test_what_lasts_is_within_the_convex_order_bound_at_the_uniform_law(vocab, n):
    law = [Fraction(1, vocab)] * vocab
    low, lasting = lasting_failure(law=law, n=n, eps="0.2", steps=1)
    exact = exact_failure_probability(vocab=vocab, n=n, eps="0.2")
    np.testing.assert_allclose(low, exact, rtol=3e-9)
    assert exact <= lasting <= 1.001 * convex_order_bound(vocab, n, Fraction(1, 5))
