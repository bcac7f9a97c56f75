"""Programs as stock Llamas: an independent Llama, what rounds in the stream, refusals."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import partial

import jax
import numpy as np
import pytest
from cases_rasp import CAUSAL, draw, every_input, random_program
from numpy_llama import NumpyLlama

from constructions import CONSTRUCTIONS
from constructions.rasp import (
    Aggregate,
    Comparison,
    Full,
    Map,
    Select,
    SelectorWidth,
    indices,
    tokens,
)
from constructions.rasp.library import fraction_before, induction, shift
from constructions.rasp.named_programs import LIBRARY
from constructions.rasp.stock_bounding import certify, offset_for, rounding_needed
from constructions.rasp.stock_program import compile_stock
from icl_sim import from_pretrained, load, to_pretrained
from icl_sim.transformer import forward as jax_forward
from icl_sim.transformer import load_params

LENGTH, GAP = 8, 64.0


def answers(llama, built, xs):
    """What the greedy tokens behind each prefix say, and by how much they lead."""
    logits = llama.logits(built.encode(xs))[1:]
    two = np.sort(logits, axis=1)[:, -2:]
    return [built.fields.words[i] for i in logits.argmax(axis=1)], (two[:, 1] - two[:, 0]).min()


@pytest.mark.parametrize("name", CAUSAL)
def test_an_independent_llama_says_what_plain_python_says(name, tmp_path):
    built = CONSTRUCTIONS["stock-rasp"](program=name, length=LENGTH, alphabet=5)
    letters, rng = LIBRARY[name].alphabet(5), random.Random(name)
    llama = NumpyLlama(to_pretrained(built, tmp_path))
    for length in (1, 3, LENGTH, LENGTH, LENGTH):
        xs = draw(rng, name, letters, length)
        expected = CAUSAL[name](xs, letters)
        assert built.decode(llama.logits(built.encode(xs))) == expected
        words, lead = answers(llama, built, xs)
        assert lead == GAP
        if not isinstance(expected[0], float):
            assert words == list(map(str, expected))


def test_a_text_is_continued_by_induction(tmp_path):
    built = compile_stock(induction(), length=12, alphabet="abcd")
    llama = NumpyLlama(to_pretrained(built, tmp_path))
    llama.config["eos_token_id"] = None
    found = llama.generate(built.encode("abcda"), 7)
    assert [built.fields.words[i] for i in found] == list("bcdabcd")
    card = (tmp_path / "README.md").read_text()
    assert 'words("<start> a b c"' in card
    assert "logits[0, 1:].argmax(-1)" in card
    words = from_pretrained(tmp_path)[2]
    assert list(words.encode("<start> a None")) == [4, 0, 5]


def wrong_values(programs):
    """Wrong values of random programs on all inputs of 4 letters, in float32, how many there are.

    Behind the causal mask those are all shorter inputs too. Also how many programs are refused.
    """
    wrong = values = refused = 0
    for seed in programs:
        program = random_program(random.Random(seed), 4)
        try:
            built = compile_stock(program, length=4, alphabet="abc")
        except ValueError as error:
            refused += "cannot be certified" in str(error)
            continue
        inputs = [xs for xs in every_input("abc", 4) if len(xs) == 4]
        prompts = np.stack([built.fill(**built.parse(xs)) for xs in inputs])
        params = load_params(built.spec, built.params)
        answer = jax.jit(jax.vmap(partial(jax_forward, built.spec, params)))
        for xs, outputs in zip(inputs, np.asarray(answer(prompts)), strict=True):
            try:
                expected = program(xs, causal=True)
            except ValueError:
                continue
            found = built.decode(outputs)
            wrong += sum(x != y for x, y in zip(found, expected, strict=True))
            values += len(expected)
    return wrong, values, refused


def test_random_programs_say_what_their_interpreter_says():
    wrong, values, refused = wrong_values((0, 1))
    assert (wrong, refused) == (0, 1)
    assert values > 300


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_two_hundred_random_programs_say_what_their_interpreter_says():
    wrong, values, refused = wrong_values(range(200))
    assert (wrong, refused) == (0, 9)
    assert values > 50_000


def test_the_residual_stream_rounds_one_hots_to_exact_ones():
    built = compile_stock(shift(tokens), length=20, alphabet="abc")
    model, params = load(built)
    prompt = built.encode("abcabacbacab")
    place = "resid_post", 0, "indices"

    @jax.jit
    def held(prompt):
        return model.apply({"params": params}, prompt, capture=built.residual)[1][place]

    found = np.asarray(held(prompt))
    offset = found.min()
    found = found - offset
    assert offset >= 1024
    assert (found[1:].argmax(axis=1) == np.arange(12)).all()
    assert np.unique(found).tolist() == [0.0, 1.0]
    assert not found[0].any()  # of the start token


def test_the_certificate_reads_every_weight():
    built = compile_stock(shift(tokens), length=4, alphabet="ab")
    assert built.certificate.limits == {"length": 5}
    assert built.certificate.records[-1].margin == GAP
    for leaf in built.params:
        for place in map(tuple, np.argwhere(built.params[leaf])):
            wrong = built.params | {leaf: built.params[leaf].copy()}
            wrong[leaf][place] *= -1
            with pytest.raises(ValueError, match="stock: "):
                built.certify(built.spec, wrong)


def test_an_offset_that_rounds_too_little_or_sums_that_round_are_refused():
    built = compile_stock(
        SelectorWidth(Select(indices, indices, Comparison.LT)), length=20, alphabet=2
    )
    plan = built.certify.args[1]
    assert offset_for(plan, 20) == plan.offset
    assert rounding_needed(plan, 20) < rounding_needed(plan, 40) * 2
    for factor, reason in (
        (0.5, "their offset rounds less"),
        (2.0**10, "units, expected less than"),
    ):
        other = replace(plan, offset=plan.offset * factor)
        with pytest.raises(ValueError, match=reason):
            certify("width", other, 20, other.spec, other.build())


@pytest.mark.parametrize(
    ("program", "options", "words"),
    [
        (fraction_before(tokens == 0), {"length": 45}, "cannot be certified at length 45"),
        (shift(tokens), {"length": 600}, "a head of 60[0-9] entries, expected at most 512"),
        (Map(str, tokens), {}, "different words, got '0' twice"),
        (Full(" "), {}, "different words, got '' twice or empty"),
        (tokens, {"length": 0}, "length: expected at least 1"),
        (Select(tokens, tokens, Comparison.EQ), {}, "program: expected an S-operation"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_in_one_line(program, options, words):
    with pytest.raises(ValueError, match=words) as caught:
        compile_stock(program, **({"length": 4, "alphabet": 3} | options))
    assert "\n" not in str(caught.value)


def test_an_input_without_meaning_is_refused():
    smaller = Aggregate(Select(tokens, tokens, Comparison.LT), tokens, 0)
    built = compile_stock(smaller, length=4, alphabet=3)
    with pytest.raises(ValueError, match="expected equal values where position 2 selects"):
        built.encode([0, 1, 2])
