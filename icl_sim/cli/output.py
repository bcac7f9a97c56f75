"""What several commands print: JSON, tables, verdicts, the path of the report."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from icl_sim.storage.json_form import json_form

if TYPE_CHECKING:  # importing the report takes seconds
    from icl_sim.claims.claim import Outcome
    from icl_sim.report.findings import Findings

STYLES = {
    "HOLDS": "green",
    "HOLDS-LOOSE": "cyan",
    "FALSE-AS-STATED": "red",
    "INCONCLUSIVE": "yellow",
    "passed": "green",
    "FAILED": "bold red",
}


def print_json(value: Any, **more: Any) -> None:
    """One JSON object in one line: a result's, with ``more`` beside its keys."""
    print(json.dumps(json_form(value) | more, sort_keys=True, allow_nan=False))


def print_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Aligned columns under their headers.

    A terminal gets colours, and a last column that is wrapped inside its own width. Anything else,
    a pipe or a file, gets each row as one full line, without trailing blanks.

    Args:
      headers: of the columns; those of numbers alone are aligned right.
      rows: texts, none of them markup; a line break in one is a blank where a row is a line.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    numeric = [
        all(re.fullmatch(r"[-+.,%\d]*", cell) for cell in c) for c in zip(*rows, strict=True)
    ]
    console = Console(markup=False, emoji=False, highlight=False)
    if not console.is_terminal:
        lines = [list(headers), *([" ".join(cell.split()) for cell in row] for row in rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        for line in lines:
            columns = zip(line, widths, numeric, strict=True)
            print("  ".join(f"{c:>{w}}" if n else f"{c:{w}}" for c, w, n in columns).rstrip())
        return
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for i, header in enumerate(headers):
        last = i == len(headers) - 1
        grid.add_column(
            header,
            justify="right" if numeric[i] else "left",
            no_wrap=not last,
            overflow="fold" if last else "ignore",
        )
    for row in rows:
        grid.add_row(*(Text(cell, style=STYLES.get(cell, "")) for cell in row))
    console.print(grid)


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
    """Verdicts and checks, as JSON or as a table with a line for each."""
    if arguments.json:
        print_json(findings, **more)
        return
    rows = []
    for judgement in findings.statements:
        statement, found = judgement.statement, judgement.outcome
        why = f"{found.why} ({found.replicates:,} trials)" if found.replicates else found.why
        text = f"{statement.statement}\n-> {why}"
        rows.append((statement.id, found.verdict, certainty(found), text))
    for check in findings.checks:
        verdict = "passed" if check.passed else "FAILED"
        rows.append(("check", verdict, "", f"{check.name}: {check.value:.2g} <= {check.limit:g}"))
    if rows:
        print_table(("statement", "verdict", "certainty", "what is judged -> what was found"), rows)
    if findings.audit:
        surprises = findings.audit.surprises
        if surprises:
            print(f"not the verdict that the theory derives: {', '.join(surprises)}")
        audit = findings.audit
        if audit.confidence < 1:
            print(f"all sampled verdicts are right together: {100 * audit.confidence:.4g} %")
        print(f"profile {audit.profile}, seed {audit.seed}, digest {audit.digest}")


def certainty(outcome: Outcome) -> str:
    """How certain a verdict is: exact where nothing was sampled, or sampling could not err."""
    return "exact" if outcome.confidence == 1 else f"{100 * outcome.confidence:.4g} %"


def exit_code_of(findings: Findings) -> int:
    """1 if a check failed, or a statement did not get the verdict that its theory derives."""
    return int(not findings.as_expected)
