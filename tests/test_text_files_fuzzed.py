"""Whatever a file holds, it is a task or one line that says what is wrong."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from icl_sim.data.text_files import read_pairs
from icl_sim.errors import InputError

# What files are made of: pieces of CSV and JSON, and what breaks them.
PIECES = st.sampled_from(
    [
        *(
            b"text,label\n",
            b"prompt;completion\n",
            b"input\toutput\n",
            b"a,b\n",
            b"c,d\n",
            b'"e",f\n',
        ),
        *(
            b'"',
            b",",
            b"\n",
            b"\r\n",
            b"\r",
            b"\x00",
            b"\xff",
            b"\xef\xbb\xbf",
            b"\xff\xfe",
            b" ",
            b"\\",
        ),
        *(b'{"text": "a", "label": "b"}\n', b'{"text": "c", "label": 1}\n', b'{"text": null}\n'),
        *(
            b"{",
            b"}",
            b"[",
            b"]",
            b":",
            b"1e999",
            b"-0",
            b"NaN",
            b"\\ud800",
            "é🙂".encode(),
            b"null",
        ),
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2)
    ),
    max_leaves=4,
)
ROWS = st.lists(
    st.dictionaries(st.sampled_from(["text", "label", "messages", "prompt", "completion"]), VALUES)
    | VALUES,
    max_size=6,
)
BYTES = (
    st.lists(PIECES, max_size=12).map(b"".join)
    | st.binary(max_size=40)
    | ROWS.map(lambda rows: b"".join(json.dumps(row).encode() + b"\n" for row in rows))
)
NAMED = {"prompt_column": "text", "completion_column": "label"}


def check(path, data, options):
    path.write_bytes(data)
    try:
        task, said = read_pairs(path, **options), f"{path}"
    except InputError as error:
        task, said = None, str(error)
    assert said.startswith(str(path))
    assert len(said.splitlines()) == 1
    if task is not None:
        assert task.queries
        for pair in (*task.pool, *task.held_out):
            assert all(cell and cell == cell.strip() and cell.encode() for cell in pair)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl"])
@pytest.mark.parametrize("many", [50, pytest.param(4000, marks=pytest.mark.slow)])
def test_any_bytes_are_a_task_or_one_line(tmp_path, suffix, many):
    @settings(max_examples=many, suppress_health_check=list(HealthCheck))
    @given(data=BYTES, options=st.sampled_from([{}, NAMED, {"choices": ["b", "d"]}]))
    def run(data, options):
        check(tmp_path / f"rows{suffix}", data, options)

    run()


@pytest.mark.parametrize("many", [10, pytest.param(4000, marks=pytest.mark.slow)])
def test_damaged_parquet_is_a_task_or_one_line(tmp_path, many):
    duckdb = pytest.importorskip("duckdb")
    whole = tmp_path / "whole.parquet"
    rows = "SELECT 'p' || i AS text, 'c' || i % 2 AS label FROM range(20) AS r(i)"
    duckdb.sql(rows).write_parquet(str(whole))
    data = whole.read_bytes()

    @settings(max_examples=many, suppress_health_check=list(HealthCheck))
    @given(
        place=st.integers(0, len(data) - 1), byte=st.integers(0, 255), end=st.integers(0, len(data))
    )
    def run(place, byte, end):
        changed = data[:place] + bytes([byte]) + data[place + 1 :]
        check(tmp_path / "rows.parquet", changed[:end] if byte % 4 == 0 else changed, {})

    run()
