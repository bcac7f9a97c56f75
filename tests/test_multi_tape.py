"""Machines of several tapes: the compiled machine does what their interpreter does."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from constructions.programs.multi_tape import MultiTapeMachine
from icl_sim.emulation.machine_files import parse_machine
from icl_sim.errors import InputError

# Copies its input to the second tape, goes back on the first, and compares the two in opposite
# directions: the palindrome machine of two tapes.
PALINDROME = """
name: palindrome of two tapes
init: copy
accept: yes

copy,0,_
copy,0,0,>,>

copy,1,_
copy,1,1,>,>

copy,_,_
back,_,_,<,-

back,0,_
back,0,_,<,-

back,1,_
back,1,_,<,-

back,_,_
test,_,_,>,<

test,0,0
test,0,0,>,<

test,1,1
test,1,1,>,<

test,_,_
yes,_,_,-,-
"""


def random_multi_tape(rng, tapes):
    alphabet = tuple("_01"[: int(rng.integers(2, 4))])
    states = [f"q{i}" for i in range(int(rng.integers(1, 4)))]
    ends = [*states, "halt"]
    delta = {}
    for state in states:
        for reads in itertools.product(alphabet, repeat=tapes):
            if rng.random() < 0.6:
                writes = tuple(rng.choice(alphabet, tapes).tolist())
                moves = tuple(rng.integers(-1, 2, tapes).tolist())
                delta[state, reads] = (ends[rng.integers(len(ends))], writes, moves)
    return MultiTapeMachine("random", tapes, alphabet, "_", "q0", delta)


@pytest.mark.parametrize(
    ("tapes", "count"), [(2, 60), (3, 5), pytest.param(3, 100, marks=pytest.mark.slow)]
)
def test_the_compiled_machine_does_what_the_interpreter_does(tapes, count):
    rng = np.random.default_rng(tapes)
    halted = 0
    for _ in range(count):
        source = random_multi_tape(rng, tapes)
        machine = source.compiled()
        tape = "".join(rng.choice(source.alphabet[1:], int(rng.integers(6))))
        expected = source.run(tape, 60)
        trace = machine.run(tape, expected.slow_down(tapes), record=False)
        assert trace.halted == expected.halted  # within the stated slow-down
        if trace.halted:
            halted += 1
            assert machine.source_states[trace.state] == expected.state
            assert machine.tapes(trace.tape, trace.tape_start, tape) == expected.tapes
    assert halted > count // 2


@pytest.mark.parametrize("tape", ["", "0", "01", "11", "0110", "01010", "011010", "1001001001"])
def test_a_palindrome_machine_of_two_tapes_decides(tape):
    machine = parse_machine(PALINDROME, name="m")
    trace = machine.run(tape, 10_000)
    assert trace.halted
    assert (machine.source_states[trace.state] == "yes") == (tape == tape[::-1])
    expected = machine.source.run(tape, 1000)
    assert trace.steps <= expected.slow_down(2)
    assert machine.tapes(trace.tape, trace.tape_start, tape) == expected.tapes


def test_two_tapes_of_jflap_are_compiled():
    text = """<structure><type>turing</type><tapes>2</tapes><automaton>
    <state id="0" name="go"><initial/></state><state id="1" name="end"><final/></state>
    <transition><from>0</from><to>0</to><read tape="1">a</read><write tape="1">a</write>
    <move tape="1">R</move><read tape="2"/><write tape="2">b</write><move tape="2">R</move>
    </transition><transition><from>0</from><to>1</to><read tape="1"/><write tape="1"/>
    <move tape="1">S</move><read tape="2"/><write tape="2"/><move tape="2">S</move></transition>
    </automaton></structure>"""
    machine = parse_machine(text, name="m")
    trace = machine.run("aaa", 1000)
    assert (trace.halted, trace.state) == (True, "end")
    assert machine.tapes(trace.tape, trace.tape_start, "aaa") == ("aaa", "bbb")


def test_too_many_states_on_one_tape_are_refused(monkeypatch):
    monkeypatch.setattr("icl_sim.emulation.formats.rules.MAX_COMPILED", 20)
    with pytest.raises(InputError, match="2 tapes need more than 20 states"):
        parse_machine(PALINDROME, name="m")


@pytest.mark.parametrize("steps", [0, 1, 5])
def test_a_run_that_does_not_halt_takes_the_steps_that_it_may(steps):
    rules = {("go", ("_", "_")): ("go", ("_", "_"), (1, 1))}
    found = MultiTapeMachine("loop", 2, ("_",), "_", "go", rules).run("", steps)
    assert (found.steps, found.halted) == (steps, False)
