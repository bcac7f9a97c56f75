"""Results -> report.html, audit.html, results.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from icl_sim.errors import InputError
from icl_sim.report import comparison_plots, curves, plots
from icl_sim.report.audit import audit, columns


def write_report(results: Mapping[str, Any], out: str | Path) -> Path:
    """Writes ``report.html`` and ``results.json`` into ``out`` and returns the page's path.

    With statements among the results, ``audit.html`` too, which has all about each of them.

    Args:
      results: any of: what `icl_sim.claims.judge` returns; ``comparisons`` and ``collapse``, lists
        of what `icl_sim.comparison.compare` returns; ``training`` and ``pretraining``, lists of
        what `icl_sim.training.runs` returns.
      out: the directory; made if missing.

    Raises:
      InputError: the directory cannot be written.
    """
    directory = Path(out)
    page = directory / "report.html"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "results.json").write_text(
            json.dumps(results, sort_keys=True, indent=1, allow_nan=False) + "\n"
        )
        page.write_text(render(results))
        if results.get("statements"):
            (directory / "audit.html").write_text(render_audit(results))
    except OSError as error:
        raise InputError(
            f"--out {out}: expected a directory that can be written, got {error.strerror}: choose "
            "another"
        ) from None
    return page


def render_audit(results: Mapping[str, Any]) -> str:
    """The audit as text; all that came from data is escaped."""
    page = _environment().get_template("audit.html")
    return page.render(results=results, audit=audit(results))


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("icl_sim.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["number"] = number
    environment.filters["columns"] = columns
    return environment


def render(results: Mapping[str, Any]) -> str:
    """The page as text; all that came from data is escaped."""
    results = {"claims": [], "statements": [], "checks": [], "costs": []} | dict(results)
    pictures = [picture for c in results.get("comparisons", []) for picture in _compared(c)]
    if results.get("collapse"):
        drawn = plots.svg(comparison_plots.collapse, results["collapse"])
        pictures.append(
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
    for run in results.get("training", []):
        pictures.append(
            {
                "title": f"The path of fine-tuning: {run['task']}",
                "caption": (
                    f"{run['copies']} copies of the base fine-tuned in one program; means over "
                    "contexts and copies. The path comes nearest to the truth early and goes "
                    "on to the counts; the star is where an oracle would stop."
                ),
                "svg": Markup(  # noqa: S704
                    plots.svg(curves.trajectory, run, panels=len(run["sizes"]))
                ),
            }
        )
    for run in results.get("pretraining", []):
        pictures.append(
            {
                "title": "Pretraining of the base",
                "caption": f"{run['tokens_per_second']:,} tokens a second on the machine at hand.",
                "svg": Markup(plots.svg(curves.pretraining_loss, run)),  # noqa: S704
            }
        )
    page = _environment().get_template("report.html")
    return page.render(results=results, pictures=pictures)


def _compared(comparison: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Pictures of one comparison: distances against N, and the matrix with the tables below it."""
    ends = comparison_plots.ends(comparison)
    if len(comparison["sizes"]) > 1:
        title = f"Predictors against the truth: {comparison['task']}"
        caption = (
            "Means over contexts and tasks; bands are 95 % bootstrap intervals over tasks. "
            "The hand-written lookup lies on the counts, and fine-tuning ends there too."
        )
        drawn = plots.svg(comparison_plots.compared, comparison, panels=2)
    else:
        title = f"Beside {comparison['predictors'][0]}: {comparison['task']}"
        caption = "Means over contexts and tasks with 95 % bootstrap intervals over tasks."
        drawn = plots.svg(comparison_plots.beside, comparison)
    return [
        # The SVG is drawn here from numbers and names of the library, hence safe.
        {"title": title, "caption": caption, "svg": Markup(drawn)},  # noqa: S704
        {
            "title": f"Every route beside every other: {comparison['task']}",
            "caption": "Rows and columns are predictors on the same data; the truth is the last.",
            "svg": Markup(  # noqa: S704
                plots.svg(comparison_plots.matrices, comparison, panels=len(ends))
            ),
            "tables": comparison_plots.tables(comparison),
        },
    ]


def number(value: Any) -> str:
    """A table cell: integers with separators, floats with four significant digits."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value)
