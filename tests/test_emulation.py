"""The `emulate` command: every engine agrees with the interpreter, and long runs can be resumed."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest

from icl_sim.cli import run
from icl_sim.emulation import turing as emulation
from icl_sim.emulation.machine_files import find_machine
from icl_sim.emulation.turing import build, emulate
from icl_sim.errors import InputError
from icl_sim.report.viewer import checksum, run_data, write_viewer
from icl_sim.storage.locks import lock_directory

BB3 = "1RB1RZ_1LB0RC_1LC1LA"
BB5 = "1RB1LC_1RC1RB_1RD0LE_1LA1LD_1RZ0LA"


@pytest.mark.parametrize("construction", ["single", "universal"])
@pytest.mark.parametrize("engine", ["dense", "cached", "specialised", "verify"])
def test_every_engine_agrees_with_the_interpreter(construction, engine):
    machine = find_machine(BB3)
    found = emulate(machine, "01", construction=construction, engine=engine, max_steps=200)
    trace = machine.run("01", 200)
    assert found.agrees
    assert (found.steps, found.halted, found.state) == (
        trace.steps,
        trace.halted,
        trace.state,
    )
    assert (found.head, found.tape_start) == (trace.head, trace.tape_start)
    assert found.tape == trace.tape


@pytest.mark.parametrize(("steps", "halted"), [(5, False), (6, True), (7, True)])
def test_a_machine_that_halts_at_the_last_step_has_halted(steps, halted):
    found = emulate(find_machine("bb2"), engine="cached", max_steps=steps)
    assert found.steps == min(steps, 6)
    assert found.halted is halted
    assert found.agrees


@pytest.mark.parametrize("construction", ["single", "universal"])
@pytest.mark.parametrize("engine", ["cached", "verify"])
def test_a_machine_without_a_first_rule_halts_at_once(construction, engine):
    machine = find_machine("---1RZ_1LB---")
    found = emulate(machine, construction=construction, engine=engine, max_steps=9)
    assert (found.steps, found.halted, found.agrees) == (0, True, True)


@pytest.mark.parametrize("at", [4, 6])
def test_a_halt_at_the_end_of_a_block_agrees(at, monkeypatch):
    # bb2 halts after 6 steps; a block may end there, or just before the halting one.
    monkeypatch.setattr(emulation, "BLOCK", at)
    found = emulate(find_machine("bb2"), engine="cached", max_steps=50)
    assert (found.steps, found.halted, found.agrees) == (6, True, True)


def test_a_long_run_is_resumed_to_the_same_end(tmp_path, monkeypatch):
    monkeypatch.setattr(emulation, "BLOCK", 512)
    monkeypatch.setattr(emulation, "SAVE_EVERY", 1)
    machine = find_machine(BB5)
    whole = emulate(machine, engine="cached", max_steps=4000)
    stopped = []

    def stop(label, done, total):
        if done >= 2048:
            stopped.append(done)
            raise KeyboardInterrupt

    options = {"engine": "cached", "max_steps": 4000, "checkpoints": tmp_path}
    with pytest.raises(KeyboardInterrupt):
        emulate(machine, progress=stop, **options)
    seen = []
    resumed = emulate(
        machine, resume=True, progress=lambda label, done, total: seen.append(done), **options
    )
    assert stopped == [2048]
    assert seen[0] == 2560  # the first block behind what was reached
    assert resumed.resumed_at == 2048
    assert replace(resumed, steps_per_second=whole.steps_per_second) == whole
    with pytest.raises(InputError, match="the checkpoint is of another model"):
        emulate(machine, resume=True, **options | {"engine": "dense"})


def test_a_directory_that_goes_away_or_is_in_use_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(emulation, "BLOCK", 512)
    monkeypatch.setattr(emulation, "SAVE_EVERY", 1)
    machine, options = find_machine(BB5), {"engine": "cached", "checkpoints": tmp_path / "out"}
    for last in (1024, 2000):  # behind the second checkpoint, and behind the last

        def remove(label, done, total, last=last):
            if done == last:
                shutil.rmtree(tmp_path / "out")

        with pytest.raises(InputError, match="was removed or replaced"):
            emulate(machine, max_steps=2000, progress=remove, **options)
    options["max_steps"] = 2000
    emulate(machine, **options)
    (kept,) = (tmp_path / "out").glob("emulate-*")
    lock = lock_directory(kept)
    for resume in (False, True):
        with pytest.raises(InputError, match="is in use by another run"):
            emulate(machine, resume=resume, **options)
    os.close(lock)
    assert emulate(machine, resume=True, **options).resumed_at == 2000


def test_ctrl_c_keeps_what_was_reached_and_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(emulation, "BLOCK", 512)  # a checkpoint would come after 4,096 steps
    words = ["icl-sim", "emulate", BB5, "--engine", "cached", "--max-steps", "3000"]
    words += ["--out", str(tmp_path / "out")]

    def stop(self, label, done, total):
        if done >= 1536:
            raise KeyboardInterrupt

    monkeypatch.setattr("icl_sim.execution.progress.ProgressBar.__call__", stop)
    assert run(words) == 130
    told = capsys.readouterr().err
    assert told == (
        f"icl-sim: interrupted; step 1,536 is kept in {tmp_path / 'out'}: --resume goes on from "
        "there\n"
    )
    monkeypatch.undo()
    assert run([*words, "--resume"]) == 0
    shown = capsys.readouterr().out
    assert "resumed_at  1536" in shown


def test_a_resumed_run_that_is_none_says_so(tmp_path, capsys):
    words = ["icl-sim", "emulate", "bb2", "--engine", "cached", "--max-steps", "9", "--resume"]
    assert run([*words, "--out", str(tmp_path / "oot")]) == 0
    assert "there is no" in (err := capsys.readouterr().err)
    assert "from the beginning" in err
    assert run([*words, "--construction", "looped"]) == 2


@pytest.mark.parametrize(("damaged", "first"), [(1, 2000), (2, 512)])
def test_a_flipped_byte_of_a_checkpoint_is_not_used(damaged, first, tmp_path, monkeypatch):
    monkeypatch.setattr(emulation, "BLOCK", 512)
    monkeypatch.setattr(emulation, "SAVE_EVERY", 1)
    machine = find_machine(BB5)
    options = {"engine": "cached", "max_steps": 2000, "checkpoints": tmp_path}
    whole = emulate(machine, **options)
    steps = sorted(tmp_path.glob("emulate-*/*"), key=lambda path: int(path.name))
    assert [int(path.name) for path in steps] == [1536, 2000]
    for step in steps[-damaged:]:
        (file,) = (step / "manifest").glob("metadata")  # the transcript is in it
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(bytes(data))
    seen = []
    again = emulate(machine, resume=True, progress=lambda *a: seen.append(a[1]), **options)
    assert seen[0] == first
    assert again.tape == whole.tape


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("head", lambda x: x + 1),
        ("tape_start", lambda x: x - 1),
        ("state", lambda x: 1 - x),
        ("steps", lambda x: x - 1),
        ("cells", lambda x: [1 - a for a in x]),
    ],
)
def test_a_run_that_ends_elsewhere_than_the_interpreter_does_not_agree(
    field, change, tmp_path, monkeypatch
):
    monkeypatch.setattr(emulation, "BLOCK", 512)
    monkeypatch.setattr(emulation, "SAVE_EVERY", 1)
    machine = find_machine(BB5)
    options = {"engine": "cached", "max_steps": 1024, "checkpoints": tmp_path}
    assert emulate(machine, **options).agrees
    restore = emulation.Transcript.restore

    def altered(self, saved):
        restore(self, saved | {field: change(saved[field])})

    monkeypatch.setattr(emulation.Transcript, "restore", altered)
    assert not emulate(machine, resume=True, **options).agrees


@pytest.mark.parametrize(("first", "then"), [(1024, 1000), (1024, 1024), (1000, 2000), (7, 9)])
def test_a_resumed_run_takes_the_steps_that_are_asked_for(first, then, tmp_path, monkeypatch):
    monkeypatch.setattr(emulation, "BLOCK", 512)
    monkeypatch.setattr(emulation, "SAVE_EVERY", 1)
    machine, kept = find_machine(BB5), {"engine": "cached", "checkpoints": tmp_path}
    emulate(machine, max_steps=first, **kept)
    found = emulate(machine, max_steps=then, resume=True, **kept)
    trace = machine.run("", then)
    assert (found.steps, found.tape, found.agrees) == (then, trace.tape, True)
    if then < first:  # the longer run is not lost
        seen = []
        emulate(machine, max_steps=1500, resume=True, progress=lambda *a: seen.append(a[1]), **kept)
        assert seen[0] == 1500


def test_the_command_prints_the_contract_s_keys(capsys):
    code = run(["icl-sim", "emulate", "bb3", "--engine", "cached", "--max-steps", "50", "--json"])
    assert code == 0
    found = json.loads(capsys.readouterr().out)
    assert found.keys() >= {
        *("machine", "construction", "engine", "steps", "halted", "state", "head", "tape"),
        *("tape_start", "certified_steps", "agrees", "steps_per_second"),
    }


def test_the_viewer_is_written_and_self_contained(capsys, tmp_path):
    page = tmp_path / "trace.html"
    arguments = ["emulate", "bb3", "--engine", "cached", "--max-steps", "50"]
    assert run(["icl-sim", *arguments, "--trace", str(page)]) == 0
    text = page.read_text()
    assert "src=" not in text
    assert "://" not in text
    assert '"part":"layer_0 head 0"' in text


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("nonsense",), "bbchallenge"),
        (("bb3", "--tape", "012"), "2"),
        (("bb3", "--max-steps", "0"), "at least 1"),
        (("bb3", "--max-steps", "999999999999"), "most that is certified"),
        (("bb3", "--engine", "warp"), "engine"),
        (("bb3", "--construction", "none"), "construction"),
        (("bb3", "--engine", "dense", "--max-steps", "100000"), "cached"),
    ],
)
def test_bad_requests_are_one_line_and_compute_nothing(capsys, arguments, word):
    assert run(["icl-sim", "emulate", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    assert word in captured.err


def test_a_machine_larger_than_every_size_is_refused():
    rng = np.random.default_rng(0)
    states = [chr(65 + i) for i in range(24)]
    line = "_".join(
        "".join(f"{a}R{states[int(rng.integers(24))]}" for a in range(9)) for _ in states
    )
    with pytest.raises(InputError, match="at most 128 working states and 8 symbols"):
        build(find_machine(line), construction="universal", steps=None)


def test_the_viewer_speaks_of_no_run_beyond_the_certificate(tmp_path):
    machine = find_machine("bb5")
    built = build(machine, construction="single", steps=None)
    with pytest.raises(ValueError, match="steps: expected at most"):
        write_viewer(machine, "", built, tmp_path / "page.html", steps=10**8)


@pytest.mark.parametrize("tape", ["", "01", "0110101011"])
def test_the_viewer_s_data_hold_input_and_visited_cells(tape):
    machine = find_machine(BB3)
    data = run_data(machine, tape, 200)
    trace = machine.run(tape, 200)
    assert data["tape"] == machine.encode_tape(tape).tolist()
    assert data["low"] == min(0, trace.tape_start)
    assert data["high"] == max(len(tape), trace.tape_start + len(trace.cells)) - 1
    cells = [
        # Behind what was visited the input stands as it was given.
        trace.symbol(cell) if cell < trace.tape_start + len(trace.cells) else tape[cell]
        for cell in range(data["low"], data["high"] + 1)
    ]
    assert data["end"]["sum"] == checksum(map(machine.alphabet.index, cells))
    assert (data["steps"], data["halted"]) == (trace.steps, trace.halted)
