"""How much memory a request may take, and its refusal before anything is allocated.

A function that allocates much has a formula beside it: bytes at the peak, from shapes alone, a sum
of the largest arrays that live at once. (What XLA reports of a compiled function leaves out what
its libraries for matrix products take on a CPU: as much again, in a forward pass.) To it comes an
eighth for the allocator, the threads and the compiler (`at_peak`); then it is at least what was
measured, and at most 1.5 times that (benchmarks/README.md). `require` compares, and names a shape
that fits.

The budget is ICL_SIM_MEMORY (``2GiB``, ``500MiB``, or bytes) if it is set: what one request may
take. Else it is 0.9 of what is free, as others take some meanwhile: on a GPU or TPU of the device's
memory; on a CPU, and for arrays on the host, of the machine's and of every cgroup that the process
is in (containers, SLURM).
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from icl_sim.errors import InputError

VARIABLE = "ICL_SIM_MEMORY"
SHARE = 0.9
# Without the variable, smaller requests pass without a look at the machine, which takes 0.2 ms.
SMALL = 2**26
_UNITS = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40, "PiB": 2**50}
_ROOT = Path("/")

Cost = Callable[..., int]  # keyword sizes -> bytes at the peak


def require(what: str, cost: Cost, *, host: bool = False, **shape: int) -> None:
    """Raises InputError unless the memory lasts; takes microseconds if the request is small.

    Args:
      what: is to be done, for the message.
      cost: of the sizes in ``shape``, by keyword; it may not fall when one of them grows.
      host: ask for memory of the host, whatever the device.
      shape: the sizes asked for; the message proposes another value of the first that can fix it.

    >>> require("a table", lambda rows, columns: 4 * rows * columns, rows=8, columns=8)
    >>> require("a table", lambda rows, columns: 4 * rows * columns, rows=10**15, columns=2**18)
    ... # doctest: +ELLIPSIS
    Traceback (most recent call last):
    icl_sim.errors.InputError: a table: expected at most ...
    """
    needed = at_peak(cost(**shape))
    if needed <= SMALL and VARIABLE not in os.environ:
        return
    most = budget(host=host)
    if needed <= most:
        return
    fits = fitting(lambda **sizes: at_peak(cost(**sizes)), shape, most)
    proposal = "nothing smaller fits" if fits is None else f"{_sizes(fits)} fits"
    raise InputError(
        f"{what}: expected at most {format_bytes(most)} of memory, got {_sizes(shape)}, which "
        f"takes {format_bytes(needed)}: {proposal}, or raise {VARIABLE}"
    )


def at_peak(arrays: int) -> int:
    """What a process takes that holds so many bytes of arrays at once.

    >>> at_peak(800)
    900
    """
    return arrays + arrays // 8


def fitting(cost: Cost, shape: dict[str, int], most: int) -> dict[str, int] | None:
    """The largest value of one size with which the shape fits, by bisection; the first that can.

    If no single one can, the first is 1 and so on, until the next can. None if nothing fits.

    >>> fitting(lambda rows, columns: rows * columns, {"rows": 50, "columns": 7}, 100)
    {'rows': 14}
    >>> fitting(lambda rows, columns: rows * columns, {"rows": 50, "columns": 700}, 100)
    {'columns': 2}
    >>> fitting(lambda rows, columns: rows * columns + 60, {"rows": 50, "columns": 700}, 100)
    {'rows': 1, 'columns': 40}
    """
    alone: list[dict[str, int]] = [{name: 1} for name in shape]
    together = [dict.fromkeys(list(shape)[: i + 1], 1) for i in range(len(shape))]
    fits = next((s for s in (*alone, *together) if cost(**shape | s) <= most), None)
    if fits is None:
        return None
    name = list(fits)[-1]
    low, high = 1, max(shape[name], 1)
    while high - low > 1:
        middle = (low + high) // 2
        if cost(**shape | fits | {name: middle}) <= most:
            low = middle
        else:
            high = middle
    return fits | {name: low}


def budget(*, host: bool = False) -> int:
    """Bytes that one request may take on the device that JAX uses, or on the host.

    Raises:
      InputError: ICL_SIM_MEMORY is no amount.
    """
    text = os.environ.get(VARIABLE)
    if text is not None:
        return parse_bytes(text)
    free = None if host else _free_on_device()
    return int(SHARE * (free_on_host() if free is None else free))


def placed(*trees: Any) -> int:
    """Bytes that arrays take which are not on the device yet: those that are not JAX's.

    The largest one counts twice: JAX copies an array on the host before it puts it on the device.
    """
    import jax

    leaves = jax.tree.leaves(trees)
    sizes = [getattr(x, "nbytes", 8) for x in leaves if not isinstance(x, jax.Array)]
    return sum(sizes) + max(sizes, default=0)


def traced_bytes(function: Callable[..., Any], *args: Any) -> int:
    """Memory of a jittable function at its peak, results included and arguments not.

    For functions that others wrote and no formula knows: the most bytes that live at once when the
    traced operations are taken in their order, each result until its last use. Copies along an
    axis and changes of type cost nothing, since compilers join them with what comes next.

    Args:
      function, args: as for `jax.eval_shape`.

    >>> import jax.numpy as jnp
    >>> traced_bytes(lambda x: (x[:, None] * x[None]).sum(), jnp.zeros(1000, "f4")) // 1000
    4000
    """
    import jax

    return _live_bytes(jax.make_jaxpr(function)(*args).jaxpr)


_JOINED = {"broadcast_in_dim", "convert_element_type", "iota", "reshape", "squeeze", "copy"}


def _live_bytes(jaxpr: Any) -> int:
    from jax.extend.core import Literal

    last = {v: i for i, eqn in enumerate(jaxpr.eqns) for v in eqn.invars if type(v) is not Literal}
    kept = {v for v in jaxpr.outvars if type(v) is not Literal}
    sizes: dict[Any, int] = {}
    alive = most = 0
    for i, eqn in enumerate(jaxpr.eqns):
        inner = max((_live_bytes(part) for part in _parts(eqn.params)), default=0)
        made = 0
        for v in eqn.outvars:
            joined = eqn.primitive.name in _JOINED and v not in kept
            sizes[v] = 0 if joined else math.prod(v.aval.shape) * _itemsize(v.aval.dtype)
            made += sizes[v]
        # What an operation calls makes the results itself.
        most = max(most, alive + max(inner, made))
        alive += made
        for v in {v for v in (*eqn.invars, *eqn.outvars) if type(v) is not Literal} - kept:
            if last.get(v, i) == i:
                alive -= sizes.pop(v, 0)
    return most


def _parts(params: dict[str, Any]) -> Iterator[Any]:
    """The traced functions that an operation calls."""
    for value in params.values():
        for part in value if isinstance(value, tuple | list) else (value,):
            part = getattr(part, "jaxpr", part)
            if hasattr(part, "eqns"):
                yield part


def _itemsize(dtype: Any) -> int:
    return int(getattr(dtype, "itemsize", 8))


def shards(array: Any) -> int:
    """Among how many memories an array is split, hence what is computed from it row by row.

    Of a traced array only the most is known, all devices. Those of a CPU share one memory.
    """
    import jax

    if not isinstance(array, jax.Array) or jax.default_backend() == "cpu":
        return 1
    if isinstance(array, jax.core.Tracer):
        return jax.device_count()
    part = math.prod(array.sharding.shard_shape(array.shape))
    return array.size // max(part, 1)


def sharing(mesh: Any) -> int:
    """How many devices of a mesh share one memory: on a CPU all of this process, else one."""
    local = mesh.local_devices
    return len(local) if local[0].platform == "cpu" else 1


def free_on_host(root: Path = _ROOT) -> int:
    """Bytes that this process can still have: free on the machine, and in each of its cgroups."""
    free = [_free_on_machine(root)]
    free += [limit - used for limit, used in _cgroups(root)]
    return max(min(free), 0)


def parse_bytes(text: str) -> int:
    """Bytes of an amount such as ``2GiB``, ``1.5 GiB`` or ``65536``.

    >>> parse_bytes("1.5 KiB"), parse_bytes("65536")
    (1536, 65536)
    """
    match = re.fullmatch(rf"\s*(\d+(?:\.\d*)?)\s*({'|'.join(_UNITS)}|B|)\s*", text)
    amount = math.inf if match is None else float(match[1]) * _UNITS.get(match[2], 1)
    if amount >= 2**63:
        raise InputError(
            f"{VARIABLE}: expected an amount such as 2GiB or 500MiB, got {text[:40]!r}"
        )
    return int(amount)


def format_bytes(size: int) -> str:
    """An amount for people.

    >>> format_bytes(3 * 2**30), format_bytes(1000)
    ('3.0 GiB', '1000 bytes')
    """
    for unit, bytes_ in reversed(_UNITS.items()):
        if size >= bytes_:
            return f"{size / bytes_:,.1f} {unit}"
    return f"{size} bytes"


def _sizes(shape: dict[str, int]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {size:,}" for name, size in shape.items())


def _free_on_device() -> int | None:
    """Bytes free on an accelerator; None on a CPU, which has the host's."""
    import jax

    device = jax.config.jax_default_device  # type: ignore[attr-defined]
    if not isinstance(device, jax.Device):
        device = jax.local_devices(backend=device)[0]
    stats = device.memory_stats() if device.platform != "cpu" else None
    if not stats or "bytes_limit" not in stats:
        return None
    return int(stats["bytes_limit"] - stats.get("bytes_in_use", 0))


def _free_on_machine(root: Path) -> int:
    try:
        text = (root / "proc/meminfo").read_text()
    except OSError:  # not Linux: what there is, in use or not
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    return int(fields["MemAvailable"].split()[0]) * 2**10


def _cgroups(root: Path) -> Iterator[tuple[int, int]]:
    """Limit and use, in bytes, of each cgroup of this process that has a limit, and of those above.

    Inside a container the path of the cgroup may be that of the machine outside, and only the mount
    point itself exists: directories that do not are passed over. Pages of files that were not used
    lately are given back when memory is short, and do not count as use.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            mounts: tuple[str, ...] = ("sys/fs/cgroup", "sys/fs/cgroup/unified")
            names = "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            mounts = ("sys/fs/cgroup/memory",)
            names = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
        else:
            continue
        inside = Path(path.lstrip("/"))
        for mount in mounts:
            for part in (inside, *inside.parents):
                if found := _cgroup(root / mount / part, *names):
                    yield found


def _cgroup(directory: Path, limit: str, usage: str, reclaimable: str) -> tuple[int, int] | None:
    try:
        most = (directory / limit).read_text().strip()
        used = int((directory / usage).read_text())
        if most == "max":
            return None
        stat = dict(line.split() for line in (directory / "memory.stat").read_text().splitlines())
        return int(most), used - int(stat.get(reclaimable, 0))
    except (OSError, ValueError):
        return None
