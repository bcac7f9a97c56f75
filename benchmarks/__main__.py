"""``python -m benchmarks [--suite NAME] [--peers] [--json FILE] ...``: measures on this machine.

Every suite times both sides of its comparisons in this one process, compilation apart, on the
device that JAX finds.
"""

from __future__ import annotations

import argparse
import inspect
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from icl_sim.cli import exit_code
from icl_sim.errors import InputError

SUITES = (
    "certificates",
    "constructions",
    "contexts",
    "divergence",
    "emulation",
    "exact",
    "language",
    "learners",
    "literature",
    "memory",
    "rasp",
    "sharding",
    "slopes",
    "tightness",
    "training",
    "vocabulary",
)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see python -m benchmarks --help")


def main(argv: list[str]) -> int:
    """Runs the suites that ``argv`` names, prints a table of each, and returns the exit code."""
    return exit_code("benchmarks", lambda: _run(argv))


def _run(argv: list[str]) -> int:
    parser = _Parser(prog="benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("--suite", choices=(*SUITES, "all"), default="all")
    parser.add_argument("--peers", action="store_true", help="time other libraries too")
    parser.add_argument(
        "--json",
        type=_writable,
        metavar="FILE",
        help="append the results here, and print each time over the last one on this machine",
    )
    parser.add_argument(
        "--markdown",
        type=_writable,
        metavar="FILE",
        help="put each table between its two marks, <!-- SUITE --> and <!-- /SUITE -->",
    )
    parser.add_argument("--picture", type=_writable, metavar="FILE.svg", help="draw the roofline")
    arguments = parser.parse_args(argv)

    from benchmarks import history, tables
    from benchmarks.roofline import measured_roof, picture

    past = history.read(arguments.json) if arguments.json else []
    suites = SUITES if arguments.suite == "all" else (arguments.suite,)
    if arguments.markdown:
        tables.require_marks(arguments.markdown, suites)
    about = history.machine()
    print(tables.one_line(about))
    every: list[dict[str, Any]] = []
    for suite in suites:
        run = import_module(f"benchmarks.{suite}").run
        options = {"peers": arguments.peers} if "peers" in inspect.signature(run).parameters else {}
        rows = run(**options)
        every += [row | {"name": f"{suite}: {row['name']}"} for row in rows]
        print(f"\n{suite}\n{tables.plain(history.beside_last(rows, past, suite, about))}")
        if arguments.json:
            history.append(arguments.json, suite, rows, about)
        if arguments.markdown:
            tables.replace(arguments.markdown, suite, rows, about)
        if arguments.picture:
            arguments.picture.write_text(picture(measured_roof(), every))
    return 0


def _writable(text: str) -> Path:
    try:
        with open(text, "a"):
            return Path(text)
    except OSError as error:
        raise argparse.ArgumentTypeError(
            f"expected a file that can be written, got {text}: {error.strerror}"
        ) from None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
