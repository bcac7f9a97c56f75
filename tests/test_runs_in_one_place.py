"""Commands that record, where a directory is in use or goes away, and where clocks run backwards.

Of `emulate`, test_emulation.py has the same.
"""

from __future__ import annotations

import itertools
import os
import shutil
import time
from datetime import UTC, datetime
from types import SimpleNamespace

import numpy as np
import pytest

from icl_sim.cli import run
from icl_sim.errors import InputError
from icl_sim.storage import store
from icl_sim.storage.checkpoints import Checkpoints
from icl_sim.storage.locks import lock_directory
from icl_sim.storage.store import Store

TABLES = "compare --task tables --sizes 4 --tasks 1 --predictors counts"
# What each command locks in its --out.
COMMANDS = {
    "verify C4.finite": "",
    TABLES: "",
    "compare --base base --task tables": "",
    "reproduce": "",
    "train sft": "checkpoints-sft",
    "train base": "checkpoints-base-0",
}


def one_line(capsys):
    (told,) = capsys.readouterr().err.splitlines()
    return told


@pytest.mark.parametrize("resume", [(), ("--resume",)])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_second_run_is_refused_before_it_computes(command, resume, tmp_path, capsys):
    held = tmp_path / COMMANDS[command]
    held.mkdir(exist_ok=True)
    first = Store(held, config={}) if held == tmp_path else lock_directory(held)
    started = time.process_time()
    assert run(["icl-sim", *command.split(), "--out", str(tmp_path), *resume]) == 2
    assert time.process_time() - started < 5
    assert f"{held} is in use by" in one_line(capsys)
    first.close() if isinstance(first, Store) else os.close(first)


@pytest.mark.parametrize("command", ["verify C4.finite", TABLES])
def test_records_that_go_away_meanwhile_are_missed(command, tmp_path, monkeypatch, capsys):
    def remove(self, label, done, total):
        shutil.rmtree(tmp_path / "out", ignore_errors=True)

    monkeypatch.setattr("icl_sim.execution.progress.ProgressBar.__call__", remove)
    assert run(["icl-sim", *command.split(), "--out", str(tmp_path / "out")]) == 2
    assert "was removed or replaced while the run was writing to it" in one_line(capsys)


LEAVES = {"w": np.ones(3, np.float32)}


@pytest.mark.parametrize("replaced", [False, True])
@pytest.mark.parametrize("more", [False, True])
def test_checkpoints_that_go_away_meanwhile_are_missed(more, replaced, tmp_path):
    def training():
        with Checkpoints(tmp_path / "out", config={}) as checkpoints:
            checkpoints.save(1, LEAVES)
            shutil.rmtree(tmp_path / "out")
            if replaced:
                (tmp_path / "out").mkdir()
            if more:
                checkpoints.save(2, LEAVES)

    with pytest.raises(InputError, match="was removed or replaced"):
        training()
    with Checkpoints(tmp_path / "out", config={}) as checkpoints:  # not held any longer
        assert checkpoints.restore(LEAVES) is None


def test_where_clocks_run_backwards_the_newest_is_what_was_written_last(tmp_path, monkeypatch):
    hours = itertools.count(500_000, -1)
    monkeypatch.setattr(time, "time", lambda: 3600.0 * next(hours))
    now = SimpleNamespace(now=lambda zone: datetime.fromtimestamp(3600 * next(hours), UTC))
    monkeypatch.setattr(store, "datetime", now)
    for step in (1, 2, 3):
        with Checkpoints(tmp_path / "steps", config={}) as checkpoints:
            checkpoints.save(step, {"w": step * LEAVES["w"]})
        with Store(tmp_path / "records", config={}) as records:
            records.result(f"cell {step}", lambda step=step: step)
    with Checkpoints(tmp_path / "steps", config={}) as checkpoints:
        step, found = checkpoints.restore(LEAVES)
        assert (step, found["w"].tolist()) == (3, [3, 3, 3])
    with Store(tmp_path / "records", config={}) as records:
        assert [record.result for record in records.records()] == [1, 2, 3]
        assert records.recovered == ()
