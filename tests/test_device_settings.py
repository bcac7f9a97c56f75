"""Settings of JAX that do not work are one line; those that do, work."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def icl_sim(*words, **settings):
    return subprocess.run(
        [sys.executable, "-m", "icl_sim", *words],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | settings,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    "setting",
    ["JAX_PLATFORMS=nowhere", "JAX_NUM_CPU_DEVICES=0", "JAX_NUM_CPU_DEVICES=x"],
)
def test_settings_that_fail_are_one_line(setting):
    name, _, value = setting.partition("=")
    done = icl_sim("doctor", **{name: value})
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert "expected settings of JAX that work here" in line
    assert name in line


@pytest.mark.slow
def test_without_compilation_machines_run():
    done = icl_sim("emulate", "bb2", "--json", JAX_DISABLE_JIT="1")
    assert done.returncode == 0
    assert '"steps": 6' in done.stdout
