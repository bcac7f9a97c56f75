"""Results -> report.html, audit.html, results.json."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from markupsafe import Markup

from icl_sim.claims.claim import FALSE, VERDICTS, Audit
from icl_sim.comparison.result import Comparison
from icl_sim.errors import InputError
from icl_sim.execution.signatures import checked
from icl_sim.report import comparison_plots, curves, headlines, language_plots, plots
from icl_sim.report.audit import looseness, pictures
from icl_sim.report.findings import Findings
from icl_sim.report.templating import template
from icl_sim.storage.json_form import json_form
from icl_sim.storage.whole_files import write_whole


@checked
def write_report(findings: Findings, out: str | Path) -> Path:
    """Writes ``report.html`` and ``results.json`` into ``out`` and returns the page's path.

    With an audit among the findings, ``audit.html`` too, which has all about each statement.

    Args:
      findings: what is to be shown.
      out: the directory; made if missing.

    Raises:
      InputError: the directory cannot be written.
    """
    directory = Path(out)
    page = directory / "report.html"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        results = json.dumps(json_form(findings), sort_keys=True, indent=1, allow_nan=False)
        write_whole(directory / "results.json", results + "\n")
        write_whole(page, render(findings))
        if findings.audit and findings.statements:
            write_whole(directory / "audit.html", render_audit(findings.audit))
    except OSError as error:
        raise InputError(
            f"--out {out}: expected a directory that can be written, got {error.strerror}: choose "
            "another"
        ) from None
    return page


def render_audit(audit: Audit) -> str:
    """The audit as text; all that came from data is escaped."""
    return template("audit.html").render(
        audit=audit,
        words=VERDICTS,
        pictures={s.statement.id: pictures(s.outcome.figures) for s in audit.statements},
        looseness=looseness(audit.statements),
    )


def render(findings: Findings) -> str:
    """The page as text; all that came from data is escaped."""
    drawings = [picture for c in findings.comparisons for picture in _compared(c)]
    drawings += [
        picture for found in findings.language for picture in language_plots.pictures(found)
    ]
    if findings.collapse:
        drawn = plots.svg(comparison_plots.collapse, findings.collapse)
        drawings.append(
            {
                "title": "One law for all tables?",
                "caption": (
                    "Tables of several sizes against the abstract's order for claim C1. If its "
                    "product were the right order, all would lie on one line of slope 1: they "
                    "have the slope, but not one line, since the true order is a sum."
                ),
                "svg": Markup(drawn),  # noqa: S704
            }
        )
    for run in findings.training:
        drawings.append(
            {
                "title": f"The path of fine-tuning: {run.task}, nearest to the truth after "
                + ", ".join(f"{stop.step:.0f} steps (N = {n})" for n, stop in run.oracle.items()),
                "caption": (
                    f"{run.copies} copies of the base fine-tuned in one program; means over "
                    "contexts and copies. The path comes nearest to the truth early and goes "
                    "on to the counts; the star is where an oracle would stop."
                ),
                "svg": Markup(  # noqa: S704
                    plots.svg(curves.trajectory, run, panels=len(run.sizes))
                ),
            }
        )
    for made in findings.pretraining:
        drawings.append(
            {
                "title": "Pretraining of the base",
                "caption": f"{made.tokens_per_second:,} tokens a second on the machine at hand.",
                "svg": Markup(plots.svg(curves.pretraining_loss, made)),  # noqa: S704
            }
        )
    return template("report.html").render(
        findings=findings,
        subject=_subject(findings),
        failed=[s for s in findings.statements if s.outcome.verdict == FALSE],
        words=VERDICTS,
        pictures=drawings,
        costs=[asdict(cost) for cost in findings.costs],
    )


def _subject(findings: Findings) -> str:
    """What the page is about, for its title."""
    if findings.audit:
        return "verdicts"
    tasks = [f"{found.task} through {found.base}" for found in findings.language]
    tasks += [found.task for found in findings.comparisons]
    tasks += [run.task for run in findings.training]
    return ", ".join(dict.fromkeys(tasks)) or "the base"


def _compared(comparison: Comparison) -> list[dict[str, Any]]:
    """Pictures of one comparison: distances against N, and the matrix with the tables below it."""
    ends = comparison_plots.ends(comparison)
    if len(comparison.sizes) > 1:
        caption = (
            "Means over contexts and tasks; bands are 95 % bootstrap intervals over tasks. "
            "The hand-written lookup lies on the counts, and fine-tuning ends there too."
        )
        drawn = plots.svg(comparison_plots.compared, comparison, panels=2)
    else:
        caption = "Means over contexts and tasks with 95 % bootstrap intervals over tasks."
        drawn = plots.svg(comparison_plots.beside, comparison)
    return [
        # The SVG is drawn here from numbers and names of the library, hence safe.
        {
            "title": headlines.ranking(comparison),
            "caption": caption,
            "svg": Markup(drawn),  # noqa: S704
        },
        {
            "title": headlines.nearest(comparison),
            "caption": "Rows and columns are predictors on the same data; the truth is the last.",
            "svg": Markup(  # noqa: S704
                plots.svg(comparison_plots.matrices, comparison, panels=len(ends))
            ),
            "tables": comparison_plots.tables(comparison),
            "origin": comparison.about,
            "command": comparison.command,
        },
    ]
