"""Cyclers and translated cyclers: what is found is proved, and a wrong certificate is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cases_machines import random_machine

from constructions.programs.non_halting import Recurrence, find_recurrence
from constructions.programs.turing import TuringMachine

# The first is a cycler after a start, the others drift: right, left, and over a pattern.
KNOWN = {
    "1RB---_1LA---": (0, 2, 0),
    "1RA1RA": (0, 1, 1),
    "1LA1LA": (0, 1, -1),
    "1RB1LA_1LA0RB": (8, 11, 1),
}


@pytest.mark.parametrize("line", [line for line in KNOWN if "---" not in line])
def test_known_translated_cyclers_are_found_and_hold(line):
    machine = TuringMachine.from_bbchallenge(line)
    found = find_recurrence(machine, "")
    assert found is not None
    assert (found.start, found.again, found.shift) == KNOWN[line]
    assert found.holds(machine, "")


def random_cases(count):
    rng = np.random.default_rng(0)
    for _ in range(count):
        machine = random_machine(rng, int(rng.integers(1, 5)), int(rng.integers(2, 4)))
        tape = "".join(rng.choice(machine.alphabet, int(rng.integers(0, 5))))
        yield machine, tape


def test_every_recurrence_that_is_found_holds_and_none_is_found_of_what_halts():
    kinds = {"cycler": 0, "translated": 0, "halted": 0, "open": 0}
    for machine, tape in random_cases(1500):
        found = find_recurrence(machine, tape, steps=2000)
        long = machine.run(tape, 20_000, record=False)
        if found is None:
            kinds["halted" if long.halted else "open"] += 1
            continue
        assert not long.halted
        assert found.holds(machine, tape)
        kinds["translated" if found.shift else "cycler"] += 1
        # As the proof says, it goes on: what follows a period later is the same again.
        period = found.again - found.start
        later = Recurrence(found.again, found.again + period, found.shift)
        assert later.holds(machine, tape)
    assert min(kinds["cycler"], kinds["translated"], kinds["halted"]) > 100
    assert kinds["open"] < 20


def test_wrong_certificates_do_not_hold():
    wrong = 0
    for machine, tape in random_cases(300):
        found = find_recurrence(machine, tape, steps=500)
        if found is None:
            continue
        assert not replace(found, shift=found.shift + 1).holds(machine, tape)
        assert not replace(found, again=found.start).holds(machine, tape)
        wrong += not replace(found, again=found.again + 1).holds(machine, tape)
    assert wrong > 50


def test_a_machine_that_would_reach_its_input_is_no_translated_cycler():
    # It runs right over blanks, the same step after step, and halts on the 1 that comes later.
    machine = TuringMachine.from_bbchallenge("0RA---")
    assert not Recurrence(0, 1, 1).holds(machine, "00000001")
    assert find_recurrence(machine, "00000001") is None
    assert find_recurrence(machine, "0") == Recurrence(0, 1, 1)


@pytest.mark.parametrize("line", ["1RB1RZ_1LB0RC_1LC1LA", "1RB1LC_1RC1RB_1RD0LE_1LA1LD_1RZ0LA"])
def test_champions_are_not_said_to_run_for_ever(line):
    assert find_recurrence(TuringMachine.from_bbchallenge(line), "", steps=20_000) is None


def test_a_mark_right_beyond_what_was_read_is_seen():
    # It runs over marks and halts on a blank: the mark that was read looks like the next one.
    right = TuringMachine.from_bbchallenge("---0RA")
    assert not Recurrence(0, 1, 1).holds(right, "11")
    left = TuringMachine.from_bbchallenge("1LB---_1RC---_---0LC")
    assert not Recurrence(2, 3, -1).holds(left, "")
    assert left.run("", 9).halted


def test_the_last_cell_that_was_read_must_recur():
    # Back and forth over cells 0 and 1, of which the second is marked on the way.
    machine = TuringMachine.from_bbchallenge("0RB---_1LA1LA")
    assert not Recurrence(0, 2, 0).holds(machine, "")
    assert Recurrence(2, 4, 0).holds(machine, "")
