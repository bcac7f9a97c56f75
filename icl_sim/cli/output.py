"""What several commands print: JSON, verdicts, the path of the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from icl_sim.storage.json_form import json_form

if TYPE_CHECKING:  # importing the report takes seconds
    from icl_sim.report.findings import Findings


def print_json(value: Any, **more: Any) -> None:
    """One JSON object in one line: a result's, with ``more`` beside its keys."""
    print(json.dumps(json_form(value) | more, sort_keys=True, allow_nan=False))


def pages(findings: Findings, directory: str) -> Path | None:
    """The path of the report; in a run of several processes the first one writes it."""
    from icl_sim.execution.hosts import is_first
    from icl_sim.report.pages import write_report

    return write_report(findings, directory) if is_first() else None


def report(findings: Findings, directory: str, arguments: Any) -> int:
    """Writes the pages of an audit, shows it, and returns the exit code."""
    page = pages(findings, directory)
    show(findings, arguments, report=str(page))
    if not arguments.json:
        print(f"report: {page}")
    return exit_code_of(findings)


def show(findings: Findings, arguments: Any, **more: Any) -> None:
    """Verdicts and checks, as JSON or as a table."""
    if arguments.json:
        print_json(findings, **more)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("statement", "verdict", "confidence", "replicates", "why", box=None)
    for judgement in findings.statements:
        found = judgement.outcome
        confidence = "exact" if found.confidence == 1 else f"{found.confidence:.2%}"
        replicates = f"{found.replicates:,}"
        table.add_row(judgement.statement.id, found.verdict, confidence, replicates, found.why)
    for check in findings.checks:
        outcome = "passed" if check.passed else "FAILED"
        why = f"{check.name}: {check.value:.2g} (limit {check.limit:g})"
        table.add_row("check", outcome, "", "", why)
    console = Console(markup=False, emoji=False)  # names are no markup
    console.print(table)
    if findings.audit:
        console.print(f"seed {findings.audit.seed}, digest {findings.audit.digest}")


def exit_code_of(findings: Findings) -> int:
    """1 if a check failed, or a statement did not get the verdict that its theory derives."""
    return int(not findings.as_expected)
