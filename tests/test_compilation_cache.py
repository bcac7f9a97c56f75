"""Compiled programs kept between runs: the same bits, in a directory that is the user's alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from icl_sim.errors import InputError
from icl_sim.execution import compilation_cache


def digest(*arguments, directory):
    """The digest of a statement, and what was told, by a process of its own."""
    command = [sys.executable, "-m", "icl_sim", "verify", "C1.sum", "--json", *arguments]
    environment = os.environ | {"ICL_SIM_COMPILED": str(directory)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    return json.loads(done.stdout)["digest"], done.stderr


def programs(directory):
    return sorted(path.name for path in directory.glob("*/*-cache"))


def test_results_are_the_same_with_and_without(tmp_path):
    directory = tmp_path / "compiled"
    without = digest("--no-cache", directory=directory)
    assert not directory.exists()
    first = digest(directory=directory)
    kept = programs(directory)
    assert kept
    second = digest(directory=directory)
    assert without == first == second  # and nothing was told on the way
    assert programs(directory) == kept  # nothing that JAX kept was compiled again
    assert directory.stat().st_mode & 0o777 == 0o700


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A directory for programs; JAX's settings are as before afterwards."""
    settings = SimpleNamespace(jax_compilation_cache_dir=None, update=lambda *_: None)
    monkeypatch.setattr("jax.config", settings)
    monkeypatch.setenv("ICL_SIM_COMPILED", str(tmp_path / "compiled"))
    return tmp_path / "compiled"


def test_a_directory_that_others_may_enter_is_refused(place):
    place.mkdir(mode=0o755)
    with pytest.raises(InputError, match=r"mode 700.*got owner \d+, mode 755.*--no-cache"):
        compilation_cache.keep_compiled()


def test_a_link_and_another_owner_are_refused(place, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    place.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="a directory of your own"):
        compilation_cache.keep_compiled()
    place.unlink()
    place.mkdir(mode=0o700)
    monkeypatch.setattr(os, "geteuid", lambda: 10**6)
    with pytest.raises(InputError, match="a directory of your own"):
        compilation_cache.keep_compiled()


def test_a_home_that_takes_nothing_costs_the_cache_alone(place, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ICL_SIM_COMPILED", str(tmp_path / "file" / "compiled"))
    assert compilation_cache.keep_compiled() is None


def test_the_oldest_programs_go_first(place, monkeypatch):
    monkeypatch.setattr(compilation_cache, "MOST", 10)
    folder = place / compilation_cache._processor()
    folder.mkdir(mode=0o700, parents=True)
    place.chmod(0o700)
    for age, name in enumerate(("new-cache", "old-cache")):
        (folder / name).write_bytes(bytes(8))
        os.utime(folder / name, (1000 - age, 1000 - age))
    assert compilation_cache.keep_compiled() == folder
    assert programs(place) == ["new-cache"]


def test_a_directory_of_jax_own_is_left_alone(place, monkeypatch):
    monkeypatch.setattr("jax.config.jax_compilation_cache_dir", "elsewhere")
    assert compilation_cache.keep_compiled() is None
    assert not place.exists()
