"""The one writer of a directory of results: locked, append-only, durable, resumable.

A directory holds

    records-0.jsonl    the records, see `icl_sim.storage.records`
    run-0.lock         flock-ed while the run lives; names its holder

A record is acknowledged once `Store.append` returns: then it has reached the disk (fdatasync), and
a kill at any moment costs at most the line that was being written.

In a run of several processes the first one alone reads and writes the directory, and tells the
others what it found there: so all know the same records, and only the first needs the disk.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from icl_sim.errors import InputError
from icl_sim.execution.hosts import from_first, is_first
from icl_sim.storage.locks import lock_file, require_place
from icl_sim.storage.records import (
    SCHEMA,
    Record,
    canonical_json,
    encode_line,
    merge,
    read_directory,
    tell,
)
from icl_sim.storage.whole_files import sync_directory

_sync = getattr(os, "fdatasync", os.fsync)  # macOS has fsync only


class Store:
    """A directory of records, held by this process until closed.

    All processes of a run must open it, and append the same records.

    Args:
      directory: created if missing.
      config: what the results depend on: profile, seed, sizes, versions; a JSON object. A
        directory begun with another configuration is refused, naming what differs.
      resume: whether the directory may hold earlier results.

    Attributes:
      directory: its Path.
      recovered: one line for each file with an unfinished last line, which was dropped on
        opening, with missing or repeated ones; logged too.

    Raises:
      InputError: the directory cannot be written, is in use by another run, holds results that
        are not to be resumed or belong to another configuration, or is corrupt.

    >>> import tempfile
    >>> with Store(tempfile.mkdtemp(), config={"seed": 1}) as store:
    ...     store.append(Record("a", {"failures": 3}, info={"seconds": 0.1}))
    ...     store.has("a"), store.get("a").result
    (True, {'failures': 3})
    """

    def __init__(
        self,
        directory: str | Path,
        *,
        config: Mapping[str, Any],
        resume: bool = True,
    ) -> None:
        self.directory = Path(directory)
        self._path = self.directory / "records-0.jsonl"
        self._lock = self._file = -1
        self._turn = threading.Lock()  # a thread's, to write
        self._lines = 0
        self._ended = False
        self.recovered: tuple[str, ...] = ()
        self._records: dict[str, Record] = {}
        try:
            found = from_first(lambda: self._open(json.loads(canonical_json(config)), resume))
        except BaseException:
            self.close()
            raise
        if not is_first():
            self._records = {fields["key"]: Record(**fields) for fields in json.loads(found)}

    def _open(self, config: dict[str, Any], resume: bool) -> bytes:
        """Takes the directory; returns what it holds, for the other processes."""
        with _one_line("create", self.directory):
            self.directory.mkdir(parents=True, exist_ok=True)
        lock = self.directory / "run-0.lock"
        with _one_line("open", lock):
            holder = f"process {os.getpid()} on {socket.gethostname()}, started {_now()}"
            self._lock = lock_file(lock, holder)
        files = read_directory(self.directory)
        for file in files:
            if file.header is not None:
                _require_same_config(file.path, file.header["config"], config)
        self._records = merge(files)
        if self._records and not resume:
            raise InputError(
                f"{self.directory} already holds {len(self._records)} results; ask to resume them "
                "(--resume) or choose another directory"
            )
        self.recovered = tell(line for file in files for line in file.faults())
        own = next((file for file in files if file.path == self._path), None)
        self._lines = 0 if own is None else own.lines
        self._ended = own is not None and own.ended
        with _one_line("open", self._path):
            self._file = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
            os.ftruncate(self._file, 0 if own is None else own.size)
            sync_directory(self.directory)
        if own is None or own.header is None:
            info = {"process": os.getpid(), "host": socket.gethostname(), "start": _now()}
            self._write({"schema": SCHEMA, "config": config, "info": info})
        known = [vars(record) for record in self._records.values()]
        return canonical_json(known).encode()

    def append(self, record: Record) -> None:
        """Write a record; on return it is on the disk. Writing a result again does nothing.

        Raises:
          InputError: the disk refuses, or the key has another result already.
        """
        fields = {"key": record.key, "result": record.result, "info": record.info}
        plain = Record(**json.loads(canonical_json(fields)))
        with self._turn:
            known = self._records.get(plain.key)
            if known is None:
                if self._file >= 0 or is_first():  # the other processes hold no file
                    self._write(fields)
                self._records[plain.key] = plain
        if known is not None and canonical_json(known.result) != canonical_json(plain.result):
            raise InputError(
                f"{self._path}: {plain.key!r} already has another result; the computation is not "
                "deterministic, or the directory mixes runs"
            )

    def _write(self, fields: Mapping[str, Any]) -> None:
        require_place(self._file, self._path)
        line = encode_line({**fields, "line": self._lines + 1})
        end = os.lseek(self._file, 0, os.SEEK_END)
        try:
            with _one_line("write", self._path):
                written = 0
                while written < len(line):
                    written += os.write(self._file, line[written:])
                _sync(self._file)
            self._lines += 1
            self._ended = "end" in fields
        except BaseException:  # after a full disk or Ctrl-C, no half line may stay before the next
            try:
                os.ftruncate(self._file, end)
            except OSError:
                self.close()
            raise

    def has(self, key: str) -> bool:
        """Whether a result is recorded."""
        return key in self._records

    def get(self, key: str) -> Record | None:
        """The record of a key, or None."""
        return self._records.get(key)

    def result(self, key: str, compute: Callable[[], Any]) -> Any:
        """The recorded result of a key; computed, recorded and timed now if there is none.

        Args:
          key: its identity.
          compute: () -> JSON value.

        Returns:
          The result as JSON gives it back (tuples are lists), whether or not it was recorded.
        """
        if not self.has(key):
            start = time.monotonic()
            result = compute()
            seconds = round(time.monotonic() - start, 3)
            self.append(Record(key, result, info={"seconds": seconds}))
        return self._records[key].result

    def records(self) -> list[Record]:
        """All records of the directory, sorted by key."""
        return [self._records[key] for key in sorted(self._records)]

    def close(self) -> None:
        """Release the directory; safe to call twice."""
        for descriptor in (self._file, self._lock):
            if descriptor >= 0:
                os.close(descriptor)  # closing the lock file releases its flock
        self._file = self._lock = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *exception: object) -> None:
        try:
            if kind is None and self._file >= 0:
                require_place(self._file, self._path)
                if not self._ended:
                    self._write({"end": self._lines})
        finally:
            self.close()


@contextlib.contextmanager
def _one_line(verb: str, path: Path) -> Iterator[None]:
    """Turn an OSError into one line that names the path and what to do."""
    try:
        yield
    except OSError as error:
        cure = "free some space" if error.errno == errno.ENOSPC else "choose another directory"
        raise InputError(
            f"cannot {verb} {path}: {error.strerror or error}; {cure} (earlier results are intact)"
        ) from error


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _require_same_config(path: Path, found: dict[str, Any], asked: dict[str, Any]) -> None:
    differences = list(_differences("", found, asked))
    if differences:
        raise InputError(
            f"{path} was recorded with another configuration: {'; '.join(differences)}; "
            "use the same settings or choose another directory"
        )


def _differences(name: str, found: Any, asked: Any) -> Iterator[str]:
    if isinstance(found, dict) and isinstance(asked, dict):
        for key in sorted(found.keys() | asked.keys()):
            inner = f"{name}.{key}" if name else key
            yield from _differences(inner, found.get(key), asked.get(key))
    elif canonical_json(found) != canonical_json(asked):
        yield f"{name} was {canonical_json(found)}, now {canonical_json(asked)}"
