"""Fixed-block execution: each trial's bits do not depend on how many devices run it.

A plain vmap sharded over devices is compiled again for each device count and its floating-point
kernels change with it. Here the compiled unit never changes:

* trial i draws from the key fold_in(root, i), and sits in lane i mod B of block i // B, also when a
  run starts in the middle (the lanes outside the request are computed and thrown away);
* one block is vmap(trial) over B lanes; a device runs its blocks in a loop whose length is data, so
  that the compiled body is the same for every number of trials and of devices;
* devices share nothing: `shard_map` only says which block numbers each one runs.

Letters: B trials in a block, S blocks that a device runs in one dispatch, D devices.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, PartitionSpec

from icl_sim.execution.memory_guard import require, sharing, traced_bytes

BLOCK = 64
MAX_TRIALS = 2**32  # fold_in takes 32 bits
_QUICK = 0.2  # seconds of a dispatch that may double


class Batch(NamedTuple):
    """Results of consecutive trials.

    first: number of the first of them.
    values: pytree of NumPy arrays [trials, ...].
    """

    first: int
    values: Any


def device_mesh() -> Mesh:
    """The one-axis mesh of all devices of all processes."""
    return jax.make_mesh((len(jax.devices()),), ("blocks",), axis_types=(AxisType.Auto,))


_STATIC = ("trial", "indexed", "key_impl", "block", "capacity", "mesh")


@functools.partial(jax.jit, static_argnames=_STATIC)
def _dispatch(
    key_data: jax.Array,
    first_block: jax.Array,
    blocks: jax.Array,
    args: tuple[Any, ...],
    *,
    trial: Callable[..., Any],
    indexed: bool,
    key_impl: Any,
    block: int,
    capacity: int,
    mesh: Mesh,
) -> Any:
    """Device d runs blocks first_block[d], first_block[d] + 1, ... (blocks[d] <= S of them).

    Returns a pytree of arrays [D S, B, ...]; the rows past blocks[d] are zero.
    """

    def on_one_device(
        key_data: jax.Array, first_block: jax.Array, blocks: jax.Array, args: tuple[Any, ...]
    ) -> Any:
        root = jax.random.wrap_key_data(key_data, impl=key_impl)
        lanes = jnp.arange(block, dtype=jnp.uint32)
        one_trial = jax.jit(trial)  # traced once for the shapes and the block
        number = (jnp.uint32(0),) if indexed else ()
        _require_memory(one_trial, (root, *number, *args), mesh, block, capacity)
        shapes = jax.eval_shape(one_trial, root, *number, *args)
        empty = jax.tree.map(lambda s: jnp.zeros((capacity, block, *s.shape), s.dtype), shapes)

        def run_block(row: jax.Array, results: Any) -> Any:
            ids = (first_block[0] + row.astype(jnp.uint32)) * jnp.uint32(block) + lanes
            keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(root, ids)
            numbers = (ids,) if indexed else ()
            values = jax.vmap(lambda key, *i: one_trial(key, *i, *args))(keys, *numbers)
            return jax.tree.map(lambda all_, new: all_.at[row].set(new), results, values)

        return jax.lax.fori_loop(jnp.int32(0), blocks[0], run_block, empty)

    shared, split = PartitionSpec(), PartitionSpec(*mesh.axis_names)
    return jax.shard_map(
        on_one_device,
        mesh=mesh,
        in_specs=(shared, split, split, shared),
        out_specs=split,
        check_vma=False,
    )(key_data, first_block, blocks, args)


def _require_memory(
    trial: Callable[..., Any], args: tuple[Any, ...], mesh: Mesh, block: int, capacity: int
) -> None:
    """Raises InputError if a dispatch does not fit into memory; called once, while it is traced.

    On each device a block of trials, whose operations in their order need that much (what compilers
    make of them was seen to take from half of it to twice as much), and the results of S blocks,
    which come to the host as well. The devices of a CPU share its memory.
    """
    one, results = traced_bytes(trial, *args), jax.eval_shape(trial, *args)
    size = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(results))
    devices = sharing(mesh)

    def cost(blocks_per_dispatch: int, block: int) -> int:
        return devices * block * (one + 2 * size * blocks_per_dispatch)

    require("a dispatch of trials", cost, blocks_per_dispatch=capacity, block=block)


def to_host(array: jax.Array) -> np.ndarray:
    """The whole array, on every process."""
    if array.is_fully_addressable:
        return np.asarray(array)
    return np.asarray(multihost_utils.process_allgather(array, tiled=True))


def iter_blocks(
    trial: Callable[..., Any],
    *,
    key: jax.Array,
    trials: int,
    args: tuple[Any, ...] = (),
    indexed: bool = False,
    first: int = 0,
    block: int = BLOCK,
    blocks_per_dispatch: int = 8,
    mesh: Mesh | None = None,
) -> Iterator[Batch]:
    """Run trials first, ..., first + trials - 1 and yield them, dispatch by dispatch.

    The generator returns to the host after each dispatch: a progress bar, Ctrl-C and early
    stopping need nothing else. Every process of a multi-process run must consume it in step, and
    each receives all the results.

    Args:
      trial: trial(key, *args) -> pytree of arrays or scalars; jittable, one typed key. Pass the
        same function object again to reuse its compiled code: only another function, another
        shape or dtype in `args`, block, blocks_per_dispatch or mesh compiles again.
      key: root key; not consumed, the key of trial i is fold_in(key, i).
      trials: number of trials, positive.
      args: pytrees of arrays or scalars given to each trial, traced: a new n, eps or law
        recompiles nothing.
      indexed: call trial(key, i, *args) instead, i its number as uint32.
      first: number of the first trial.
      block: B. The last bits of floating-point results may depend on it, and on nothing else
        here; keep it fixed within an experiment.
      blocks_per_dispatch: S: a dispatch runs at most D S B trials, fewer if they are slow.
      mesh: a one-axis mesh; all devices by default.

    Yields:
      Batch(first, values), consecutive, in the order of the trials.

    Raises:
      ValueError: trials, first, block, blocks_per_dispatch or mesh out of range, or (InputError)
        a dispatch that memory does not last for.
    """
    mesh = device_mesh() if mesh is None else mesh
    if min(trials, block, blocks_per_dispatch) < 1 or first < 0:
        raise ValueError(
            "trials, block and blocks_per_dispatch must be positive and first non-negative, got "
            f"trials={trials}, block={block}, blocks_per_dispatch={blocks_per_dispatch}, "
            f"first={first}"
        )
    if len(mesh.axis_names) != 1:
        raise ValueError(f"mesh must have one axis, got {mesh.axis_names}; see device_mesh()")
    stop = first + trials
    stop_block = math.ceil(stop / block)
    if stop_block * block > MAX_TRIALS:
        raise ValueError(f"trials are numbered below 2^32, got last number {stop - 1}")
    return _dispatches(
        trial,
        indexed,
        np.asarray(jax.random.key_data(key)),
        jax.random.key_impl(key),
        range(first, stop),
        range(first // block, stop_block),
        args,
        block,
        blocks_per_dispatch,
        mesh,
    )


def _dispatches(
    trial: Callable[..., Any],
    indexed: bool,
    key_data: np.ndarray,
    key_impl: Any,
    ids: range,
    blocks: range,
    args: tuple[Any, ...],
    block: int,
    capacity: int,
    mesh: Mesh,
) -> Iterator[Batch]:
    """The generator behind `iter_blocks`, which checks its arguments before the first dispatch."""
    if mesh.is_multi_process:  # jit takes values of the host for the same on every process
        args = jax.tree.map(np.asarray, args)
    device = np.arange(mesh.size)
    # Blocks per device: one, then more while they are quick, so that Ctrl-C never waits for many
    # slow ones. Processes must take the same number, and their clocks differ.
    share = capacity if mesh.is_multi_process else 1
    start = blocks.start
    while start < blocks.stop:
        began = time.monotonic()
        count = min(share * mesh.size, blocks.stop - start)
        each = math.ceil(count / mesh.size)
        rows = np.clip(count - each * device, 0, each).astype(np.int32)
        results = _dispatch(
            key_data,
            (start + each * device).astype(np.uint32),
            rows,
            args,
            trial=trial,
            indexed=indexed,
            key_impl=key_impl,
            block=block,
            capacity=capacity,
            mesh=mesh,
        )
        results = jax.block_until_ready(results)  # unlike np.asarray, it lets Ctrl-C in
        used = (np.arange(capacity) < rows[:, None]).ravel()
        begin = max(ids.start, start * block)
        end = min(ids.stop, (start + count) * block)
        wanted = slice(begin - start * block, end - start * block)
        host = [to_host(x)[used] for x in jax.tree.leaves(results)]
        values = [x.reshape(-1, *x.shape[2:])[wanted] for x in host]
        yield Batch(begin, jax.tree.unflatten(jax.tree.structure(results), values))
        start += count
        if time.monotonic() - began < _QUICK:
            share = min(2 * share, capacity)


def run_blocks(
    trial: Callable[..., Any],
    *,
    key: jax.Array,
    trials: int,
    keep: Callable[[Any], Any] = lambda values: values,
    **options: Any,
) -> Any:
    """All the results of `iter_blocks` at once: pytree of NumPy arrays [trials, ...].

    Args:
      trial, key, trials: see `iter_blocks`.
      keep: values of a batch -> what is kept of them.
      **options: its args, first, block, blocks_per_dispatch and mesh.

    >>> flips = run_blocks(jax.random.bernoulli, key=jax.random.key(0), trials=1000)
    >>> flips.shape, abs(float(flips.mean()) - 0.5) < 0.08
    ((1000,), True)
    """
    batches = (keep(one.values) for one in iter_blocks(trial, key=key, trials=trials, **options))
    first = next(batches)
    require("results", functools.partial(_results_bytes, first), host=True, trials=trials)
    every = [first, *batches]
    return jax.tree.map(lambda *parts: np.concatenate(parts), *every)


def _results_bytes(some: Any, trials: int) -> int:
    """Memory of the results of trials: once in their batches, and once put together."""
    return 2 * trials * sum(x.nbytes // len(x) for x in jax.tree.leaves(some))


def exact_sum(values: Any) -> float | np.ndarray:
    """Sum over the first axis, correctly rounded in float64, hence the same in any order.

    Args:
      values: real array [trials, ...], on the host.

    >>> exact_sum([1e16, 1.0, -1e16])
    1.0
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim == 1:
        return math.fsum(values)
    columns = values.reshape(len(values), -1).T
    return np.array([math.fsum(column) for column in columns]).reshape(values.shape[1:])
