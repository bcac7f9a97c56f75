"""The statements of the second reading: verdicts as derived, others if a part is wrong."""

from __future__ import annotations

import math

import pytest

from icl_sim.bounds.agnostic import noisy_basis_excess
from icl_sim.bounds.sequences import abstract_sequence_size, add_one_mean_divergence
from icl_sim.bounds.tokens import abstract, random_allotment, weissman
from icl_sim.claims import agnostic, fixed_constants, many_at_once, other_laws
from icl_sim.claims.claim import FALSE, HOLDS, OPEN


@pytest.fixture
def run(run, monkeypatch):
    """A run whose sampled part is small; the exact parts are whole."""
    monkeypatch.setitem(other_laws.ALLOTTED, "smoke", ((4, 8, "0.2"),))
    return run


# --- C1 ------------------------------------------------------------------------------------------


def test_a_random_allotment_needs_little_more(run):
    outcome = other_laws.allotment_experiment(run)
    assert outcome.verdict == HOLDS
    assert all(0 < row["short"] <= 0.05 for row in outcome.figures["allotments"])


def test_an_allotment_without_its_second_term_is_short(run):
    even = lambda *, per_context_size, contexts, delta: per_context_size * contexts
    assert other_laws.allotment_experiment(run, allot=even).verdict == FALSE


def test_a_fifth_of_the_size_per_context_is_refuted_by_sampling(run):
    fifth = lambda **options: other_laws.uniform_size(**options) // 5
    outcome = other_laws.allotment_experiment(run, allot=random_allotment, size=fifth)
    assert outcome.verdict == FALSE
    assert outcome.figures["sampled"][0]["verdict"] == "refuted"


def test_a_shift_adds_its_total_variation(run):
    outcome = other_laws.shift_experiment(run)
    assert outcome.verdict == HOLDS
    rows = outcome.figures["two symbols"]
    assert all(row["mean"] == pytest.approx(row["shift"]) for row in rows)
    assert max(row["without_the_term"] for row in rows) > 0.999


@pytest.mark.parametrize(
    "options",
    [
        {"allowed": lambda eps, shift: eps},
        {"allowed": lambda eps, shift: eps + 0.8 * shift},
        {"size": lambda **o: weissman(**o) // 20},
    ],
)
def test_no_smaller_second_term_or_size_will_do(run, options):
    assert other_laws.shift_experiment(run, **options).verdict == FALSE


def test_the_divergence_of_the_empirical_law_is_infinite_too_often(run):
    outcome = other_laws.kl_experiment(run)
    assert outcome.verdict == FALSE
    assert min(row["infinite"] for row in outcome.figures["infinite"]) > 0.6


def test_a_mean_above_its_bound_does_not_correct(run):
    wrong = lambda **options: 3 * add_one_mean_divergence(**options)
    assert other_laws.kl_experiment(run, mean=wrong).verdict == OPEN


def test_another_size_does_not_help_the_divergence(run):
    assert other_laws.kl_experiment(run, size=lambda **o: 3 * abstract(**o)).verdict == FALSE


# --- C2 and C4 -----------------------------------------------------------------------------------


def test_many_contexts_need_their_logarithm(run):
    outcome = many_at_once.contexts_experiment(run)
    assert outcome.verdict == FALSE
    assert [row["contexts"] for row in outcome.figures["contexts"]][:2] == [29, 2690]
    for row in outcome.figures["contexts"]:
        fewer = -math.expm1((row["contexts"] - 1) * math.log1p(-row["one_context"]))
        assert fewer <= 0.05 < row["failure"]


def test_coins_that_give_themselves_away_do_not_refute(run):
    assert many_at_once.contexts_experiment(run, failure=lambda n, eps: 0.0).verdict == OPEN


def test_a_size_without_the_logarithm_does_not_correct(run):
    without = lambda *, contexts, events, **o: abstract_sequence_size(vocab=2, length=1, **o)
    assert many_at_once.contexts_experiment(run, better=without).verdict == OPEN


def test_finitely_many_classifiers(run):
    assert many_at_once.finite_experiment(run).verdict == HOLDS
    tenth = lambda **options: many_at_once.finite_size(**options) // 10
    assert many_at_once.finite_experiment(run, size=tenth).verdict == FALSE
    # Too few for the proof, enough for these classifiers.
    third = lambda **options: many_at_once.finite_size(**options) // 3
    assert many_at_once.finite_experiment(run, size=third).verdict == OPEN


@pytest.mark.parametrize(
    ("experiment", "size", "few"),
    [
        (fixed_constants.fixed_delta_experiment, fixed_constants.fixed_delta_size, 20),
        (fixed_constants.fixed_dimension_experiment, fixed_constants.fixed_dimension_size, 2000),
    ],
)
def test_what_is_fixed_may_enter_the_constant(run, experiment, size, few):
    assert experiment(run).verdict == HOLDS
    assert experiment(run, size=lambda **o: 1 + size(**o) // few).verdict == FALSE


# --- C3 ------------------------------------------------------------------------------------------


def test_noisy_labels_need_the_square(run):
    outcome = agnostic.agnostic_experiment(run)
    assert outcome.verdict == FALSE
    for row in outcome.figures["noisy atoms"]:
        assert row["eps"] < row["excess"] <= row["bound"]


def test_the_square_of_the_size_or_labels_without_noise_do_not_refute(run):
    square = lambda *, dim, eps: math.ceil(dim / eps**2)
    assert agnostic.agnostic_experiment(run, size=square).verdict == OPEN
    clean = lambda *, dim, n, bias: noisy_basis_excess(dim=dim, n=n, bias=0.5)
    assert agnostic.agnostic_experiment(run, excess=clean).verdict == OPEN
