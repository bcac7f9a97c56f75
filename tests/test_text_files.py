"""Files of prompts and completions: every format gives the same task, and what is wrong is said."""

from __future__ import annotations

import csv
import json
import subprocess
import sys

import numpy as np
import pytest

from icl_sim.data import text_files
from icl_sim.data.text_files import check_window, read_pairs
from icl_sim.data.text_pairs import LanguageData, Template, TextPair
from icl_sim.errors import InputError

ROWS = [(f'what, is {i} + "{i}"?\n', f" {'even' if i % 2 else 'odd'}") for i in range(40)]


def write(path, rows=ROWS, columns=("text", "label"), delimiter=","):
    if path.suffix == ".jsonl":
        path.write_text(
            "".join(json.dumps(dict(zip(columns, r, strict=True))) + "\n" for r in rows)
        )
    elif path.suffix == ".parquet":
        duckdb = pytest.importorskip("duckdb")
        lines = path.with_suffix(".jsonl")
        write(lines, rows, columns)
        duckdb.read_json(str(lines)).write_parquet(str(path))
    else:
        with path.open("w", newline="") as file:
            csv.writer(file, delimiter=delimiter).writerows([columns, *rows])
    return path


def parts(task):
    return task.pool, task.held_out, task.choices, task.notes


@pytest.mark.parametrize(
    ("name", "delimiter"), [("a.csv", ","), ("b.csv", ";"), ("c.tsv", "\t"), ("d.parquet", "")]
)
def test_every_format_gives_the_same_task(tmp_path, name, delimiter):
    expected = read_pairs(write(tmp_path / "rows.jsonl"), seed=3)
    found = read_pairs(write(tmp_path / name, delimiter=delimiter or ","), seed=3)
    assert parts(found) == parts(expected)
    assert found.choices == ("even", "odd")
    assert len(found.queries) == 10
    assert sorted({*found.pool, *found.held_out}) == sorted(
        TextPair(a.strip(), b.strip()) for a, b in ROWS
    )
    assert not {pair.prompt for pair in found.pool} & set(found.queries)
    other = read_pairs(tmp_path / name, seed=4)
    assert other.queries != found.queries


@pytest.mark.parametrize(
    ("columns", "named"),
    [
        (("prompt", "completion"), {}),
        (("Input", "Output"), {}),
        (("question", "answer"), {}),
        (("a", "b"), {"prompt_column": "a", "completion_column": "b"}),
        (("prompt", "b"), {"completion_column": "b"}),
    ],
)
def test_columns_are_found_or_named(tmp_path, columns, named):
    assert len(read_pairs(write(tmp_path / "rows.csv", columns=columns), **named).pool) == 30


def test_equal_prompts_are_contexts_with_a_quarter_of_their_rows_held_out(tmp_path):
    rows = [(f"c{i % 5}", f"y{i % 3}") for i in range(60)]
    task = read_pairs(write(tmp_path / "rows.csv", rows))
    assert len(task.queries) == 5
    assert [len(labels) for labels in task.split(0)[1].labels] == [3] * 5
    assert len(task.pool) == 45
    assert {pair.prompt for pair in task.pool} == set(task.queries)
    assert len(read_pairs(tmp_path / "rows.csv", held_out=2).queries) == 2


def test_a_repeated_prompt_stays_on_one_side(tmp_path):
    rows = [(f"c{i - i % 2 if i < 10 else i}", f"y{i % 2}") for i in range(40)]
    for seed in range(8):
        task = read_pairs(write(tmp_path / "rows.csv", rows), seed=seed)
        assert not {pair.prompt for pair in task.pool} & set(task.queries)
    assert task.notes[-1].endswith("5 rows repeat a prompt and stay on its side.")


def test_chat_is_the_user_s_words_and_the_answer(tmp_path):
    said = lambda *pairs: {"messages": [{"role": r, "content": c} for r, c in pairs]}
    rows = [
        said(("system", "Be brief."), ("user", f"u{i}"), ("assistant", f"a{i}")) for i in range(4)
    ]
    path = tmp_path / "chat.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = read_pairs(path)
    assert set(task.pool) | set(task.held_out) == {
        TextPair(f"Be brief.\nu{i}", f"a{i}") for i in range(4)
    }
    assert task.choices == ()
    path.write_text(json.dumps(said(("user", "u"), ("assistant", "a"), ("user", "u"))))
    with pytest.raises(InputError, match="line 1: expected messages of a user and an assistant"):
        read_pairs(path)


def test_a_sample_of_a_large_file_is_uniform_and_in_order(tmp_path, monkeypatch):
    rows = [(f"{i:04}", f"y{i % 2}") for i in range(2000)]
    path = write(tmp_path / "rows.csv", rows)
    hits = np.zeros(2000, int)
    monkeypatch.setattr(text_files, "MOST_ROWS", 500)
    for seed in range(20):
        task = read_pairs(path, seed=seed)
        assert task.notes[0] == f"500 of 2000 rows were drawn, by seed {seed}."
        kept = [int(pair.prompt) for pair in task.pool]
        assert kept == sorted(kept)
        hits[[*kept, *(int(query) for query in task.queries)]] += 1
    assert hits.sum() == 20 * 500
    # Quarters of the file: 2,500 each of the 10,000 drawn, standard error 39.
    assert (abs(hits.reshape(4, 500).sum(axis=1) - 2500) < 200).all()


def test_a_sample_is_the_rows_of_least_priority_that_fit(monkeypatch):
    monkeypatch.setattr(text_files, "MOST_CHARACTERS", 4000)
    lengths = np.random.default_rng(0).integers(1, 300, 400)
    pairs = [TextPair("x" * n, "") for n in lengths]
    for seed in range(20):
        order = np.random.default_rng(seed).random(400).argsort()
        fitting = order[lengths[order].cumsum() <= 4000]
        kept, total = text_files._sample(enumerate(pairs), np.random.default_rng(seed))
        assert kept == [pairs[i] for i in sorted(fitting)]
        assert total == 400


DAMAGED = {
    "empty": (b"", "expected rows of prompts and completions, got none"),
    "header alone": (b"text,label\n", "got none"),
    "missing column": (
        b"text,class\na,b\n",
        "expected one column of completion, .* got text, class",
    ),
    "two columns fit": (
        b"text,prompt,label\na,b,c\n",
        "got text and prompt of .*: name it by --pro",
    ),
    "same name": (b"text,label,label\na,b,c\n", "expected a header of distinct names"),
    "one class": (b"text,label\na,yes\nb,yes\nc,yes\n", "got 'yes' in all 3 rows"),
    "one row": (b"text,label\na,yes\n", "two or more different completions"),
    "few cells": (b"text,label\na,b\n\nc\n", "line 4: expected 2 cells, as the header has, got 1"),
    "unquoted": (b"text,label\na,b, c\n", "line 2: expected 2 cells, .* got 3: quote cells"),
    "open quote": (b'text,label\n"a,b\nc,d\n', "line 3: expected CSV, got unexpected end of data"),
    "no text": (b"text,label\na,b\nc, \n", "line 3: expected text as label, got nothing"),
    "latin-1": (
        b"text,label\na,b\ncaf\xe9,d\n",
        "line 3: expected UTF-8, got byte 0xe9 at offset 18",
    ),
    "utf-16": ("text,label\na,b".encode("utf-16"), "iconv -f UTF-16"),
    "long line": (
        b"text,label\n" + b"a" * 2**21 + b",b\n",
        "line 2: expected at most 1048576 bytes",
    ),
    "long cell": (b'text,label\n"' + b"a\n" * 2**17 + b'",b\n', "field larger than field limit"),
}
DAMAGED_LINES = {
    "no object": (b"[1, 2]\n", "line 1: expected a JSON object, got '\\[1, 2\\]'"),
    "cut off": (b'{"text": "a", "label": "b"}\n{"text": "a', "line 2: .*: Unterminated string"),
    "deep": (b"[" * 100_000, "line 1: expected a JSON object"),
    "digits": (b'{"text": ' + b"1" * 5000 + b"}", "line 1: expected a JSON object"),
    "column ends": (
        b'{"text":"a","label":"b"}\n{"text":"a"}',
        "line 2: expected the column label, got",
    ),
    "null": (b'{"text": null, "label": "b"}', "line 1: expected text as text, got nothing"),
    "list": (b'{"text": ["a"], "label": "b"}', "line 1: expected text as text, got a list"),
    "surrogate": (b'{"text": "\\ud800", "label": "b"}', "half a surrogate pair"),
}


@pytest.mark.parametrize(
    ("suffix", "data", "message"),
    [(".csv", *case) for case in DAMAGED.values()]
    + [(".jsonl", *case) for case in DAMAGED_LINES.values()]
    + [(".parquet", b"PAR1", "expected a Parquet file, got"), (".parquet", b"", "a Parquet file")],
    ids=[*DAMAGED, *DAMAGED_LINES, "damaged", "empty parquet"],
)
def test_a_damaged_file_is_one_line_with_its_place(tmp_path, suffix, data, message):
    if suffix == ".parquet":
        pytest.importorskip("duckdb")
    path = tmp_path / f"rows{suffix}"
    path.write_bytes(data)
    with pytest.raises(InputError, match=message) as caught:
        read_pairs(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"choices": ["even", "uneven"]},
            "line 2: expected one of the choices even, uneven, got 'odd'",
        ),
        ({"choices": ["Even", "Odd"]}, "got 'odd': did you mean Odd"),
        ({"choices": ["even"]}, "expected two or more distinct texts"),
        (
            {"prompt_column": "txt"},
            "--prompt-column: expected one of text, label, got txt: did you",
        ),
        ({"held_out": 0}, "held_out: expected one or more prompts, got 0"),
        ({"seed": -1}, "seed: expected an integer"),
        ({"template": "{prompt}"}, "template: expected {completion} once"),
    ],
)
def test_options_that_do_not_fit_the_file(tmp_path, options, message):
    path = write(tmp_path / "rows.csv", [(f"p{i}", "even" if i % 2 else "odd") for i in range(9)])
    with pytest.raises(InputError, match=message):
        read_pairs(path, **options)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.csv", "expected a file, got none"),
        ("a.json", "jq"),
        ("folder.csv", "got a directory"),
    ],
)
def test_no_such_file(tmp_path, name, message):
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(InputError, match=message):
        read_pairs(tmp_path / name)


def test_templates_and_choices_as_they_are_typed(tmp_path):
    path = write(tmp_path / "rows.csv")
    typed = read_pairs(path, template=r"Q: {prompt}\nA: {completion}\n", choices=["odd", "even"])
    assert typed.template == Template("Q: {prompt}\nA: {completion}\n")
    assert typed.choices == ("odd", "even")
    told = read_pairs(path, header=r"Is it odd?\nSay so.")
    assert told.template == Template(header="Is it odd?\nSay so.\n")
    assert read_pairs(path, header="Odd?\n").template.header == "Odd?\n"
    assert read_pairs(path, choices=[]).choices == ()


def test_what_is_longer_than_the_window_is_named():
    pairs = (TextPair("a b", "c"), TextPair("a b c d", "c"))
    data = LanguageData(
        pairs, ("d", "e f g"), ("c", "f g"), Template("{prompt} {completion}", "h ")
    )
    count = lambda text: len(text.split())
    assert check_window(data, count=count, window=6) == 6
    with pytest.raises(InputError, match=r"query 1 \('e f g'\): expected at most 5 tokens"):
        check_window(data._replace(demonstrations=pairs[:1]), count=count, window=5)
    with pytest.raises(InputError, match=r"demonstration 1 \('a b c d'\): expected at most 5"):
        check_window(data, count=count, window=5)


MILLION = """
import resource, sys, time
from icl_sim.data.text_files import read_pairs
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
start, before = time.process_time(), peak()
task = read_pairs(sys.argv[1])
print(len(task.pool), len(task.queries), peak() - before, time.process_time() - start)
"""


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_a_million_rows_are_read_in_bounded_memory(tmp_path, suffix):
    rows = [(f"{12 * 'word '}{i}", ("no", "yes", "maybe")[i % 3]) for i in range(10**6)]
    path = write(tmp_path / f"rows.{suffix}", rows)
    done = subprocess.run(
        [sys.executable, "-c", MILLION, str(path)], capture_output=True, text=True, check=True
    )
    pool, queries, mebibytes, seconds = map(float, done.stdout.split())
    assert (pool, queries) == (99_900, 100)
    # Seen: 70 to 160 MiB and 6 to 9 s, of a file of 110 MB.
    assert mebibytes < 300
    assert seconds < 60
