"""C3 and C4: verdicts as derived, and others if a constant, a law or a learner is wrong."""

from __future__ import annotations

from fractions import Fraction

import jax
import numpy as np
import pytest
from test_claims import digest_of, verify

from icl_sim.bounds.angles import one_step_mean_error
from icl_sim.bounds.classification import (
    abstract_fixed_context_size,
    halfspace_mean_bound,
    halfspace_tail_size,
    margin_mean_bound,
    margin_size,
    statistic_size,
)
from icl_sim.claims import CLAIMS, c3, c4, halfspace_curves
from icl_sim.claims.claim import FALSE, HOLDS, LOOSE, OPEN
from icl_sim.execution.trials import run_blocks
from icl_sim.halfspaces import SOLVERS, error_trial, pool, real_law


@pytest.fixture
def run(run, monkeypatch):
    """A run whose sampled part is small; the exact parts are whole."""
    monkeypatch.setattr(c3, "POOLS", ("iris-0-1",))
    monkeypatch.setattr(c3, "real_data_rows", lambda run, learners: [])
    monkeypatch.setitem(c3.MEAN_REPLICATES, "smoke", 500)
    monkeypatch.setitem(halfspace_curves.GAUSSIAN, "smoke", (3, (40, 160), 192))
    monkeypatch.setitem(c4.DIMENSIONS, "smoke", (5,))
    return run


def refuted(outcome):
    return [cell["id"] for cell in outcome.figures["sampled"] if cell["verdict"] == "refuted"]


# --- C3.mean -------------------------------------------------------------------------------------


def test_d_over_n_bounds_the_mean(run):
    outcome = c3.mean_experiment(run)
    assert outcome.verdict == HOLDS
    assert all(row["mean"] <= row["bound"] for row in outcome.figures["basis"])
    assert all(cell["mean / bound"] < 0.5 for cell in outcome.figures["sampled"])


def test_three_tenths_of_d_over_n_does_not(run):
    outcome = c3.mean_experiment(run, bound=lambda **o: 0.3 * halfspace_mean_bound(**o))
    assert outcome.verdict == FALSE
    assert refuted(outcome)  # sampling alone would have found it


def test_the_mean_of_another_learner_is_refuted(run):
    outcome = c3.mean_experiment(run, learner="one-step")
    assert outcome.verdict == FALSE
    assert refuted(outcome) == ["gaussian(d=5)/one-step/n=160"]


def test_the_mean_on_a_law_that_no_halfspace_labels_is_refuted(run, monkeypatch):
    corners = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]])
    law = pool("exclusive or", corners, np.array([1, -1, -1, 1]))
    monkeypatch.setitem(c3.LAWS, "smoke", [(law, (20, 40), "0.15")])
    outcome = c3.mean_experiment(run)
    assert outcome.verdict == FALSE
    assert len(refuted(outcome)) == 2


# --- C3.tail, C3.tail-corrected ------------------------------------------------------------------


def test_d_over_eps_has_no_tail(run):
    outcome = c3.tail_experiment(run)
    assert outcome.verdict == FALSE
    found = {
        row["C"]: row["failure"]
        for row in outcome.figures["two-point"]
        if (row["dim"], row["eps"], row["delta"]) == (2, "0.05", 0.05)
    }
    assert [f"{found[C]:.2g}" for C in (1, 2, 4, 8)] == ["0.063", "0.0079", "0.00013", "3.1e-08"]


def test_a_size_with_its_delta_or_a_light_mass_below_eps_is_not_refuted(run, monkeypatch):
    monkeypatch.setattr(c3, "TWO_POINT", ((2, "0.2"), (5, "0.2")))
    monkeypatch.setattr(c3, "TINY_DELTAS", (0.05, 1e-6, 1e-12))
    assert c3.tail_experiment(run, size=halfspace_tail_size).verdict == OPEN
    assert c3.tail_experiment(run, light=Fraction(99, 100)).verdict == OPEN


def test_the_corrected_tail_holds(run):
    outcome = c3.corrected_experiment(run)
    assert outcome.verdict == HOLDS
    assert all(row["necessary"] <= row["n"] for row in outcome.figures["basis"])


def test_an_eighth_of_the_corrected_size_is_refuted(run):
    eighth = lambda **options: halfspace_tail_size(**options) // 8
    assert c3.corrected_experiment(run, size=eighth).verdict == FALSE


def test_the_tail_of_another_learner_is_refuted(run):
    outcome = c3.corrected_experiment(run, learner="one-step")
    assert outcome.verdict == FALSE
    assert refuted(outcome)


# --- C3.one-step ---------------------------------------------------------------------------------


def test_one_step_misses_d_over_eps(run):
    outcome = c3.one_step_experiment(run)
    assert outcome.verdict == FALSE
    assert all(row["mean"] > 1.5 * row["eps"] for row in outcome.figures["exact"])
    assert {row["learner"] for row in outcome.figures["slopes"]} == set(SOLVERS)
    for row in outcome.figures["curves"]:
        assert row["mean"] > 0.9 * row["bayes"]  # which is the limit for large d, and d is 3


def test_a_learner_that_reaches_d_over_eps_changes_the_verdict(run):
    assert c3.one_step_experiment(run, learner="svm", exact=None).verdict == HOLDS


def test_a_wrong_constant_of_the_exact_error_changes_the_verdict(run):
    half = lambda **options: one_step_mean_error(**options) / 2
    assert c3.one_step_experiment(run, exact=half).verdict == OPEN


# --- C4 ------------------------------------------------------------------------------------------


def test_no_size_without_d_learns_halfspaces(run):
    outcome = c4.free_dimension_experiment(run)
    assert outcome.verdict == FALSE
    assert all(row["mean"] >= 0.389 for row in outcome.figures["uniform"])


def test_at_a_fixed_dimension_the_size_is_not_refuted(run):
    assert c4.free_dimension_experiment(run, dimension=lambda n: 20).verdict == OPEN
    several = lambda **options: 10 * abstract_fixed_context_size(**options)
    fixed = c4.free_dimension_experiment(run, size=several, dimension=lambda n: 100)
    assert fixed.verdict == OPEN


def test_one_statistic_is_fixed_loosely(run):
    outcome = c4.statistic_experiment(run)
    assert outcome.verdict == LOOSE
    assert all(row["necessary"] <= row["better"] for row in outcome.figures["binomial"])


def test_other_constants_of_the_statistic_change_the_verdict(run):
    fifth = lambda **options: abstract_fixed_context_size(**options) // 5
    assert c4.statistic_experiment(run, size=fifth).verdict == FALSE
    assert c4.statistic_experiment(run, size=statistic_size).verdict == HOLDS


def test_the_margin_s_size_holds_loosely(run):
    outcome = c4.margin_experiment(run)
    assert outcome.verdict == LOOSE
    assert outcome.figures["sampled"][0]["estimate"] == 0


def test_other_constants_of_the_margin_change_the_verdict(run):
    assert c4.margin_experiment(run, size=lambda **o: margin_size(**o) // 40).verdict == FALSE
    small = lambda **options: margin_mean_bound(**options) / 10
    assert c4.margin_experiment(run, better=small).verdict == HOLDS


def test_a_learner_without_the_margin_is_refuted(run, monkeypatch):
    monkeypatch.setitem(SOLVERS, "reversed", lambda inputs, labels: -(labels @ inputs))
    outcome = c4.margin_experiment(run, learner="reversed")
    assert outcome.verdict == FALSE
    assert refuted(outcome)


def test_a_learner_of_one_example_is_refuted_at_the_margin(run, monkeypatch):
    monkeypatch.setitem(SOLVERS, "hasty", lambda inputs, labels: labels[0] * inputs[0])
    outcome = c4.margin_experiment(run, learner="hasty")
    assert outcome.verdict == FALSE
    assert refuted(outcome)  # better than chance, and still not within eps


# --- Curves and data -----------------------------------------------------------------------------


def test_a_padded_pool_errs_as_the_pool_does():
    inputs, labels, d = halfspace_curves.padded_pool("iris-0-1")
    learner, key = SOLVERS["one-step"], jax.random.key(5)
    padded = run_blocks(
        halfspace_curves.pool_error(learner, 12),
        key=key,
        trials=64,
        args=(np.int32(7), inputs, labels),
    )
    law = real_law("iris-0-1")
    plain = run_blocks(error_trial(law, learner, 12), key=key, trials=64, args=(np.int32(7),))
    assert d == law.dim
    np.testing.assert_allclose(padded, plain, atol=1e-6)
    assert plain.max() > 0


def test_the_table_of_real_data_has_a_row_for_each_set_and_size(run, monkeypatch):
    monkeypatch.setattr(halfspace_curves, "POOLS", ("iris-0-1", "wine-0-1"))
    halfspace_curves.padded_pool.cache_clear()
    rows = halfspace_curves.real_data_rows(run, ["one-step", "least-squares"])
    halfspace_curves.padded_pool.cache_clear()
    assert [(row["data"], row["n"]) for row in rows] == [
        ("iris-0-1", 10),
        ("iris-0-1", 20),
        ("wine-0-1", 28),
        ("wine-0-1", 56),
    ]
    for row in rows:
        assert 0 <= row["one-step"] < 0.2
        assert 0 <= row["least-squares"] < row["bound"]


def test_every_statement_says_what_it_assumes_and_what_is_necessary():
    for claim in (CLAIMS["C3"], CLAIMS["C4"]):
        for statement in claim.statements:
            assert statement.premises
            assert statement.formula
            assert statement.lower
            assert statement.corrected or statement.derived == HOLDS
            assert f"docs/{claim.id.lower()}.md" in statement.sources


def test_paired_learners_see_the_same_examples():
    trial = halfspace_curves.paired_trial(c3.gaussian(3), ("least-squares", "one-step"), 20)
    both = run_blocks(trial, key=jax.random.key(1), trials=64, args=(np.int32(20),))
    alone = run_blocks(
        error_trial(c3.gaussian(3), SOLVERS["one-step"], 20),
        key=jax.random.key(1),
        trials=64,
        args=(np.int32(20),),
    )
    np.testing.assert_allclose(both["one-step"], alone, atol=1e-6)
    assert both["least-squares"].shape == (64,)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_digest_is_the_same_on_1_and_2_devices():
    names = ("C3.mean", "C3.one-step", "C4.margin")
    assert digest_of(verify(*names)) == digest_of(verify(*names, devices=2))
