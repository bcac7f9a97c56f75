"""Pictures and tables of a comparison: what `icl_sim.comparison.compare` returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, TypeAlias

import numpy as np
from matplotlib.axes import Axes

from icl_sim.comparison.language_result import LanguageComparison
from icl_sim.comparison.result import Comparison
from icl_sim.report.plots import SMALL, log_ticks

# Okabe and Ito's palette for the routes that most comparisons show; the others follow in gray tones
# of their own, told apart by their markers.
COLORS = {
    "counts": "#000000",
    "lookup": "#009E73",
    "fine-tuned": "#D55E00",
    "full": "#D55E00",
    "bayes": "#E69F00",
    "in-context": "#0072B2",
    "zero-shot": "#56B4E9",
    "lora-4": "#CC79A7",
    "lora-8": "#CC79A7",
}
Compared: TypeAlias = Comparison | LanguageComparison
MARKERS = "osD^vPX*<>hp"
ROUNDING = 2.0**-24  # of float32: what is below it is drawn there


def look(name: str, place: int) -> dict[str, Any]:
    """Color, marker and label of a route."""
    # The lookup lies on the counts: hollow markers let both be seen.
    return {
        "color": COLORS.get(name, f"{0.35 + 0.06 * (place % 6):.2f}"),
        "marker": MARKERS[place % len(MARKERS)],
        "markerfacecolor": "none",
        "markersize": 5 + 3 * (name == "lookup"),
        "linewidth": 1.4,
        "label": name,
    }


def against_size(axes: Axes, comparison: Compared, column: str) -> None:
    """Mean total variation from each predictor to ``column`` against N, with the slope -1/2."""
    sizes = comparison.sizes
    first = []
    for place, name in enumerate(comparison.predictors):
        cells = [comparison.matrix[size][name][column] for size in sizes]
        if name == column or max(cell.mean for cell in cells) <= 0:
            continue
        mean, lower, upper = (
            [max(getattr(cell, end), ROUNDING) for cell in cells] for end in ("mean", "low", "high")
        )
        line = look(name, place)
        axes.fill_between(sizes, lower, upper, color=line["color"], alpha=0.15, linewidth=0)
        axes.plot(sizes, mean, **line)
        first.append(mean[0])
    if column == "truth" and first:
        law = 1.3 * max(first) * np.sqrt(sizes[0] / np.array(sizes))
        axes.plot(sizes, law, color="#999999", linestyle=":", label="slope -1/2")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    log_ticks(axes, sizes)
    axes.set(xlabel="demonstrations, N", ylabel=f"mean total variation to {column}")
    axes.legend()


def compared(left: Axes, right: Axes, comparison: Comparison) -> None:
    """Two panels: each predictor's distance to the truth, and to the counts (or the first one)."""
    against_size(left, comparison, "truth")
    left.set_title(f"{comparison.task}: estimation error")
    names = comparison.predictors
    against_size(right, comparison, "counts" if "counts" in names else names[0])
    right.set_title("distance to the empirical law" if "counts" in names else "")


def beside(axes: Axes, comparison: Comparison) -> None:
    """At the one size of the comparison: every other predictor's distance to the first."""
    first, *others = comparison.predictors[:-1]
    (size,) = comparison.sizes
    cells = [comparison.matrix[size][first][name] for name in others]
    mean = np.array([cell.mean for cell in cells])
    spread = np.abs([[getattr(cell, end) for cell in cells] for end in ("low", "high")] - mean)
    colors = ["#0072B2" if "in-context" in name else "#009E73" for name in others]
    axes.barh(others, mean, xerr=spread, color=colors, height=0.6)
    axes.invert_yaxis()
    axes.set(xlabel=f"mean total variation to {first}")
    axes.set_title(f"{comparison.task}, N = {size}")


def heat_map(axes: Axes, comparison: Compared, size: int) -> None:
    """The whole matrix at one size: mean total variation of every pair; one scale for all sizes."""
    names = comparison.predictors
    cells = comparison.matrix[size]
    values = np.array([[cells[row][column].mean for column in names] for row in names])
    most = max(
        cell.mean
        for found in comparison.matrix.values()
        for row in found.values()
        for cell in row.values()
    )
    axes.imshow(values, cmap="Blues", vmin=0, vmax=most, aspect="auto")
    axes.grid(visible=False)
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", fontsize=SMALL)
    axes.set_yticks(range(len(names)), names, fontsize=SMALL)
    readable = len(names) <= 8  # a smaller text is none: the command line prints every number
    for i, row in enumerate(values if readable else ()):
        for j, value in enumerate(row):
            dark = value > 0.6 * most
            text = f"{value:.3f}" if value >= 5e-4 else f"{value:.0e}" if value else "0"
            color = "white" if dark else "#111111"  # on the cell, whatever the page's scheme
            axes.text(j, i, text, ha="center", va="center", fontsize=SMALL, color=color)
    axes.set_title(f"{comparison.task}, N = {size}: mean TV")


def collapse(axes: Axes, comparisons: Sequence[Comparison], delta: float = 0.1) -> None:
    """The worst context's distance to truth against sqrt(V m ln(m/delta)/N), all m and V at once.

    If the abstract's size is the right order, all tables fall on one line of slope 1; what falls
    below it for larger V and m is the looseness of its product.
    """
    for place, comparison in enumerate(comparisons):
        m, V, sizes = comparison.contexts, comparison.vocab, comparison.sizes
        if m is None or V is None:
            continue  # no table: the abstract's order for C1 does not speak of it
        x = np.sqrt(V * m * np.log(m / delta) / np.array(sizes))
        for name in comparison.predictors[:-1]:
            eps = [comparison.matrix[n][name]["truth"].max for n in sizes]
            line = look(name, place) | {"label": f"{name}, m = {m}, V = {V}"}
            axes.plot(x, eps, **line)
    ends = np.array(axes.get_xlim())
    axes.plot(ends, 0.2 * ends, color="#999999", linestyle=":", label="slope 1")
    axes.set(xscale="log", yscale="log", xlabel="sqrt(V m ln(m/delta) / N)")
    axes.xaxis.set_minor_formatter("")
    axes.set_ylabel("largest TV of a context, mean")
    axes.set_title(f"collapse, delta = {delta:g}")
    axes.legend()


def matrices(*axes_and_comparison: Any) -> None:
    """`heat_map` at the smallest and the largest size; one Axes if there is only one size."""
    *panels, comparison = axes_and_comparison
    for axes, size in zip(panels, ends(comparison), strict=True):
        heat_map(axes, comparison, size)


def ends(comparison: Compared) -> list[int]:
    """The smallest and the largest size."""
    return sorted({min(comparison.sizes), max(comparison.sizes)})


def tables(comparison: Comparison) -> dict[str, list[dict[str, Any]]]:
    """Title -> rows: rates in N, laws of several answers, differences, sensitivity to order."""
    largest = max(comparison.sizes)
    names = comparison.predictors[:-1]
    # Every difference once.
    differences = [
        {"predictor": row, "against": column, **asdict(comparison.paired[largest][row][column])}
        for i, row in enumerate(names)
        for column in names[i + 1 :]
    ]
    found = {
        "exponent of the distance to truth in N": [
            {"predictor": name, **asdict(rate)} for name, rate in comparison.rates.items()
        ],
        f"how much farther from the truth, N = {largest}, paired by task": differences,
        "distance to truth of the law of l answers": [
            {"N": size, "l": length, "predictor": name, **asdict(cell)}
            for size, lengths in comparison.lengths.items()
            for length, rows in lengths.items()
            for name, cell in rows.items()
        ],
        "how far the law moves when the demonstrations are permuted": [
            {"N": size, "predictor": name, "mean total variation": moved}
            for size, rows in comparison.order.items()
            for name, moved in rows.items()
        ],
        "certified of each answer: distance from the exact algorithm at most": [
            {"N": size, "predictor": name, "total variation": bound}
            for size, rows in (comparison.bounds or {}).items()
            for name, bound in rows.items()
        ],
    }
    return {title: rows for title, rows in found.items() if rows}
