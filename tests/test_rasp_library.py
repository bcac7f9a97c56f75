"""Programs of the library, compiled, against plain Python: in float32, by the jitted engine."""

from __future__ import annotations

import random

import jax
import numpy as np
import pytest
from cases_rasp import CAUSAL, FULL, draw

from constructions import forward
from constructions.rasp.named_programs import LIBRARY, rasp
from icl_sim.cli import run
from icl_sim.storage.weights import load_weights
from icl_sim.transformer import forward as jax_forward
from icl_sim.transformer import load_params

LENGTHS, ALPHABETS, INPUTS, BATCH = (5, 20, 100), (3, 26), 10_000, 250
MASKS = [(name, False) for name in FULL] + [(name, True) for name in CAUSAL]
programs = pytest.mark.parametrize(("name", "causal"), MASKS)


def compiled(name, causal, length, alphabet):
    """The construction and its letters; two kinds of brackets are four letters at least."""
    size = max(alphabet, 4) if name.endswith("dyck-2") else alphabet
    built = rasp(program=name, length=length, alphabet=size, causal=causal)
    return built, LIBRARY[name].alphabet(size)


def test_every_program_has_a_meaning():
    assert sorted(FULL) == sorted(LIBRARY)


def test_export_takes_a_program_s_name_and_mask(tmp_path, capsys):
    options = ("--option", "program=length", "--option", "causal=true", "--option", "length=5")
    assert run(["icl-sim", "export", str(tmp_path), "rasp", *options]) == 0
    spec, params, about = load_weights(tmp_path / "rasp")
    assert spec.layers[0].mask == "causal"
    assert about["certificate"]["limits"] == {"length": 6}
    assert rasp(program="length", causal=True, length=5).params.keys() == params.keys()
    for option, words in (("program=revers", "expected one of addition"), ("length", "KEY=N")):
        assert run(["icl-sim", "export", str(tmp_path), "rasp", "--option", option]) == 2
        error = capsys.readouterr().err
        assert words in error
        assert len(error.splitlines()) == 1


@programs
def test_a_program_says_what_plain_python_says(name, causal):
    meaning = (CAUSAL if causal else FULL)[name]
    for alphabet in (3, 5):
        built, letters = compiled(name, causal, 7, alphabet)
        rng = random.Random(f"{name} {alphabet}")
        for _ in range(6):
            xs = draw(rng, name, letters, rng.randrange(3, 8))
            expected = meaning(xs, letters)
            assert built.oracle(xs) == expected
            assert built.decode(forward(built.spec, built.params, built.encode(xs))) == expected


def wrong_of(name, causal, length, alphabet, inputs):
    """How many of so many random inputs of full length are answered wrongly anywhere."""
    built, letters = compiled(name, causal, length, alphabet)
    meaning = (CAUSAL if causal else FULL)[name]
    params = load_params(built.spec, built.params)
    answer = jax.jit(jax.vmap(lambda prompt: jax_forward(built.spec, params, prompt)))
    rng, wrong = random.Random(0), 0
    for _ in range(inputs // BATCH):
        batch = [draw(rng, name, letters, length) for _ in range(BATCH)]
        prompts = np.stack([built.fill(**built.parse(xs)) for xs in batch])
        for xs, outputs in zip(batch, np.asarray(answer(prompts)), strict=True):
            wrong += built.decode(outputs) != meaning(xs, letters)
    return wrong


def test_fractions_of_a_hundred_are_told_apart_in_float32():
    assert wrong_of("pair-balance", True, 100, 26, BATCH) == 0


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("alphabet", ALPHABETS)
@pytest.mark.parametrize("length", LENGTHS)
@programs
def test_none_of_ten_thousand_inputs_is_wrong(name, causal, length, alphabet):
    assert wrong_of(name, causal, length, alphabet, INPUTS) == 0
