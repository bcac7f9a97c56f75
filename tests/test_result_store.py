"""Results in memory and from a finished run are those that a store on disk gives."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import jax
import pytest

from icl_sim.errors import InputError
from icl_sim.storage.records import digest, read_directory
from icl_sim.storage.result_store import FinishedRun, MemoryStore, open_store


def filled(store):
    """What an experiment gets for a result that JSON changes, and for one asked for twice."""
    return [
        store.result("pair", lambda: {"law": (0.5, 0.5)}),
        store.result("once", lambda: 1),
        store.result("once", lambda: 2),
    ]


def test_memory_and_disk_give_the_same_results_and_digest(tmp_path):
    memory = MemoryStore()
    with open_store(tmp_path, config={"seed": 1}) as disk:
        assert filled(memory) == filled(disk) == [{"law": [0.5, 0.5]}, 1, 1]
        assert digest(memory.records()) == digest(disk.records())
        assert [record.key for record in memory.records()] == ["once", "pair"]


def test_a_run_of_another_precision_is_not_gone_on_with(tmp_path):
    with open_store(tmp_path, config={"seed": 1}) as disk:
        filled(disk)
    with (
        jax.enable_x64(False),
        pytest.raises(InputError, match="another configuration: x64 was true, now false; use"),
        open_store(tmp_path, config={"seed": 1}, resume=True),
    ):
        pass


def test_a_finished_run_computes_nothing(tmp_path):
    with open_store(tmp_path, config={"seed": 1}) as disk:
        filled(disk)
        expected = digest(disk.records())
    run = FinishedRun(tmp_path)
    assert run.config["seed"] == 1
    assert run.config["versions"].keys() == {"jax", "jaxlib", "numpy", "scipy"}
    assert filled(run) == [{"law": [0.5, 0.5]}, 1, 1]
    assert digest(run.records()) == expected
    with pytest.raises(InputError, match="no result for 'more' yet; finish it with --resume"):
        run.result("more", lambda: 3)


def test_without_a_directory_nothing_is_left(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with open_store(None, config={}) as store:
        filled(store)
    assert not list(tmp_path.iterdir())


def test_threads_take_turns_to_write_and_no_line_is_lost(tmp_path):
    with open_store(tmp_path, config={}) as store, ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda i: store.result(f"{i % 50}", lambda: i % 50), range(100)))
    (file,) = read_directory(tmp_path)
    assert (len(file.records), file.lost, file.repeated, file.ended) == (50, 0, 0, True)
