"""``python -m benchmarks [--suite NAME] [--peers] [--json FILE]``: measures on this machine.

Every suite times both sides of its comparisons in this one process, compilation apart, and reports
medians.  With ``--json`` the results are appended to a history file, one JSON object a line.
"""

from __future__ import annotations

import argparse
import inspect
import json
import platform
import sys
import time
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

SUITES = (
    "constructions",
    "divergence",
    "emulation",
    "exact",
    "learners",
    "slopes",
    "tightness",
    "training",
)


def main(argv: list[str]) -> int:
    """Runs the suites that ``argv`` names and prints a table of each."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("--suite", choices=(*SUITES, "all"), default="all")
    parser.add_argument("--peers", action="store_true", help="time extra `peers` too")
    parser.add_argument("--json", type=Path, metavar="FILE", help="append the results here")
    arguments = parser.parse_args(argv)
    for suite in SUITES if arguments.suite == "all" else (arguments.suite,):
        run = import_module(f"benchmarks.{suite}").run
        options = {"peers": arguments.peers} if "peers" in inspect.signature(run).parameters else {}
        rows = run(**options)
        print(f"\n{suite}")
        _table(rows)
        if arguments.json:
            record = {"suite": suite, "time": time.time(), "machine": _machine(), "rows": rows}
            with arguments.json.open("a") as file:
                file.write(json.dumps(record, default=float) + "\n")
    return 0


def _machine() -> dict[str, Any]:
    import jax

    return {
        "python": platform.python_version(),
        "processor": platform.machine(),
        "devices": [str(device) for device in jax.devices()],
    } | {name: version(name) for name in ("jax", "jaxlib", "numpy")}


def _table(rows: list[dict[str, Any]]) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[_cell(row.get(name)) for name in names] for row in rows]
    widths = [max(map(len, column)) for column in zip(names, *cells, strict=True)]
    for line in [names, *cells]:
        print("  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True)))


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
