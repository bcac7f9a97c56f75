"""What a figure says, computed from its rows: its title."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from icl_sim.comparison.language_result import LanguageComparison
from icl_sim.comparison.result import Comparison

Row = Mapping[str, Any]


def scaling(rows: Sequence[Row]) -> str:
    """How loose the abstract's formula is.

    >>> scaling([{"abstract": 40, "exact": 10}, {"abstract": 30, "exact": 20}])
    'The abstract asks 1.5 to 4.0 times the demonstrations that suffice'
    """
    ratios = [row["abstract"] / row["exact"] for row in rows]
    times = f"{min(ratios):.1f} to {max(ratios):.1f}"
    return f"The abstract asks {times} times the demonstrations that suffice"


def contexts(rows: Sequence[Row]) -> str:
    """How n* grows with the number of contexts, beside the product."""
    mine = [row for row in rows if row["vocab"] == max(row["vocab"] for row in rows)]
    first, last = mine[0], mine[-1]
    grown, law = (last[name] / first[name] for name in ("exact", "log_term"))
    return (
        f"{last['contexts']:,} contexts instead of {first['contexts']:,} need {grown:.2f} times "
        f"the demonstrations of each, not {law:.1f} times"
    )


def hash_bit(rows: Sequence[Row]) -> str:
    """The worst case of the largest constant.

    >>> hash_bit([{"C": 8, "failure": 0.75, "length": 20, "vocab": 2}])
    'Even 8 times the size of the abstract fails with probability 0.75 (l = 20, V = 2)'
    """
    largest = max(row["C"] for row in rows)
    worst = max((row for row in rows if row["C"] == largest), key=lambda row: row["failure"])
    return (
        f"Even {largest} times the size of the abstract fails with probability "
        f"{worst['failure']:.2f} (l = {worst['length']}, V = {worst['vocab']:,})"
    )


def retrieval(rows: Sequence[Row]) -> str:
    """How much of the distance retrieval leaves."""
    left = sorted(row["retrieved"] / row["random"] for row in rows)
    share = f"{left[0]:.2f}" if len(left) == 1 else f"{left[0]:.2f} to {left[-1]:.2f}"
    return f"Retrieved demonstrations leave {share} of the distance that random ones leave"


def partial_data(rows: Sequence[Row]) -> str:
    """How many means of each model are within the bound.

    >>> partial_data([{"answer": "base", "mean": 0.2, "bound": 0.1}])
    'Part of the data, mean distances within the bound: base 0 of 1'
    """
    found = []
    for answer in sorted({row["answer"] for row in rows}):
        mine = [row for row in rows if row["answer"] == answer]
        within = sum(row["mean"] <= row["bound"] for row in mine)
        found.append(f"{answer} {within} of {len(mine)}")
    return f"Part of the data, mean distances within the bound: {', '.join(found)}"


def curves(rows: Sequence[Row]) -> str:
    """Errors of two learners in units of d/n."""
    worst = {row["learner"]: 0.0 for row in rows}
    for row in rows:
        worst[row["learner"]] = max(worst[row["learner"]], row["n"] * row["mean"] / row["dim"])
    least, most = (choose(worst, key=lambda name: worst[name]) for choose in (min, max))
    return (
        f"{least} errs by at most {worst[least]:.2f} d/n at every n, {most} by up to "
        f"{worst[most]:.1f} d/n"
    )


def real(rows: Sequence[Row]) -> str:
    """What part of its bound the SVM uses on real data."""
    most = max(row["svm"] / row["bound"] for row in rows)
    return f"On real data the SVM errs by at most {most:.2f} times what the theorem allows"


def ranking(comparison: Comparison | LanguageComparison) -> str:
    """Which route is nearest to the truth at the largest N, and which the farthest."""
    size = max(comparison.sizes)
    cells = comparison.matrix[size]
    routes = {name: cells[name]["truth"].mean for name in comparison.predictors if name != "truth"}
    near, far = (choose(routes, key=lambda name: routes[name]) for choose in (min, max))
    found = f"{comparison.task}, N = {size}: nearest to the truth is {near} ({routes[near]:.3f})"
    return found if near == far else f"{found}, farthest {far} ({routes[far]:.3f})"


def nearest(comparison: Comparison | LanguageComparison) -> str:
    """Which two routes are nearest to each other at the largest N."""
    size = max(comparison.sizes)
    names = [name for name in comparison.predictors if name != "truth"]
    pairs = {
        (row, column): comparison.matrix[size][row][column].mean
        for i, row in enumerate(names)
        for column in names[i + 1 :]
    }
    title = f"Every route beside every other: {comparison.task}"
    if not pairs:
        return title
    row, column = min(pairs, key=lambda pair: pairs[pair])
    return f"{title}; nearest are {row} and {column} ({pairs[row, column]:.2g})"


Headline = Callable[[Sequence[Row]], str]
