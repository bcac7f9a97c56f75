"""``report``: the pages of a run, from its records."""

from __future__ import annotations

from typing import Any

from icl_sim.cli import flags, output


def add(commands: Any) -> None:
    """Adds the command and its flags."""
    about = "write the report of a run from its records"
    parser = flags.add_command(commands, "report", run, about)
    parser.add_argument(
        "directory", metavar="DIR", help="the --out of reproduce, verify, compare or train sft"
    )


def run(arguments: Any) -> int:
    """Writes the pages again; nothing is computed."""
    from icl_sim.reproduction import recorded

    return output.report(recorded(arguments.directory), arguments.directory, arguments)
