"""``verify``: verdicts on claims or single statements."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import icl_sim
from icl_sim.cli import flags, output
from icl_sim.errors import require_known, same_name
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
    _refuse_typos(arguments.names)
    flags.keep_compiled(arguments)
    from icl_sim.report.findings import Findings
    from icl_sim.reproduction import verify

    with ProgressBar() as progress:
        options = flags.chosen(arguments, "profile", "seed", "out", "resume")
        audit = verify(arguments.names, **options, progress=progress)
    findings = Findings(audit)
    output.show(findings, arguments)
    return output.exit_code_of(findings)


def shipped() -> list[str]:
    """Ids of the claims and statements that ship, read off their source.

    Importing the experiments takes seconds; who mistyped an id need not wait for that.
    """
    files = sorted((Path(icl_sim.__file__).parent / "claims").rglob("*.py"))
    text = "".join(file.read_text(encoding="utf-8") for file in files)
    ids = re.findall(r'\b(?:id=|ID = )"([A-Z]\w*(?:\.[a-z0-9-]+)?)"', text)
    return sorted({*ids, "atlas"})


def _refuse_typos(names: list[str]) -> None:
    """Raises InputError for a name that is none, unless a plugin may know it."""
    if "icl_sim.claims" not in sys.modules and (known := shipped()):
        for name in names:
            require_known(same_name(name, known), known, what="claim or statement")
