"""Sufficient and necessary sizes for one-token total variation, and n*."""

from __future__ import annotations

import math
import subprocess
import sys
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from multinomials import law_of_total_variation, uniform_failure
from scipy.stats import binom
from tolerances import F64

from icl_sim.bounds import (
    abstract,
    de_moivre,
    exact_failure_probability,
    exact_sample_size,
    expected_total_variation,
    lower,
    mcdiarmid,
    random_allotment,
    sample_size,
    weissman,
)
from icl_sim.errors import InputError

GRID = list(product((2, 3, 8, 32), ("0.3", "0.15"), ("0.1", "0.01"), (1, 100)))


def parameters(vocab, eps, delta, contexts):
    return {"vocab": vocab, "eps": eps, "delta": delta, "contexts": contexts}


# Sufficient sizes


@pytest.mark.parametrize(("vocab", "eps", "delta", "contexts"), GRID)
def test_formulas_are_the_theorems(vocab, eps, delta, contexts):
    given = parameters(vocab, eps, delta, contexts)
    e, L = float(eps), math.log(contexts) - math.log(float(delta))
    root = (vocab - 1) ** 0.5 / 2 + (L / 2) ** 0.5
    assert mcdiarmid(**given) == math.ceil(root**2 / e**2)
    assert weissman(**given) == math.ceil((math.log(2**vocab - 2) + L) / (2 * e**2))
    assert abstract(**given) == math.ceil(vocab * L / e**2)


def test_weissman_takes_any_vocabulary():
    assert weissman(vocab=5000, eps=0.1, delta=0.1) == math.ceil(
        (5000 * math.log(2) + math.log(10)) / 0.02
    )


def random_laws():
    rng = np.random.default_rng(3)
    for symbols in (2, 3, 4):
        for _ in range(3):
            weights = rng.integers(1, 20, symbols).tolist()
            yield [Fraction(w, sum(weights)) for w in weights]


@pytest.mark.parametrize("n", [1, 4, 11])
def test_the_inequalities_behind_the_sizes_hold_exactly(n):
    for law in random_laws():
        excesses = law_of_total_variation(law, n)
        mean = sum(w * x for x, w in excesses.items()) / n
        np.testing.assert_allclose(expected_total_variation(law=law, n=n), float(mean), **F64)
        assert mean <= math.sqrt((len(law) - 1) / n) / 2
        for t in (0.05, 0.2, 0.4):
            above = sum(w for x, w in excesses.items() if x >= n * (mean + Fraction(t)))
            assert above <= math.exp(-2 * n * t**2)
            above = sum(w for x, w in excesses.items() if x >= n * Fraction(t))
            assert above <= (2 ** len(law) - 2) * math.exp(-2 * n * t**2)


@pytest.mark.parametrize(("vocab", "eps", "delta", "contexts"), GRID)
def test_sufficient_sizes_suffice_and_necessary_ones_are_below(vocab, eps, delta, contexts):
    given = parameters(vocab, eps, delta, contexts)
    uniform = [Fraction(1, vocab)] * vocab
    known_law = de_moivre(law=uniform, eps=eps, delta=delta, contexts=contexts)
    exact = exact_sample_size(**given)
    assert lower(**given) <= exact <= known_law <= mcdiarmid(**given)
    assert exact <= weissman(**given)


def test_de_moivre_is_the_least_size_of_its_inequality():
    law = [Fraction(1, 32)] * 32

    def slack(n):
        mean = expected_total_variation(law=law, n=n)
        return 0.15 - mean - math.sqrt(math.log(10) / (2 * n))

    n = de_moivre(law=law, eps=0.15, delta=0.1)
    assert slack(n) >= 0 > slack(n - 1)


def test_the_abstract_suffices_from_half_a_nat_on_and_not_below():
    for vocab, L in product((2, 8, 32, 512), (0.5, 1.0, 4.0)):
        delta = math.exp(-L)
        size = abstract(vocab=vocab, eps=0.1, delta=delta)
        assert size >= mcdiarmid(vocab=vocab, eps=0.1, delta=delta) - 1  # both are rounded up
    assert abstract(vocab=32, eps=0.15, delta=0.9) == 150
    failure = exact_failure_probability(vocab=32, n=150, eps=0.15)
    assert round(failure, 3) == 0.919 > 0.9


@pytest.mark.parametrize(("n0", "contexts", "delta"), [(304, 10, 0.1), (20, 100, 0.01)])
def test_random_allotment_gives_every_context_its_share(n0, contexts, delta):
    n = random_allotment(per_context_size=n0, delta=delta, contexts=contexts)
    assert contexts * binom.cdf(n0 - 1, n, 1 / contexts) <= delta / 2
    L = math.log(2 * contexts / delta)
    assert n - 1 < contexts * (n0 + math.sqrt(2 * n0 * L) + 2 * L) <= n


# n*


@pytest.mark.parametrize(("contexts", "expected"), [(1, 304), (10, 387), (100, 458), (1000, 525)])
def test_n_star_at_32_symbols(contexts, expected):
    assert exact_sample_size(vocab=32, eps=0.15, delta=0.1, contexts=contexts) == expected


@pytest.mark.parametrize(("vocab", "expected"), [(2, 137), (8, 154), (32, 221)])
def test_contexts_add_to_the_size_and_do_not_multiply_it(vocab, expected):
    one, thousand = (
        exact_sample_size(vocab=vocab, eps=0.15, delta=0.1, contexts=m) for m in (1, 1000)
    )
    assert thousand - one == expected


@pytest.mark.parametrize(
    ("vocab", "eps", "delta", "contexts"),
    [(2, "0.1", "0.1", 1), (3, "0.2", "0.05", 7), (5, "0.3", "0.5", 1), (8, "0.15", "0.01", 1)],
)
def test_n_star_is_one_more_than_the_last_failing_size(vocab, eps, delta, contexts):
    given = parameters(vocab, eps, delta, contexts)
    failing = [
        n
        for n in range(1, min(weissman(**given), mcdiarmid(**given)))
        if exact_failure_probability(vocab=vocab, n=n, eps=eps, contexts=contexts) > float(delta)
    ]
    assert exact_sample_size(**given) == failing[-1] + 1
    assert failing != list(range(1, failing[-1] + 1)) or vocab > 3  # not monotone at V = 2, 3


def test_an_exact_tie_with_delta_is_a_success():
    # V = 2, eps = .4, n = 14: thirteen heads or more, or tails, 30/2^14. n = 13 fails more often.
    delta = Fraction(30, 2**14)
    assert exact_sample_size(vocab=2, eps="0.4", delta=delta) == 14
    assert exact_sample_size(vocab=2, eps="0.4", delta=delta * Fraction("0.999999")) == 15
    # V = 3: 14 and 15 fail less often than 16, whose probability comes out a few ulps too large.
    tails = {n: uniform_failure(3, n, Fraction("0.4")) for n in range(13, 26)}
    assert max(tails, key=lambda n: (tails[n] > tails[16], n)) == 13
    assert exact_sample_size(vocab=3, eps="0.4", delta=tails[16]) == 14


def test_sample_size_puts_all_sizes_side_by_side():
    found = sample_size(vocab=32, eps=0.15, delta=0.1, contexts=1)
    assert (found.lower, found.exact, found.weissman, found.mcdiarmid, found.abstract) == (
        17,
        304,
        545,
        662,
        3275,
    )
    assert found.note is None
    assert found.sequence_mean is found.linear_mean is None


def test_length_and_dimension_add_their_fields():
    found = sample_size(vocab=4, eps=0.1, delta=0.05, contexts=1, length=3, dim=2)
    assert found.sequence_mean == 450  # l (V-1)/(2 eps^2)
    L = math.log(20)
    assert found.sequence_tail == math.ceil(3 * (3**0.5 + L**0.5) ** 2 / 0.02)
    assert found.sequence_abstract == math.ceil(3 * math.log(4) * L / 0.01)
    assert found.linear_mean == 20
    assert found.linear_tail == math.ceil(4 + 20 * (2 * math.log(4) + L))
    assert found.linear_lower == math.ceil(math.log(10) / -math.log(0.9))
    assert found.linear_abstract == math.ceil(L / 0.01)
    assert sample_size(vocab=4, eps=0.1, delta=0.05, contexts=1, dim=1).linear_lower is None


def test_an_unaffordable_n_star_is_left_out_with_the_reason():
    found = sample_size(vocab=1024, eps=0.02, delta=0.1, contexts=1)
    assert found.exact is None
    assert found.note.startswith("exact: not computed")
    assert found.weissman > found.lower > 0


def test_uniform_total_variation_has_a_ceiling():
    assert exact_sample_size(vocab=5, eps=0.8, delta=0.1) == 1


# Bad input and cost


GOOD = {"vocab": 4, "eps": 0.1, "delta": 0.1, "contexts": 1}


@pytest.mark.parametrize(
    "wrong",
    [
        {"eps": 0},
        {"eps": 1},
        {"eps": -0.1},
        {"eps": float("nan")},
        {"eps": "a tenth"},
        {"vocab": 1},
        {"vocab": 2.5},
        {"delta": 0},
        {"delta": 1.0},
        {"contexts": 0},
        {"length": 0},
        {"dim": 0},
    ],
)
def test_bad_parameters_are_one_line(wrong):
    with pytest.raises(InputError) as caught:
        sample_size(**GOOD | wrong)
    assert str(caught.value).startswith(next(iter(wrong)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"n": 0},
        {"n": 1.5},
        {"n": 10**12},
        {"eps": "1"},
        {"vocab": 1},
        {"contexts": -1},
        {"law": [0.5, 0.5]},
        {"law": [0.5, 0.5, 0.5, 0.5]},
    ],
)
def test_bad_arguments_of_the_exact_probability_are_one_line(wrong):
    with pytest.raises(InputError) as caught:
        exact_failure_probability(**{"vocab": 4, "n": 10, "eps": 0.1} | wrong)
    assert "\n" not in str(caught.value)


def test_bounds_need_neither_jax_nor_scipy_stats():
    program = (
        "import sys, icl_sim.bounds as b; b.sample_size(vocab=4, eps=.2, delta=.1, contexts=2);"
        "sys.exit(bool({'jax', 'scipy.stats', 'matplotlib'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
