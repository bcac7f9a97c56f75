"""One machine as a stock Llama: its tokens, its weights, its certificates in three arithmetics."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cases_machines import BEAVERS, random_case
from numpy_llama import NumpyLlama

from constructions import CONSTRUCTIONS, TuringMachine, forward
from constructions.machines.single_certificate import fault, leads, read_back
from constructions.machines.single_weights import build
from constructions.machines.stock_certificate import Run
from constructions.machines.stock_weights import TapeNumbers
from constructions.machines.stored_arithmetic import ARITHMETIC
from constructions.programs.named import PROGRAMS
from constructions.single_vocabulary import SingleVocabulary
from icl_sim import to_pretrained
from icl_sim.cli import run as command

BB2 = TuringMachine.from_bbchallenge(BEAVERS["BB(2)"])
BUILT = CONSTRUCTIONS["stock-single"]()
NUMBERS = TapeNumbers(ballast=2.0**15, beta=64.0, slope=4096.0, gap=64.0)
DTYPES = ("float32", "bfloat16", "float16")
FLIPS = TuringMachine(
    *("flips", ("A",), ("0", "1"), "0", "A"),
    {("A", a): ("A", b, 0) for a, b in (("0", "1"), ("1", "0"))},
)


def test_every_token_has_a_name_of_its_own_that_reads_back():
    machine, _ = random_case(np.random.default_rng(1), states=4, symbols=3)
    vocabulary = SingleVocabulary(machine, 3)
    assert len(set(vocabulary.words)) == len(vocabulary.words) == vocabulary.size
    text = vocabulary.text(range(vocabulary.size))
    assert vocabulary.read(text).tolist() == list(range(vocabulary.size))
    with pytest.raises(ValueError, match=r"word 1: expected a token such as .* got 'A0:1RB'"):
        BUILT.fields.read("<start> A0:1RB")
    with pytest.raises(ValueError, match=r"expected cells such as \[0\]=1, got A0:1RB@1"):
        BUILT.fields.parts(BUILT.fields.read("A0:1RB@1"))


def test_sizes_and_machines_that_do_not_fit_are_refused():
    for bits in (1, 13):
        with pytest.raises(ValueError, match=rf"2 to 12 bits, got 2, 2 and {bits}"):
            CONSTRUCTIONS["stock-single"](bits=bits)
    other = TuringMachine.from_bbchallenge("1RB1LB_1LA0RZ")
    with pytest.raises(ValueError, match="which the weights hold, got '1RB1LB_1LA0RZ'"):
        BUILT.encode({"machine": other, "tape": ""})
    assert BUILT.encode({"machine": replace(BB2, name="again"), "tape": ""}).tolist() == [0, 1]


def test_random_machines_are_carried_out_and_their_answers_read():
    rng, ends = np.random.default_rng(0), {True: 0, False: 0}
    for _ in range(30):
        machine, tape = random_case(rng, states=5, symbols=3)
        built = CONSTRUCTIONS["stock-single"](machine=machine, bits=6)
        problem = {"tape": tape, "steps": 25}
        prompt = built.encode(problem)
        run = built.machine.transcribe(machine.run(tape, 25))
        inputs = np.concatenate([prompt, run])
        logits = np.array(forward(built.spec, built.params, inputs)[len(prompt) - 1 : -1])
        right = logits[np.arange(len(run)), run].copy()
        logits[np.arange(len(run)), run] = -np.inf
        assert (right - logits.max(axis=1)).min() >= built.certificate.records[-1].margin
        assert built.decode(inputs) == built.oracle(problem)
        ends[built.fields.words[run[-1]] == "<end>"] += 1
    assert min(ends.values()) > 5


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "tape"), [("parity", "10110"), ("unary-addition", "11+111")])
def test_programs_run_in_an_independent_llama_of_each_type(tmp_path, name, tape, dtype):
    machine = PROGRAMS[name].machine
    built = CONSTRUCTIONS["stock-single"](machine=machine, dtype=dtype)
    folder = to_pretrained(built, tmp_path)
    prompt = built.encode({"tape": tape, "steps": 100})
    expected = built.machine.transcribe(machine.run(tape, 100))
    assert NumpyLlama(folder).generate(prompt, 200) == expected.tolist()
    assert sum(path.stat().st_size for path in folder.glob("*.safetensors")) < 62_000
    card = (folder / "README.md").read_text()
    for text in (name, dtype, built.certificate.weights, "The rules are A0:"):
        assert text in card
    assert max(map(len, card.splitlines())) <= 100


@pytest.mark.parametrize("dtype", DTYPES[1:])
def test_a_cell_is_written_as_often_as_certified_and_twice_as_often_goes_wrong(tmp_path, dtype):
    built = CONSTRUCTIONS["stock-single"](machine=FLIPS, bits=2, dtype=dtype)
    llama, most = NumpyLlama(to_pretrained(built, tmp_path)), built.certificate.limits["visits"]
    run = built.machine.transcribe(FLIPS.run("", 2 * most))
    prompt = built.encode({"tape": "", "steps": most - 1})
    logits = llama.logits(np.concatenate([prompt, run]))[len(prompt) - 1 : -1]
    wrong = np.flatnonzero(logits.argmax(axis=1) != run)
    assert most <= wrong[0]
    right = logits[np.arange(most), run[:most]].copy()
    logits[np.arange(most), run[:most]] = -np.inf
    assert (right - logits[:most].max(axis=1)).min() >= built.certificate.records[-1].margin
    with pytest.raises(ValueError, match=f"visits: expected at most {most} .certified for {dtype}"):
        built.encode({"tape": "", "steps": most})


@pytest.mark.parametrize(
    ("dtype", "visits"), [("float32", 2788), ("bfloat16", 22), ("float16", 96)]
)
def test_the_limits_are_the_last_without_a_fault(dtype, visits):
    built = CONSTRUCTIONS["stock-single"](dtype=dtype)
    limits, numbers = built.certificate.limits, read_back(built.spec, built.params, built.fields)
    run = Run(limits["steps"], limits["visits"], ARITHMETIC[dtype])
    assert fault(numbers, built.fields, run) is None
    assert "tokens are more" in fault(numbers, built.fields, replace(run, steps=run.steps + 1))
    more = replace(run, visits=run.visits + 1)
    assert "the right one leads by" in fault(numbers, built.fields, more)
    assert (run.visits, limits["cells"]) == (visits, 16)
    assert leads(numbers, built.fields, run).lead >= numbers.gap / 4


@pytest.mark.parametrize(
    ("numbers", "dtype", "reason"),
    [
        ({"ballast": 2.0**8}, "float32", "change the norm"),
        ({"ballast": 2.0**20}, "float16", "beyond the largest float16"),
        ({"beta": 48.0}, "float32", "beta 48 is no power of two"),
        ({"slope": 16.0}, "float32", "the mean of 16 changes"),
        ({"slope": 256.0}, "bfloat16", "the right one leads by -"),
        ({"gap": 4096.0, "slope": 64.0}, "float16", "numbers reach 1.*float16 up to 65504"),
        ({"gap": 65.7}, "bfloat16", "w_out has weights that bfloat16 cannot hold"),
    ],
)
def test_numbers_without_room_are_refused(numbers, dtype, reason):
    asked = {"machine": BB2, "visits": 16, "dtype": dtype}
    built = CONSTRUCTIONS["stock-single"](**asked)
    spec, params = build(built.fields, replace(NUMBERS, **({"slope": 32.0} | numbers)))
    with pytest.raises(ValueError, match=reason):
        built.certify(spec, params)


def test_visits_that_a_type_cannot_certify_are_refused_with_the_numbers():
    with pytest.raises(ValueError, match=r"bfloat16 does not certify 64 visits .* leads by -"):
        CONSTRUCTIONS["stock-single"](dtype="bfloat16", visits=64)
    with pytest.raises(ValueError, match="expected one of float32, bfloat16, float16, got tf32"):
        CONSTRUCTIONS["stock-single"](dtype="tf32")


def test_a_sign_flip_of_any_weight_is_refused():
    vocabulary = SingleVocabulary(FLIPS, 2)
    spec, params = build(vocabulary, NUMBERS)
    flips = 0
    for leaf in params:
        for place in map(tuple, np.argwhere(params[leaf])):
            wrong = params | {leaf: params[leaf].copy()}
            wrong[leaf][place] *= -1
            with pytest.raises(ValueError, match="stock: "):
                read_back(spec, wrong, vocabulary)
            flips += 1
    assert flips > 100


def test_export_names_a_machine_and_an_arithmetic(capsys, tmp_path):
    options = ("--option", "machine=bb4", "--option", "dtype=bfloat16")
    arguments = ("--format", "transformers", *options, str(tmp_path), "stock-single")
    assert command(["icl-sim", "export", *arguments]) == 0
    capsys.readouterr()
    card = (tmp_path / "stock-single" / "README.md").read_text()
    assert "# The Turing machine bb4 in one layer" in card
    assert '"dtype": "bfloat16"' in (tmp_path / "stock-single" / "config.json").read_text()
    bad = ("--option", "machine=nobody", str(tmp_path), "stock-single")
    assert command(["icl-sim", "export", *bad]) == 2
    assert "machine: expected one of" in capsys.readouterr().err
