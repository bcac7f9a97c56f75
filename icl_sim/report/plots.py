"""Figures as inline SVG: the same bytes for the same numbers (fixed ids, no date)."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import Formatter, LogFormatter, LogLocator

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
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "axes.axisbelow": True,
    "legend.frameon": False,
}

SIZE = (4.5, 3.4)  # inches of a panel
WIDTH = 33  # rem, the most that a page shows it in
# On a page, black is its ink and the grid's gray its line, whatever its scheme.
INK = {"#000000": "currentColor", "#e6e6e6": "var(--grid, #e6e6e6)"}
SMALL = 9.5  # points: 9 pixels on a phone, where 320 pixels are left for a panel of 324 points

Row = Mapping[str, Any]


def svg(
    draw: Callable[..., None], *arguments: Any, panels: int = 1, columns: int | None = None
) -> str:
    """The SVG elements that ``draw(*axes, *arguments)`` paints, one for each of ``panels`` axes.

    They stand side by side where the page is wide, at most ``columns`` of them, and below each
    other on a phone. Ink is the page's color, light or dark; a reader of the page hears the title
    of the panel, or what its axes are.
    """
    with mpl.rc_context(STYLE):
        figures = [Figure(figsize=SIZE, layout="constrained") for _ in range(panels)]
        axes = [figure.add_subplot() for figure in figures]
        draw(*axes, *arguments)
        for figure, one in zip(figures, axes, strict=True):
            _legend_below(figure, one)
            plain_powers(one)
        drawn = [_element(figure, one) for figure, one in zip(figures, axes, strict=True)]
    if panels == 1:
        return drawn[0]
    width = f"{WIDTH * (columns or panels)}rem"
    return f'<div class="panels" style="max-width: {width}">{"".join(drawn)}</div>'


def _legend_below(figure: Figure, axes: Axes) -> None:
    """The legend that was asked for, under the panel, where it hides no data."""
    if (legend := axes.get_legend()) is None:
        return
    handles, labels = axes.get_legend_handles_labels()
    legend.remove()
    columns = 3 if max(map(len, labels)) <= 13 else 2
    width, height = SIZE
    figure.set_size_inches(width, height + 0.2 * math.ceil(len(labels) / columns) + 0.1)
    look = {"ncols": columns, "fontsize": SMALL, "columnspacing": 1.2}
    figure.legend(handles, labels, loc="outside lower center", **look)


class _Plain(Formatter):
    """What another formatter would name, as 0.01 or 1e-6: raised exponents are too small."""

    def __init__(self, chosen: LogFormatter) -> None:
        self._chosen = chosen

    def set_locs(self, locs: Any) -> None:
        self._chosen.set_locs(locs)

    def __call__(self, x: float, pos: int | None = None) -> str:
        named = self._chosen(x, pos)
        return re.sub(r"e([-+])0?", r"e\1", f"{x:g}").replace("e+", "e") if named else ""


def plain_powers(axes: Axes) -> None:
    """Names powers of ten as `_Plain` does, on the axes that are logarithmic."""
    for axis in (axes.xaxis, axes.yaxis):
        if isinstance(major := axis.get_major_formatter(), LogFormatter):
            axis.set_major_formatter(_Plain(major))
        if isinstance(minor := axis.get_minor_formatter(), LogFormatter):
            axis.set_minor_formatter(_Plain(minor))


def _element(figure: Figure, axes: Axes) -> str:
    """A panel as an inline SVG element, whose size the page sets up to a width."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    text = buffer.getvalue()
    # Inline in HTML the XML prologue does not belong.
    text = text[text.index("<svg") :]
    text = re.sub("<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    for given, ink in INK.items():
        text = text.replace(f": {given}", f": {ink}")
    end = text.index(">")
    tag = re.sub(r' (?:width|height)="[^"]*"', "", text[:end])
    title = axes.get_title() or f"{axes.get_ylabel()} over {axes.get_xlabel()}"
    head = f'{tag} role="img" style="max-width: {WIDTH}rem"><title>{escape(title)}</title>'
    return head + text[end + 1 :]


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
    left.legend()
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
    right.legend()
