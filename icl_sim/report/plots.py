"""Figures as inline SVG: the same bytes for the same numbers (fixed ids, no date)."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

# Okabe and Ito's palette: told apart under every color blindness.
COLORS = {
    "counts": "#000000",
    "lookup": "#009E73",
    "fine-tuned": "#D55E00",
    "truth": "#0072B2",
    "mcdiarmid": "#E69F00",
    "weissman": "#CC79A7",
    "abstract": "#D55E00",
    "lower": "#56B4E9",
    "exact": "#000000",
}
MARKERS = dict(zip(COLORS, "osD^vPX*o", strict=True))
STYLE: Any = {
    "svg.hashsalt": "icl-sim",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "axes.axisbelow": True,
    "legend.frameon": False,
}

Row = Mapping[str, Any]


def svg(
    draw: Callable[..., None], *arguments: Any, panels: int = 1, columns: int | None = None
) -> str:
    """The SVG element that ``draw(*axes, *arguments)`` paints on ``panels`` axes.

    They stand side by side, or in rows of ``columns``.
    """
    across = columns or panels
    down = -(-panels // across)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(5.2 * across, 3.8 * down), layout="constrained")
        axes = [figure.add_subplot(down, across, i + 1) for i in range(panels)]
        draw(*axes, *arguments)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    # Inline in HTML the XML prologue does not belong, and the page sets the size up to a width.
    text = text[text.index("<svg") :]
    end = text.index(">")
    tag = re.sub(r' (?:width|height)="[^"]*"', "", text[:end])
    return f'{tag} style="max-width: {33 * across}rem"{text[end:]}'


def sizes(axes: Axes, x: Sequence[float], rows: Sequence[Row], **look: Any) -> None:
    """Exact n* and every formula over ``x``, a point a row."""
    for name in ("abstract", "mcdiarmid", "weissman", "exact", "lower"):
        axes.plot(
            x,
            [row[name] for row in rows],
            label="exact n*" if name == "exact" else name,
            color=COLORS[name],
            marker=MARKERS[name],
            markersize=4,
            **look,
        )


def log_ticks(axes: Axes, x: Sequence[float]) -> None:
    """Ticks at every ``x``, and on the logarithmic y axis as many as can be read."""
    axes.set_xticks(x, [str(value) for value in x])
    axes.minorticks_off()
    low, high = axes.get_ylim()
    if high < 100 * low:  # too few decades for powers of ten alone to be read
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")


def sizes_against_contexts(left: Axes, right: Axes, rows: Sequence[Row]) -> None:
    """Exact n* beside the formulas over the number of contexts, and its growth beside two laws."""
    largest = max(row["vocab"] for row in rows)
    chosen = [row for row in rows if row["vocab"] == largest]
    m = [row["contexts"] for row in chosen]
    sizes(left, m, chosen)
    left.set(xscale="log", yscale="log", xlabel="contexts, m", ylabel="demonstrations per context")
    left.set_title(f"V = {largest}, eps = {chosen[0]['eps']}, delta = {chosen[0]['delta']}")
    left.legend(fontsize=8)
    shades = ["#56B4E9", "#0072B2", "#000000"]
    for vocab, color in zip(sorted({row["vocab"] for row in rows}), shades, strict=False):
        mine = [row for row in rows if row["vocab"] == vocab]
        first = mine[0]
        m = [row["contexts"] for row in mine]
        right.plot(
            m,
            [row["exact"] - first["exact"] for row in mine],
            color=color,
            marker="o",
            markersize=4,
            label=f"exact, V = {vocab}",
        )
        right.plot(
            m,
            [(row["log_term"] / first["log_term"] - 1) * first["exact"] for row in mine],
            color=color,
            linestyle=":",
            label=f"product law, V = {vocab}",
        )
    right.set(xscale="log", xlabel="contexts, m", ylabel="n*(m) - n*(1)")
    right.set_title("growth with m: a sum, not a product")
    right.legend(fontsize=8)
