"""Sweeps: exact failures, verdicts with the promised error, and no way to lose a record."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import program_sweep
import pytest

from icl_sim.errors import InputError
from icl_sim.statistics.cells import MeanCell, TailCell, exceeds
from icl_sim.statistics.intervals import lower_limit, mean_limits, upper_limit
from icl_sim.statistics.sweep import sweep
from icl_sim.storage.records import digest, read_run
from icl_sim.storage.store import Store

KEY = jax.random.key(21)


def coin(key, p):
    return jax.random.bernoulli(key, p).astype(jnp.int32)


def scaled_uniform(key, top):
    return top * jax.random.uniform(key, (), jnp.float32)


def coins(probabilities, delta=0.2):
    return [TailCell(f"p={p}", coin, (np.float32(p),), 0, delta) for p in probabilities]


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "records", config={}) as store:
        yield store


# --- failures and verdicts -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("errors", "eps", "expected"),
    [
        (np.array([2, 3, 4], np.int32), 3, [False, False, True]),
        (np.array([2, 3, 4], np.int32), Fraction(5, 2), [False, True, True]),
        (np.array([2, 3, 4], np.int32), 2.999999999999999, [False, True, True]),
        (np.array([-1, 0]), Fraction(-1, 2), [False, True]),
        (np.array([2**62, 2**62 + 1]), 2**62, [False, True]),
        (np.array([False, True]), 0, [False, True]),
        (np.array([0.25, 0.5], np.float32), 0.25, [False, True]),
        (np.array([0.1]), Fraction(1, 10), [True]),  # the double 0.1 is above 1/10
        (np.array([0.3]), Fraction(3, 10), [False]),  # the double 0.3 is below 3/10
        (np.array([0.1], np.float32), 0.1, [True]),  # and float32's 0.1 above the double's
        (np.array([np.inf, -np.inf]), 1, [True, False]),
    ],
)
def test_exceeding_is_strict_and_exact(errors, eps, expected):
    assert exceeds(errors, eps).tolist() == expected


def test_each_direction_is_found_and_a_tie_stays_open(store):
    verdicts = sweep("s", coins([0.02, 0.2, 0.9]), key=KEY, replicates=100, store=store)
    assert [v.verdict for v in verdicts] == ["certified", "inconclusive", "refuted"]
    assert [v.trials for v in verdicts] == [100, 800, 100]
    assert all(v.low < p < v.high for v, p in zip(verdicts, [0.02, 0.2, 0.9], strict=True))


def test_counts_are_those_of_the_trials_run_one_by_one(store):
    (cell,) = coins([0.2])
    (verdict,) = sweep("s", [cell], key=KEY, replicates=10, store=store)
    root = jax.random.fold_in(KEY, 0xDA0A8A92)  # CRC-32 of "p=0.2"
    keys = [jax.random.fold_in(root, i) for i in range(verdict.trials)]
    failures = sum(int(coin(key, np.float32(0.2))) for key in keys)
    assert verdict.estimate == failures / verdict.trials
    assert sum(record.result["failures"] for record in store.records()) == failures
    # Four looks share .05 of either side.
    assert verdict.low == lower_limit(failures, verdict.trials, alpha=0.0125)
    assert verdict.high == upper_limit(failures, verdict.trials, alpha=0.0125)


def test_a_cell_does_not_depend_on_the_others_but_its_verdict_on_their_number(store):
    cells = coins([0.1, 0.2, 0.3])
    together = sweep("s", cells, key=KEY, replicates=50, store=store)
    before = store.records()
    for cell, found in zip(cells, together, strict=True):
        (alone,) = sweep("s", [cell], key=KEY, replicates=50, store=store)
        assert alone.trials <= found.trials
    assert store.records() == before  # the family needs at least the looks that each needs alone


def test_a_false_verdict_is_rarer_than_alpha_at_the_boundary(tmp_path):
    """20 families of 10 cells at f = delta: 2 alpha = .1 a family; 8 or more has p < 1e-3."""
    wrong = 0
    for family in range(20):
        with Store(tmp_path / str(family), config={}) as store:
            cells = [TailCell(f"{i}", coin, (np.float32(0.25),), 0, 0.25) for i in range(10)]
            key = jax.random.fold_in(KEY, family)
            found = sweep("s", cells, key=key, replicates=20, store=store)
            wrong += any(v.verdict != "inconclusive" for v in found)
    assert wrong < 8


def test_means_are_judged_on_their_own_scale(store):
    tops = [3.0, 3.0, 3.0]
    bounds = [2.0, 1.5, 1.0]
    cells = [
        MeanCell(f"bound={bound}", scaled_uniform, (np.float32(top),), bound, top)
        for bound, top in zip(bounds, tops, strict=True)
    ]
    verdicts = sweep("means", cells, key=KEY, replicates=200, store=store)
    assert [v.verdict for v in verdicts] == ["certified", "inconclusive", "refuted"]
    assert verdicts[1].trials == 1600
    assert all(v.low < 1.5 < v.high for v in verdicts)


def test_a_mean_is_judged_at_alpha_over_looks_and_cells(tmp_path):
    def half(key):
        return 0.5 + 0 * jax.random.uniform(key, (), jnp.float32)

    alone, shared = (mean_limits([0.5] * 100, alpha=0.05 / 4 / cells)[1] for cells in (1, 2))
    bound = (alone + shared) / 2
    assert alone < bound < shared
    for cells, trials in (1, 100), (2, 200):
        family = [MeanCell(f"{i}", half, (), bound) for i in range(cells)]
        with Store(tmp_path / str(cells), config={}) as store:
            verdicts = sweep("means", family, key=KEY, replicates=100, store=store)
        assert [v.trials for v in verdicts] == [trials] * cells


def test_one_compilation_serves_all_cells_and_looks(store):
    traced = chex.assert_max_traces(n=1)(coin)
    cells = [TailCell(f"{p}", traced, (np.float32(p),), 0, 0.2) for p in (0.1, 0.2, 0.3)]
    sweep("s", cells, key=KEY, replicates=70, store=store)


def test_progress_counts_the_replicates_of_each_look(store):
    seen = []

    def progress(*step):
        seen.append(step)

    sweep("s", coins([0.001, 0.2]), key=KEY, replicates=1000, store=store, progress=progress)
    labels = list(dict.fromkeys(label for label, _, _ in seen))
    assert labels == [f"s, look {look} of 4" for look in (1, 2, 3, 4)]
    for label, total in zip(labels, (2000, 1000, 2000, 4000), strict=True):
        done = [d for got, d, t in seen if got == label and t == total]
        assert done == sorted(done)
        assert done[-1] == total
        assert len(done) == sum(got == label for got, _, _ in seen)


# --- bad input and bad numbers -------------------------------------------------------------------


def test_nan_is_an_error_and_never_a_success(store):
    def sometimes(key, p):
        return jnp.where(jax.random.uniform(key, (), jnp.float32) < p, jnp.nan, 0.0)

    cell = TailCell("nan", sometimes, (np.float32(0.01),), 0.5, 0.2)
    with pytest.raises(FloatingPointError, match=r"s, cell nan: the error of trial \d+ is NaN"):
        sweep("s", [cell], key=KEY, replicates=300, store=store)
    assert store.records() == []


def test_bad_sweeps_are_refused(store):
    good = coins([0.1])[0]
    mean = MeanCell("m", coin, (np.float32(0.5),), 0.5)
    vector = TailCell("v", lambda key: jnp.zeros(3, jnp.float32), (), 0, 0.5)
    for cells, replicates, words in [
        ([], 10, "expected cells of one kind"),
        ([good, good], 10, "distinct ids"),
        ([good, mean], 10, "one kind"),
        ([good], 1, "at least 2 replicates"),
        ([vector], 10, r"returns one number, got shape \(3,\)"),
    ]:
        with pytest.raises(InputError, match=words):
            sweep("s", cells, key=KEY, replicates=replicates, store=store)
    for delta in (0, 1, 1.5, float("nan")):
        with pytest.raises(InputError, match="expected delta in"):
            TailCell("d", coin, (), 0, delta)
    with pytest.raises(InputError, match="expected a finite eps"):
        TailCell("d", coin, (), float("nan"), 0.1)
    with pytest.raises(InputError, match="expected 0 <= bound < top"):
        MeanCell("m", coin, (), 2.0)


# --- killed, interrupted, resumed ----------------------------------------------------------------


def start(directory, cache, *process, devices=1, samples):
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parents[1]),
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    command = [sys.executable, program_sweep.__file__, str(directory), str(samples)]
    command += map(str, process)
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)


def keys_in(directory):
    return {record.key for record in read_run(directory)[1]} if directory.exists() else set()


def kill_and_resume(tmp_path, kills):
    """Kills sweeps at random moments, resuming each until it ends as one that was never killed."""
    moments = random.Random(kills)
    cache, samples = tmp_path / "cache", 40_000
    _, expected = program_sweep.run(tmp_path / "whole", samples)  # two devices, x64
    everything = keys_in(tmp_path / "whole")
    cut_short, completed = 0, 0
    acknowledged: set[str] = set()
    while cut_short < kills or not completed:
        directory = tmp_path / f"killed-{completed}"
        run = start(directory, cache, devices=1 + cut_short % 2, samples=samples)
        told = [run.stdout.readline()]  # it is past compiling, and at work
        if cut_short < kills:
            time.sleep(moments.uniform(0, 0.15))
            run.send_signal(signal.SIGKILL)
        told += run.stdout.readlines()
        run.stdout.close()
        assert run.wait() in (0, -signal.SIGKILL)
        acknowledged |= {line.decode().strip() for line in told if line.endswith(b"\n")}
        found = read_run(directory)[1]
        assert acknowledged <= {record.key for record in found} <= everything
        if len(found) < len(everything):
            cut_short += 1
        else:
            assert digest(found) == expected
            completed, acknowledged = completed + 1, set()


def test_killed_at_ten_moments_the_sweep_ends_with_the_same_digest(tmp_path):
    kill_and_resume(tmp_path, kills=10)


@pytest.mark.slow
def test_killed_at_fifty_moments_the_sweep_ends_with_the_same_digest(tmp_path):
    kill_and_resume(tmp_path, kills=50)


def test_ctrl_c_stops_at_once_with_all_records_and_a_second_run_is_refused_until_then(tmp_path):
    directory, cache, samples = tmp_path / "interrupted", tmp_path / "cache", 40_000
    _, expected = program_sweep.run(tmp_path / "whole", samples)
    run = start(directory, cache, devices=8, samples=samples)
    first = run.stdout.readline().decode().strip()
    with pytest.raises(InputError, match=f"is in use by process {run.pid}"):
        Store(directory, config={"n": samples})
    asked = time.monotonic()
    run.send_signal(signal.SIGINT)
    rest = run.communicate()[0].decode().split()
    assert run.returncode == 130
    assert time.monotonic() - asked < 5  # 1.2 s on a busy machine
    assert {first, *rest} == keys_in(directory) < keys_in(tmp_path / "whole")
    _, found = program_sweep.run(directory, samples)
    assert found == expected


def two_processes(directories, cache, samples):
    """Keys that each of two processes says it recorded."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    runs = [
        start(directory, cache, i, port, devices=2, samples=samples)
        for i, directory in enumerate(directories)
    ]
    told = [{w for w in run.communicate()[0].decode().split() if "/" in w} for run in runs]
    assert [run.returncode for run in runs] == [0, 0]
    return told


def test_two_processes_know_the_same_records_and_the_first_writes_them(tmp_path):
    directory, elsewhere = tmp_path / "two", tmp_path / "another disk"
    _, expected = program_sweep.run(tmp_path / "whole", 500)
    first, second = two_processes([directory, elsewhere], tmp_path / "cache", 500)
    assert first == second == keys_in(directory)
    records = directory / "records-0.jsonl"
    *kept, last, _closing = records.read_bytes().splitlines(keepends=True)
    records.write_bytes(b"".join(kept) + last[:9])  # as after a kill
    missing = first - keys_in(directory)
    assert two_processes([directory, elsewhere], tmp_path / "cache", 500) == [missing, missing]
    assert len(missing) == 1
    assert digest(read_run(directory)[1]) == expected
    assert not elsewhere.exists()
