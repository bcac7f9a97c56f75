"""Noisy halfspaces and lengths of prompts: formulas against enumeration."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from icl_sim.bounds.agnostic import agnostic_tail_bound, log_growth, noisy_basis_excess
from icl_sim.bounds.prompts import prompt_length_necessary
from icl_sim.errors import InputError


@pytest.mark.parametrize(("dim", "n"), [(1, 4), (2, 3), (2, 6), (3, 6)])
def test_the_growth_function_counts_the_labelings_of_points(dim, n):
    rng = np.random.default_rng(3)
    points = rng.normal(size=(n, dim))
    found = {tuple((points @ w > 0).tolist()) for w in rng.normal(size=(200_000, dim))}
    assert round(math.exp(log_growth(dim=dim, n=n))) == len(found)


@pytest.mark.parametrize(("dim", "n", "bias"), [(1, 3, 0.2), (2, 4, 0.3), (3, 3, 0.5)])
def test_the_best_excess_is_that_of_majorities_by_enumeration(dim, n, bias):
    # All visits and tosses; signs are fair, so the one where 1 is likelier stands for both.
    total = 0.0
    for visits in itertools.product(range(dim), repeat=n):
        for tosses in itertools.product((0, 1), repeat=n):
            chance = math.prod(0.5 + bias if toss else 0.5 - bias for toss in tosses) / dim**n
            for atom in range(dim):
                seen = [toss for at, toss in zip(visits, tosses, strict=True) if at == atom]
                lead = 2 * sum(seen) - len(seen)
                wrong = 0.5 if lead == 0 else float(lead < 0)
                total += chance * wrong * 2 * bias / dim
    assert noisy_basis_excess(dim=dim, n=n, bias=bias) == pytest.approx(total, rel=1e-10)


def test_the_tail_adds_its_term():
    gap = agnostic_tail_bound(dim=3, n=500, delta=1e-4) - agnostic_tail_bound(
        dim=3, n=500, delta=0.5
    )
    expected = math.sqrt(2 * math.log(1e4) / 500) - math.sqrt(2 * math.log(2) / 500)
    assert gap == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("bias", [0.0, 0.6, math.nan])
def test_a_bias_that_is_none_is_refused(bias):
    with pytest.raises(InputError, match="bias: expected"):
        noisy_basis_excess(dim=2, n=3, bias=bias)


@pytest.mark.parametrize(("m", "V", "A"), [(1, 2, 2), (5, 3, 2), (7, 2, 5), (4, 9, 3)])
def test_the_length_of_prompts_is_the_least_with_enough_of_them(m, V, A):
    length = prompt_length_necessary(contexts=m, vocab=V, alphabet=A)
    prompts = lambda longest: sum(A**k for k in range(longest + 1))
    assert prompts(length - 1) < V**m <= prompts(length)
    assert abs(length - m * math.log(V) / math.log(A)) < 1
