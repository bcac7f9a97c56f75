"""Output that cannot be written, and arguments that no system call takes: one line, code 2."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from icl_sim.cli import exit_code, run
from icl_sim.errors import InputError
from icl_sim.execution.memory_guard import VARIABLE, parse_bytes

LONG = "a" * 300
SAMPLE = "sample-size --vocab 8 --delta .1 --contexts 2 --eps .2"
needs_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")


@needs_full
@pytest.mark.parametrize(
    "line", [SAMPLE, f"{SAMPLE} --json", "list", "prompt bb2", "prompt bb2 --json", "--help"]
)
def test_a_full_standard_output_is_one_line(line, monkeypatch, capsys):
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert run(["icl-sim", *line.split()]) == 2
        monkeypatch.undo()
    (told,) = capsys.readouterr().err.splitlines()
    assert told.startswith("icl-sim: standard output: No space left on device")


@pytest.mark.parametrize(
    ("line", "closed", "code"),
    [
        ("--version", ">&-", 2),
        ("nonsense", "2>&-", 2),
        ("--version", "<&-", 0),
        pytest.param("nonsense", "2>/dev/full", 2, marks=needs_full),
        pytest.param("--version", ">/dev/full", 2, marks=needs_full),
    ],
)
def test_streams_that_are_closed_or_full_when_it_starts(line, closed, code):
    command = f'"$0" -m icl_sim {line} {closed}'
    done = subprocess.run(
        ["/bin/sh", "-c", command, sys.executable], capture_output=True, text=True
    )
    assert done.returncode == code
    assert len(done.stderr.splitlines()) == (code == 2 and "2>" not in closed), done.stderr


def test_a_closed_standard_output_is_never_a_file_of_records(tmp_path):
    program = (
        "from icl_sim.cli import open_streams; open_streams(); import os\n"
        "from icl_sim.storage.store import Store\n"
        "store = Store(os.environ['OUT'], config={})\n"
        "assert min(store._file, store._lock) > 2"
    )
    subprocess.run(
        ["/bin/sh", "-c", '"$0" -c "$1" <&- >&- 2>&-', sys.executable, program],
        env=os.environ | {"OUT": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[1])},
        check=True,
    )


@pytest.mark.parametrize(
    "line",
    [
        f"export x --records {LONG}",
        f"report {LONG}",
        f"emulate {LONG}",
        f"emulate bb2 --trace {LONG}",
        f"check-run bb2 {LONG}",
        f"generate --prompt x --base {LONG}",
        f"export {LONG} lookup",
        f"verify C1.sum --out {LONG}",
        "emulate bb3 --max-steps=--",
        "export x --records=--",
    ],
)
def test_names_that_no_system_takes_are_one_line(line, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert run(["icl-sim", *line.split()]) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert any(words in captured.err for words in ("expected", "cannot be", "too long"))


@pytest.mark.parametrize("amount", ["9" * 400, "9999999999PiB", "9" * 30])
def test_an_amount_beyond_any_memory_is_refused(amount):
    with pytest.raises(InputError, match=f"{VARIABLE}: expected an amount"):
        parse_bytes(amount)


def test_what_the_system_refuses_anywhere_is_one_line(capsys):
    def command():
        raise PermissionError(13, "Permission denied", "/somewhere")

    assert exit_code("icl-sim", command) == 2
    assert capsys.readouterr().err.startswith("icl-sim: /somewhere: Permission denied")
