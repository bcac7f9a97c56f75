"""Where a run keeps its results: in a directory, in memory, or in the records that it left."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from icl_sim.errors import InputError
from icl_sim.execution.plugins import LOADED
from icl_sim.storage.provenance import provenance
from icl_sim.storage.records import Record, canonical_json, read_run
from icl_sim.storage.store import Store


@runtime_checkable
class ResultStore(Protocol):
    """What an experiment needs of a store."""

    def result(self, key: str, compute: Callable[[], Any]) -> Any:
        """The result of a key, as JSON gives it back; computed if there is none."""

    def records(self) -> list[Record]:
        """All records, sorted by key."""


class MemoryStore:
    """Keeps results for as long as it lives.

    >>> store = MemoryStore()
    >>> store.result("a", lambda: (1, 2)), store.result("a", lambda: 3)
    ([1, 2], [1, 2])
    """

    def __init__(self) -> None:
        self._records: dict[str, Record] = {}

    def result(self, key: str, compute: Callable[[], Any]) -> Any:
        """See `ResultStore`."""
        if key not in self._records:
            self._records[key] = Record(key, json.loads(canonical_json(compute())))
        return self._records[key].result

    def records(self) -> list[Record]:
        """See `ResultStore`."""
        return [self._records[key] for key in sorted(self._records)]


class FinishedRun:
    """The results that a run left: nothing is computed, and nothing written.

    Attributes:
      directory: the run's.
      config: what its results depend on.

    Raises:
      InputError: no records, a corrupt line, or two results for one key.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)
        self.config, records = read_run(self.directory)
        self._records = {record.key: record for record in records}

    def has(self, key: str) -> bool:
        """Whether a result is recorded."""
        return key in self._records

    def result(self, key: str, compute: Callable[[], Any]) -> Any:
        """The recorded result; InputError if there is none."""
        del compute
        if not self.has(key):
            raise InputError(
                f"{self.directory}: the run has no result for {key!r} yet; finish it with --resume"
            )
        return self._records[key].result

    def records(self) -> list[Record]:
        """See `ResultStore`."""
        return list(self._records.values())


@contextmanager
def open_store(
    out: str | Path | None, *, config: Mapping[str, Any], resume: bool = False
) -> Iterator[ResultStore]:
    """The store of a run: in the directory ``out``, or in memory.

    Args:
      out: see `Store`; None keeps nothing.
      config: what the results depend on, apart from `provenance` and the plugins.
      resume: whether ``out`` may hold earlier results.
    """
    if out is None:
        yield MemoryStore()
        return
    plugins = {"plugins": dict(LOADED)} if LOADED else {}
    with Store(out, config={**config, **plugins, **provenance()}, resume=resume) as store:
        yield store
