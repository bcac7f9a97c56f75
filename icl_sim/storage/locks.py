"""One writer of a directory: locks that end with their holder, and the place that was locked.

The kernel drops a lock with the process that holds it, so that one left by a dead run is free.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from icl_sim.errors import InputError


def lock_file(path: Path, holder: str) -> int:
    """Locks a file, made if it is not there, for as long as the descriptor returned is open.

    Args:
      path: the file.
      holder: what stands in it, for whoever finds it locked.

    Raises:
      InputError: another run holds it; its own words are told.
      OSError: it cannot be opened or locked.
    """
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            other = os.pread(lock, 1000, 0).decode(errors="replace").strip() or "another run"
            raise _in_use(path.parent, other) from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{holder}\n".encode(), 0)
    except BaseException:
        os.close(lock)
        raise
    return lock


def lock_directory(path: Path) -> int:
    """Locks a directory for as long as the descriptor returned is open, and leaves no file in it.

    A file system that locks no directories, as some networks' are, has it open and not locked.

    Raises:
      InputError: another run holds it.
      OSError: it cannot be opened.
    """
    lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise _in_use(path, "another run") from None
    except OSError:
        pass
    return lock


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Holds `lock_directory` for a block."""
    lock = lock_directory(directory)
    try:
        yield
    finally:
        os.close(lock)


def require_free(directory: Path) -> None:
    """Raises InputError if another run holds a directory; one that is not there is free.

    Or if it cannot be opened.
    """
    if not os.path.isdir(directory):  # of a name that the system refuses, too
        return
    try:
        os.close(lock_directory(directory))
    except FileNotFoundError:  # it has gone away meanwhile
        return
    except OSError as error:
        raise InputError(f"{directory}: expected a directory of ours: {error.strerror}") from None


def require_place(descriptor: int, path: Path) -> None:
    """Raises InputError if what is open is no longer what stands at its path."""
    here = os.fstat(descriptor)
    try:
        there = os.stat(path)
    except OSError:
        there = None
    if there is None or (here.st_dev, here.st_ino) != (there.st_dev, there.st_ino):
        raise InputError(
            f"{path} was removed or replaced while the run was writing to it; what it held is "
            "lost: run again, and leave the directory alone"
        )


def _in_use(directory: Path, holder: str) -> InputError:
    return InputError(f"{directory} is in use by {holder}; wait for it or choose another directory")
