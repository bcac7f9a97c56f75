"""compare --base MODEL --data FILE: from twenty rows to the answer."""

from __future__ import annotations

import json
import re

import pytest
from markupsafe import escape
from stock_models import CASES, write

from icl_sim.cli import run

pytest.importorskip("tokenizers")

from icl_sim.pretrained import words_tokenizer

WORDS = ("?", "Input:", "Output:", "->", "glad", "sad", *(f"w{i}" for i in range(58)))
ROUTES = ("zero-shot", "in-context", "retrieved-bm25", "counts")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("language")
    base = write(folder / "model", CASES["smollm2"])
    (base / "tokenizer.json").write_text(words_tokenizer(WORDS))
    rows = [f"w{i} w{i + 1},{'glad' if i % 3 else 'sad'}" for i in range(20)]
    (folder / "mine.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    return base, folder / "mine.csv"


def arguments(files, *more):
    base, data = map(str, files)
    sizes = ("--sizes", "2", "4", "--tasks", "2")
    return [
        "icl-sim",
        "compare",
        "--base",
        base,
        "--data",
        data,
        *sizes,
        "--predictors",
        *ROUTES,
        *more,
    ]


def test_a_csv_of_twenty_rows_becomes_a_matrix_a_page_and_five_sentences(files, tmp_path, capsys):
    assert run([*arguments(files, "--out", str(tmp_path / "out")), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["choices"] == ["glad", "sad"]
    assert found["predictors"] == [*ROUTES, "truth"]
    assert set(found["matrix"]["4"]["in-context"]["truth"]) == {"mean", "low", "high", "max"}
    assert found["truth"] == "labels"
    assert len(found["summary"]) == 5
    page = (tmp_path / "out" / "report.html").read_text()
    assert "mine.csv" in page
    assert "held-out prompts" in page
    assert run([*arguments(files, "--out", str(tmp_path / "out"), "--resume"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["digest"] == found["digest"]
    (tmp_path / "out" / "report.html").unlink()
    assert run(["icl-sim", "report", str(tmp_path / "out")]) == 0
    again = (tmp_path / "out" / "report.html").read_text()
    assert all(sentence in again for sentence in map(escape, found["summary"]))
    assert sorted(re.findall("<tr>.*</tr>", again)) == sorted(re.findall("<tr>.*</tr>", page))
    results = tmp_path / "out" / "results.json"
    results.write_text(results.read_text().replace(found["digest"], "0" * 64))
    assert run(["icl-sim", "report", str(tmp_path / "out")]) == 2
    assert "another run's" in capsys.readouterr().err
    assert run(arguments(files)) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(found["summary"][0][:20])
    assert "template: 'Input: {prompt}\\nOutput: {completion}\\n\\n'" in shown


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--task", "english"), "--data or --task, got both"),
        (("--sizes", "400"), "demonstrations"),
        (("--choices", "glad"), "two or more distinct texts"),
        (("--choices", "glad", "sad", "x", "y"), "the same for"),
        (("--template", "{prompt}"), "{completion} once"),
        (("--predictors", "svm"), "retrieved-bm25"),
    ],
)
def test_wrong_requests_are_one_line(files, more, message, capsys):
    assert run(arguments(files, *more)) == 2
    shown = capsys.readouterr().err.strip()
    assert message in shown
    assert "\n" not in shown


def test_flags_of_a_file_need_one(capsys):
    assert run(["icl-sim", "compare", "--choices", "a", "b"]) == 2
    assert "--data FILE" in capsys.readouterr().err


def test_the_shipped_base_takes_tables_in_its_own_words(capsys):
    words = "icl-sim compare --base base --task tables --sizes 64 128 --tasks 2 --json"
    assert run([*words.split(), "--predictors", "in-context", "counts"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found["floors"]["64"]["in-context"]) == {"order"}
    first, last = (found["matrix"][n]["in-context"]["counts"]["mean"] for n in ("64", "128"))
    assert last < first < 0.35
    assert found["window"] == 287
