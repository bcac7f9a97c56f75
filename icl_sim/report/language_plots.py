"""Pictures and tables of a comparison through a language model."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes

from icl_sim.comparison.language_result import LanguageComparison
from icl_sim.report import comparison_plots, headlines, plots
from icl_sim.report.comparison_plots import look
from icl_sim.report.plots import SMALL

WORST = 5  # contexts that are named in the picture
NOISES = {"order": "#0072B2", "template": "#E69F00", "seed": "#CC79A7"}


def pictures(found: LanguageComparison) -> list[dict[str, Any]]:
    """Title, caption, drawing and tables, in the order of the page."""
    ends = comparison_plots.ends(found)
    drawn = [
        (
            f"How far is prompting from fine-tuning? {found.base}, {headlines.ranking(found)}",
            "Mean total variation on the choices, with 95 % bootstrap intervals over tasks and "
            "their queries. Dotted: the largest noise that another order, template or seed makes.",
            plots.svg(against_sizes, found, panels=2 if found.reference else 1),
            {"demonstrations at which a route comes within eps": [asdict(r) for r in found.reach],
             "demonstrations that the theory of tables asks for, in all": [
                 asdict(t) for t in found.theory]},
        ),
        (
            headlines.nearest(found),
            "On the choices; the truth is the last: "
            + ("the true law." if found.truth == "law" else "the held-out labels."),
            plots.svg(comparison_plots.matrices, found, panels=len(ends)),
            tables(found),
        ),
    ]  # fmt: skip
    if any(found.scatter.values()):
        drawn.append(
            (
                f"Query by query: {found.prompted} against {found.reference}",
                "Probability of the choice that is likeliest by the truth, first task, the largest "
                "N; the queries that differ most are named.",
                plots.svg(by_query, found),
                {"queries that differ most": [
                    {"N": n} | asdict(w) for n, rows in found.worst.items() for w in rows]},
            )
        )  # fmt: skip
    if any(found.floors.values()):
        drawn.append(
            (
                "Noise floors",
                "How far a route's law moves when the order of the demonstrations, the template or "
                "the seed alone is another. A distance below both floors tells nothing.",
                plots.svg(noise, found),
                {"noise floors": _floors(found)},
            )
        )
    if found.costs:
        drawn.append(
            (
                "Cost against quality",
                "Operations of a thousand queries, training included and prefixes cached, against "
                "the distance to the truth, one line a route, N from small to large.",
                plots.svg(cost_against_quality, found),
                {"costs": [asdict(row) for row in found.costs]},
            )
        )
    return [
        # The SVG is drawn here, its texts escaped by matplotlib, hence safe.
        {"title": t, "caption": c, "svg": Markup(svg), "tables": rows}  # noqa: S704
        for t, c, svg, rows in drawn
    ]


def against_sizes(*axes_and_found: Any) -> None:
    """To the truth; and to the reference, with the floor of each route's noise."""
    *panels, found = axes_and_found
    comparison_plots.against_size(panels[0], found, "truth")
    panels[0].set_title("distance to the truth")
    if len(panels) == 1:
        return
    axes = panels[1]
    comparison_plots.against_size(axes, found, found.reference)
    largest = [
        max((c.mean for row in found.floors[n].values() for c in row.values()), default=0)
        for n in found.sizes
    ]
    if max(largest) > 0:
        axes.plot(found.sizes, largest, color="#999999", linestyle=":", label="largest noise")
        axes.legend()
    axes.set_title(f"distance to {found.reference}")


def by_query(axes: Axes, found: LanguageComparison) -> None:
    """One point a query: prompted against tuned, and the names of the worst."""
    rows = found.scatter[max(found.sizes)]
    x, y = (np.array([row[i] for row in rows]) for i in (1, 2))
    axes.plot([0, 1], [0, 1], color="#999999", linestyle=":")
    axes.scatter(x, y, c=[row[3] for row in rows], cmap="viridis", vmin=0, vmax=1, s=18)
    for i in np.argsort(-np.abs(x - y), kind="stable")[:WORST]:
        name = rows[i][0].replace("\n", " ").replace("$", r"\$")
        axes.annotate(
            name[:24], (x[i], y[i]), fontsize=SMALL, xytext=(3, 3), textcoords="offset points"
        )
    axes.set(xlabel=f"{found.prompted}", ylabel=f"{found.reference}")
    axes.set_title("one point a query; color: its true share")


def noise(axes: Axes, found: LanguageComparison) -> None:
    """Bars at the largest size."""
    rows = found.floors[max(found.sizes)]
    place = 0
    ticks: list[tuple[float, str]] = []
    for name, by_noise in rows.items():
        for kind, cell in by_noise.items():
            spread = np.abs(np.array([[cell.low], [cell.high]]) - cell.mean)
            axes.barh(place, cell.mean, xerr=spread, color=NOISES[kind], height=0.7)
            ticks.append((place, f"{name}: {kind}"))
            place += 1
    axes.set_yticks([t for t, _ in ticks], [name for _, name in ticks], fontsize=SMALL)
    axes.invert_yaxis()
    axes.set(xlabel="mean total variation", title=f"N = {max(found.sizes)}")


def cost_against_quality(axes: Axes, found: LanguageComparison) -> None:
    """A line a route."""
    names = list(dict.fromkeys(row.route for row in found.costs))
    for place, name in enumerate(names):
        rows = [row for row in found.costs if row.route == name]
        x = [row.flops_once + 1000 * row.flops_per_query for row in rows]
        y = [found.matrix[row.N][name]["truth"].mean for row in rows]
        axes.plot(x, y, **look(name, place))
    axes.set(xscale="log", xlabel="operations of 1,000 queries")
    axes.set_ylabel("mean total variation to truth")
    axes.legend()


def tables(found: LanguageComparison) -> dict[str, list[dict[str, Any]]]:
    """Title -> rows: against the labels, on all tokens, other divergences, rates."""
    names = [n for n in found.predictors if n != "truth"]
    largest = max(found.sizes)
    return {
        "against held-out labels": [
            {
                "N": n,
                "route": name,
                "accuracy": q.accuracy.mean,
                "low": q.accuracy.low,
                "high": q.accuracy.high,
                "cross-entropy, nats": q.cross_entropy.mean,
                "calibration error": q.calibration_error,
            }
            for n, by_name in found.quality.items()
            for name, q in by_name.items()
        ],
        "distance on the whole vocabulary": [
            {"N": n, "row": row, "column": column, **asdict(cell)}
            for n, by_row in found.vocabulary.get("total_variation", {}).items()
            for row, cells in by_row.items()
            for column, cell in cells.items()
            if row < column
        ],
        f"other measures, N = {largest}": [
            {
                "row": row,
                "column": column,
                "KL, nats": found.kl[largest][row][column].mean,
                "Jensen-Shannon, nats": found.jensen_shannon[largest][row][column].mean,
                "same likeliest choice": found.agreement[largest][row][column].mean,
                **{f"TV quantile {q}": v for q, v in found.quantiles[largest][row][column].items()},
            }
            for row in names
            for column in found.predictors
            if row != column
        ],
        "exponent of the distance to truth in N": [
            {"route": name, **asdict(rate)} for name, rate in found.rates.items()
        ],
        "what routes say of themselves": [
            {"N": n, "route": name, **figures}
            for n, by_name in found.figures.items()
            for name, figures in by_name.items()
        ],
    }


def _floors(found: LanguageComparison) -> list[dict[str, Any]]:
    whole = found.vocabulary_floors
    return [
        {
            "N": n,
            "route": name,
            "noise": kind,
            **asdict(cell),
            "whole vocabulary": whole[n][name][kind].mean if name in whole[n] else None,
        }
        for n, by_name in found.floors.items()
        for name, by_noise in by_name.items()
        for kind, cell in by_noise.items()
    ]
