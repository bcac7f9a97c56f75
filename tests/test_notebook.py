"""The code of docs/tour.ipynb runs, and shows what its words say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

TOUR = Path(__file__).parent.parent / "docs" / "tour.ipynb"


def test_the_tour_runs_and_shows_what_it_says(capsys):
    cells = json.loads(TOUR.read_text())["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert all(not cell["outputs"] for cell in cells if cell["cell_type"] == "code")
    names = {}
    for source in code:
        exec(compile(source, TOUR.name, "exec"), names)  # noqa: S102 - our own
    assert len(code) == 6
    assert names["size"].exact == 304
    assert "residual stream" in names["lookup"]._repr_html_()
    np.testing.assert_allclose(names["law"], names["lookup"].oracle(names["problem"]), atol=1e-4)
    assert (names["run"].steps, names["run"].halted, names["run"].agrees) == (21, True, True)
    assert set(names["found"].matrix[64]) == {"counts", "smoothed", "truth"}
    assert names["audit"].statements[0].as_derived
    assert "HOLDS" in capsys.readouterr().out
