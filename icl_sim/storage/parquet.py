"""The records of a run as one Parquet table, for DuckDB, pandas, Polars and the like.

One row a record. Its columns, null where a record has no such part:

    key                         the record's identity
    claim, statement            what is judged, C1 and C1.token; of verdicts and of their evidence
    task, contexts, vocab, tasks, seeds, size, predictor, permuted    of a comparison's laws
    result                      the result, JSON
    result.NAME, result.A.B     each number, truth value or text of the result outside its lists,
                                result.value if the result is one by itself
    seconds                     how long it took; further entries of its info are info.NAME
    process, host, start        the run that wrote it
    config.NAME                 the configuration: command, profile, seed, versions, options
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from icl_sim.errors import InputError
from icl_sim.storage.records import canonical_json, merge, read_directory

_STATEMENT = re.compile(r"(?:statement/)?(?P<statement>(?P<claim>C\d+)\.[^/]+)(?:/.*)?")
_COMPARISON = re.compile(
    r"compare/(?P<task>[^/]+)/(?:(?P<contexts>\d+)x(?P<vocab>\d+)/)?(?P<tasks>\d+)x(?P<seeds>\d+)"
    r"/(?P<size>\d+)/(?P<predictor>.+?)(?P<permuted>/permuted)?"
)
_INTEGERS = ("contexts", "vocab", "tasks", "seeds", "size")
# Types of what may be missing from all records; the others' follow from their values.
_TYPES = {"result": "JSON", "seconds": "DOUBLE", "permuted": "BOOLEAN"}
_TYPES |= dict.fromkeys(_INTEGERS, "BIGINT")
_PARTS = ["claim", "statement", *_COMPARISON.groupindex]
_LARGEST = 2**63 - 1


def write_parquet(run: str | Path, path: str | Path) -> tuple[int, list[str]]:
    """Writes the records of a directory of results as a Parquet file.

    Args:
      run: the --out of reproduce, verify, compare or another command that records.
      path: the file; it appears when it is whole.

    Returns:
      Its rows, and the names of its columns.

    Raises:
      InputError: DuckDB is not installed, ``run`` holds no records or corrupt ones, or the file
        cannot be written.
    """
    try:
        import duckdb
    except ImportError:
        raise InputError(
            "Parquet: expected DuckDB, which is not installed: pip install 'icl-sim[export]'"
        ) from None
    columns, rows = record_table(run)
    types = {name: _TYPES.get(name) or _type(row.get(name) for row in rows) for name in columns}
    declared = ", ".join(f"{_name(name)} {kind}" for name, kind in types.items())
    # Whole columns as parameters: a list each, unnested side by side.
    lists = ", ".join(
        f"unnest(${i}::{'VARCHAR' if kind == 'JSON' else kind}[])"
        for i, kind in enumerate(types.values(), start=1)
    )
    target = Path(path).absolute()
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with duckdb.connect() as database:
            # It would write to stdout, which is the command line's.
            database.execute("SET enable_progress_bar = false")
            database.execute(f"CREATE TABLE records ({declared})")
            values = [[_cell(row.get(name), types[name]) for row in rows] for name in types]
            database.execute(f"INSERT INTO records SELECT {lists}", values)
            database.execute(f"COPY records TO {_text(str(partial))} (FORMAT parquet)")
        os.replace(partial, target)
    except (OSError, duckdb.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"{path}: expected a Parquet file that can be written, got {reason}"
        ) from None
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()
    return len(rows), list(types)


def record_table(run: str | Path) -> tuple[list[str], list[dict[str, Any]]]:
    """The columns of a run's records, sorted within their kinds, and the records as rows.

    Raises:
      InputError: no records, a corrupt line, or two results for one key.
    """
    files = read_directory(Path(run))
    merged = merge(files)
    if not merged:
        raise InputError(
            f"expected records-*.jsonl with results in {run}, found none; name a directory of "
            "results"
        )
    rows = {}
    for file in files:
        header = file.header or {"config": {}, "info": {}}
        about = dict(header["info"]) | dict(_leaves("config", header["config"]))
        for record in file.records:
            if record is merged[record.key]:
                info = {
                    name if name == "seconds" else f"info.{name}": value
                    for name, value in record.info.items()
                }
                rows[record.key] = {
                    "key": record.key,
                    **_parts(record.key),
                    "result": canonical_json(record.result),
                    **dict(_leaves("result", record.result)),
                    **info,
                    **about,
                }
    found = {name for row in rows.values() for name in row}
    fixed = ["key", *_PARTS, "result", "seconds", "process", "host", "start"]
    results = sorted(name for name in found if name.startswith("result."))
    place = fixed.index("seconds")
    known = [*fixed[:place], *results, *fixed[place:]]
    columns = [*known, *sorted(found - set(known))]
    return columns, [rows[key] for key in sorted(rows)]


def _parts(key: str) -> dict[str, Any]:
    """What a key says of its record.

    >>> _parts("C1.token/V=32/zipf/0-400")
    {'statement': 'C1.token', 'claim': 'C1'}
    >>> list(_parts("compare/english/8x8/12x1/64/full/permuted").values())
    ['english', 8, 8, 12, 1, 64, 'full', True]
    """
    match = _COMPARISON.fullmatch(key) or _STATEMENT.fullmatch(key)
    parts: dict[str, Any] = match.groupdict() if match else {}
    for name in _INTEGERS:
        if parts.get(name) is not None:
            parts[name] = int(parts[name])
    if "permuted" in parts:
        parts["permuted"] = parts["permuted"] is not None
    return parts


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The scalars under a name, dotted; lists of a configuration as JSON, those of results not."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(f"{name}.{key}", item)
    elif not isinstance(value, list):
        yield ("result.value" if name == "result" else name), value
    elif name.startswith("config"):
        yield name, canonical_json(value)


def _type(values: Iterable[Any]) -> str:
    """The narrowest SQL type that holds all values exactly; text if they are of several kinds.

    >>> _type([1, None, 2]), _type([1, 0.5]), _type([True, None]), _type([1, "a"]), _type([10**30])
    ('BIGINT', 'DOUBLE', 'BOOLEAN', 'VARCHAR', 'VARCHAR')
    >>> _type([0.5, 10**400])
    'VARCHAR'
    """
    known = [value for value in values if value is not None]
    kinds = {type(value) for value in known}
    if kinds == {bool}:
        return "BOOLEAN"
    if kinds == {int} and all(abs(value) <= _LARGEST for value in known):
        return "BIGINT"
    if float in kinds and kinds <= {int, float} and all(map(_is_double, known)):
        return "DOUBLE"
    return "VARCHAR"


def _is_double(value: float) -> bool:
    try:
        return float(value) == value
    except OverflowError:
        return False


def _cell(value: Any, kind: str) -> Any:
    if kind != "VARCHAR" or value is None or isinstance(value, str):
        return value
    return canonical_json(value)


def _name(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
