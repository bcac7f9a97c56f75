"""The stock machine: its tokens, its weights, its certificate at the limit and one beyond."""

from __future__ import annotations

from dataclasses import replace

import jax
import numpy as np
import pytest
from cases_machines import BB5, random_case

from constructions import CONSTRUCTIONS, TuringMachine, forward
from constructions.machines.stock_certificate import Run, errors, fault, read_back
from constructions.machines.stock_weights import Numbers, build
from constructions.stock_vocabulary import StockVocabulary
from icl_sim.transformer import forward as jax_forward

jitted = jax.jit(jax_forward, static_argnums=0)
BB2 = TuringMachine.from_bbchallenge("1RB1LB_1LA1RZ")
BUILT = CONSTRUCTIONS["stock"]()
NUMBERS = Numbers(ballast=2.0**20, beta=64.0, slope=4096.0, steep=32.0, gap=32.0)


@pytest.fixture(scope="module")
def large():
    return CONSTRUCTIONS["stock"](states=5, symbols=3, bits=6)


def test_every_token_has_a_name_of_its_own_that_reads_back():
    vocabulary = StockVocabulary(3, 3, 3)
    assert len(set(vocabulary.words)) == len(vocabulary.words) == vocabulary.size
    text = vocabulary.text(range(vocabulary.size))
    assert vocabulary.read(text).tolist() == list(range(vocabulary.size))
    text = "<start> A0:1RB B2:--- [-4]=2 <go> 0>1RZ@3 <end>"
    assert vocabulary.text(vocabulary.read(text)) == text
    with pytest.raises(ValueError, match=r"word 1: expected a token such as .* got 'D0:1RB'"):
        vocabulary.read("<start> D0:1RB")


def test_sizes_out_of_range_are_refused_with_the_numbers():
    for options in ({"states": 26}, {"symbols": 1}, {"bits": 1}, {"bits": 13}):
        with pytest.raises(ValueError, match=r"expected 1 to 25 states.* got .*\d"):
            CONSTRUCTIONS["stock"](**options)
    six = TuringMachine.from_bbchallenge("_".join(["1RB1LA"] * 6))
    with pytest.raises(ValueError, match="at most 5 working states"):
        BUILT.encode({"machine": six, "tape": ""})


def test_the_prompt_of_a_machine_can_be_read_aloud():
    prompt = BUILT.encode({"machine": BB2, "tape": "101"})
    expected = "<start> A0:1RB A1:1LB B0:1LA B1:1RZ [0]=1 [1]=0 [2]=1 <go>"
    assert BUILT.fields.text(prompt) == expected
    bb4 = TuringMachine.from_bbchallenge("1RB1LB_1LA0LC_1RZ1LD_1RD0RA")
    assert len(BUILT.encode({"machine": bb4, "tape": ""})) == 10


def wrong_tokens(built, machine, tape, steps):
    """Positions of a run at which the weights name another token."""
    prompt = built.encode({"machine": machine, "tape": tape, "steps": steps})
    run = built.machine.transcribe(machine.run(tape, steps))
    inputs = np.concatenate([prompt, run])
    found = forward(built.spec, built.params, inputs)[len(prompt) - 1 : -1].argmax(axis=1)
    return np.flatnonzero(found != run).tolist()


def test_random_machines_are_carried_out(large):
    rng, halted = np.random.default_rng(0), 0
    for _ in range(30):
        machine, tape = random_case(rng, states=5, symbols=3)
        halted += machine.run(tape, 25).halted
        assert wrong_tokens(large, machine, tape, 25) == []
    assert 5 < halted < 30


def test_busy_beaver_5_is_carried_out_and_its_answer_read(large):
    machine = TuringMachine.from_bbchallenge(BB5)
    assert wrong_tokens(large, machine, "", 400) == []
    problem = {"machine": machine, "tape": "", "steps": 400}
    run = np.concatenate([large.encode(problem), large.machine.transcribe(machine.run("", 400))])
    assert large.decode(run) == large.oracle(problem)


def test_rules_and_cells_may_stand_in_any_order_and_be_missing():
    fields = BUILT.fields
    prompt = fields.read("<start> [1]=1 B0:1LA A1:--- [-1]=1 A0:1RB <go>")
    run = fields.read("0>1RB@1 <end>")  # B reads the 1 of cell 1, for which there is no rule
    found = forward(BUILT.spec, BUILT.params, np.concatenate([prompt, run]))[len(prompt) - 1 : -1]
    np.testing.assert_array_equal(found.argmax(axis=1), run)


def test_a_run_beyond_the_ring_or_its_visits_is_refused():
    right = TuringMachine("right", ("A",), ("0", "1"), "0", "A", {("A", "0"): ("A", "1", 1)})
    BUILT.encode({"machine": right, "tape": "", "steps": 15})
    with pytest.raises(ValueError, match="cells: expected at most 16.*got 17"):
        BUILT.encode({"machine": right, "tape": "", "steps": 16})
    with pytest.raises(ValueError, match="cells: expected at most 16.*got 17"):
        BUILT.encode({"machine": BB2, "tape": "0" * 15, "steps": 4})  # two to the left
    stays = TuringMachine("stays", ("A",), ("0", "1"), "0", "A", {("A", "0"): ("A", "0", 0)})
    most = BUILT.certificate.limits["visits"]
    BUILT.encode({"machine": stays, "tape": "", "steps": most - 1})
    with pytest.raises(ValueError, match=rf"visits: expected at most {most}.*got {most + 1}"):
        BUILT.encode({"machine": stays, "tape": "", "steps": most})


def test_the_limits_are_the_last_without_a_fault():
    limits = BUILT.certificate.limits
    run = Run(limits["steps"], limits["visits"])
    assert fault(NUMBERS, BUILT.fields, run) is None
    assert "tokens are more" in fault(NUMBERS, BUILT.fields, replace(run, steps=run.steps + 1))
    assert "changes" in fault(NUMBERS, BUILT.fields, replace(run, visits=run.visits + 1))
    assert limits["cells"] == 16
    assert errors(NUMBERS, BUILT.fields, run).logit < NUMBERS.gap / 4


@pytest.mark.parametrize(
    ("numbers", "reason"),
    [
        ({"ballast": 2.0**12}, "change the norm"),
        ({"ballast": 3 * 2.0**20}, "no power of four"),
        ({"beta": 48.0}, "beta 48 is no power of two"),
        ({"beta": 16.0}, "the mean of|another rule"),
        ({"slope": 1024.0}, "the mean of 2,048 changes"),
        ({"steep": 2.0}, "the mean of 2,048 changes"),
        ({"gap": 2.0**-60}, None),
    ],
)
def test_numbers_without_room_are_refused(numbers, reason):
    numbers = replace(NUMBERS, **numbers)
    spec, params = build(BUILT.fields, numbers)
    if reason is None:  # errors scale with the gap
        BUILT.certify(spec, params)
        return
    with pytest.raises(ValueError, match=reason):
        BUILT.certify(spec, params)


def test_visits_beyond_float32_and_other_dtypes_are_refused():
    assert CONSTRUCTIONS["stock"](visits=1024).certificate.limits["visits"] < 2048
    with pytest.raises(ValueError, match="does not certify 4,096 visits"):
        CONSTRUCTIONS["stock"](visits=4096)
    for visits in (0, -1, 10**9):
        with pytest.raises(ValueError, match=r"expected 1 to 1,048,576 visits"):
            CONSTRUCTIONS["stock"](visits=visits)
    with pytest.raises(ValueError, match="dtype: expected one of float32, .*, got float64"):
        CONSTRUCTIONS["stock"](dtype="float64")


@pytest.mark.parametrize(
    ("name", "dtype", "visits", "reason"),
    [
        ("stock", "bfloat16", 2048, r"a symbol that is off by 1\.6e\+02 may find another rule"),
        ("stock", "bfloat16", 1, r"logits are off by \d+ of a gap of 32"),
        ("stock", "float16", 1, "ballast of 1,048,576 .* largest float16, 65,504.* below 64, not"),
        ("stock-pairs", "bfloat16", 1, r"the one before leads by -\d+"),
    ],
)
def test_a_smaller_type_is_refused_by_the_inequality_that_fails(name, dtype, visits, reason):
    with pytest.raises(ValueError, match=f"{dtype} does not certify {visits:,} visits.*{reason}"):
        CONSTRUCTIONS[name](dtype=dtype, visits=visits)


@pytest.mark.parametrize("dtype", [np.float64, np.float16, jax.numpy.bfloat16])
def test_weights_of_another_dtype_are_refused(dtype):
    with np.errstate(over="ignore"):
        params = {name: leaf.astype(dtype) for name, leaf in BUILT.params.items()}
    with pytest.raises(ValueError, match="expected float32 weights"):
        BUILT.certify(BUILT.spec, params)


def test_a_sign_flip_of_any_weight_is_refused():
    vocabulary = StockVocabulary(1, 2, 2)
    spec, params = build(vocabulary, NUMBERS)
    flips = 0
    for leaf in params:
        for place in map(tuple, np.argwhere(params[leaf])):
            wrong = params | {leaf: params[leaf].copy()}
            wrong[leaf][place] *= -1
            with pytest.raises(ValueError, match="stock: "):
                read_back(spec, wrong, vocabulary)
            flips += 1
    assert flips > 200


def test_a_cell_is_written_as_often_as_certified_in_float32_and_twice_as_often_goes_wrong():
    built = CONSTRUCTIONS["stock"](states=1, bits=2)
    rules = {("A", a): ("A", b, 0) for a, b in (("0", "1"), ("1", "0"))}
    flips = TuringMachine("flips", ("A",), ("0", "1"), "0", "A", rules)
    most = built.certificate.limits["visits"]
    for steps, certain in ((most - 1, True), (2 * most, False)):
        prompt = built.fill(**built.parse({"machine": flips, "tape": ""}))
        run = built.machine.transcribe(flips.run("", steps))
        inputs = np.concatenate([prompt, run])
        outputs = np.asarray(jitted(built.spec, built.params, inputs))[len(prompt) - 1 : -1]
        assert np.array_equal(outputs.argmax(axis=1), run) == certain
