"""Starts the processes of a run on this machine, and starts them again when one dies.

A dead peer ends the other processes of JAX's runtime by SIGABRT, which no exception handler sees.
So a run of several processes lives in children of the command that the user started: on each host
it starts its children again, with --resume, and all find each other at the coordinator as before.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import icl_sim
from icl_sim.errors import InputError
from icl_sim.execution.hosts import HEARTBEAT, JOINED, LEFT, LOST, Place

RESTARTS = 3
TIMEOUT = 60  # seconds until all processes have joined
_GRACE = 3  # seconds for the others to end as one did


def supervise(
    argv: Sequence[str],
    *,
    coordinator: str | None,
    processes: int | None,
    process: int | None,
    restarts: int,
    timeout: int,
    resume: bool,
    tell: Callable[[str], None],
) -> int:
    """Runs ``icl-sim *argv`` in several processes; returns the exit code.

    Args:
      argv: the command line after the program's name.
      coordinator: HOST:PORT of process 0; "auto": JAX detects the cluster; None: all processes are
        on this machine.
      processes, process: how many, and which one is this machine's.
      restarts: how often a run of which a process died is taken up again.
      timeout: seconds until all processes have joined.
      resume: whether the command can be resumed (it has a directory for its results).
      tell: takes one line about a death.

    Raises:
      InputError: places that do not fit together, a coordinator that cannot be reached.
    """
    alone = coordinator is None
    _check(coordinator, processes, process, restarts, timeout)
    attempt = 0
    while True:
        if alone:
            coordinator = f"127.0.0.1:{_free_port()}"
            indices: list[int | None] = list(range(processes or 1))
        else:
            indices = [process]
            if coordinator != "auto":
                _require_coordinator(str(coordinator), process == 0, timeout)
        address = None if coordinator == "auto" else coordinator
        again = ["--resume"] if attempt and resume and "--resume" not in argv else []
        team = []
        try:
            for index in indices:
                place = Place(address, processes, index, alone, timeout, -1)
                team.append(_Worker([*argv, *again], place))
            failed = _wait(team)
        except KeyboardInterrupt:
            _end(team, signal.SIGINT)
            raise
        finally:
            _end(team, signal.SIGKILL)
        if failed is None:
            return 0
        if not failed.died:
            _show_end(failed)
            return failed.code
        if attempt == 0 and failed.waited_in_vain:
            raise InputError(
                f"expected all processes to join within {timeout} s{_at(coordinator)}; start the "
                "others, or see that this machine reaches the coordinator"
            )
        if attempt == restarts:
            _show_end(failed)
            tell(f"{failed.reason()}; gave up after {restarts} restarts")
            return 1
        attempt += 1
        tell(f"{failed.reason()}; restart {attempt} of {restarts}")
        if not alone:
            time.sleep(HEARTBEAT + 2)  # until every old process has noticed and is gone


def _check(
    coordinator: str | None, processes: int | None, process: int | None, restarts: int, timeout: int
) -> None:
    if restarts < 0 or timeout < 1:
        raise InputError(
            f"expected --restarts of at least 0 and --join-timeout of at least 1, got {restarts} "
            f"and {timeout}"
        )
    if processes is not None and processes < 1:
        raise InputError(f"--processes: expected at least 1, got {processes}")
    if coordinator in (None, "auto"):
        if coordinator is None and processes is None:
            raise InputError("expected --processes N, or --coordinator HOST:PORT or auto as well")
        if process is not None:
            raise InputError("--process: expected --coordinator HOST:PORT as well")
        return
    host, _, port = str(coordinator).rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise InputError(f"--coordinator: expected HOST:PORT or auto, got {coordinator!r}")
    if processes is None or process is None:
        raise InputError("--coordinator HOST:PORT: expected --processes N and --process I as well")
    if not 0 <= process < processes:
        raise InputError(f"--process: expected 0 to {processes - 1}, got {process}")


def _at(coordinator: str | None) -> str:
    return "" if coordinator in (None, "auto") else f" at {coordinator}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _require_coordinator(coordinator: str, own: bool, timeout: int) -> None:
    """Process 0 can listen there, the others can connect: JAX would end without a word.

    It listens on the address that was given, and on no other interface of the machine.
    """
    host, _, port = coordinator.rpartition(":")
    if own:
        try:
            name = host.strip("[]")
            family = socket.getaddrinfo(name, int(port), type=socket.SOCK_STREAM)[0][0]
            socket.create_server((name, int(port)), family=family).close()
        except OSError as error:
            raise InputError(
                f"--coordinator: cannot listen on port {port} of {host}: {error.strerror}; give an "
                "address of this machine that the others reach, and a free port"
            ) from error
        return
    limit = time.monotonic() + timeout
    while True:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
            return
        except OSError as error:
            if time.monotonic() > limit:
                raise InputError(
                    f"--coordinator: cannot reach {coordinator} within {timeout} s: "
                    f"{error.strerror or error}; start process 0 there, or fix the address"
                ) from error
        time.sleep(0.2)


class _Worker:
    """A child process in its place, and the log of what libraries print in it."""

    def __init__(self, argv: Sequence[str], place: Place) -> None:
        self.name = "this process" if place.process is None else f"process {place.process}"
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the object
        log = self._log.fileno()
        root = str(Path(icl_sim.__file__).parents[1])
        paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
        size = shutil.get_terminal_size()
        self.process = subprocess.Popen(  # noqa: S603 - this very program
            [sys.executable, "-P", "-m", "icl_sim", *argv],
            env=os.environ
            | {"PYTHONPATH": os.pathsep.join(paths), "COLUMNS": str(size.columns)}
            | place._replace(log=log).environment(),
            stdin=subprocess.PIPE,  # it ends with us, and the child with it
            pass_fds=(log,),
            process_group=0,  # Ctrl-C comes to the supervisor alone
        )

    @property
    def code(self) -> Any:
        """The exit code; None while it runs."""
        return self.process.poll()

    @property
    def died(self) -> bool:
        """Whether it ended by a signal, or because a peer did."""
        return self.code is not None and (self.code < 0 or self.code == LOST)

    @property
    def printing(self) -> bool:
        """Whether it runs, and has only to print yet."""
        return self.code is None and LEFT in self.log()

    @property
    def waited_in_vain(self) -> bool:
        """Whether JAX ended it since its peers did not come in time."""
        return bool(self.code == -signal.SIGABRT and JOINED not in self.log())

    def log(self) -> str:
        """What libraries printed so far."""
        size = os.fstat(self._log.fileno()).st_size
        return os.pread(self._log.fileno(), size, 0).decode(errors="replace")

    def reason(self) -> str:
        """How it ended, in one line."""
        status = re.findall(r"absl::Status: (.+)", self.log())
        why = f" ({status[-1].strip()[:200]})" if status else ""
        if self.code == LOST:
            return f"{self.name} lost a peer{why}"
        return f"{self.name} ended by {signal.Signals(-self.code).name}{why}"


def _wait(team: Sequence[_Worker]) -> _Worker | None:
    """The worker whose failure decides, once all have ended; None if none failed."""
    failed: list[_Worker] = []
    while not failed:
        ended = [worker for worker in team if worker.code is not None]
        # An exit code says more than a death that follows from it.
        failed = sorted((w for w in ended if w.code != 0), key=lambda worker: worker.died)
        if len(ended) == len(team):
            break
        time.sleep(0.02)
    if not failed:
        return None
    if not failed[0].died:
        limit = time.monotonic() + _GRACE
        while any(
            worker.printing or (worker.code is None and time.monotonic() < limit) for worker in team
        ):
            time.sleep(0.02)
    _end(team, signal.SIGKILL)
    # The first of those that failed by themselves: process 0 has said why.
    return next((w for w in team if w.code and not w.died), failed[0])


def _end(team: Sequence[_Worker], sign: signal.Signals) -> None:
    """Sends a signal to those that run, and waits for their end, for two seconds at most."""
    for worker in team:
        if worker.code is None:
            worker.process.send_signal(sign)
    for worker in team:
        with contextlib.suppress(subprocess.TimeoutExpired):
            worker.process.wait(timeout=2)


def _show_end(worker: _Worker) -> None:
    """Why a worker failed, if its log tells: process 0 has printed it, the others have not."""
    log = worker.log()
    _, found, trace = log.partition("Traceback (most recent call last)")
    if found:
        sys.stderr.write(found + trace)
        return
    lines = [f"{line}\n" for line in log.splitlines() if line.startswith("icl-sim: ")]
    sys.stderr.writelines([line for line in lines if line not in (JOINED, LEFT)][-1:])
