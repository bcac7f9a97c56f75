"""``reproduce``: the main job."""

from __future__ import annotations

from typing import Any

from icl_sim.cli import flags, output
from icl_sim.execution.progress import ProgressBar


def add(commands: Any) -> None:
    """Adds the command and its flags."""
    parser = flags.add_command(commands, "reproduce", run, "judge every claim and write the report")
    flags.add_profile(parser)
    flags.add_cache(parser)
    flags.add_out(parser, default="out", about="records and report")


def run(arguments: Any) -> int:
    """All verdicts, comparisons and checks, and the report."""
    flags.keep_compiled(arguments)
    from icl_sim.reproduction import reproduce

    with ProgressBar() as progress:
        options = flags.chosen(arguments, "profile", "seed", "out", "resume")
        findings = reproduce(**options, progress=progress)
    return output.report(findings, arguments.out, arguments)
