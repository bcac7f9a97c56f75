"""C1.sequence, C1.prefixes, C2: verdicts, and how a wrong constant, law or learner turns them."""

from __future__ import annotations

import pytest

from icl_sim.bounds.elicitation import elicitation_size
from icl_sim.bounds.sequences import (
    abstract_sequence_size,
    prefix_size,
    prefix_tail_size,
    trajectory_size,
)
from icl_sim.bounds.tokens import mcdiarmid
from icl_sim.claims import c1, c2, elicitation, prefixes, prompt_families, sequence_replicates
from icl_sim.claims.claim import FALSE, HOLDS, LOOSE, OPEN


def scaled(size, factor):
    return lambda **options: max(1, int(size(**options) * factor))


@pytest.mark.parametrize("experiment", [c1.sequence_experiment, c2.sequence_experiment])
def test_the_abstract_s_sizes_are_refuted_for_whole_sequences(run, experiment):
    outcome = experiment(run)
    assert outcome.verdict == FALSE
    for C in (1, 2, 4, 8):
        mine = [row for row in outcome.figures["hash-bit"] if row["C"] == C]
        assert any(row["failure"] > 0.05 for row in mine)


def test_at_fixed_length_real_vocabularies_refute(run):
    # l = 2 against C1's size, and l = 1, the setting of C1.token, against C2's.
    first = c1.sequence_experiment(run).figures["vocabulary"]
    assert {row["length"] for row in first} == {2}
    smol = [row for row in first if row["vocab"] == 49_152]
    assert [row["failure"] for row in smol] == [1.0] * 4
    assert smol[0]["n"] == 14_724_624
    second = c2.sequence_experiment(run).figures["vocabulary"]
    smol = [row for row in second if row["vocab"] == 49_152]
    assert (smol[0]["n"], smol[0]["necessary"]) == (3237, 18_382)
    assert [round(row["failure"], 3) for row in smol] == [1, 1, 1, 0.083]
    assert all(row["failure"] == 1 for row in second if row["vocab"] == 131_072)


def test_bayes_rule_fails_where_every_estimator_must(run):
    rows = c2.sequence_experiment(run).figures["hash-bit"]
    known = [row for row in rows if row["bayes_failure"] is not None]
    assert len(known) > 40
    assert all(row["failure"] <= row["bayes_failure"] + 1e-9 for row in known)


@pytest.mark.parametrize("experiment", [c1.sequence_experiment, c2.sequence_experiment])
def test_a_size_of_the_true_order_is_not_refuted(run, experiment):
    def true_order(*, vocab, eps, delta, length=20, contexts=1):
        outputs = min(vocab**length, 1 << 44)  # enough, and C n stays below 2^63
        return mcdiarmid(vocab=outputs, eps=eps, delta=delta, contexts=contexts)

    assert experiment(run, size=true_order).verdict == OPEN


@pytest.mark.parametrize("experiment", [c1.sequence_experiment, c2.sequence_experiment])
def test_laws_without_a_secret_do_not_refute(run, experiment):
    assert experiment(run, failure=lambda **_: 0.0).verdict == OPEN


def test_prefix_sizes_hold(run):
    outcome = prefixes.prefixes_experiment(run)
    assert outcome.verdict == HOLDS
    assert outcome.replicates >= 9 * 400
    tied = outcome.figures["tied"][-1]
    assert tied["plain_add_one"] > 24 > 3 > tied["bound_of_the_average"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": scaled(prefix_size, 0.25)},
        {"trajectories": scaled(trajectory_size, 0.25)},
        {"tail": scaled(prefix_tail_size, 0.1)},
    ],
)
def test_a_wrong_constant_breaks_the_prefix_sizes(run, wrong):
    assert prefixes.prefixes_experiment(run, **wrong).verdict == FALSE


def test_a_learner_that_ignores_its_data_breaks_the_prefix_sizes(run, monkeypatch):
    uniform = lambda counts: 0 * sequence_replicates.add_one(counts) + 1 / counts.shape[-1]
    monkeypatch.setitem(sequence_replicates.LEARNERS, "uniform", uniform)
    outcome = prefixes.prefixes_experiment(run, learner="uniform")
    assert outcome.verdict == FALSE
    assert "refuted" in outcome.why


def test_the_likeliest_prompt_is_found(run):
    outcome = elicitation.elicitation_experiment(run)
    assert outcome.verdict == HOLDS
    assert {row["prompts"] for row in outcome.figures["families"]} == {256}


def test_an_eighth_of_the_size_does_not_find_the_prompt(run):
    wrong = scaled(elicitation_size, 1 / 8)
    assert elicitation.elicitation_experiment(run, size=wrong).verdict == FALSE


@pytest.mark.slow
def test_the_least_likely_prompt_is_no_answer(run, monkeypatch):
    worst = lambda laws, counts: prompt_families.likeliest(1 / (1 + laws), counts)
    monkeypatch.setitem(prompt_families.RULES, "worst", worst)
    assert elicitation.elicitation_experiment(run, rule="worst").verdict == FALSE


def test_likelihood_is_misled_outside_the_family_where_minimum_distance_is_not(run):
    outcome = elicitation.elicitation_experiment(run, robust_rule="likeliest")
    assert outcome.verdict == FALSE
    assert "misleads/likeliest" in outcome.why
    assert "6 of 6 sampled cells certified" in outcome.why


@pytest.mark.parametrize("experiment", [c2.sup_experiment, c2.events_experiment])
def test_weaker_distances_hold_and_are_loose(run, experiment):
    outcome = experiment(run)
    assert outcome.verdict == LOOSE
    assert all(row["failure"] <= row["delta"] for row in outcome.figures["exact"])


@pytest.mark.parametrize(
    ("experiment", "best"),
    [
        (c2.sup_experiment, c2._best_sup_size),
        (c2.events_experiment, c2._best_events_size),
    ],
)
def test_the_best_proved_size_holds_without_being_loose(run, experiment, best):
    assert experiment(run, size=best).verdict == HOLDS


@pytest.mark.parametrize("experiment", [c2.sup_experiment, c2.events_experiment])
def test_a_sixth_of_the_abstract_s_size_breaks_the_weaker_distances(run, experiment):
    outcome = experiment(run, size=scaled(abstract_sequence_size, 1 / 6))
    assert outcome.verdict == FALSE
    assert "refuted" in outcome.why


def test_a_smaller_size_that_fails_does_not_make_the_bound_loose(run):
    wrong = scaled(abstract_sequence_size, 0.01)
    assert c2.sup_experiment(run, better=wrong).verdict == HOLDS
