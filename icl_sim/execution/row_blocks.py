"""Work on arrays [n, ...] in blocks of B rows, over all devices of all processes.

Unlike `icl_sim.execution.trials`, whose trials come from their numbers, rows come from data and
keep a state on their device from one call to the next. The blocks never change, nor does the
program of one.

Letters: n rows, B of them in a block, D devices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from icl_sim.execution.trials import to_host


class RowBlocks(NamedTuple):
    """A block of rows for each device of a mesh.

    active: bool [D], whether a device has rows of its own, or repeats the last one.
    values: pytree of arrays [D B, ...] over the mesh.
    """

    active: np.ndarray
    values: Any


def split_rows(tree: Any, *, block: int, mesh: Mesh) -> list[RowBlocks]:
    """Host arrays [n, ...], cut into blocks of B rows, D blocks at a time.

    >>> from icl_sim.execution.trials import device_mesh
    >>> parts = split_rows(np.arange(7), block=2, mesh=device_mesh())
    >>> join_rows([part.values for part in parts], 7).tolist()
    [0, 1, 2, 3, 4, 5, 6]
    """
    sharding = NamedSharding(mesh, PartitionSpec(*mesh.axis_names))
    tree = jax.tree.map(np.asarray, tree)
    n = len(jax.tree.leaves(tree)[0])

    def part(start: int) -> RowBlocks:
        rows = np.arange(start, start + block * mesh.size)

        def place(leaf: np.ndarray) -> jax.Array:
            own = leaf[np.minimum(rows, n - 1)]
            return jax.make_array_from_callback(own.shape, sharding, own.__getitem__)

        return RowBlocks(rows[::block] < n, jax.tree.map(place, tree))

    return [part(start) for start in range(0, n, block * mesh.size)]


def join_rows(parts: Sequence[Any], n: int) -> Any:
    """The first n rows of the values of consecutive parts, on the host of every process."""
    return jax.tree.map(lambda *leaves: np.concatenate([*map(to_host, leaves)])[:n], *parts)


def map_rows(
    function: Callable[..., Any], shared: Any, rows: RowBlocks, *rest: Any, mesh: Mesh
) -> Any:
    """function(shared, block, *rest) for each device's block: pytree of arrays [D B, ...].

    Each device gets a program of its own, which knows of no other: one program for all of them
    may be simplified otherwise for several devices than for one.

    Args:
      function: jitted; takes and returns arrays [B, ...] of a block.
      shared: pytree of arrays that every device of the mesh holds.
      rest: values of the host.
    """
    here = [d for d in mesh.devices.flat if d.process_index == jax.process_index()]
    active = dict(zip(mesh.devices.flat, rows.active, strict=True))
    results = []
    for device in here:
        arguments = jax.tree.map(partial(_on, device), (shared, rows.values))
        if active[device]:
            # A result that depends on no argument would be on the default device.
            results.append(jax.device_put(function(*arguments, *rest), device))
        else:
            shapes = jax.eval_shape(function, *arguments, *rest)
            idle = jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes)
            results.append(jax.device_put(idle, device))
    sharding = NamedSharding(mesh, PartitionSpec(*mesh.axis_names))

    def whole(*blocks: jax.Array) -> jax.Array:
        shape = (mesh.size * blocks[0].shape[0], *blocks[0].shape[1:])
        return jax.make_array_from_single_device_arrays(shape, sharding, [*blocks])

    return jax.tree.map(whole, *results)


def _on(device: Any, array: jax.Array) -> jax.Array:
    """The part of an array that a device holds."""
    return next(shard.data for shard in array.addressable_shards if shard.device == device)
