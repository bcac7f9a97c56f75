"""The report: self-contained, escaped, the same bytes for the same numbers."""

from __future__ import annotations

import json
import re
from dataclasses import fields, replace

import pytest
from matplotlib.figure import Figure

from icl_sim.claims import Audit, Claim, Judgement, Outcome, Statement
from icl_sim.comparison import Comparison, Distance, MeanInterval, Rate
from icl_sim.errors import InputError
from icl_sim.report import comparison_plots, plots
from icl_sim.report.findings import Check, Findings
from icl_sim.report.pages import render, render_audit, write_report
from icl_sim.report.templating import number
from icl_sim.reproduction import recorded
from icl_sim.storage.json_form import from_json, json_form
from icl_sim.training.base_model import Gate, GateDistances
from icl_sim.training.run_results import FineTuning, Pretraining


def cell(mean):
    return {"mean": mean, "low": mean / 2, "high": mean * 2, "max": mean * 2}


def interval(mean):
    return {"mean": mean, "low": mean / 2, "high": mean * 2}


def typed_cells(rows, kind):
    """[size][row][column] or the like: cells in dicts as JSON has them, to types."""
    if "mean" in rows:
        return kind(*(rows[field.name] for field in fields(kind)))
    return {int(k) if k.isdigit() else k: typed_cells(inner, kind) for k, inner in rows.items()}


def typed_comparison(found):
    return Comparison(
        **found
        | {
            "sizes": tuple(found["sizes"]),
            "predictors": tuple(found["predictors"]),
            "matrix": typed_cells(found["matrix"], Distance),
            "paired": typed_cells(found["paired"], MeanInterval),
            "lengths": typed_cells(found["lengths"], MeanInterval),
            "rates": {name: Rate(**rate) for name, rate in found["rates"].items()},
            "order": {int(size): rows for size, rows in found["order"].items()},
        }
    )


def typed_judgement(found):
    texts = {f.name: found[f.name] for f in fields(Statement) if f.name != "experiment"}
    outcome = {f.name: found[f.name] for f in fields(Outcome)}
    return Judgement(found["claim"], Statement(**texts, experiment=None), Outcome(**outcome))


def typed_findings(found):
    """The findings whose JSON this is."""
    return Findings(
        audit=Audit(
            seed=found["seed"],
            profile=found["profile"],
            digest=found["digest"],
            claims=tuple(Claim(**claim, statements=()) for claim in found["claims"]),
            statements=tuple(map(typed_judgement, found["statements"])),
        ),
        comparisons=tuple(map(typed_comparison, found["comparisons"])),
        checks=tuple(Check(**check) for check in found["checks"]),
    )


NAMES = ["counts", "lookup", "fine-tuned", "truth"]
MATRIX = {
    str(n): {a: {b: cell(0.0 if a == b else 1.0 / n) for b in NAMES} for a in NAMES}
    for n in (16, 64)
}
PAIRED = {
    n: {a: {b: interval(c["mean"]) for b, c in row.items()} for a, row in rows.items()}
    for n, rows in MATRIX.items()
}
COMPARISON_JSON = {
    "task": "english",
    "sizes": [16, 64],
    "predictors": NAMES,
    "tasks": 2,
    "seeds": 1,
    "matrix": MATRIX,
    "paired": PAIRED,
    "rates": {"counts": {"slope": -0.5, "low": -0.6, "high": -0.4}},
    "lengths": {"16": {"2": {"counts": interval(0.3)}}, "64": {}},
    "order": {"16": {"lookup": 0.0}, "64": {}},
}
TRAINING_JSON = {
    "task": "english",
    "sizes": [16],
    "copies": 3,
    "adapt": "full",
    "steps": [0, 20],
    "curves": {"16": {name: [0.5, 0.2] for name in ("counts", "bayes", "in-context", "truth")}},
    "oracle": {"16": {"step": 20.0, "truth": 0.2}},
}
STATEMENT_JSON = {
    "id": "C1.token",
    "claim": "C1",
    "statement": "one token",
    "reading": "ours <script>alert(1)</script>",
    "basis": "EXACT",
    "derived": "HOLDS-LOOSE",
    "sources": "docs",
    "corrected": "",
    "premises": "what is assumed",
    "formula": "n = 1",
    "lower": "n >= 1",
    "verdict": "HOLDS-LOOSE",
    "confidence": 0.95,
    "replicates": 400,
    "why": "because & so",
    "figures": {
        "sizes": [
            {
                "vocab": V,
                "contexts": m,
                "eps": "0.15",
                "delta": 0.1,
                "log_term": 2.3 * m,
                "abstract": 40 * V * m,
                "mcdiarmid": 30 * V + m,
                "weissman": 31 * V + m,
                "exact": 20 * V + m,
                "lower": V + m,
            }
            for V in (2, 8)
            for m in (1, 10)
        ]
    },
}
RESULTS_JSON = {
    "seed": 1,
    "profile": "smoke",
    "digest": "ab" * 32,
    "claims": [{"id": "C1", "title": "text", "abstract": 'O( "quoted" )'}],
    "statements": [STATEMENT_JSON],
    "comparisons": [COMPARISON_JSON],
    "checks": [{"name": "lookup", "value": 1e-8, "limit": 1e-6, "passed": True}],
}
COMPARISON = typed_comparison(COMPARISON_JSON)
RESULTS = typed_findings(RESULTS_JSON)


def test_the_page_is_one_file_that_fetches_nothing(tmp_path):
    page = write_report(RESULTS, tmp_path)
    for name in ("report.html", "audit.html"):
        text = (page.parent / name).read_text()
        assert "<svg" in text
        assert not re.search(r'(src|href)="(https?:)?//', text)
        assert "@import" not in text
        assert "<script" not in text
        assert "default-src 'none'" in text
    assert json.loads((tmp_path / "results.json").read_text()) == RESULTS_JSON


def test_all_that_comes_from_data_is_escaped():
    assert "&lt;script&gt;alert(1)" in render_audit(RESULTS.audit)
    text = render(RESULTS)
    assert "because &amp; so" in text


def test_the_same_numbers_give_the_same_bytes():
    assert render(RESULTS) == render(RESULTS)


def test_the_page_sets_the_size_of_a_picture():
    outer, *panels = plots.svg(comparison_plots.compared, COMPARISON, panels=2).split("<svg")
    assert outer == '<div class="panels" style="max-width: 66rem">'
    assert len(panels) == 2  # an element each, so that they stack on a phone
    for panel in panels:
        tag, _, inside = panel.partition(">")
        assert 'style="max-width: 33rem"' in tag
        assert "viewBox" in tag
        assert 'role="img"' in tag
        assert inside.startswith("<title>")
        assert not re.search(r'\b(width|height)="', tag)


def test_no_text_of_a_picture_is_under_9_pixels_on_a_phone():
    drawn = plots.svg(comparison_plots.matrices, COMPARISON, panels=2)
    width = float(re.search(r'viewBox="0 0 ([\d.]+)', drawn)[1])
    sizes = [float(size) for size in re.findall(r"font-size: ([\d.]+)px", drawn)]
    assert len(sizes) > 10
    assert min(sizes) * 320 / width >= 9  # 390 pixels, less edges and a scroll bar


def test_a_picture_s_ink_is_the_page_s():
    drawn = plots.svg(comparison_plots.compared, COMPARISON, panels=2)
    assert "currentColor" in drawn
    assert "#000000" not in drawn
    assert "#ffffff" not in drawn
    assert "prefers-color-scheme: dark" in render(RESULTS)


def test_the_report_opens_with_what_is_false_and_what_is_true_instead():
    text = render(RESULTS)
    assert "0 of 1 statements are false as written." in text
    statement = RESULTS.audit.statements[0]
    outcome = replace(statement.outcome, verdict="FALSE-AS-STATED")
    words = replace(statement.statement, corrected="twice as many")
    changed = replace(statement, statement=words, outcome=outcome)
    audit = replace(RESULTS.audit, statements=(changed,))
    text = render(replace(RESULTS, audit=audit))
    assert "1 of 1 statements are false as written; what is true instead:" in text
    assert text.index("twice as many") < text.index("<h2>Verdicts</h2>")


def test_a_row_opens_by_its_link_since_its_target_lies_inside():
    text = render_audit(RESULTS.audit)
    assert text.index('<details class="row">') < text.index('id="C1.token"')


def test_a_mean_below_rounding_is_drawn_at_the_rounding():
    figure = Figure()
    axes = figure.add_subplot()
    comparison_plots.against_size(axes, COMPARISON, "counts")
    drawn = [y for line in axes.lines for y in line.get_ydata()]
    assert min(drawn) >= comparison_plots.ROUNDING


def test_ids_of_two_pictures_do_not_collide():
    drawn = [plots.svg(comparison_plots.compared, COMPARISON, panels=2) for _ in range(2)]
    assert drawn[0] == drawn[1]


def test_verdicts_and_words_stand_on_the_pages():
    for words in ("HOLDS-LOOSE", "C1.token", "audit.html#C1.token", "ab" * 32, "lookup"):
        assert words in render(RESULTS)
    for words in (
        'id="C1.token"',
        "HOLDS-LOOSE",
        "( &#34;quoted&#34; )",
        "assumed",
        "95.00 %",
        "400",
    ):
        assert words in render_audit(RESULTS.audit)


def test_a_page_without_claims_shows_what_there_is():
    training = from_json(FineTuning, TRAINING_JSON)
    assert json_form(training) == TRAINING_JSON
    text = render(Findings(training=(training,), comparisons=(COMPARISON,)))
    assert text.count("<figure") == 3
    assert text.count("<svg") == 5  # an element a panel
    assert "The path of fine-tuning: english" in text
    assert "exponent of the distance to truth in N: 1 rows" in text
    gate = Gate(passed=True, limit=0.08, tables=1, sizes={})
    made = Pretraining("base.safetensors", True, gate, {}, [2.0, 1.5], 1.0, 12345)
    assert "12,345 tokens" in render(Findings(pretraining=(made,)))


def test_a_legend_lies_below_its_panel_and_powers_are_plain():
    drawn = plots.svg(comparison_plots.compared, COMPARISON, panels=2)
    height = float(re.search(r'viewBox="0 0 [\d.]+ ([\d.]+)', drawn)[1])
    assert height > 72 * plots.SIZE[1] + 14  # a line of the legend at least
    axes, legend = drawn.index('id="axes_1"'), drawn.index('id="legend_1"')
    assert drawn[axes:legend].count("<g") == drawn[axes:legend].count("</g>")  # not inside the axes
    assert ">0.1</text>" in drawn
    assert "10^" not in drawn


def test_a_title_says_what_the_figure_shows():
    text = render(RESULTS)
    assert "english, N = 64: nearest to the truth is counts (0.016)" in text
    audit = render_audit(RESULTS.audit)
    assert "10 contexts instead of 1 need 1.06 times the demonstrations of each, not 10.0" in audit


def test_what_a_training_left_is_read_back(tmp_path):
    gate = Gate(passed=True, limit=0.08, tables=1, sizes={16: GateDistances(0.1, 0.2, 0.3, 0.4)})
    made = Pretraining("base.safetensors", True, gate, {3: gate}, [2.0, 1.5], 1.0, 12345)
    found = Findings(pretraining=(made,), training=(from_json(FineTuning, TRAINING_JSON),))
    write_report(found, tmp_path)
    assert recorded(tmp_path) == found


def test_cells_read_well():
    assert [number(v) for v in (1234567, 0.123456, True, None, "x", 1.5e-9)] == [
        "1,234,567",
        "0.1235",
        "yes",
        "",
        "x",
        "1.5e-09",
    ]


def test_a_directory_that_cannot_be_written_is_one_line(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(InputError, match="expected a directory that can be written"):
        write_report(RESULTS, file / "below")
