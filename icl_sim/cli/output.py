"""What several commands print: JSON, verdicts, the path of the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def print_json(value: Any) -> None:
    """One JSON object in one line."""
    print(json.dumps(value, sort_keys=True, allow_nan=False))


def pages(results: dict[str, Any], directory: str) -> Path | None:
    """The path of the report; in a run of several processes the first one writes it."""
    from icl_sim.execution.hosts import is_first
    from icl_sim.report.pages import write_report

    return write_report(results, directory) if is_first() else None


def report(results: dict[str, Any], directory: str, arguments: Any) -> int:
    """Writes the pages of an audit, shows it, and returns the exit code."""
    page = pages(results, directory)
    show(results | {"report": str(page)}, arguments)
    if not arguments.json:
        print(f"report: {page}")
    return failed(results)


def show(results: dict[str, Any], arguments: Any) -> None:
    """Verdicts and checks, as JSON or as a table."""
    if arguments.json:
        print_json(results)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("statement", "verdict", "confidence", "replicates", "why", box=None)
    for s in results["statements"]:
        confidence = f"{s['confidence']:.0%}"
        table.add_row(s["id"], s["verdict"], confidence, f"{s['replicates']:,}", s["why"])
    for check in results.get("checks", ()):
        outcome = "passed" if check["passed"] else "FAILED"
        why = f"{check['name']}: {check['value']:.2g} (limit {check['limit']:g})"
        table.add_row("check", outcome, "", "", why)
    console = Console()
    console.print(table)
    console.print(f"seed {results['seed']}, digest {results['digest']}")


def failed(results: dict[str, Any]) -> int:
    """1 if a check failed, or a statement did not get the verdict that its theory derives."""
    surprise = any(s["verdict"] != s["derived"] for s in results["statements"])
    return int(surprise or not all(check["passed"] for check in results.get("checks", ())))
