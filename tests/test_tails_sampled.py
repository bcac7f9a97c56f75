"""Exact tails and enclosures against 10^6 multinomial samples each, on 50 cells."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import product

import numpy as np
import pytest

from icl_sim.bounds import exact_failure_probability, failure_enclosure

SAMPLES = 10**6
UNIFORM = [
    *product((2, 3, 5), (20, 51, 130), ("0.08", "0.15", "0.21")),  # 27 cells
    *product((8, 17, 32), (60, 200), ("0.15", "0.22")),  # 12 cells
]
SKEWED = {
    "three": ["1/2", "3/10", "1/5"],
    "zipf": [str(Fraction(60, 137 * i)) for i in range(1, 6)],
    "rare": ["9/10", "1/20", "3/100", "1/100", "1/100"],
}
LAWS = [
    *product(("three", "zipf"), (20, 45), ("0.12", "0.2")),  # 8 cells
    ("rare", 20, "0.08"),
    ("rare", 40, "0.05"),
    ("rare", 40, "0.1"),
]


def sampled(law, n, eps, seed):
    """Frequency of TV > eps among the samples."""
    rng = np.random.default_rng([70, seed])
    masses = [Fraction(p) for p in law]
    scale = math.lcm(*(p.denominator for p in masses))
    expected = np.array([int(p * scale) for p in masses]) * n
    threshold = math.floor(2 * n * scale * Fraction(eps))  # on integers: ties are decided exactly
    failures = 0
    for _ in range(10):
        counts = rng.multinomial(n, [float(p) for p in masses], size=SAMPLES // 10)
        failures += int((np.abs(scale * counts - expected).sum(axis=1) > threshold).sum())
    return failures / SAMPLES


def within(frequency, low, high):
    """Whether a frequency is within 5 standard errors of [low, high]."""
    spread = 5 * math.sqrt(max(high * (1 - high), low * (1 - low), 1 / SAMPLES) / SAMPLES)
    return low - spread <= frequency <= high + spread


def test_there_are_fifty_cells():
    assert len(UNIFORM) + len(LAWS) == 50


@pytest.mark.slow
@pytest.mark.parametrize(("vocab", "n", "eps"), UNIFORM)
def test_exact_tails_agree_with_a_million_samples(vocab, n, eps):
    exact = exact_failure_probability(vocab=vocab, n=n, eps=eps)
    frequency = sampled([Fraction(1, vocab)] * vocab, n, eps, seed=1000 * vocab + n)
    assert within(frequency, exact, exact)
    enclosed = failure_enclosure(law=[Fraction(1, vocab)] * vocab, n=n, eps=eps)
    slack = 1e-9 * exact  # both are rounded
    assert enclosed.low - slack <= exact <= enclosed.high + slack


@pytest.mark.slow
@pytest.mark.parametrize(("name", "n", "eps"), LAWS)
def test_enclosures_contain_a_million_samples(name, n, eps):
    law = SKEWED[name]
    found = failure_enclosure(law=law, n=n, eps=eps)
    assert found.low <= found.high <= found.low + 0.1
    assert within(sampled(law, n, eps, seed=n), found.low, found.high)
    rough = failure_enclosure(law=law, n=n, eps=eps, steps=4)
    assert rough.low <= found.low <= found.high <= rough.high
