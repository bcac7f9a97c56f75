"""Records: what a result is, its one JSON text, its checksum, its digest.

A record file is JSON lines, {"crc32": "<8 hex digits>", "record": {...}}, where the checksum is of
the record's bytes. The first record is the header: the schema, and the configuration that the
results belong to. Each further one is a `Record`, or {"end": lines before it} where a run ended.
Each line tells its number. So a line that is lost is noticed, the last ones included, and one that
stands there twice.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import stat
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from icl_sim.errors import InputError

SCHEMA = 1

_START = b'{"crc32":"'
_LINE = re.compile(rb'\{"crc32":"([0-9a-f]{8})","record":(.*)\}')


@dataclass(frozen=True)
class Record:
    """One result.

    key: its identity within a directory, such as "C1.token/V=32/look=2".
    result: JSON value; a deterministic function of the configuration and the key.
    info: JSON object of what may differ from run to run (times, hosts); outside the digest.
    """

    key: str
    result: Any
    info: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RecordFile:
    """What one record file holds.

    header: {"schema", "config", "info"}, or None if the file is empty.
    size: bytes up to the end of the last whole line.
    torn: bytes after it, of a line that was being written when its run died.
    lines: whole lines, those that were lost too.
    lost: how many lines are missing between others.
    repeated: how many stand there again.
    ended: whether the last line says that a run ended there.
    """

    path: Path
    header: dict[str, Any] | None
    records: list[Record]
    size: int
    torn: int
    lines: int = 0
    lost: int = 0
    repeated: int = 0
    ended: bool = False

    def faults(self) -> list[str]:
        """One line for each thing that is missing or odd; a torn last line is never read."""
        told = {
            f"dropped an unfinished last line of {self.torn} bytes": self.torn,
            f"{self.lost} lines are missing; their results are computed again": self.lost,
            f"{self.repeated} lines stand there twice; each result is taken once": self.repeated,
        }
        return [f"{self.path}: {words}" for words, is_so in told.items() if is_so]

    def open_end(self) -> list[str]:
        """A line if none says that a run ended here; no fault to whoever goes on with the run."""
        if self.header is None or self.ended:
            return []
        return [
            f"{self.path}: no closing line; the run was interrupted, or its last lines are missing"
        ]


def canonical_json(value: Any) -> str:
    """The one JSON text of a value: sorted keys, no spaces, floats by repr, no NaN or infinity.

    Args:
      value: dicts with string keys, lists, tuples, strings, numbers (NumPy scalars too), bools
        and None.

    Raises:
      ValueError: anything else, named.

    >>> canonical_json({"b": 0.1, "a": (1, None)})
    '{"a":[1,null],"b":0.1}'
    """
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise ValueError(f"a record's keys must be strings, got {list(value)}")
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, str | int | float):
        return value
    raise ValueError(f"a record holds plain JSON values, got {type(value).__name__}: {value!r}")


def digest(records: Iterable[Record]) -> str:
    """SHA-256, in hexadecimal, of the keys and results of records.

    Independent of their order, of repetitions and of `info`: so of resumption, and of the device
    count wherever the results are.
    """
    lines = {canonical_json([record.key, record.result]) for record in records}
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def encode_line(record: Mapping[str, Any]) -> bytes:
    """The line of a header or record, newline included."""
    body = canonical_json(record).encode()
    return b'{"crc32":"%08x","record":%s}\n' % (zlib.crc32(body), body)


def decode_line(line: bytes) -> dict[str, Any] | None:
    """The header or record of a line without its newline; None if `encode_line` did not write it.

    Its text must be the one text of its value: NaN or a name that stands there twice has none.
    """
    match = _LINE.fullmatch(line)
    if match is None or int(match[1], 16) != zlib.crc32(match[2]):
        return None
    try:
        value = json.loads(match[2])
        return value if canonical_json(value).encode() == match[2] else None
    except (ValueError, RecursionError):
        return None


def read_file(path: Path) -> RecordFile:
    """Read and check one record file.

    Raises:
      InputError: the file cannot be read, a whole line does not match its checksum, or the
        schema is another one.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # to read a pipe would be to wait
            raise InputError(f"{path}: expected a file of records, got none: move it elsewhere")
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    *lines, torn = content.split(b"\n")
    if torn.strip(b"\0") and not (torn.startswith(_START) or _START.startswith(torn)):
        raise InputError(
            f"{path}: expected records, found {torn[:40]!r}; it is no file of a run: move it "
            "elsewhere, or choose another directory"
        )
    decoded: list[dict[str, Any]] = []
    place = lost = repeated = 0
    for number, line in enumerate(lines, start=1):
        record = decode_line(line)
        if record is None:
            raise InputError(
                f"{path}, line {number}: expected a record that matches its checksum, found "
                f"{line[:40]!r}; delete that line to have its result computed again"
            )
        told = record.pop("line", None) if isinstance(record, dict) else None
        if type(told) is int and told <= place:
            repeated += 1
        else:
            number_told = told if type(told) is int else place + 1
            place, lost = number_told, lost + number_told - place - 1
        if not _is_record(record, first=not decoded):
            raise InputError(
                f"{path}, line {number}: expected {'a record' if decoded else 'the header'}, found "
                f"{line[28:68]!r}; the file is not what one run wrote: delete the lines from there "
                "on to have their results computed again"
            )
        decoded.append(record)
    if decoded and decoded[0].get("schema") != SCHEMA:
        raise InputError(
            f"{path}: expected records of schema {SCHEMA}, found {decoded[0].get('schema')!r}; "
            "read them with the version of icl-sim that wrote them, or choose another directory"
        )
    return RecordFile(
        path=path,
        header=decoded[0] if decoded else None,
        records=[Record(**record) for record in decoded[1:] if "end" not in record],
        size=len(content) - len(torn),
        torn=len(torn),
        lines=place,
        lost=lost,
        repeated=repeated,
        ended=bool(decoded) and "end" in decoded[-1],
    )


def _is_record(value: Any, *, first: bool) -> bool:
    """Whether a line's value is the header, which comes first and once, or a record."""
    if not isinstance(value, dict):
        return False
    if first:
        return "schema" in value and (value["schema"] != SCHEMA or "config" in value)
    if value.keys() == {"end"}:
        return type(value["end"]) is int
    return (
        {"key", "result"} <= value.keys() <= {"key", "result", "info"}
        and isinstance(value["key"], str)
        and isinstance(value.get("info", {}), dict)
    )


def read_directory(directory: Path) -> list[RecordFile]:
    """The record files of a directory, in the order of their processes; possibly none."""
    if not os.path.isdir(directory):  # a name that the system refuses included
        return []
    paths = directory.glob("records-*.jsonl")
    return [read_file(path) for path in sorted(paths, key=lambda p: (len(p.name), p.name))]


def merge(files: Iterable[RecordFile]) -> dict[str, Record]:
    """The records of several files by key; of equal results, the first one's record stays.

    Raises:
      InputError: two results for one key, which a deterministic computation cannot give.
    """
    merged: dict[str, Record] = {}
    for file in files:
        for record in file.records:
            first = merged.setdefault(record.key, record)
            if canonical_json(first.result) != canonical_json(record.result):
                raise InputError(
                    f"{file.path}: another result for {record.key!r} than an earlier one; the "
                    "directory mixes runs, choose another directory"
                )
    return merged


def tell(lines: Iterable[str]) -> tuple[str, ...]:
    """Logs lines as warnings, and returns them."""
    told = tuple(lines)
    for line in told:
        logging.getLogger(__name__).warning(line)
    return told


def read_finished(directory: Path) -> list[RecordFile]:
    """The record files of a run that is over; what is missing is told."""
    files = read_directory(directory)
    tell(line for file in files for line in (*file.faults(), *file.open_end()))
    return files


def read_run(directory: str | Path) -> tuple[dict[str, Any], list[Record]]:
    """The configuration of a directory's run, and its records, sorted by key, each key once.

    Raises:
      InputError: no records, a corrupt line, or two results for one key.
    """
    files = read_finished(Path(directory))
    if not files:
        raise InputError(
            f"expected records-*.jsonl in {directory}, found none; name a directory of results"
        )
    # A file without a header is one whose run died before it had a result.
    headers = [file.header for file in files if file.header is not None]
    merged = merge(files)
    return headers[0]["config"] if headers else {}, [merged[key] for key in sorted(merged)]
