"""The exported machine in an independent Llama, which transformers' own logits hold in place."""

from __future__ import annotations

import numpy as np
import pytest
import stock_models
from cases_machines import BEAVERS, random_machine
from numpy_llama import NumpyLlama
from tolerances import F32

from constructions import CONSTRUCTIONS, TuringMachine
from icl_sim import to_pretrained


@pytest.mark.parametrize("name", ["llama with biases", "smollm2"])
def test_it_computes_what_transformers_computes(tmp_path, name):
    config = stock_models.CASES[name]
    model = NumpyLlama(stock_models.write(tmp_path, config))
    tokens, expected = stock_models.tokens(config), np.load(stock_models.fixture_path(name))
    assert np.ptp(expected) > 5
    assert np.abs(model.logits(tokens) - expected).max() <= 1e-4


def test_a_cache_changes_nothing(tmp_path):
    config = stock_models.CASES["smollm2"]
    model = NumpyLlama(stock_models.write(tmp_path, config))
    tokens, caches = stock_models.tokens(config)[:40], [[] for _ in range(3)]
    parts = [model.logits(part, caches) for part in np.split(tokens, [20, 21])]
    assert np.abs(np.concatenate(parts) - model.logits(tokens)).max() <= 1e-4


def test_the_machine_s_logits_are_those_of_transformers(tmp_path):
    built, tokens = stock_models.machine()
    found = NumpyLlama(to_pretrained(built, tmp_path)).logits(tokens)
    expected = np.load(stock_models.fixture_path("machine"))
    np.testing.assert_array_equal(found.argmax(axis=1), expected.argmax(axis=1))
    np.testing.assert_allclose(found, expected, **F32)


@pytest.fixture(scope="module")
def built():
    return CONSTRUCTIONS["stock"](bits=5)


def test_the_exported_machine_makes_no_wrong_token(built, tmp_path):
    model = NumpyLlama(to_pretrained(built, tmp_path))
    machines = [TuringMachine.from_bbchallenge(line) for line in BEAVERS.values()]
    rng = np.random.default_rng(5)
    while len(machines) < 12:
        machine = random_machine(rng, int(rng.integers(1, 6)), 2)
        if len(machine.run("", 60).cells) <= built.fields.cells:
            machines.append(machine)
    tokens = 0
    for machine in machines:
        problem = {"machine": machine, "tape": "", "steps": 120 if machine in machines[:3] else 60}
        expected = built.machine.transcribe(machine.run("", problem["steps"]))
        found = model.generate(built.encode(problem), len(expected))
        np.testing.assert_array_equal(found, expected)
        tokens += len(found)
    assert tokens > 400
