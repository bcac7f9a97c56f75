"""``verify``: verdicts on claims or single statements."""

from __future__ import annotations

from typing import Any

from icl_sim.cli import flags, listing, output
from icl_sim.execution.progress import ProgressBar


def add(commands: Any) -> None:
    """Adds the command and its flags."""
    parser = flags.add_command(commands, "verify", run, "judge claims or single statements")
    parser.add_argument(
        "names",
        nargs="*",
        metavar="CLAIM | STATEMENT",
        help="e.g. C1, C1.sum; atlas: theorems beside the audit",
    )
    flags.add_profile(parser)
    flags.add_cache(parser)
    flags.add_out(parser, default=None, about="records and report")


def run(arguments: Any) -> int:
    """Judges, and tells by the exit code whether theory and run agree."""
    flags.require_out(arguments)
    listing.refuse_typos(judged=arguments.names)
    flags.keep_compiled(arguments)
    from icl_sim.report.findings import Findings
    from icl_sim.reproduction import verify

    with ProgressBar() as progress:
        options = flags.chosen(arguments, "profile", "seed", "out", "resume")
        audit = verify(arguments.names, **options, progress=progress)
    findings = Findings(audit)
    output.show(findings, arguments)
    return output.exit_code_of(findings)
