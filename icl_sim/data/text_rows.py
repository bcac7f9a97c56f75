"""Rows of JSONL, CSV and Parquet files, one at a time, whatever the file's size."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from icl_sim.errors import InputError

# (number, cells by column): the number of the row's last line, or of the row in Parquet.
Row = tuple[int, dict[str, Any]]

LONGEST = 2**20  # bytes of a line
BLOCK = 4096  # rows of Parquet at once
_MARKS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
_BOM = b"\xef\xbb\xbf"


def read_rows(path: str | Path) -> tuple[str, Iterator[Row]]:
    """The rows of a file, read as they are asked for.

    Args:
      path: .jsonl or .ndjson, .csv or .tsv with a header (comma, semicolon or tab), .parquet.

    Returns:
      what a number counts, ``line`` or ``row``; and the rows.

    Raises:
      InputError: another kind of file, or one that cannot be read; while the rows are read, what is
        no row, with its line.
    """
    file = Path(path)
    reader = READERS.get(file.suffix.lower())
    if reader is None:
        fix = "jq -c '.[]' makes lines of a list" if file.suffix == ".json" else "convert it"
        raise InputError(
            f"{path}: expected a file that ends with {', '.join(READERS)}, got "
            f"{file.suffix or 'no ending'}: {fix}"
        )
    # os.path takes a name that the system refuses, such as one too long, for none.
    if not os.path.exists(file) or os.path.isdir(file):
        got = "a directory" if os.path.isdir(file) else "none"
        raise InputError(f"{path}: expected a file, got {got}")
    return ("row" if reader is _parquet else "line"), reader(file)


def _lines(file: Path) -> Iterator[str]:
    """Lines with their ends, decoded one by one, so that a wrong byte has a place."""
    offset, number = 0, 0
    try:
        with file.open("rb") as stream:
            while line := stream.readline(LONGEST + 1):
                number += 1
                if len(line) > LONGEST:
                    raise InputError(
                        f"{file}, line {number}: expected at most {LONGEST} bytes, got more: one "
                        "row a line"
                    )
                skipped = len(_BOM) if number == 1 and line.startswith(_BOM) else 0
                try:
                    yield line[skipped:].decode()
                except UnicodeDecodeError as error:
                    coding = _MARKS.get(line[:2]) if number == 1 else None
                    at = offset + skipped + error.start
                    raise InputError(
                        f"{file}, line {number}: expected UTF-8, got byte 0x"
                        f"{line[skipped + error.start]:02x} at offset {at}: convert it, "
                        f"iconv -f {coding or 'LATIN1'} -t UTF-8"
                    ) from None
                offset += len(line)
    except OSError as error:
        raise InputError(f"{file}: expected a readable file, got {error.strerror}") from None


def _jsonl(file: Path) -> Iterator[Row]:
    for number, line in enumerate(_lines(file), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            reason = error.msg if isinstance(error, json.JSONDecodeError) else type(error).__name__
            raise InputError(
                f"{file}, line {number}: expected a JSON object, got {_short(line)}: {reason}"
            ) from None
        if not isinstance(row, dict):
            raise InputError(f"{file}, line {number}: expected a JSON object, got {_short(line)}")
        yield number, row


def _csv(file: Path) -> Iterator[Row]:
    lines = _lines(file)
    first = next(lines, "")
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(_after(first, lines), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise InputError(
                f"{file}, line {reader.line_num}: expected CSV, got {error}: quote cells that hold "
                "quotes, commas or line breaks, and double the quotes in them"
            ) from None
        if cells is None:
            return
        if not any(map(str.strip, cells)):
            continue
        if header is None:
            header = [name.strip() for name in cells]
            if len(set(header)) < len(header):
                raise InputError(f"{file}: expected a header of distinct names, got {header}")
            continue
        if len(cells) != len(header):
            raise InputError(
                f"{file}, line {reader.line_num}: expected {len(header)} cells, as the header has, "
                f"got {len(cells)}: quote cells that hold a {delimiter!r}"
            )
        yield reader.line_num, dict(zip(header, cells, strict=True))


def _after(first: str, lines: Iterator[str]) -> Iterator[str]:
    yield first
    yield from lines


def _parquet(file: Path) -> Iterator[Row]:
    try:
        import duckdb
    except ImportError:
        raise InputError(
            f"{file}: expected DuckDB, which is not installed: pip install 'icl-sim[export]'"
        ) from None
    try:
        with duckdb.connect() as database:
            # One thread keeps the order of the rows, so that a seed draws the same ones.
            database.execute("SET threads = 1")
            # It would write to stdout, which is the command line's.
            database.execute("SET enable_progress_bar = false")
            found = database.execute("SELECT * FROM read_parquet(?)", [str(file)])
            names = [column[0] for column in found.description or ()]
            number = 0
            while rows := found.fetchmany(BLOCK):
                for row in rows:
                    number += 1
                    yield number, dict(zip(names, row, strict=True))
    except duckdb.Error as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{file}: expected a Parquet file, got {reason}") from None


def _short(text: str) -> str:
    text = text.strip()
    return repr(text if len(text) <= 40 else f"{text[:40]}...")


READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".jsonl": _jsonl,
    ".ndjson": _jsonl,
    ".csv": _csv,
    ".tsv": _csv,
    ".parquet": _parquet,
}
