"""Figures of the halfspace learners: error against examples, and real data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator

Row = Mapping[str, Any]

COLORS = {
    "least-squares": "#E69F00",
    "logistic": "#CC79A7",
    "one-step": "#D55E00",
    "perceptron": "#009E73",
    "svm": "#0072B2",
}
MARKERS = dict(zip(COLORS, "sDv^o", strict=True))


def learning_curves(left: Axes, right: Axes, rows: Sequence[Row]) -> None:
    """Mean error over n, log-log with fitted slopes; and n err/d, at most 1 for the SVM."""
    first = [row for row in rows if row["learner"] == rows[0]["learner"]]
    sizes = [row["n"] for row in first]
    left.plot(sizes, [row["bound"] for row in first], color="#999999", label="d/(n+1)")
    right.axhline(1, color="#999999")
    if all(row.get("bayes") for row in first):
        bayes = np.array([row["bayes"] for row in first])
        left.plot(sizes, bayes, color="#999999", linestyle="--", label="Bayes, large d")
        right.plot(
            sizes, np.array(sizes) * bayes / first[0]["dim"], color="#999999", linestyle="--"
        )
    for learner, color in COLORS.items():
        mine = [row for row in rows if row["learner"] == learner]
        if not mine:
            continue
        n, mean = np.array([row["n"] for row in mine]), np.array([row["mean"] for row in mine])
        exponent = np.polyfit(np.log(n), np.log(mean), 1)[0]
        style: dict[str, Any] = {"color": color, "marker": MARKERS[learner], "markersize": 4}
        left.plot(n, mean, label=f"{learner}, slope {exponent:.2f}", **style)
        right.plot(n, n * mean / mine[0]["dim"], **style)
        known = [row["theory"] for row in mine if row.get("theory")]
        if known:
            left.plot(n, known, color="#000000", linestyle=":", linewidth=1)
    left.set(xscale="log", yscale="log", xlabel="examples, n", ylabel="mean error")
    right.set(xscale="log", yscale="log", xlabel="examples, n", ylabel="n err / d")
    left.set_title(f"Gaussian inputs, d = {rows[0]['dim']}")
    right.set_title("in units of d/n")
    for axes in (left, right):
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.minorticks_off()
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
    left.legend()


def real_data(axes: Axes, rows: Sequence[Row]) -> None:
    """Mean error of each learner on each data set, after the largest number of examples."""
    names = sorted({row["data"] for row in rows}, reverse=True)
    largest = [max((row for row in rows if row["data"] == n), key=lambda r: r["n"]) for n in names]
    for learner, color in COLORS.items():
        if learner in largest[0]:
            axes.plot(
                [row[learner] for row in largest],
                range(len(names)),
                linestyle="none",
                color=color,
                marker=MARKERS[learner],
                markersize=5,
                label=learner,
            )
    axes.plot(
        [row["bound"] for row in largest],
        range(len(names)),
        linestyle="none",
        color="#999999",
        marker="|",
        markersize=10,
        label="d/(n+1)",
    )
    axes.set_yticks(range(len(names)), [f"{r['data']}, n = {r['n']}" for r in largest])
    axes.set(xlabel="mean error on the whole data set", xlim=(-0.005, None))
    axes.legend()
