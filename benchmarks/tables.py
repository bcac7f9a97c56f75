"""Rows as tables: on the terminal, and between two marks in a Markdown file."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.measure import Row
from icl_sim.errors import InputError

HIDDEN = {"bytes", "flops"}  # in the JSON history; a table has the speeds


def plain(rows: Sequence[Row]) -> str:
    """Aligned columns; a table for each stretch of rows with the same columns, then the notes."""
    return "\n\n".join([*map(_plain, _tables(rows)), *_notes(rows)])


def _plain(table: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join(
        "  ".join(
            text.rjust(width) if i else text.ljust(width)
            for i, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in table
    )


def markdown(rows: Sequence[Row]) -> str:
    """The same in Markdown."""
    texts = []
    for names, *lines in _tables(rows):
        rule = ["---"] + ["--:"] * (len(names) - 1)
        cells = ([cell.replace("|", "\\|") for cell in line] for line in (names, rule, *lines))
        texts.append("\n".join(f"| {' | '.join(line)} |" for line in cells))
    return "\n\n".join([*texts, *_notes(rows)])


def _notes(rows: Sequence[Row]) -> list[str]:
    return [f"{row['name']}: {row['note']}" for row in rows if "note" in row]


def _tables(rows: Sequence[Row]) -> list[list[list[str]]]:
    """Header and lines of each stretch of rows."""
    stretches: list[list[Row]] = []
    for row in rows:
        if "note" in row:
            continue
        if stretches and row.keys() <= stretches[-1][0].keys():
            stretches[-1].append(row)
        else:
            stretches.append([row])
    found = []
    for stretch in stretches:
        names = [name for name in stretch[0] if name not in HIDDEN]
        titles = [name.removesuffix("_s") if _is_time(name) else name for name in names]
        lines = ([_cell(name, row.get(name)) for name in names] for row in stretch)
        found.append([titles, *lines])
    return found


def _is_time(name: str) -> bool:
    return name.endswith("_s") and "per_" not in name


def _cell(name: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool | str):
        return str(value)
    if _is_time(name) and 0 < value < 1:
        return f"{_digits(1e3 * value)} ms" if value >= 1e-3 else f"{_digits(1e6 * value)} us"
    if _is_time(name):
        return f"{_digits(value)} s"
    return f"{value:,}" if isinstance(value, int) else _digits(value)


def _digits(number: Any) -> str:
    value = float(number)
    if not value or not math.isfinite(value) or not 1e-4 <= abs(value) < 1e12:
        return f"{value:.3g}"
    # Three digits; from 1,000 on the rest of the integer's digits are zeros.
    digits = 2 - math.floor(math.log10(abs(value)))
    return f"{round(value, digits):,.{max(0, digits)}f}"


def one_line(about: dict[str, Any]) -> str:
    """The machine in a line."""
    devices = ", ".join(
        f"{len(list(same))} x {name}" for name, same in itertools.groupby(about["devices"])
    )
    return (
        f"{about['processor']}, {about['cores']} cores; {devices}; Python {about['python']}, "
        f"jax {about['jax']}; reads {about['stream'] / 1e9:.1f} GB/s (triad "
        f"{about['triad'] / 1e9:.1f}), matrix products {about['peak'] / 1e9:,.0f} GFLOP/s"
    )


def replace(path: Path, suite: str, rows: Sequence[Row], about: dict[str, Any]) -> None:
    """Puts the suite's tables, with date and machine, between its two marks in a file, if any."""
    text = path.read_text()
    found = _marked(text, suite)
    if found:
        start, end = found
        head = f"{datetime.now(UTC):%Y-%m-%d}, commit {about['commit']}: {one_line(about)}."
        path.write_text(f"{text[:start]}\n{head}\n\n{markdown(rows)}\n\n{text[end:]}")


def require_marks(path: Path, suites: Sequence[str]) -> None:
    """Whether the file has the marks of a suite.

    Raises:
      InputError: it has those of none.
    """
    text = path.read_text()
    if not any(_marked(text, suite) for suite in suites):
        raise InputError(
            f"--markdown {path}: expected the marks <!-- {suites[0]} --> and <!-- /{suites[0]} -->,"
            " each on a line of its own, found no such pair"
        )


def _marked(text: str, suite: str) -> tuple[int, int] | None:
    """Where the text between a suite's marks starts and ends."""
    opening, closing = f"<!-- {suite} -->\n", f"\n<!-- /{suite} -->"
    start = text.find(opening) + len(opening)
    end = text.find(closing, start - 1) + 1
    return (start, end) if start >= len(opening) and end else None
