"""Many processes, one run: JAX's own distributed runtime, and what the processes share.

Every process runs the same program on the same values; arrays over the mesh of all devices are the
only difference. What only one may do - read and write the disk, print - the first does, and tells
the others. `icl_sim.execution.supervisor` starts the processes, and starts them again when one
dies.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

from icl_sim.errors import InputError

HEARTBEAT = 10  # seconds of silence after which a process counts as dead
LOST = 75  # exit code of a process whose peers died: the run is to be resumed
JOINED = "icl-sim: joined\n"  # in the log of a process that found its peers
LEFT = "icl-sim: left\n"  # in the log of a process that has only to print yet
_VARIABLE = "ICL_SIM_WORKER"  # the environment variable that makes a process a worker


class Place(NamedTuple):
    """A worker's place in a run, as its supervisor tells it.

    coordinator: HOST:PORT, where process 0 listens; None: let JAX detect the cluster.
    processes, process: how many, and which one; None: as detected.
    alone: all are on this machine, each with a device of its own where there are several.
    timeout: seconds to wait until all have joined.
    log: file descriptor for what libraries print.
    """

    coordinator: str | None
    processes: int | None
    process: int | None
    alone: bool
    timeout: int
    log: int

    def environment(self) -> dict[str, str]:
        """The environment variables of the worker."""
        return {_VARIABLE: json.dumps(self._asdict())}


_PART = 2**26  # bytes sent at once
_output: Any = None  # a worker's true standard output, where it prints at the end; None: no run
_printed = io.StringIO()
_leads = False  # whether this is a worker that joined as process 0


def is_worker() -> bool:
    """Whether a supervisor started this process."""
    return _VARIABLE in os.environ


def join(run: str) -> None:
    """Makes this process, a worker, a part of its run; returns once all have joined.

    Args:
      run: what is run, the same on all of them; a process of another run is refused.

    From here on only the first process prints, and what it prints on standard output appears when
    the run is over, so that a run which is resumed prints once. What libraries print - gloo does,
    on standard output - goes to the log.

    Raises:
      InputError: no cluster detected, not as many processes as asked for, or not all of one run.
    """
    global _output, _leads
    place = Place(**json.loads(os.environ[_VARIABLE]))
    threading.Thread(target=_end_with_supervisor, daemon=True).start()
    _output = os.fdopen(os.dup(1), "w")
    sys.stdout = _printed
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
    os.dup2(place.log, 1)
    os.dup2(place.log, 2)
    import jax

    cluster = place.coordinator is None
    try:
        jax.distributed.initialize(
            place.coordinator,
            None if cluster else place.processes,
            place.process,
            local_device_ids=place.process if place.alone else None,
            initialization_timeout=place.timeout,
            heartbeat_timeout_seconds=HEARTBEAT,
            shutdown_timeout_seconds=HEARTBEAT,
            coordinator_bind_address=place.coordinator,  # JAX's own choice is every interface
        )
    except (ValueError, RuntimeError) as error:
        if cluster and "should be defined" in str(error):
            raise InputError(
                "--coordinator auto: expected to run under SLURM, Kubernetes, Open MPI or on a "
                "Cloud TPU, detected none; give HOST:PORT, --processes and --process"
            ) from error
        raise InputError(f"cannot start the run of several processes: {error}") from error
    os.write(2, JOINED.encode())
    _leads = is_first()
    if not _leads:
        sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
    if cluster and place.processes not in (None, jax.process_count()):
        raise InputError(
            f"--processes: the cluster has {jax.process_count()} processes, got {place.processes}; "
            "leave it out or fix the job"
        )
    _require_one_run(run)


def _require_one_run(run: str) -> None:
    """Raises InputError, on all processes, unless all run the same."""
    import numpy as np
    from jax.experimental import multihost_utils

    own = np.frombuffer(hashlib.sha256(run.encode()).digest(), np.uint8)
    all_ = np.asarray(multihost_utils.process_allgather(own)).reshape(-1, len(own))
    odd = [i for i, each in enumerate(all_) if not np.array_equal(each, all_[0])]
    if odd:
        raise InputError(
            "expected the same command, options and versions on every process, got another run "
            f"from process {', '.join(map(str, odd))}: another run uses this port, or fix the job"
        )


def _end_with_supervisor() -> None:
    # Standard input is a pipe that the supervisor holds; it ends when the supervisor does.
    with contextlib.suppress(OSError):
        while os.read(0, 1):
            pass
    os._exit(LOST)


def leave() -> None:
    """Waits for all processes, leaves the run together with them, and prints."""
    global _output
    import jax
    from jax.experimental import multihost_utils

    multihost_utils.sync_global_devices("done")
    jax.distributed.shutdown()
    os.write(2, LEFT.encode())
    try:
        _output.write(_printed.getvalue() if _leads else "")
        _output.flush()
    except BrokenPipeError:  # the reader went away, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), _output.fileno())
    _output = None


def exit_worker(code: int) -> NoReturn:
    """Ends a process; one that did not `leave` its run, without waiting for the others.

    Waiting for a process that died would end in SIGABRT and hide the exit code.
    """
    if _output is not None:
        sys.stderr.flush()
        if code != LOST and _leads:
            time.sleep(1)  # the others fail alike, unless they lose the coordinator before that
        os._exit(code)
    sys.exit(code)


def lost_peer(error: Exception) -> bool:
    """Whether an error is what a collective raises when another process died."""
    if _output is None:
        return False
    import jax

    if "RESOURCE_EXHAUSTED" in str(error):  # no peer's fault
        return False
    return isinstance(error, jax.errors.JaxRuntimeError) or "Gloo" in str(error)


def is_first() -> bool:
    """Whether this is process 0, which alone touches the disk; True outside a run of several."""
    import jax

    return jax.process_index() == 0


def from_first(function: Callable[[], bytes]) -> bytes:
    """What process 0's call of ``function`` returned, on every process; the others do not call it.

    Every process must come here, in the same order.

    Raises:
      InputError: on every process, if the call raised one.
    """
    import jax

    if jax.process_count() == 1:
        return function()
    outcome, fault = b"", None
    if is_first():
        try:
            outcome = b"+" + function()
        except InputError as error:
            outcome, fault = b"-" + str(error).encode(), error
    outcome = _broadcast(outcome)
    if outcome[:1] == b"-":
        raise fault or InputError(outcome[1:].decode())
    return outcome[1:]


def _broadcast(content: bytes) -> bytes:
    import numpy as np
    from jax.experimental import multihost_utils

    halves = multihost_utils.broadcast_one_to_all(np.array(divmod(len(content), 2**32), np.uint32))
    size = int(halves[0]) * 2**32 + int(halves[1])
    parts = []
    for start in range(0, size, _PART):
        length = min(_PART, size - start)
        # Few lengths, so that few programs are compiled; bytes, since adding zeros changes -0.0.
        buffer = np.zeros(min(_PART, 1 << length.bit_length()), np.uint8)
        if is_first():
            buffer[:length] = np.frombuffer(content, np.uint8, length, start)
        part = np.asarray(multihost_utils.broadcast_one_to_all(buffer))
        parts.append(part[:length].tobytes())
    return b"".join(parts)


def on_all_devices(tree: Any, sharding: Any) -> Any:
    """Arrays that every process holds, as arrays on the mesh of a replicated sharding."""
    import jax

    def place(leaf: Any) -> jax.Array:
        copies = [jax.device_put(leaf, device) for device in sharding.addressable_devices]
        return jax.make_array_from_single_device_arrays(leaf.shape, sharding, copies)

    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding)
    return jax.tree.map(place, tree)
