"""Where a run ends: at its halt, its steps, its certified cells; and what is said of it then."""

from __future__ import annotations

import json

import numpy as np
import pytest
from cases_machines import random_machine
from test_multi_tape import PALINDROME

from icl_sim.cli import run
from icl_sim.emulation.machine_files import find_machine
from icl_sim.emulation.turing import build, emulate, quickest, smallest


@pytest.mark.parametrize("engine", ["specialised", "verify"])
def test_a_run_ends_before_it_leaves_the_certified_cells_in_every_engine(engine, capsys):
    arguments = ["emulate", "1RA1RA", "--max-steps", "3000", "--cells", "100", "--json"]
    assert run(["icl-sim", *arguments, "--engine", engine]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["ended"], found["agrees"], found["halted"]) == ("cells", True, False)
    assert 100 <= found["certified_cells"] < 3000
    assert found["steps"] == found["head"] == found["certified_cells"] - 1
    assert found["tape"] == ["1"] * found["steps"] + ["0"]
    assert found["never_halts"] == {"start": 0, "again": 1, "shift": 1}


@pytest.mark.parametrize("cells", [2, 1000, 700_000])
def test_cells_are_certified_as_asked(cells):
    limits = build(find_machine("bb3"), construction="single", steps=500, cells=cells)
    assert limits.certificate.limits["cells"] >= cells
    assert limits.certificate.limits["steps"] >= 500


@pytest.mark.parametrize("cells", [1, 2**24 + 1])
def test_cells_out_of_reach_are_refused(cells, capsys):
    assert run(["icl-sim", "emulate", "bb3", "--cells", str(cells)]) == 2
    assert "--cells: expected 2 to" in capsys.readouterr().err


def test_a_translated_cycler_is_said_to_be_one(capsys):
    arguments = ["icl-sim", "emulate", "1RB1LA_1LA0RB", "--engine", "verify", "--max-steps", "50"]
    assert run(arguments) == 0
    text = capsys.readouterr().out
    assert "never halts: configuration at step 8 recurs at step 11, shifted by 1 cells" in text
    assert "raise --max-steps" not in text  # it would not help


def test_a_file_s_input_is_the_tape_unless_another_is_given(tmp_path):
    path = tmp_path / "machine.yaml"
    path.write_text("input: aab\nblank: '.'\nstart state: s\ntable: {s: {a: R, b: {R: z}}, z: }\n")
    machine = find_machine(str(path))
    assert emulate(machine, engine="verify", max_steps=50).steps == 3
    assert emulate(machine, "", engine="verify", max_steps=50).steps == 0


def test_two_tapes_run_through_the_weights(tmp_path):
    path = tmp_path / "palindrome.txt"
    path.write_text(PALINDROME)
    machine = find_machine(str(path))
    found = emulate(machine, "0110", engine="verify", max_steps=2000)
    assert found.agrees
    assert (found.state, found.tapes) == ("yes", ("0110", "0110"))


def test_engine_and_construction_are_chosen_by_size():
    rng = np.random.default_rng(1)
    small, large = find_machine("bb3"), random_machine(rng, 120, 17)
    assert (smallest(small), quickest(small, "universal")) == ("universal", "specialised")
    assert (smallest(large), quickest(large, "single")) == ("single", "cached")


@pytest.mark.slow
def test_a_machine_of_120_states_and_17_symbols_runs():
    machine = random_machine(np.random.default_rng(1), 120, 17, undefined=0.0)
    found = emulate(machine, max_steps=10_000)
    assert (found.engine, found.construction, found.agrees) == ("cached", "single", True)
