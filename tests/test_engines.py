"""Every engine on random machines and on every named program, token for token.

Interpreter = reference = jit = Flax = cached = specialised = verify, single and universal. Tens of
random machines run here, a thousand with ``--slow``.
"""

from __future__ import annotations

import functools

import jax
import numpy as np
import pytest
from cases_machines import random_case

from constructions import reference
from constructions.machines.single import single
from constructions.machines.universal import universal
from constructions.programs.named import PROGRAMS
from icl_sim.decoding import Decoder, verify_trace
from icl_sim.emulation.turing import SIZES
from icl_sim.transformer import forward, load

STEPS = 300
LIMITS = {"steps": 1024, "cells": 384}
jitted = jax.jit(forward, static_argnums=0)


@functools.partial(jax.jit, static_argnums=0)
def flax(model, params, sequence):
    return model.apply({"params": params}, sequence)


class Held:
    """A construction as a key of caches."""

    def __init__(self, construction):
        self.construction = construction
        self.model, self.params = load(construction)
        self.decoders = {
            engine: Decoder(self.model, self.params, engine=engine, stop=construction.machine.stop)
            for engine in ("cached", "specialised")
        }


@functools.cache
def held(states, symbols):
    return Held(universal(states=states, symbols=symbols, **LIMITS))


def check(held, machine, tape, length):
    """All engines against the interpreter's trace of up to 300 steps."""
    construction = held.construction
    trace = machine.run(tape, STEPS)
    expected = construction.machine.transcribe(trace)
    prompt = construction.encode({"machine": machine, "tape": tape})
    sequence = np.concatenate([prompt, expected[:-1]])
    assert len(sequence) <= length
    # Later tokens change nothing before them: one shape, one compilation.
    padded = np.pad(sequence, (0, length - len(sequence))).astype(np.int32)
    outputs = {
        "reference": reference.forward(construction.spec, construction.params, sequence),
        "jit": jitted(construction.spec, held.params, padded),
        "flax": flax(held.model, held.params, padded),
    }
    # Given the trace, each next token is predicted: by induction, decoding yields the trace.
    for name, logits in outputs.items():
        found = np.asarray(logits)[len(prompt) - 1 : len(sequence)].argmax(axis=1)
        np.testing.assert_array_equal(found, expected, err_msg=name)
    for engine, decoder in held.decoders.items():
        _, found = decoder.advance(decoder.start(prompt), STEPS + 1)
        np.testing.assert_array_equal(found[: len(expected)], expected, err_msg=engine)
        result = verify_trace(construction, trace, tape=tape, engine=engine, block=512)
        assert result.agrees, engine
        assert result.steps == len(expected)
    return trace


def check_random(seed, count, *, alone):
    """Random machines, each in its own transformer or all in the universal one.

    Returns how many went left of cell 0, how many halted, and how many went on.
    """
    rng = np.random.default_rng(seed)
    left = halted = going = 0
    for _ in range(count):
        machine, tape = random_case(rng)
        own = single(machine=machine, states=8, symbols=4, **LIMITS) if alone else None
        trace = check(Held(own) if own else held(8, 4), machine, tape, 384)
        left += trace.tape_start < 0
        halted += trace.halted
        going += not trace.halted
    jax.clear_caches()  # each machine's specialised functions are its own
    return left, halted, going


def test_random_machines():
    counts = check_random(0, 40, alone=False)
    assert min(counts) >= 5, "left of cell 0, halting and going on: all three must be seen"
    check_random(0, 2, alone=True)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_thousand_random_machines_in_one_transformer():
    counts = check_random(1, 1000, alone=False)
    assert min(counts) >= 100


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("hundred", range(10))
def test_a_thousand_random_machines_each_in_its_own_transformer(hundred):
    check_random((2, hundred), 100, alone=True)


def size_of(machine):
    states, symbols = len({machine.start, *machine.working}), len(machine.alphabet)
    return next((K, S) for K, S in SIZES if states <= K and symbols <= S)


@pytest.mark.parametrize("name", ["bb2", "parity", "increment"])
def test_small_named_programs(name):
    program = PROGRAMS[name]
    check(held(*size_of(program.machine)), program.machine, program.inputs[-1], 384)
    check(Held(single(machine=program.machine, **LIMITS)), program.machine, program.inputs[-1], 384)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", sorted(PROGRAMS))
def test_every_named_program(name):
    program = PROGRAMS[name]
    alone = Held(single(machine=program.machine, **LIMITS))
    for tape in program.inputs:
        check(held(*size_of(program.machine)), program.machine, tape, 2048)
        check(alone, program.machine, tape, 1024)
