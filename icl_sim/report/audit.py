"""The page "audit": a row for each statement, with its texts, figures and tables inside."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any

from markupsafe import Markup

from icl_sim.claims.claim import Figures, Judgement
from icl_sim.report import audit_plots, halfspace_plots, headlines, plots
from icl_sim.report.headlines import Headline

FORMULAS = ("abstract", "mcdiarmid", "weissman")


def pictures(figures: Figures) -> list[dict[str, Any]]:
    """What is drawn of a statement's tables: title, caption, SVG and panels of each."""
    return [
        _picture(*PICTURES[name], rows)
        for name, rows in figures.items()
        if name in PICTURES and rows
    ]


def looseness(statements: Sequence[Judgement]) -> list[dict[str, Any]]:
    """How many times n* each formula of C1 asks: median and range over the cells of the run."""
    rows = [
        row
        for judgement in statements
        for name in ("exact", "scaling")
        for row in judgement.outcome.figures.get(name, ())
        if row.keys() >= {"exact", "mcdiarmid", "weissman"}
    ]
    found = []
    for formula in FORMULAS:
        ratios = sorted(row[formula] / row["exact"] for row in rows)
        if ratios:
            found.append(
                {
                    "formula": formula,
                    "cells": len(ratios),
                    "median": statistics.median(ratios),
                    "least": ratios[0],
                    "greatest": ratios[-1],
                }
            )
    return found


def _picture(
    title: Headline, caption: str, draw: Callable[..., None], panels: int, rows: Sequence[Any]
) -> dict[str, Any]:
    # The SVG is drawn here from numbers and names of the library, hence safe.
    drawn = plots.svg(draw, rows, panels=panels, columns=min(panels, 2))
    svg = Markup(drawn)  # noqa: S704
    return {"title": title(rows), "caption": caption, "svg": svg, "panels": panels}


# Name of a statement's table -> title, caption, drawing, panels.
PICTURES: dict[str, tuple[Headline, str, Callable[..., None], int]] = {
    "scaling": (
        headlines.scaling,
        "Demonstrations per context that suffice; one of the four changes, the others stay at "
        "V = 32, m = 1, eps = 0.15, delta = 0.1. Dotted: n* at the first point scaled by the "
        "product V L/eps^2, L = ln(m/delta); dashed: by the sum (sqrt(V-1) + sqrt(2 L))^2/eps^2, "
        "which has the order of (V + L)/eps^2.",
        audit_plots.sizes_against_all,
        4,
    ),
    "sizes": (
        headlines.contexts,
        "Left: demonstrations per context that suffice, on all contexts at once. Right: what more "
        "contexts cost; the dotted lines are what a product of V and ln(m/delta) would ask.",
        plots.sizes_against_contexts,
        2,
    ),
    "hash-bit": (
        headlines.hash_bit,
        "Probability of total variation above eps with C times the size of the abstract. Lines: "
        "what no estimator can avoid; rings: the best estimator, exactly, where it was enumerated.",
        audit_plots.hash_bit,
        2,
    ),
    "vocabulary": (
        headlines.hash_bit,
        "The same at a fixed length of the output; the dashed lines are the vocabularies of "
        "Llama 2, SmolLM2 and Mistral NeMo.",
        audit_plots.vocabulary,
        1,
    ),
    "retrieval": (
        headlines.retrieval,
        "Mean total variation to the truth with K demonstrations in the prompt.",
        audit_plots.retrieval,
        1,
    ),
    "partial": (
        headlines.partial_data,
        "Mean total variation to the law of the whole pool, from a random subset in the prompt. "
        "The bound is the empirical law's: the base is none, and may lie above it.",
        audit_plots.partial_data,
        1,
    ),
    "curves": (
        headlines.curves,
        "Mean error over the number of examples, all learners on the same ones, with least-squares "
        "slopes; the table slopes has their bootstrap intervals. Dotted: what is known in closed "
        "form; dashed: Bayes' rule in the limit of large d. The SVM stays below d/(n+1).",
        halfspace_plots.learning_curves,
        2,
    ),
    "real": (
        headlines.real,
        "Mean error on the whole data set after 4 d examples drawn from it; the gray bars are what "
        "the theorem allows the SVM.",
        halfspace_plots.real_data,
        1,
    ),
}
