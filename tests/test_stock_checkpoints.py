"""The stock machine as a directory: read back, run by every engine, asked and checked as text."""

from __future__ import annotations

import json

import jax
import numpy as np
import pytest
from cases_machines import BEAVERS, random_machine

from constructions import CONSTRUCTIONS, TuringMachine
from constructions import forward as reference
from icl_sim import forward, from_pretrained, to_pretrained
from icl_sim.cli import run
from icl_sim.decoding.token_sampling import Sampling, sample_tokens
from icl_sim.emulation.transcripts import prompt_text
from icl_sim.errors import InputError

BB2 = TuringMachine.from_bbchallenge(BEAVERS["BB(2)"])
RIGHT = (
    "<start> A0:1RB A1:1LB B0:1LA B1:1RZ <go> "
    "0>1RB@1 0>1LA@0 1>1LB@-1 0>1LA@-2 0>1RB@-1 1>1RZ@0 <end>"
)


@pytest.fixture(scope="module")
def built():
    return CONSTRUCTIONS["stock"](bits=5)


@pytest.fixture(scope="module")
def folder(built, tmp_path_factory):
    return to_pretrained(built, tmp_path_factory.mktemp("stock") / "model")


def test_the_directory_read_back_runs_machines_from_text_to_text(built, folder):
    model, params, words = from_pretrained(folder)
    built.certify(model.spec, {name: np.asarray(leaf) for name, leaf in params.items()})
    machines = [TuringMachine.from_bbchallenge(line) for line in BEAVERS.values()]
    rng = np.random.default_rng(1)
    while len(machines) < 8:
        machine = random_machine(rng, 5, 2)
        if len(machine.run("", 110).cells) <= built.fields.cells:
            machines.append(machine)
    problems = [{"machine": machine, "tape": "", "steps": 110} for machine in machines]
    prompts = [words.encode(built.fields.text(built.encode(problem))) for problem in problems]
    for sampling in (Sampling(), Sampling(temperature=1.0)):
        found = sample_tokens(
            *(model, params, prompts),
            steps=110,
            stop=(built.machine.stop,),
            sampling=sampling,
            key=jax.random.key(0),
        )
        for machine, tokens in zip(machines, found, strict=True):
            expected = built.machine.transcribe(machine.run("", 110))[:110]
            assert words.decode(tokens, special=True) == built.fields.text(expected)


def test_all_engines_give_the_same_tokens_behind_each_prompt(built, folder):
    model, params, _ = from_pretrained(folder, tokenizer=False)
    machine = TuringMachine.from_bbchallenge(BEAVERS["BB(4)"])
    problem = {"machine": machine, "tape": "", "steps": 110}
    prompt, expected = built.encode(problem), built.machine.transcribe(machine.run("", 110))
    inputs = np.concatenate([prompt, expected])
    in_jax = jax.jit(forward, static_argnums=0)(model.spec, params, inputs)
    in_flax = jax.jit(model.apply)({"params": params}, inputs)
    cached = sample_tokens(model, params, [prompt], steps=110, stop=(built.machine.stop,))[0]
    for outputs in (reference(built.spec, built.params, inputs), in_jax, in_flax):
        tokens = np.asarray(outputs)[len(prompt) - 1 : -1].argmax(axis=1)
        np.testing.assert_array_equal(tokens, expected)
    np.testing.assert_array_equal(cached, expected)
    assert built.decode(np.concatenate([prompt, cached])) == built.oracle(problem)


def test_the_directory_has_words_an_end_and_a_card(built, folder):
    end, word = built.machine.stop, "<end>"
    for name in ("generation_config.json", "config.json"):
        assert json.loads((folder / name).read_text())["eos_token_id"] == end
    about = json.loads((folder / "tokenizer_config.json").read_text())
    assert about["eos_token"] == about["pad_token"] == word
    assert about["model_input_names"] == ["input_ids", "attention_mask"]
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    assert list(vocabulary) == list(built.fields.words)
    card = (folder / "README.md").read_text()
    for text in ("A0:1RB", "from_pretrained", "2,232", "2506.08060", "license: apache-2.0"):
        assert text in card
    assert built.certificate.weights in card
    assert max(map(len, card.splitlines())) <= 100


def test_other_weights_are_written_without_the_card(built, tmp_path):
    params = {name: 2 * leaf for name, leaf in built.params.items()}
    assert not (to_pretrained(built, tmp_path, params=params) / "README.md").exists()


def call(capsys, *arguments):
    code = run(["icl-sim", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_export_writes_directories_of_the_stock_form(capsys, tmp_path):
    options = ("--format", "transformers", "--option", "states=2", "--option", "bits=3")
    code, out, _ = call(capsys, "export", *options, tmp_path, "stock", "--json")
    assert code == 0
    paths = json.loads(out)["constructions"]["stock"]
    assert str(tmp_path / "stock" / "README.md") in paths
    assert len(paths) == 6
    model, params, words = from_pretrained(tmp_path / "stock")
    prompt = words.encode(prompt_text(BB2, "", bits=3))
    tokens = sample_tokens(model, params, [prompt], steps=9, stop=(words.eos,))[0]
    assert words.decode(tokens, special=True) == RIGHT.split("<go> ")[1]


def test_export_refuses_what_is_unknown_or_does_not_fit(capsys, tmp_path):
    for arguments, word in (
        ((tmp_path, "svm"), "svm: expected a stock architecture"),
        ((tmp_path, "magic"), "NAME: expected one of"),
        (("--option", "states=x", tmp_path, "stock"), "KEY=N"),
        (
            ("--option", "width=3", tmp_path, "stock"),
            "width: expected one of the options",
        ),
        (("--option", "bits=40", tmp_path, "stock"), "2 to 12 bits"),
        (("--option", "bits=4", tmp_path), "expected one NAME"),
    ):
        code, out, err = call(capsys, "export", "--format", "transformers", *arguments)
        assert (code, out, len(err.splitlines())) == (2, "", 1)
        assert word in err


def test_prompt_prints_what_the_model_reads(capsys):
    code, out, _ = call(capsys, "prompt", BEAVERS["BB(2)"], "--tape", "11")
    assert (code, out) == (0, "<start> A0:1RB A1:1LB B0:1LA B1:1RZ [0]=1 [1]=1 <go>\n")
    code, out, err = call(capsys, "prompt", "bb5", "--max-steps", "100000")
    assert (code, out) == (2, "")
    assert "cells: expected at most 256" in err


@pytest.mark.parametrize(
    ("change", "code", "word"),
    [
        (("", ""), 0, "7 tokens, all right; the run has ended"),
        (("1>1RZ@0 <end>", ""), 0, "5 tokens, all right; the run goes on"),
        (("<end>", "<end> <end> <end>"), 0, "7 tokens, all right"),
        (("0>1LA@-2", "0>1LA@-3"), 1, "token 3 behind <go>: expected 0>1LA@-2, got 0>1LA@-3"),
        (("0>1LA@-2", "hello"), 1, "expected 0>1LA@-2, got hello"),
        ((" 1>1RZ@0 <end>", " <end>"), 1, "token 5 behind <go>: expected 1>1RZ@0, got <end>"),
        (("<go>", ""), 2, "expected a prompt from <start> to <go>"),
        (("A0:1RB", "A0:0RB"), 2, "got a prompt"),
        (("B0:1LA", ""), 2, "without B0:1LA"),
        (("A0:1RB", "A0:1RB A9"), 2, "expected a token such as"),
    ],
)
def test_check_run_names_the_first_wrong_token(capsys, tmp_path, change, code, word):
    file = tmp_path / "transcript"
    file.write_text(RIGHT.replace(*change) if change[0] else RIGHT)
    found, out, err = call(capsys, "check-run", BEAVERS["BB(2)"], file)
    assert found == code
    assert word in (err if code == 2 else out)


def test_check_run_reads_the_tape_and_refuses_files_that_are_none(capsys, tmp_path):
    file = tmp_path / "transcript"
    file.write_text("<start> A0:1RB A1:1LB B0:1LA B1:1RZ [0]=1 <go> 1>1LB@-1 0>1LA@-2")
    code, out, _ = call(capsys, "check-run", BEAVERS["BB(2)"], file, "--json")
    assert (code, json.loads(out)["tokens"]) == (0, 2)
    file.write_bytes(b"\xff\xfe")
    for path in (file, tmp_path / "none", tmp_path):
        code, out, err = call(capsys, "check-run", BEAVERS["BB(2)"], path)
        assert (code, out, len(err.splitlines())) == (2, "", 1)


PAIRS = (
    "<start> q0,0: 1Rq1 q0,1: 1Lq1 q1,0: 1Lq0 q1,1: 1RZ @0 =1 @1 =1 <go> "
    "@0 1>1Lq1 @-1 0>1Lq0 @-2 0>1Rq1 @-1 1>1RZ @0 <end>"
)


@pytest.mark.parametrize(
    ("change", "code", "word"),
    [
        (("", ""), 0, "10 tokens, all right; the run has ended"),
        (("@-2 0>1Rq1 @-1 1>1RZ @0 <end>", ""), 0, "4 tokens, all right; the run goes on"),
        (("@-1 0", "@1 0"), 1, "token 2 behind <go>: expected @-1, got @1"),
        (("1>1RZ @0 <end>", "<end>"), 1, "token 7 behind <go>: expected 1>1RZ, got <end>"),
        (("q1,0: 1Lq0 ", ""), 2, "got a prompt without q1,0: 1Lq0"),
        (("1Lq0 q1,1:", "0Lq0 q1,1:"), 2, "got a prompt with q1,0: 0Lq0"),
        (("@0 =1", "@0"), 2, "expected pairs such as q0,0: 1Rq1 or @0 =1, got @0 @1"),
        (("=1 <go>", "=1 @2 <go>"), 2, "expected pairs such as"),
    ],
)
def test_prompts_and_transcripts_in_pairs(capsys, tmp_path, change, code, word):
    pairs = ("--construction", "stock-pairs")
    _, prompt, _ = call(capsys, "prompt", BEAVERS["BB(2)"], "--tape", "11", *pairs)
    assert PAIRS.startswith(prompt.strip())
    file = tmp_path / "transcript"
    file.write_text(PAIRS.replace(*change) if change[0] else PAIRS)
    found, out, err = call(capsys, "check-run", BEAVERS["BB(2)"], file, *pairs)
    assert found == code
    assert word in (err if code == 2 else out)


def test_a_prompt_that_cannot_be_is_refused():
    with pytest.raises(InputError, match="construction: expected one of stock, stock-pairs"):
        prompt_text(BB2, "", construction="universal")
    with pytest.raises(InputError, match="2 to 12 bits"):
        prompt_text(BB2, "", bits=13)
    with pytest.raises(InputError, match="tape symbols '7'"):
        prompt_text(BB2, "7")


def test_the_default_export_draws_its_heads(capsys, tmp_path):
    code, out, _ = call(capsys, "export", tmp_path, "stock")
    assert (code, out.splitlines()[1]) == (0, "  stock: stock.safetensors, stock.json, stock.html")
    page = (tmp_path / "stock.html").read_text()
    assert page.count("<figure>") == 2
