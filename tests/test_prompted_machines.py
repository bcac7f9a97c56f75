"""The universal machine, a program for it, and the machine that learns and draws."""

from __future__ import annotations

import itertools
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest

from constructions.programs import drawing_machine as drawing
from constructions.programs import majority_machine as voting
from constructions.programs import universal_machine as universal
from constructions.programs.turing import TuringMachine
from icl_sim.claims.coin_sampling import rounded
from icl_sim.claims.prompted_programs import interpreted_row

BEAVERS = ("1RB1LB_1LA1RZ", "1RB1RZ_1LB0RC_1LC1LA", "1RB1LB_1LA0LC_1RZ1LD_1RD0RA")


def simulated(machine, tape, steps=1 << 22):
    trace = universal.universal_machine().run(universal.encode(machine, tape), steps, record=False)
    assert trace.halted
    return universal.decode(trace, machine)


def as_run(machine, tape, steps=1000):
    """What `simulated` should give, from the interpreter."""
    trace = machine.run(tape, steps)
    assert trace.halted
    place = trace.head - trace.tape_start
    strip = lambda cells: tuple("".join(cells).rstrip(machine.blank))
    unseen = tape[max(0, trace.tape_start + len(trace.tape)) :]
    left, right = trace.tape[:place][::-1], [*trace.tape[place:], *unseen]
    return universal.Simulated(trace.state, strip(left), strip(right))


@pytest.mark.parametrize("line", BEAVERS)
def test_the_universal_machine_runs_the_busy_beavers(line):
    machine = TuringMachine.from_bbchallenge(line)
    assert simulated(machine, "") == as_run(machine, "")


def random_machine(rng, states):
    rules = {}
    names = [f"q{i}" for i in range(states)]
    for state, symbol in itertools.product(names, "01"):
        if rng.random() < 0.85:
            after, written = names[rng.integers(states)], str(rng.integers(2))
            rules[state, symbol] = (after, written, int(rng.choice((-1, 1))))
    rules["q0", "1"] = ("q1", "0", 1)
    return TuringMachine("random", (*names, "end"), ("0", "1"), "0", "q0", rules)


def test_the_universal_machine_runs_random_machines():
    rng, halted = np.random.default_rng(0), 0
    while halted < 60:
        machine = random_machine(rng, int(rng.integers(2, 7)))
        tape = "1" + "".join(rng.choice(list("01"), rng.integers(0, 6)))
        if machine.run(tape, 200).halted:
            halted += 1
            assert simulated(machine, tape) == as_run(machine, tape)


def test_the_universal_machine_is_small_and_refuses_what_it_cannot_run():
    machine = universal.universal_machine()
    assert len(machine.working) <= 128
    assert len(machine.alphabet) <= 8
    three = TuringMachine.from_bbchallenge("1RB2LB1RZ_2LA2RB1LB")
    with pytest.raises(ValueError, match="expected two symbols, got 3"):
        universal.encode(three, "")
    rules = {("a", "0"): ("b", "1", 0)}
    stays = TuringMachine("stays", ("a", "b"), ("0", "1"), "0", "a", rules)
    with pytest.raises(ValueError, match="expected moves to left and right"):
        universal.encode(stays, "")


@pytest.mark.parametrize("labels", [[1], [0], [1, 0], [1, 1, 0], [0, 0, 1, 0, 1], [1] * 6])
def test_a_majority_is_learned_through_the_universal_machine(labels):
    machine = voting.majority_machine(32)
    assert len(machine.working) == 130
    halted = simulated(machine, voting.encode(np.array(labels)))
    answer = voting.decode((*halted.left[::-1], *halted.right), len(labels))
    assert answer == voting.majority(np.array(labels)) == int(2 * sum(labels) > len(labels))


@pytest.mark.parametrize("b", [0, 1, 2, 3])
def test_what_is_drawn_from_data_is_the_rounded_law_one_output_for_each_string_of_coins(b):
    rng = np.random.default_rng(b)
    for _ in range(12):
        n = int(rng.integers(1, 9))
        inputs, labels = rng.integers(0, 2, n), rng.integers(0, 3, n)
        query = int(inputs[-1])
        drawn = Counter()
        for coins in itertools.product("01", repeat=b):
            tape = drawing.encode(inputs, labels, query, "".join(coins))
            trace = drawing.drawing_machine().run(tape, 1 << 14)
            assert trace.state == "done"
            drawn[drawing.decode(trace)] += 1
        own = labels[inputs == query]
        law = [Fraction(int((own == y).sum()), len(own)) for y in range(3)]
        assert [drawn[y] for y in range(3)] == rounded(law, b)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (([2], [0], 2, ""), "contexts 0 and 1"),
        (([0], [3], 0, ""), "outputs 0 to 2"),
        (([0], [0], 1, ""), "examples of context 1"),
        (([0], [0], 0, "2"), "coins 0 and 1"),
    ],
)
def test_data_that_the_drawing_machine_does_not_take_are_refused(arguments, reason):
    inputs, labels, query, coins = arguments
    with pytest.raises(ValueError, match=reason):
        drawing.encode(np.array(inputs), np.array(labels), query, coins)


def idle():
    """A machine that halts at once: no answer stands on its tape."""
    alphabet = universal.universal_machine().alphabet
    return TuringMachine("idle", ("q",), alphabet, alphabet[0], "q", {})


class Interpreter:
    """Stands for the transformer's decoder: the machine is run, not decoded."""

    def run(self, machine, tape):
        trace = machine.run(tape, 1 << 18)
        return (trace if trace.halted else None), True, trace.steps


@pytest.mark.parametrize(
    ("interpreter", "wrong"),
    [
        (universal.universal_machine, 0),
        (idle, 3),
    ],
)
def test_only_a_universal_machine_answers_for_the_program_in_its_prompt(run, interpreter, wrong):
    row = interpreted_row(run, Interpreter(), 3, 5, interpreter=interpreter)
    assert (row["wrong_answers"], row["differing_sets"], row["states"]) == (wrong, wrong, 130)
