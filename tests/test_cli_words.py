"""What the command line says beside its JSON: tables, sentences, hints, progress."""

from __future__ import annotations

import argparse
import time

import pytest

from constructions import CONSTRUCTIONS
from icl_sim.claims import Audit, Judgement, Outcome, select
from icl_sim.cli import output, run
from icl_sim.cli.command_line import _parser
from icl_sim.errors import InputError
from icl_sim.execution.progress import ProgressBar
from icl_sim.report.findings import Findings


def lines_of(capsys, *arguments):
    assert run(["icl-sim", *arguments]) == 0
    return capsys.readouterr().out.splitlines()


def parsers(parser):
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from parsers(below)


def test_every_flag_says_what_it_does():
    found = list(parsers(_parser()))
    assert len(found) > 14
    silent = [
        f"{parser.prog} {action.dest}"
        for parser in found
        for action in parser._actions
        if not action.help and not isinstance(action, argparse._SubParsersAction)
    ]
    assert not silent


def test_a_statement_is_one_full_line_with_its_sentence_and_certainty(capsys):
    head, line, last = lines_of(capsys, "verify", "c1.SUM")
    assert head.split()[:3] == ["statement", "verdict", "certainty"]
    assert line.split()[:3] == ["C1.sum", "HOLDS", "exact"]
    assert "The size needed grows as V + ln(m/delta), not as their product. -> eps = 0.15, " in line
    assert line == line.rstrip()
    assert last.startswith("profile smoke, seed 0, digest ")


def test_what_the_sampled_verdicts_are_worth_together_is_said(capsys):
    _, first = select(["C1.token"])[0]
    found = [Outcome(verdict=first.derived, confidence=c, why="so") for c in (0.9975, 1.0, 0.9975)]
    judged = tuple(Judgement("C1", first, outcome) for outcome in found)
    findings = Findings(audit=Audit(0, "smoke", "d" * 64, (), judged))
    output.show(findings, argparse.Namespace(json=False))
    *_, together, last = capsys.readouterr().out.splitlines()
    assert together == "all sampled verdicts are right together: 99.5 %"
    assert last.startswith("profile smoke, seed 0, digest ")


def test_a_terminal_gets_colours_and_wraps_the_last_column(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "60")
    output.print_table(("id", "verdict", "text"), [("C1", "HOLDS", "word " * 30)])
    shown = capsys.readouterr().out
    assert "\x1b[32mHOLDS" in shown
    assert len(shown.splitlines()) > 3


def test_numbers_stand_right_and_a_row_ends_at_its_last_word(capsys):
    output.print_table(("size", "n", ""), [("a", "7", "x\ny"), ("b", "1,304", "")])
    assert capsys.readouterr().out.splitlines() == [
        "size      n",
        "a         7  x y",
        "b     1,304",
    ]


def test_sample_size_answers_first(capsys):
    arguments = "sample-size --vocab 32 --eps .15 --delta .1 --contexts 1 --length 3 --dim 4"
    first, _, *rows = lines_of(capsys, *arguments.split())
    assert first == "n = 304 a context: exact, uniform law (545 for every law)"
    assert all(len(row.split()) > 4 for row in rows)  # each with its meaning
    assert {"weissman", "lower", "sequence tail", "linear mean"} <= {
        row[: len("sequence abstract")].strip() for row in rows
    }


def test_list_describes_every_name(capsys, monkeypatch):
    few = {"lookup": CONSTRUCTIONS["lookup"]}  # to build them all takes seconds
    monkeypatch.setattr("constructions.CONSTRUCTIONS", few)
    shown = lines_of(capsys, "list")
    for name in (
        "digits",
        "english",
        "svm-in-context",
        "lora-4",
        "bb5",
        "fibonacci",
        "C6.retrieval",
    ):
        rows = [line for line in shown if line.split()[:1] == [name]]
        assert rows
        assert all(len(row.split()) > 2 for row in rows), rows
    assert not any("`" in line for line in shown)


def test_compare_prints_headers_intervals_and_where_it_comes_from(capsys, tmp_path):
    arguments = ("--task", "TABLES", "--sizes", "16", "--tasks", "2", "--seed", "3")
    arguments += ("--predictors", "Counts", "smoothed")
    shown = lines_of(capsys, "compare", *arguments, "--out", str(tmp_path))
    assert shown[1].split() == ["counts", "smoothed", "truth", "95", "%", "to", "truth"]
    assert "[0." in shown[2]
    text = "\n".join(shown)
    assert (
        "tables: 2 tasks of 8 contexts and 8 outputs, 1 data set of each, seed 3; icl-sim" in text
    )
    (again,) = (line for line in shown if line.startswith("again: icl-sim compare"))
    page = (tmp_path / "report.html").read_text()
    assert again.removeprefix("again: ") in page
    # The command that is shown is the run: it takes it up without computing anything.
    words = again.removeprefix("again: icl-sim ").split()
    assert lines_of(capsys, *words, "--out", str(tmp_path), "--resume")[:-1] == shown[:-1]
    (tmp_path / "report.html").unlink()
    lines_of(capsys, "report", str(tmp_path))
    assert (tmp_path / "report.html").read_text() == page


def test_a_report_of_broken_results_is_one_line(capsys, tmp_path):
    (tmp_path / "results.json").write_text("[]")
    assert run(["icl-sim", "report", str(tmp_path)]) == 2
    assert "expected the curves" in capsys.readouterr().err


def test_a_run_that_has_not_halted_says_what_to_do(capsys, tmp_path):
    page = str(tmp_path / "t.html")
    shown = lines_of(capsys, "emulate", "BB5", "--max-steps", "500", "--trace", page)
    assert shown[0] == (
        f"{page} replays all 500 steps; where heads look is in it for the first 400"
    )
    assert shown[-1] == "not halted after 500 steps: raise --max-steps, to at most 67,108,864"
    assert "not halted" not in "".join(lines_of(capsys, "emulate", "bb2"))


@pytest.mark.parametrize("name", ["LOOKUP", "lookupp"])
def test_a_construction_is_exported_by_its_name_in_any_case(name, capsys, tmp_path):
    code = run(["icl-sim", "export", str(tmp_path), name])
    if name == "LOOKUP":
        assert code == 0
        assert (tmp_path / "lookup.safetensors").exists()
    else:
        assert code == 2
        assert "did you mean lookup?" in capsys.readouterr().err


def test_without_a_terminal_a_line_tells_now_and_then_how_far_it_is(capsys):
    with ProgressBar(pulse=0.05) as progress:
        progress("all", 1, 3)
        progress("fine-tuning, loss 0.3", 5, 9)
        time.sleep(0.2)
    lines = capsys.readouterr().err.splitlines()
    assert "00:00 all 1/3; fine-tuning, loss 0.3 5/9" in lines


def test_a_terminal_shows_the_overall_bar_and_what_runs(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    with ProgressBar() as progress:
        seen = lambda: [task.description for task in progress._bars.tasks]
        assert seen() == ["starting"]
        progress("all", 0, 2)
        for i in range(5):
            progress(f"part {i}", 1, 2)
        assert seen() == ["all", "part 2", "part 3", "part 4"]
        progress("part 4", 2, 2)  # finished: gone
        assert "part 4" not in seen()
        progress("fine-tuning, loss 0.4", 1, 2)
        progress("fine-tuning, loss 0.3", 1, 2)  # one bar, whatever follows the comma
        assert [name for name in seen() if "loss" in name] == ["fine-tuning, loss 0.3"]
        progress("all", 1, 2)  # what stood below is of a part that is done
        assert seen() == ["all"]


def test_an_unknown_name_is_refused_in_any_case():
    from icl_sim import compare

    with pytest.raises(InputError, match="LOKUP: did you mean lookup"):
        compare("tables", predictors=["LOKUP"])
