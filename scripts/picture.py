"""Draws the README's picture: every route on English, from a comparison's records.

    python scripts/picture.py [RUN]

RUN is where the records are, or go: the comparison takes a minute or two if it is not there yet.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from icl_sim.report import comparison_plots
from icl_sim.report.plots import STYLE
from icl_sim.reproduction import compare_routes, recorded

PICTURE = Path(__file__).parent.parent / "docs" / "english.svg"


def main(run: str = "out/english") -> None:
    """Compares if there are no records, and draws them."""
    if not Path(run).exists():
        compare_routes("english", out=run)
    (found,) = recorded(run).comparisons
    with mpl.rc_context({**STYLE, "svg.fonttype": "path"}):
        figure = Figure(figsize=(10.4, 3.8), layout="constrained")
        left, right = figure.subplots(1, 2)
        comparison_plots.compared(left, right, found)
        left.set_title("English: how far each route is from the truth")
        right.set_title("the hand-written weights and fine-tuning end at the counts")
        figure.savefig(PICTURE, metadata={"Date": None})
    print(PICTURE)


if __name__ == "__main__":
    main(*sys.argv[1:])
