"""Fixed blocks: bits independent of devices, processes and slicing; one compilation."""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
import sys
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from tolerances import F32

from icl_sim.execution.hosts import on_all_devices
from icl_sim.execution.row_blocks import join_rows, map_rows, split_rows
from icl_sim.execution.trials import device_mesh, exact_sum, iter_blocks, run_blocks

PROGRAM = Path(__file__).with_name("program_trials.py")
KEY = jax.random.key(11)


def bits(key):
    return jax.random.bits(key, (), jnp.uint32)


def noisy(key, n, scale):
    left, right = jax.random.split(key)
    x = jax.random.normal(left, (16,), jnp.float32)
    whole = n + jax.random.randint(right, (), 0, 9, jnp.int32)
    return {"softmax": jax.nn.softmax(x * scale), "whole": whole}


ARGS = (np.int32(5), np.float32(0.7))


def assert_same_bits(got, expected):
    chex.assert_trees_all_equal_shapes_and_dtypes(got, expected)
    assert all(
        a.tobytes() == b.tobytes()
        for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True)
    )


def test_a_trial_draws_from_the_key_of_its_number():
    got = run_blocks(bits, key=KEY, trials=70)
    assert got.dtype == np.uint32
    assert got.tolist() == [int(bits(jax.random.fold_in(KEY, i))) for i in range(70)]


def test_an_indexed_trial_is_told_its_number():
    def number_and_bits(key, i, shift):
        return i + shift, bits(key)

    options = {"key": KEY, "trials": 100, "first": 30}
    numbers, drawn = run_blocks(number_and_bits, args=(np.uint32(5),), indexed=True, **options)
    assert numbers.tolist() == list(range(35, 135))
    assert drawn.tolist() == run_blocks(bits, **options).tolist()


def test_results_are_those_of_the_trial_alone():
    got = run_blocks(noisy, key=KEY, trials=65, args=ARGS)
    for i in (0, 63, 64):
        alone = noisy(jax.random.fold_in(KEY, i), *ARGS)
        assert got["whole"][i] == alone["whole"]
        np.testing.assert_allclose(got["softmax"][i], alone["softmax"], **F32)


@pytest.mark.parametrize("cuts", [(0, 1, 600), (0, 64, 65, 600), (0, 100, 163, 599, 600)])
def test_slices_have_the_bits_of_the_whole(cuts):
    whole = run_blocks(noisy, key=KEY, trials=600, args=ARGS)
    parts = [
        run_blocks(noisy, key=KEY, trials=stop - start, first=start, args=ARGS)
        for start, stop in itertools.pairwise(cuts)
    ]
    assert_same_bits(jax.tree.map(lambda *x: np.concatenate(x), *parts), whole)


@pytest.mark.parametrize("blocks_per_dispatch", [1, 2, 16])
def test_dispatches_are_consecutive_and_have_the_bits_of_the_whole(blocks_per_dispatch):
    whole = run_blocks(noisy, key=KEY, trials=300, first=40, args=ARGS)
    at = 40
    for batch in iter_blocks(
        noisy, key=KEY, trials=300, first=40, args=ARGS, blocks_per_dispatch=blocks_per_dispatch
    ):
        count = len(batch.values["whole"])
        assert batch.first == at
        assert 0 < count <= 64 * blocks_per_dispatch * len(jax.devices())
        assert_same_bits(
            batch.values,
            {name: x[at - 40 : at - 40 + count] for name, x in whole.items()},
        )
        at += count
    assert at == 340


def test_the_last_block_of_the_numbering_runs_and_the_next_is_refused():
    last = run_blocks(bits, key=KEY, trials=2, first=2**32 - 2)
    assert last.tolist() == [int(bits(jax.random.fold_in(KEY, 2**32 - k))) for k in (2, 1)]
    with pytest.raises(ValueError, match="below 2\\^32"):
        run_blocks(bits, key=KEY, trials=3, first=2**32 - 2)


def test_one_compilation_serves_every_seed_size_start_and_argument():
    @chex.assert_max_traces(n=1)
    def traced(key, n, scale):
        return noisy(key, n, scale)

    for seed, trials, first, n, scale in [
        (0, 1, 0, 5, 0.1),
        (1, 64, 3, 6, 0.2),
        (2, 999, 70, 7, 9),
    ]:
        args = (np.int32(n), np.float32(scale))
        run_blocks(traced, key=jax.random.key(seed), trials=trials, first=first, args=args)
    with pytest.raises(AssertionError):  # so that the count above can fail
        run_blocks(traced, key=KEY, trials=1, args=(np.float32(1), np.float32(1)))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"trials": 0}, "trials=0"),
        ({"trials": 1, "first": -1}, "first=-1"),
        ({"trials": 1, "block": 0}, "block=0"),
        ({"trials": 1, "mesh": jax.make_mesh((1, 1), ("a", "b"))}, "one axis"),
    ],
)
def test_bad_requests_are_refused_before_anything_runs(options, words):
    with pytest.raises(ValueError, match=words):
        iter_blocks(bits, key=KEY, **options)


def test_exact_sum_is_correctly_rounded_and_free_of_order():
    rng = np.random.default_rng(0)
    values = rng.standard_normal((1000, 3)) * 10.0 ** rng.integers(-12, 12, (1000, 1))
    total = exact_sum(values)
    assert total.shape == (3,)
    assert (exact_sum(values[rng.permutation(1000)]) == total).all()
    assert exact_sum(values[:, 1]) == total[1]
    assert exact_sum(np.array([1e16, 1.0, -1e16])) == 1.0


@pytest.mark.parametrize("n", [1, 5, 9])
def test_lanes_come_back_in_order_from_all_devices(n):
    @jax.jit
    def work(shared, lanes, step):
        return lanes * shared + step

    @jax.jit
    def nothing(shared, lanes):
        return jnp.zeros((2, 0), jnp.float32)  # which jit computes on the default device

    mesh = device_mesh()
    shared = on_all_devices(np.int32(3), NamedSharding(mesh, PartitionSpec()))
    parts = split_rows(np.arange(n, dtype=np.int32), block=2, mesh=mesh)
    found = [map_rows(work, shared, part, np.int32(1), mesh=mesh) for part in parts]
    assert join_rows(found, n).tolist() == [3 * i + 1 for i in range(n)]
    found = [map_rows(nothing, shared, part, mesh=mesh) for part in parts]
    assert join_rows(found, n).shape == (n, 0)


def start(arguments, devices):
    flags = f"--xla_force_host_platform_device_count={devices}"
    environment = {**os.environ, "XLA_FLAGS": flags, "PYTHONPATH": str(PROGRAM.parents[1])}
    command = [sys.executable, str(PROGRAM), *map(str, arguments)]
    return subprocess.Popen(command, env=environment)


def test_bits_are_the_same_on_any_number_of_devices_and_processes(tmp_path):
    """1, 2, 4 and 8 virtual devices, and two processes of two devices each over gloo."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    runs = [
        start([tmp_path / "one", "1"], devices=1),
        start([tmp_path / "eight", "2,4,8"], devices=8),
        start([tmp_path / "left", "4", 0, port], devices=2),
        start([tmp_path / "right", "4", 1, port], devices=2),
    ]
    assert [run.wait(timeout=300) for run in runs] == [0, 0, 0, 0]
    digests = [line for file in sorted(tmp_path.iterdir()) for line in file.read_text().split()]
    assert len(digests) == 6
    assert len(set(digests)) == 1
