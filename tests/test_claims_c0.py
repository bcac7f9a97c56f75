"""Claim C0: its verdicts hold with the right parts and change with a wrong one."""

from __future__ import annotations

import itertools
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from constructions.certificate import issue
from constructions.programs.drawing_machine import drawing_machine
from constructions.programs.training_machines import TRAINING
from constructions.reference import forward
from icl_sim.bounds.prompts import prompt_length_necessary
from icl_sim.claims import c0, coin_sampling, controls, prompt_length
from icl_sim.claims.claim import FALSE, HOLDS, OPEN
from icl_sim.claims.prompted_programs import mixed_cells


@pytest.fixture
def brief(monkeypatch):
    """Less of everything; one example leaves a context unseen: a tie."""
    monkeypatch.setitem(c0.TASKS, "smoke", [("counting", {"contexts": 2, "outputs": 3}, 1, 2)])
    monkeypatch.setitem(c0.INTERPRETED, "smoke", (1, 3))
    monkeypatch.setitem(c0.DRAWN, "smoke", (2,))
    monkeypatch.setitem(c0.ENUMERATED, "smoke", ((3, 5), (1, 2), (1, 3)))


@pytest.mark.timeout(900)
def test_one_transformer_answers_as_both_trained_models_do(run):
    outcome = c0.universal_experiment(run)
    assert outcome.verdict == HOLDS
    assert outcome.replicates == 18
    rows = {row["program"]: row for row in outcome.figures["trained"]}
    assert list(rows) == list(TRAINING)
    queries = {"counting": 2, "perceptron": 8, "logistic": 4, "network": 4}
    for name, row in rows.items():
        assert row["queries"] == 4 * (queries[name] + 1)
        assert row["wrong_answers"] == row["differing_traces"] == row["mixed_cells"] == 0
        assert row["most_tokens"] > 500
    (through,) = outcome.figures["interpreted"]
    assert through["wrong_answers"] == through["differing_traces"] == 0
    assert through["interpreter_states"] < 128 < through["states"]
    for row in outcome.figures["drawn"]:
        assert row["coin_error"] == 0
        assert row["differing_traces"] == 0
        assert 0 < row["tv"] <= row["bound"]
    assert "0 of 90 answers on 18 data sets differ" in outcome.why
    # A second run finds the records and computes nothing again.
    assert c0.universal_experiment(run, transformer=_broken) == outcome


@pytest.mark.timeout(900)
def test_an_oracle_with_another_tie_rule_is_noticed(run, brief):
    def other(**options):
        program = TRAINING["counting"](**options)

        def oracle(inputs, labels, queries):
            table = np.zeros((options["contexts"], options["outputs"]), np.int64)
            np.add.at(table, (inputs, labels), 1)
            return (table.shape[1] - 1 - table[:, ::-1].argmax(axis=1))[queries]

        return replace(program, oracle=oracle)

    outcome = c0.universal_experiment(run, programs={"counting": other})
    assert outcome.verdict == FALSE
    assert outcome.figures["trained"][0]["wrong_answers"] > 0
    assert outcome.figures["trained"][0]["differing_traces"] == 0


@pytest.mark.timeout(900)
def test_a_program_for_another_table_is_noticed(run, brief):
    def wrong(**options):
        machine = TRAINING["counting"](contexts=2, outputs=2).machine
        return replace(TRAINING["counting"](**options), machine=machine)

    outcome = c0.universal_experiment(run, programs={"counting": wrong})
    assert outcome.verdict == FALSE
    assert outcome.figures["trained"][0]["wrong_answers"] > 0


def _broken():
    """Forgets what it reads when the symbol is a tally, and tosses a loaded coin."""
    whole = coin_sampling.universal_with_coins()
    params = whole.params | {"w_out": whole.params["w_out"].copy()}
    params["w_out"][whole.residual["symbol"].start + 1] = 0
    tape = whole.encode({"machine": drawing_machine(), "tape": "0"})[-2]
    params["w_out"][whole.residual.column("is_tape"), tape] -= 1
    # Issued by hand: no certifying function would.
    return replace(whole, params=params, certificate=issue(whole.certificate, whole.spec, params))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_another_transformer_is_noticed(run, brief):
    outcome = c0.universal_experiment(run, transformer=_broken)
    assert outcome.verdict == FALSE
    row = outcome.figures["trained"][0]
    assert row["wrong_answers"] > 0
    assert row["differing_traces"] > 0
    assert outcome.figures["drawn"][0]["coin_error"] > 0.2


@pytest.mark.timeout(900)
def test_a_rounding_that_wastes_three_coins_is_beyond_the_bound(run, brief):
    def coarse(law, b):
        used = max(0, b - 3)
        return [2 ** (b - used) * units for units in coin_sampling.rounded(law, used)]

    outcome = c0.universal_experiment(run, rounding=coarse)
    assert outcome.verdict == FALSE
    assert any(row["tv"] > row["bound"] for row in outcome.figures["laws"])


def test_the_coins_are_fair_exactly_and_a_loaded_one_is_seen():
    fair = coin_sampling.universal_with_coins()
    prompt = fair.encode({"machine": drawing_machine(), "tape": "#0a#001"})
    strings = np.array(list(itertools.product(prompt[-3:-1], repeat=2)))
    assert coin_sampling.coin_error(fair, prompt[:-3], strings) == 0
    # e / (1 + e) = .731: the strings have .534, .197, .197 and .072.
    assert coin_sampling.coin_error(_broken(), prompt[:-3], strings) == pytest.approx(
        0.2844, abs=1e-3
    )


def test_an_encoder_that_looks_at_two_examples_is_noticed():
    program = TRAINING["counting"](contexts=2, outputs=2)
    rng = np.random.default_rng(0)
    data, other = (program.sample(rng, 5) for _ in range(2))
    assert mixed_cells(program, data, other) == 0

    def sorting(inputs, labels, queries):
        order = np.lexsort((labels, inputs))
        return program.encode(inputs[order], labels[order], queries)

    def answering(inputs, labels, queries):
        answers = program.oracle(inputs, labels, queries)
        return program.encode(inputs, labels, queries) + "".join(map(str, answers))

    for encode in (sorting, answering):
        found = [
            mixed_cells(
                replace(program, encode=encode), program.sample(rng, 5), program.sample(rng, 5)
            )
            for _ in range(5)
        ]
        assert max(found) > 0


@pytest.mark.parametrize("vocab", [1, 2, 5, 9])
def test_rounded_laws_are_laws_within_the_bound(vocab):
    rng = np.random.default_rng(vocab)
    for b in (0, 1, 4, 12):
        counts = rng.multinomial(57, rng.dirichlet(np.ones(vocab)))
        law = [Fraction(int(n), 57) for n in counts]
        units = coin_sampling.rounded(law, b)
        assert min(units) >= 0
        assert sum(units) == 2**b
        off = sum(abs(p - Fraction(u, 2**b)) for p, u in zip(law, units, strict=True)) / 2
        assert off <= Fraction(vocab - 1, 2 ** (b + 1))


def test_the_distance_of_sequences_is_that_of_independent_coins():
    third = [Fraction(1, 3), Fraction(2, 3)]
    # The cumulative 1/3 is nearest to 1/2.
    assert coin_sampling.rounded(third, 1) == [1, 1]
    assert coin_sampling.sequence_error([third] * 3, 1, 1, coin_sampling.rounded) == Fraction(1, 6)
    assert coin_sampling.sequence_error([third] * 3, 1, 2, coin_sampling.rounded) == Fraction(7, 36)


def test_no_base_model_of_the_two_families_will_do(run):
    outcome = c0.arbitrary_experiment(run)
    assert outcome.verdict == FALSE
    assert outcome.figures["zero output layer"][0]["least_tv"] == 0.75


@pytest.mark.parametrize(
    ("name", "fixed"),
    [
        ("zero output layer", lambda rng: controls.constant_law(rng, readout=1.0, longest=2)),
        (
            "one attention head",
            lambda rng: controls.convex_hull(rng, layers=(controls.ATTENTION,) * 2, longest=2),
        ),
    ],
)
def test_a_model_that_is_not_in_its_family_does_not_stand(run, name, fixed):
    outcome = c0.arbitrary_experiment(run, controls={name: fixed})
    assert outcome.verdict == OPEN
    assert "does not stand" in outcome.why


def test_every_seed_finds_an_output_that_one_head_cannot_be_prompted_to():
    for seed in range(20):
        control = controls.convex_hull(np.random.default_rng(seed), longest=1)
        assert control.stands, seed


def test_the_table_reads_its_prompt():
    spec, params = prompt_length.table(3, 1)
    for prompt in ([1, 0, 1], [1], []):
        answers = [
            int(forward(spec, params, np.array([*prompt, 2 + c]))[-1].argmax()) for c in range(3)
        ]
        assert answers == [*prompt, 0, 0, 0][:3]


def test_the_statements_say_what_they_are_derived_to_be():
    assert [(s.id, s.derived) for s in c0.CLAIM.statements] == [
        ("C0.universal", HOLDS),
        ("C0.stock", HOLDS),
        ("C0.arbitrary", FALSE),
        ("C0.prompt-length", HOLDS),
    ]


def test_prompts_must_be_as_long_as_counting_says_and_that_is_enough(run):
    outcome = prompt_length.prompt_length_experiment(run)
    assert outcome.verdict == HOLDS
    row = outcome.figures["enumerated"][-1]
    assert (row["contexts"], row["alphabet"], row["necessary"], row["maps"]) == (6, 4, 3, 64)
    assert row["reached_by_table"] < 64 == row["reached_with_enough"]


@pytest.mark.parametrize("off", [1, -2])
def test_another_length_is_not_the_least(run, off):
    # One token more: prompts called too short reach all maps. Two fewer: not what suffices.
    def other(**options):
        return max(0, prompt_length_necessary(**options) + off)

    assert prompt_length.prompt_length_experiment(run, necessary=other).verdict == FALSE


def test_a_table_that_ignores_its_prompt_reaches_one_map(run):
    def blind(contexts, each):
        spec, params = prompt_length.table(contexts, each)
        return spec, params | {"layer_0.w_v": np.zeros_like(params["layer_0.w_v"])}

    assert prompt_length.prompt_length_experiment(run, model=blind).verdict == FALSE
