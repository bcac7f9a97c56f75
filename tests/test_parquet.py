"""Records as Parquet: what DuckDB reads back."""

from __future__ import annotations

import json
import sys

import pytest

from icl_sim.cli import run
from icl_sim.errors import InputError
from icl_sim.storage.parquet import write_parquet
from icl_sim.storage.records import Record
from icl_sim.storage.store import Store

LAWS = [[[0.25, 0.75], [1.0, 0.0]]]
RECORDS = [
    Record("C1.token/V=32/zipf/0-400", {"failures": 3, "trials": 400}, {"seconds": 0.5}),
    Record(
        "statement/C1.token",
        {"verdict": "HOLDS", "confidence": 0.95, "figures": {"sampled": [{"n": 1}]}},
        {"seconds": 2, "cores": 4},
    ),
    Record("compare/tables/8x4/12x2/64/in-context/permuted", LAWS),
    Record("compare/digits/12x1/16/full", LAWS),
    Record("C6.retrieval/gain", 0.125),
    Record('C3.mean/it\'s "odd"', {"a b": True, "c": {'"d"': 2**70, "e": None}, "failures": 0}),
    Record("mixed/1", {"x": 1}),
    Record("mixed/2", {"x": "one"}),
]
CONFIG = {"command": "verify", "seed": 7, "sizes": [16, 64], "versions": {"jax": "1"}}


def fill(directory):
    with Store(directory, config=CONFIG) as store:
        for record in RECORDS:
            store.append(record)
    return directory


@pytest.fixture
def rows(tmp_path):
    """The rows of the file, by key, of a run and in a folder whose names need quoting."""
    duckdb = pytest.importorskip("duckdb")
    path = tmp_path / 'it\'s "here" ; --' / "records.parquet"
    count, columns = write_parquet(fill(tmp_path / "a 'run'"), path)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    with duckdb.connect() as database:
        found = database.execute("SELECT * FROM read_parquet($1)", [str(path)])
        assert [column[0] for column in found.description] == columns
        rows = {row[0]: dict(zip(columns, row, strict=True)) for row in found.fetchall()}
    assert count == len(rows) == len(RECORDS)
    return rows


def test_every_result_comes_back(rows):
    assert {key: json.loads(row["result"]) for key, row in rows.items()} == {
        record.key: record.result for record in RECORDS
    }


def test_scalars_have_columns(rows):
    cell, verdict = rows["C1.token/V=32/zipf/0-400"], rows["statement/C1.token"]
    assert (cell["result.failures"], cell["result.trials"], cell["seconds"]) == (3, 400, 0.5)
    assert (verdict["result.verdict"], verdict["result.confidence"]) == ("HOLDS", 0.95)
    assert verdict["result.failures"] is None
    assert (verdict["seconds"], verdict["info.cores"]) == (2, 4)
    assert rows["C6.retrieval/gain"]["result.value"] == 0.125
    odd = rows['C3.mean/it\'s "odd"']
    assert odd["result.a b"] is True
    # Too large for BIGINT, and not to be rounded: text.
    assert odd['result.c."d"'] == str(2**70)
    assert odd["result.c.e"] is None
    assert [rows[f"mixed/{i}"]["result.x"] for i in (1, 2)] == ["1", "one"]


def test_keys_are_taken_apart(rows):
    names = ("claim", "statement", "task", "contexts", "vocab", "tasks", "seeds", "size")
    names += ("predictor", "permuted")
    parts = {key: tuple(row[name] for name in names) for key, row in rows.items()}
    assert parts["C1.token/V=32/zipf/0-400"] == ("C1", "C1.token", *[None] * 8)
    assert parts["statement/C1.token"] == ("C1", "C1.token", *[None] * 8)
    assert parts["compare/tables/8x4/12x2/64/in-context/permuted"] == (
        *(None, None, "tables", 8, 4, 12, 2, 64, "in-context", True),
    )
    assert parts["compare/digits/12x1/16/full"] == (
        *(None, None, "digits", None, None, 12, 1, 16, "full", False),
    )
    assert parts["mixed/1"] == (None,) * 10


def test_the_run_stands_in_every_row(rows):
    for row in rows.values():
        assert (row["config.command"], row["config.seed"]) == ("verify", 7)
        assert (row["config.sizes"], row["config.versions.jax"]) == ("[16,64]", "1")
        assert row["host"]
        assert row["process"]
        assert row["start"]


def test_several_files_give_each_key_once(tmp_path):
    duckdb = pytest.importorskip("duckdb")
    for i in (1, 0):
        with Store(tmp_path / f"{i}", config=CONFIG) as store:
            store.append(Record("shared", 1, {"seconds": i}))
            store.append(Record(f"own {i}", i))
    (tmp_path / "0").rename(tmp_path / "run")
    (tmp_path / "1" / "records-0.jsonl").rename(tmp_path / "run" / "records-1.jsonl")
    path = tmp_path / "records.parquet"
    assert write_parquet(tmp_path / "run", path)[0] == 3
    query = f"SELECT key, \"result.value\", seconds FROM '{path}' ORDER BY key"  # noqa: S608
    assert duckdb.sql(query).fetchall() == [
        *[("own 0", 0, None), ("own 1", 1, None)],
        ("shared", 1, 0),  # the first file's
    ]


def test_the_command_line_writes_it(tmp_path, capsys):
    pytest.importorskip("duckdb")
    fill(tmp_path / "run")
    arguments = ["icl-sim", "export", str(tmp_path / "x"), "--records", str(tmp_path / "run")]
    assert run([*arguments, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["path"], shown["rows"]) == (str(tmp_path / "x" / "records.parquet"), len(RECORDS))
    assert run(arguments) == 0  # again, over the first
    assert "8 rows" in capsys.readouterr().out
    assert [file.name for file in (tmp_path / "x").iterdir()] == ["records.parquet"]


def test_what_is_missing_gives_one_line(tmp_path, capsys, monkeypatch):
    pytest.importorskip("duckdb")
    with pytest.raises(InputError, match="records"):
        write_parquet(tmp_path / "nowhere", tmp_path / "x.parquet")
    fill(tmp_path / "run")
    with pytest.raises(InputError, match="/dev/null"):
        write_parquet(tmp_path / "run", "/dev/null/x/records.parquet")
    (tmp_path / "folder.parquet").mkdir()
    with pytest.raises(InputError, match="folder"):
        write_parquet(tmp_path / "run", tmp_path / "folder.parquet")
    assert {file.name for file in tmp_path.iterdir()} == {"run", "folder.parquet"}
    monkeypatch.setitem(sys.modules, "duckdb", None)
    assert run(["icl-sim", "export", str(tmp_path), "--records", str(tmp_path / "run")]) == 2
    message = capsys.readouterr().err
    assert "pip install 'icl-sim[export]'" in message
    assert len(message.splitlines()) == 1
