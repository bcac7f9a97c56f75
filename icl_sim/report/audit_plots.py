"""Figures of the audit; see `icl_sim.report.plots` for the style."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from icl_sim.report.plots import log_ticks, sizes

Row = Mapping[str, Any]

SHADES = ("#0072B2", "#009E73", "#E69F00", "#D55E00")  # of C = 1, 2, 4, 8
OTHERS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
RINGS: dict[str, Any] = {"linestyle": "none", "marker": "o", "markerfacecolor": "none"}


def sizes_against_all(eps: Axes, V: Axes, m: Axes, delta: Axes, rows: Sequence[Row]) -> None:
    """n* and the formulas on four log-log panels, and the product and sum laws through n*."""
    panels = {"eps": eps, "vocab": V, "contexts": m, "delta": delta}
    for name, axes in panels.items():
        mine = [row for row in rows if row["varied"] == name]
        x = [1 / float(row[name]) if name in ("eps", "delta") else row[name] for row in mine]
        sizes(axes, x, mine, linewidth=1.2)
        for law, style in (("product", ":"), ("sum", "--")):
            scale = mine[0]["exact"] / _law(mine[0], law)
            axes.plot(
                x,
                [scale * _law(row, law) for row in mine],
                color="#777777",
                linestyle=style,
                label=f"{law} law",
            )
        label = {"eps": "1/eps", "vocab": "V", "contexts": "m", "delta": "1/delta"}[name]
        axes.set(xscale="log", yscale="log", xlabel=label)
        if name in ("eps", "vocab"):
            axes.set_xticks(x, [f"{value:.3g}" for value in x])
            axes.minorticks_off()
    eps.set_ylabel("demonstrations per context")
    eps.legend()


def _law(row: Row, law: str) -> float:
    L = math.log(row["contexts"] / row["delta"])
    added = (math.sqrt(row["vocab"] - 1) + math.sqrt(2 * L)) ** 2
    size = row["vocab"] * L if law == "product" else added
    return float(size / float(row["eps"]) ** 2)


def hash_bit(left: Axes, right: Axes, rows: Sequence[Row]) -> None:
    """Failure over l for each C, a panel a vocabulary."""
    vocabularies = sorted({row["vocab"] for row in rows})
    for axes, vocab in zip((left, right), vocabularies, strict=False):
        for C, color in zip((1, 2, 4, 8), SHADES, strict=True):
            mine = [row for row in rows if (row["vocab"], row["C"]) == (vocab, C)]
            axes.plot(
                [row["length"] for row in mine],
                [row["failure"] for row in mine],
                color=color,
                label=f"C = {C}",
            )
            known = [row for row in mine if row["bayes_failure"] is not None]
            axes.plot(
                [row["length"] for row in known],
                [row["bayes_failure"] for row in known],
                color=color,
                markersize=5,
                **RINGS,
            )
        axes.axhline(0.05, color="#777777", linestyle=":", label="delta = 0.05")
        axes.set(xlabel="output tokens, l", ylabel="failure probability", title=f"V = {vocab}")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend()


def vocabulary(axes: Axes, rows: Sequence[Row]) -> None:
    """Failure over V for each C, at one length."""
    for C, color in zip((1, 2, 4, 8), SHADES, strict=True):
        mine = [row for row in rows if row["C"] == C]
        axes.plot(
            [row["vocab"] for row in mine],
            [row["failure"] for row in mine],
            color=color,
            marker="o",
            markersize=4,
            label=f"C = {C}",
        )
    for vocab in (32_000, 49_152, 131_072):
        axes.axvline(vocab, color="#777777", linestyle="--", linewidth=0.8)
    axes.axhline(0.05, color="#777777", linestyle=":", label="delta = 0.05")
    axes.set(xlabel="symbols, V", ylabel="failure probability", title=f"l = {rows[0]['length']}")
    axes.set_xscale("log")
    axes.legend()


def retrieval(axes: Axes, rows: Sequence[Row]) -> None:
    """Total variation over K, retrieved and random, of each model."""
    for answer, color in zip(sorted({row["answer"] for row in rows}), OTHERS, strict=False):
        mine = [row for row in rows if row["answer"] == answer]
        for kind, style, marker in (("retrieved", "-", "o"), ("random", "--", "x")):
            axes.plot(
                [row["K"] for row in mine],
                [row[kind] for row in mine],
                color=color,
                linestyle=style,
                marker=marker,
                markersize=6,
                label=f"{answer}, {kind}",
            )
    axes.set(xlabel="demonstrations in the prompt, K", ylabel="mean total variation")
    axes.set(xscale="log", yscale="log")
    log_ticks(axes, sorted({row["K"] for row in rows}))
    axes.legend()


def partial_data(axes: Axes, rows: Sequence[Row]) -> None:
    """Total variation over the size of the subset, with the exact mean and the bound."""
    answers = sorted({row["answer"] for row in rows})
    lists = ([row for row in rows if row["answer"] == answer] for answer in answers)
    first = max(lists, key=len)  # a model with a short window has fewer points
    n = [row["n"] for row in first]
    axes.plot(n, [row["bound"] for row in first], color="#777777", linestyle="--", label="bound")
    axes.plot(n, [row["exact"] for row in first], color="#000000", label="empirical law, exact")
    for answer, color in zip(answers, OTHERS, strict=False):
        mine = [row for row in rows if row["answer"] == answer]
        axes.plot(
            [row["n"] for row in mine],
            [row["mean"] for row in mine],
            color=color,
            markersize=7,
            label=answer,
            **RINGS,
        )
    axes.set(
        xlabel=f"demonstrations of each context's {rows[0]['pool']}, n",
        ylabel="mean total variation",
        ylim=(0, None),
    )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend()
