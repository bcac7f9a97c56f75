"""The stock machine in pairs of tokens: its words, its runs, its certificate at the limit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cases_machines import BB5, random_case
from numpy_llama import NumpyLlama

from constructions import CONSTRUCTIONS, TuringMachine, forward
from constructions.machines.pairs_certificate import (
    Run,
    fault,
    previous_lead,
    read_back,
    token_count,
)
from constructions.machines.pairs_weights import PairsNumbers, build
from constructions.pairs_vocabulary import PairsVocabulary
from constructions.programs.training_machines import TRAINING
from constructions.vocabulary import trace_of
from icl_sim import to_pretrained

BUILT = CONSTRUCTIONS["stock-pairs"]()
NUMBERS = PairsNumbers(ballast=2.0**20, beta=64.0, slope=4096.0, steep=32.0, gap=32.0, sharp=1024.0)


@pytest.fixture(scope="module")
def large():
    return CONSTRUCTIONS["stock-pairs"](states=5, symbols=3, bits=6)


def test_every_token_has_a_name_of_its_own_that_reads_back():
    vocabulary = PairsVocabulary(12, 3, 3)
    assert len(set(vocabulary.words)) == len(vocabulary.words) == vocabulary.size
    text = vocabulary.text(range(vocabulary.size))
    assert vocabulary.read(text).tolist() == list(range(vocabulary.size))
    text = "<start> q0,0: 1Rq11 q11,2: --- @-4 =2 <go> @0 0>1RZ @1 <end>"
    assert vocabulary.text(vocabulary.read(text)) == text
    with pytest.raises(ValueError, match=r"word 1: expected a token such as .* got 'q12,0:'"):
        vocabulary.read("<start> q12,0:")
    with pytest.raises(ValueError, match="expected a place before each symbol"):
        vocabulary.answer(vocabulary.read("<start> =1 <go>"))


def test_sizes_out_of_range_or_of_memory_are_refused_with_the_numbers():
    for options in ({"states": 256}, {"symbols": 11}, {"bits": 2}, {"bits": 17}):
        with pytest.raises(ValueError, match=r"expected 1 to 255 states.* got .*\d"):
            CONSTRUCTIONS["stock-pairs"](**options)
    with pytest.raises(ValueError, match=r"expected at most 134,217,728 weights, got"):
        CONSTRUCTIONS["stock"](states=16, symbols=5, bits=12)


def leads(built, machine, tape, steps):
    """The right token's logit less the best other's, at each token of a run."""
    prompt = built.encode({"machine": machine, "tape": tape, "steps": steps})
    run = built.machine.transcribe(machine.run(tape, steps))
    inputs = np.concatenate([prompt, run])
    logits = np.array(forward(built.spec, built.params, inputs)[len(prompt) - 1 : -1])
    right = logits[np.arange(len(run)), run].copy()
    logits[np.arange(len(run)), run] = -np.inf
    return right - logits.max(axis=1)


def test_random_machines_are_carried_out(large):
    rng, halted = np.random.default_rng(0), 0
    for _ in range(12):
        machine, tape = random_case(rng, states=5, symbols=3)
        halted += machine.run(tape, 25).halted
        assert leads(large, machine, tape, 25).min() > large.certificate.records[-1].margin
    assert 2 < halted < 12


def test_busy_beaver_5_is_carried_out_and_its_answer_read(large):
    machine = TuringMachine.from_bbchallenge(BB5)
    assert leads(large, machine, "", 300).min() > large.certificate.records[-1].margin
    problem = {"machine": machine, "tape": "", "steps": 300}
    run = np.concatenate([large.encode(problem), large.machine.transcribe(machine.run("", 300))])
    assert large.decode(run) == large.oracle(problem)


def test_the_limits_are_the_last_without_a_fault():
    limits, fields = BUILT.certificate.limits, BUILT.fields
    run = Run(limits["steps"], limits["visits"])
    assert fault(NUMBERS, fields, run) is None
    assert "leads by" in fault(NUMBERS, fields, replace(run, steps=run.steps + 1))
    assert "changes" in fault(NUMBERS, fields, replace(run, visits=run.visits + 1))
    assert limits["steps"] > 100_000
    far = 2**18
    assert previous_lead(NUMBERS.sharp, token_count(fields, Run(far, 1))) < 0


def test_the_lead_is_that_of_float32_scores_at_the_limit():
    params, most = (
        BUILT.params,
        token_count(BUILT.fields, Run(BUILT.certificate.limits["steps"], 1)),
    )
    one = BUILT.residual.column("ballast")
    query, key = (params[f"layer_0.{leaf}"][0, one] for leaf in ("w_q", "w_k"))
    i = np.arange(most, dtype=np.float32)[:, None]
    turn = np.float32(1) / np.float32(1e38) ** (np.arange(0, 64, 2, dtype=np.float32) / 64)
    angle = i * turn
    cos, sin = np.cos(angle), np.sin(angle)
    here = cos[-1] * query[:32], sin[-1] * query[:32]
    scores = (key[:32] * cos - key[32:] * sin) @ here[0] + (key[32:] * cos + key[:32] * sin) @ here[
        1
    ]
    scores /= 8
    lead = scores[-2] - np.delete(scores, -2).max()
    assert previous_lead(NUMBERS.sharp, most) < lead < 4 * previous_lead(NUMBERS.sharp, most) + 200
    assert scores.argmax() == most - 2


@pytest.mark.parametrize(
    ("numbers", "reason"),
    [
        ({"ballast": 2.0**12}, "change the norm"),
        ({"beta": 48.0}, "beta 48 is no power of two"),
        ({"sharp": 64.0}, "the one before leads by"),
        ({"slope": 1024.0}, "the mean of 2,048 changes"),
    ],
)
def test_numbers_without_room_are_refused(numbers, reason):
    spec, params = build(BUILT.fields, replace(NUMBERS, **numbers))
    with pytest.raises(ValueError, match=reason):
        BUILT.certify(spec, params)


def test_a_sign_flip_of_any_weight_is_refused():
    vocabulary = PairsVocabulary(1, 2, 3)
    spec, params = build(vocabulary, NUMBERS)
    flips = 0
    for leaf in params:
        for place in map(tuple, np.argwhere(params[leaf])):
            wrong = params | {leaf: params[leaf].copy()}
            wrong[leaf][place] *= -1
            with pytest.raises(ValueError, match="stock: "):
                read_back(spec, wrong, vocabulary)
            flips += 1
    assert flips > 600


def test_a_program_that_trains_answers_from_its_prompt_in_an_independent_llama(tmp_path):
    program = TRAINING["counting"](contexts=2, outputs=2)
    machine = program.machine
    built = CONSTRUCTIONS["stock-pairs"](states=len(machine.working), symbols=8, bits=5)
    inputs, labels = program.sample(np.random.default_rng(0), 2)
    tape = program.encode(inputs, labels, program.domain[:1])
    prompt = built.encode({"machine": machine, "tape": tape, "steps": 1000})
    found = NumpyLlama(to_pretrained(built, tmp_path)).generate(prompt, 2000)
    assert found == built.machine.transcribe(machine.run(tape, 1000)).tolist()
    ended = trace_of(machine, built.decode(np.concatenate([prompt, found])))
    expected = program.oracle(inputs, labels, program.domain[:1])
    np.testing.assert_array_equal(program.decode(ended), expected)


def test_the_card_says_how_pairs_are_asked(tmp_path):
    card = (to_pretrained(BUILT, tmp_path) / "README.md").read_text()
    example = "<start> q0,0: 1Rq1 q0,1: 1Lq1 q1,0: 1Lq0 q1,1: 1RZ <go>"
    for text in (example, "@4 0>1Rq1", "two tokens", "2,232", BUILT.certificate.weights):
        assert text in card
    assert max(map(len, card.splitlines())) <= 100
    assert BUILT.fields.read(example).size == 10
