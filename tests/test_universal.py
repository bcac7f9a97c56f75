"""The universal transformer: every engine carries out every machine, token for token."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from cases_machines import BB5, random_case

from constructions import CONSTRUCTIONS, TuringMachine, forward
from constructions.machines.universal import universal
from constructions.programs.named import PROGRAMS
from icl_sim.decoding import generate, generate_batch, verify_trace
from icl_sim.transformer import forward as jax_forward
from icl_sim.transformer import load

jitted = jax.jit(jax_forward, static_argnums=0)
STEPS = 120  # of random machines
SIZE = {"states": 8, "symbols": 4, "steps": 300_000, "cells": 1000}


@pytest.fixture(scope="module")
def small():
    return universal(**SIZE)


def run_of(construction, machine, tape, steps=STEPS):
    """Prompt, and the tokens that must follow it."""
    prompt = construction.encode({"machine": machine, "tape": tape})
    return prompt, construction.machine.transcribe(machine.run(tape, steps))


def predictions(outputs, prompt):
    return np.asarray(outputs)[len(prompt) - 1 : -1].argmax(axis=1)


def padded(tokens, length):
    """Later tokens change nothing before them, so that one shape is compiled for all runs."""
    return np.concatenate([tokens, np.zeros(length - len(tokens), np.int32)])


@pytest.mark.parametrize(("base", "attend"), [(4, "softmax"), (16, "hardmax")])
def test_all_engines_agree_with_the_interpreter_on_random_machines(base, attend):
    construction = universal(**SIZE, base=base, attend=attend)
    model, params = load(construction)
    flax = jax.jit(model.apply)
    rng = np.random.default_rng(4)
    seen_left, seen_halt = 0, 0
    for i in range(6):
        machine, tape = random_case(rng)
        trace = machine.run(tape, STEPS)
        prompt, expected = run_of(construction, machine, tape)
        sequence = np.concatenate([prompt, expected])
        if i < 3:
            outputs = forward(construction.spec, construction.params, sequence)
            np.testing.assert_array_equal(predictions(outputs, prompt), expected)
        long = padded(sequence, 200)
        for outputs in (
            jitted(construction.spec, params, long),
            flax({"params": params}, long),
        ):
            found = predictions(outputs[: len(sequence)], prompt)
            np.testing.assert_array_equal(found, expected)
        n = len(expected)
        for engine in ("cached", "specialised"):
            found = generate(
                model,
                params,
                prompt,
                steps=STEPS + 1,
                engine=engine,
                stop=construction.machine.stop,
            )
            np.testing.assert_array_equal(found[:n], expected)
        for engine in ("cached", "specialised"):
            assert verify_trace(construction, trace, engine=engine, block=64).agrees
        answer = construction.decode(sequence)
        assert answer == construction.oracle({"machine": machine, "tape": tape, "steps": STEPS})
        seen_left += trace.tape_start < 0
        seen_halt += trace.halted
    assert seen_left
    assert seen_halt


def test_dense_decoding_agrees_too(small):
    model, params = load(small)
    rng = np.random.default_rng(1)
    for _ in range(3):
        machine, tape = random_case(rng)
        prompt, expected = run_of(small, machine, tape, 60)
        found = generate(model, params, prompt, steps=60, engine="dense", stop=small.machine.stop)
        np.testing.assert_array_equal(found, expected[:60])


def test_fractions_predict_the_same_tokens():
    construction = universal(states=2, steps=50, cells=8, attend="hardmax")
    machine = TuringMachine.from_bbchallenge("1RB1LB_1LA1RZ")
    prompt, expected = run_of(construction, machine, "1")
    sequence = np.concatenate([prompt, expected])
    outputs = forward(construction.spec, construction.params, sequence, exact=True)
    np.testing.assert_array_equal(predictions(outputs, prompt), expected)
    best = np.sort(outputs[len(prompt) - 1 : -1], axis=1)
    assert (best[:, -1] == 4).all()
    assert (best[:, -2] <= 3).all()


@pytest.fixture(scope="module")
def large():
    return universal(states=16, symbols=16, steps=20_000, cells=120)


@pytest.mark.parametrize("name", [name for name in PROGRAMS if name != "bb5"])
def test_named_programs_run_to_their_answers(name, small, large):
    program = PROGRAMS[name]
    machine = program.machine
    fits = len(machine.working) <= 8 and len(machine.alphabet) <= 4
    construction = small if fits else large
    for tape in {program.inputs[0], program.inputs[-1]}:
        trace = machine.run(tape, program.max_steps)
        assert trace.halted
        assert verify_trace(construction, trace, tape=tape, block=64).agrees
        prompt, expected = run_of(construction, machine, tape, program.max_steps)
        answer = construction.decode(np.concatenate([prompt, expected]))
        assert answer == construction.oracle({"machine": machine, "tape": tape})


def test_busy_beaver_runs_for_a_hundred_thousand_steps():
    construction = CONSTRUCTIONS["universal"]()
    model, params = load(construction)
    prompt, expected = run_of(construction, TuringMachine.from_bbchallenge(BB5), "", 100_000)
    for engine, steps in (("cached", 20_000), ("specialised", 100_000)):
        found = generate(
            model, params, prompt, steps=steps, engine=engine, stop=construction.machine.stop
        )
        np.testing.assert_array_equal(found, expected[:steps])


def test_one_set_of_params_runs_many_machines_at_once(small):
    model, params = load(small)
    rng = np.random.default_rng(7)
    cases = [random_case(rng) for _ in range(24)]
    runs = [run_of(small, machine, tape) for machine, tape in cases]
    assert len({len(prompt) for prompt, _ in runs}) > 1
    assert len({len(expected) for _, expected in runs}) > 5
    for engine in ("cached", "specialised"):
        found = generate_batch(
            model,
            params,
            [prompt for prompt, _ in runs],
            steps=STEPS,
            engine=engine,
            stop=small.machine.stop,
        )
        for tokens, (_, expected) in zip(found, runs, strict=True):
            np.testing.assert_array_equal(tokens, expected[:STEPS])


def test_scrambled_order_of_summation_changes_no_token(small):
    # The residual stream and the hidden units are permuted, which permutes all sums.
    rng = np.random.default_rng(3)
    params = dict(small.params)
    order = rng.permutation(small.spec.width)
    for name, leaf in params.items():
        kind = name.rpartition(".")[2]
        if kind in ("embed", "positions", "w_down", "w_o"):
            params[name] = leaf[..., order]
        elif kind in ("w_gate", "w_up", "w_q", "w_k", "w_v", "w_out"):
            params[name] = np.moveaxis(np.moveaxis(leaf, -2, 0)[order], 0, -2)
    for i, layer in enumerate(small.spec.layers):
        if layer.hidden:
            units = rng.permutation(layer.hidden)
            for name in ("w_gate", "w_up", "b_gate", "b_up"):
                params[f"layer_{i}.{name}"] = params[f"layer_{i}.{name}"][..., units]
            params[f"layer_{i}.w_down"] = params[f"layer_{i}.w_down"][units]
    for _ in range(5):
        machine, tape = random_case(rng)
        prompt, expected = run_of(small, machine, tape)
        sequence = padded(np.concatenate([prompt, expected]), 200)
        outputs = jitted(small.spec, params, sequence)[: len(prompt) + len(expected)]
        np.testing.assert_array_equal(predictions(outputs, prompt), expected)


@pytest.mark.parametrize(
    ("problem", "reason"),
    [
        ({"machine": PROGRAMS["copy"].machine, "tape": "1"}, "expected at most 1 working states"),
        ({"machine": "one", "tape": "12"}, "tape symbols '2' are not in its alphabet"),
        ({"machine": "one", "tape": "1", "steps": 10**9}, "steps: expected at most"),
        ({"machine": "one", "tape": "1" * 129}, "cells: expected at most 128"),
    ],
)
def test_bad_problems_are_refused_in_one_line(problem, reason):
    construction = universal(states=1, symbols=4, steps=100, cells=64)
    if problem["machine"] == "one":
        problem = problem | {"machine": TuringMachine.from_bbchallenge("1RA---")}
    with pytest.raises(ValueError, match=reason) as caught:
        construction.encode(problem)
    assert "\n" not in str(caught.value)


def test_explanation_names_every_part(small):
    text = small.explain()
    assert "layer_0 head 0: mean" in text
    assert "read_address" in text
    assert "float32: steps <=" in text
