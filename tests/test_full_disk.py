"""A disk that is full from any one write of a command on: one line, and the run can go on."""

from __future__ import annotations

import errno
import os
import re

import pytest

from icl_sim.cli import run

COMMANDS = {
    "export": ["export", "OUT", "lookup"],
    "emulate": ["emulate", "bb2", "--trace", "OUT"],
    "verify": ["verify", "C4.finite", "--profile", "smoke", "--out", "OUT"],
    "compare": [
        *("compare", "--task", "tables", "--sizes", "4", "--tasks", "1"),
        *("--predictors", "counts", "smoothed", "--out", "OUT"),
    ],
}


class Disk:
    """Counts writes and syncs to files, and refuses all from a given one on."""

    def __init__(self, monkeypatch):
        self.writes, self.most = 0, None
        for name in ("write", "fsync"):
            monkeypatch.setattr(os, name, self._guarded(getattr(os, name)))

    def _guarded(self, function):
        def call(descriptor, *rest):
            if descriptor > 2:
                if self.writes == self.most:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                self.writes += 1
            return function(descriptor, *rest)

        return call


def left(path, printed):
    """What a command left: files by name; of a run, whose files say when, names and the digest."""
    if path.is_file():
        return path.read_bytes()
    digest = re.findall(r"digest [0-9a-f]{64}", printed)
    files = {file.name: digest or file.read_bytes() for file in path.iterdir()}
    return digest, files


@pytest.mark.parametrize("name", COMMANDS)
def test_a_disk_that_is_full_at_any_write(name, tmp_path, monkeypatch, capsys):
    def call(to, *more):
        return run(["icl-sim", *(w.replace("OUT", str(to)) for w in COMMANDS[name]), *more])

    disk = Disk(monkeypatch)
    assert call(tmp_path / "whole") == 0
    whole = left(tmp_path / "whole", capsys.readouterr().out)
    assert disk.writes > 0
    for most in range(disk.writes):
        disk.writes, disk.most = 0, most
        out = tmp_path / str(most)
        assert call(out) == 2
        error = capsys.readouterr().err
        assert "No space left on device" in error.splitlines()[-1]
        assert "Traceback" not in error
        disk.most = None
        again = ("--resume",) if name in ("verify", "compare") and out.exists() else ()
        assert call(out, *again) == 0
        assert left(out, capsys.readouterr().out) == whole
