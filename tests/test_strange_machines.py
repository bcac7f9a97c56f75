"""Commands on machines that are short of something: one line, and nothing half written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

TREE = {"lookup.html", "lookup.json", "lookup.safetensors"}


def started(words, *, limit="true", without=(), **more):
    """A command that needs no JAX, in a process with that limit of the shell's.

    A shell sets it, as no Python code may run between fork and exec where JAX has threads.
    """
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | more
    environment = {name: text for name, text in environment.items() if name not in without}
    command = [sys.executable, "-m", "icl_sim", *map(str, words)]
    return subprocess.run(
        ["/bin/sh", "-c", f'{limit} && exec "$@"', "sh", *command],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def one_line(done):
    assert done.returncode == 2, (done.returncode, done.stderr[-500:])
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr[-500:]


SHORT = {
    "16 open files": {"limit": "ulimit -n 16"},
    "no home, no terminal": {"without": ("HOME", "TERM")},
    "600 MB of addresses": {
        "limit": "ulimit -v 585937",
        "OPENBLAS_NUM_THREADS": "1",
    },
}


@pytest.mark.skipif(sys.platform != "linux", reason="limits as Linux has them")
@pytest.mark.parametrize("name", SHORT)
def test_a_command_on_a_machine_short_of_something(name, tmp_path):
    done = started(["export", tmp_path / "out", "lookup"], **SHORT[name])
    if done.returncode == 0:
        assert {path.name for path in (tmp_path / "out").iterdir()} >= TREE
    else:
        one_line(done)


def test_a_directory_that_is_not_ones_own(tmp_path):
    """As another user: the superuser may write everywhere."""
    mine, others = tmp_path / "mine", tmp_path / "others"
    others.mkdir(mode=0o555)
    tmp_path.chmod(0o755)
    # The first export imports what the other user cannot read.
    code = (
        "import os, sys; from icl_sim.cli import run\n"
        f"assert run(['icl-sim', 'export', {str(mine)!r}, 'lookup']) == 0\n"
        "if os.getuid() == 0: os.setgid(65534); os.setuid(65534)\n"
        f"sys.exit(run(['icl-sim', 'export', {str(others)!r}, 'lookup']))"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr[-500:]
    assert done.stderr.count("\n") == 1, done.stderr[-500:]
    assert "ermission denied" in done.stderr
    assert list(others.iterdir()) == []
