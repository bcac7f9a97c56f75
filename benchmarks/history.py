"""The history of measurements: one JSON object a line, each a suite's rows and their machine."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

from benchmarks.measure import Row
from benchmarks.roofline import measured_roof
from icl_sim.errors import InputError

# What must be equal for two runs to be compared.
SAME = ("processor", "cores", "devices")


def machine() -> dict[str, Any]:
    """Processor, cores, devices, ceilings (`roofline.Roof`), versions, and the commit if any."""
    cores = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))(0)
    return {
        "processor": _processor(),
        "cores": len(cores),
        "devices": [f"{device.platform}: {device.device_kind}" for device in jax.devices()],
        "python": platform.python_version(),
        **{name: version(name) for name in ("jax", "jaxlib", "numpy")},
        **asdict(measured_roof()),
        "commit": _commit(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _commit() -> str | None:
    """The checkout's commit, with a + if files differ from it; None outside one."""
    command = ["git", "describe", "--always", "--exclude=*", "--abbrev=12", "--dirty=+"]
    try:
        done = subprocess.run(  # noqa: S603
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def append(path: Path, suite: str, rows: Sequence[Row], about: dict[str, Any]) -> None:
    """Adds one line: suite, time (seconds since 1970), machine, rows."""
    record = {"suite": suite, "time": time.time(), "machine": about, "rows": list(rows)}
    try:
        with path.open("a") as file:
            file.write(json.dumps(record, default=float) + "\n")
    except OSError as error:
        raise InputError(
            f"--json {path}: expected a file that can be written, got {error.strerror}"
        ) from None


def read(path: Path) -> list[dict[str, Any]]:
    """The records of a history, oldest first; none if there is no file.

    Raises:
      InputError: the file cannot be read, or a line is no such record.
    """
    try:
        lines = path.read_text().splitlines() if path.exists() else []
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--json {path}: expected a history of benchmarks, got {error}") from None
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
            if not {"suite", "machine", "rows"} <= record.keys():
                raise ValueError
        except (ValueError, AttributeError):
            raise InputError(
                f"--json {path}, line {number}: expected a benchmark's record, got {line[:40]!r}; "
                "delete the line or name another file"
            ) from None
        records.append(record)
    return records


def beside_last(
    rows: Sequence[Row], records: Sequence[dict[str, Any]], suite: str, about: dict[str, Any]
) -> list[Row]:
    """The rows with `of_last`: their median time over that of the last run on this machine.

    A row that stood in no such run under the same name has None.
    """
    last: dict[str, float] = {}
    for record in records:
        if record["suite"] == suite and all(record["machine"].get(k) == about[k] for k in SAME):
            last |= {row["name"]: row["median_s"] for row in record["rows"] if "median_s" in row}
    return [
        row | {"of_last": row["median_s"] / last[row["name"]] if row["name"] in last else None}
        if last and "median_s" in row
        else row
        for row in rows
    ]
