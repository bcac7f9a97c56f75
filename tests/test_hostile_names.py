"""Names and sizes from outside end neither in a traceback nor in the terminal's control."""

from __future__ import annotations

import pytest

from icl_sim.cli.command_line import run
from icl_sim.emulation.machine_files import read_machine
from icl_sim.execution.progress import ProgressBar


@pytest.mark.parametrize("name", ["[/red]", "[bold]x", ":smile:", "a\\", "[link=http://x]y[/link]"])
def test_a_label_is_no_markup(name, monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    with ProgressBar() as progress:
        progress(f"{name}, steps", 1, 2)
        progress(f"{name}, steps", 2, 2)
        progress._bars.refresh()
    assert name.split(":")[0] in capsys.readouterr().err


def test_a_file_s_name_cannot_move_the_cursor(tmp_path):
    path = tmp_path / "a\x1b[2Jb\n.txt"
    path.write_text("1RB1LB_1LA1RZ")
    assert read_machine(path).name == "a?[2Jb?"


@pytest.mark.parametrize(
    ("option", "value"),
    [("contexts", -1), ("contexts", -(2**63)), ("contexts", 0), ("vocab", 0), ("vocab", 1)],
)
def test_compare_refuses_tables_without_room(option, value, capsys):
    assert run(["icl-sim", "compare", f"--{option}={value}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"--{option}: expected at least" in line
