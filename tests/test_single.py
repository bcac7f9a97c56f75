"""One transformer for one machine: the same tokens as the universal one, from a shorter prompt."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from cases_machines import random_case

from constructions import TuringMachine, forward
from constructions.machines.single import single
from constructions.machines.universal import universal
from constructions.programs.named import PROGRAMS
from icl_sim.decoding import generate, verify_trace
from icl_sim.transformer import forward as jax_forward
from icl_sim.transformer import load

jitted = jax.jit(jax_forward, static_argnums=0)
SIZE = {"states": 8, "symbols": 4, "steps": 4000, "cells": 120}


@pytest.mark.slow
def test_every_engine_agrees_and_so_does_the_universal_transformer():
    common = universal(**SIZE)
    rng = np.random.default_rng(11)
    for i in range(6):
        machine, tape = random_case(rng)
        trace = machine.run(tape, 100)
        construction = single(machine=machine, **SIZE, attend=("softmax", "hardmax")[i % 2])
        model, params = load(construction)
        prompt = construction.encode({"tape": tape})
        expected = construction.machine.transcribe(trace)
        np.testing.assert_array_equal(common.machine.transcribe(trace), expected)
        sequence = np.concatenate([prompt, expected])
        long = np.concatenate([sequence, np.zeros(128 - len(sequence), np.int32)])
        for outputs in (
            forward(construction.spec, construction.params, sequence),
            jitted(construction.spec, params, long),
            model.apply({"params": params}, long),
        ):
            found = np.asarray(outputs)[len(prompt) - 1 : len(sequence) - 1].argmax(axis=1)
            np.testing.assert_array_equal(found, expected)
        for engine in ("cached", "specialised"):
            found = generate(
                model, params, prompt, steps=101, engine=engine, stop=construction.machine.stop
            )
            np.testing.assert_array_equal(found[: len(expected)], expected)
            assert verify_trace(construction, trace, tape=tape, engine=engine, block=64).agrees
        problem = {"tape": tape, "steps": 100}
        assert construction.decode(sequence) == construction.oracle(problem)


def test_machines_of_one_size_share_one_compiled_function():
    traces = 0

    @jax.jit
    def run(params, tokens):
        nonlocal traces
        traces += 1
        return jax_forward(construction.spec, params, tokens)

    for name in ("parity", "dyck", "bb2", "bb4"):
        construction = single(machine=PROGRAMS[name].machine, **SIZE)
        run(load(construction)[1], np.zeros(4, np.int32))
    assert traces == 1


def test_named_programs_answer_from_the_weights_alone():
    for name in ("parity", "increment", "palindrome"):
        program = PROGRAMS[name]
        construction = single(machine=program.machine, **SIZE)
        tape = program.inputs[-1]
        trace = program.machine.run(tape, program.max_steps)
        assert verify_trace(construction, trace, tape=tape, block=64).agrees
        sequence = np.concatenate(
            [construction.encode({"tape": tape}), construction.machine.transcribe(trace)]
        )
        assert construction.decode(sequence) == construction.oracle({"tape": tape})
        assert program.answer(trace) == program.oracle(tape)


def test_another_machine_is_refused():
    construction = single()
    other = TuringMachine.from_bbchallenge("1RB0LB_1LA1RZ", name="other")
    with pytest.raises(ValueError, match="expected '1RB1LB_1LA1RZ', which the weights hold"):
        construction.encode({"machine": other, "tape": ""})
    with pytest.raises(ValueError, match="expected at most 1 working states"):
        single(machine=other, states=1)
    trace = other.run("", 10)
    with pytest.raises(ValueError, match="which the weights hold"):
        verify_trace(construction, trace)


def test_a_machine_that_halts_at_once_gives_only_the_end():
    machine = TuringMachine("idle", ("only",), ("_",), "_", "only", {})
    construction = single(machine=machine, steps=10, cells=4)
    model, params = load(construction)
    prompt = construction.encode({"tape": ""})
    found = generate(model, params, prompt, steps=5, stop=construction.machine.stop)
    assert found.tolist() == [construction.machine.stop]
    answer = construction.decode(np.concatenate([prompt, found]))
    assert answer == construction.oracle({"tape": ""})
    assert (answer["steps"], answer["halted"]) == (0, True)
