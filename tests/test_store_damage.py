"""What happens to a directory of records behind its run's back is noticed."""

from __future__ import annotations

import os
import shutil
import zlib

import pytest

from icl_sim.errors import InputError
from icl_sim.storage.records import Record, digest, encode_line, read_file, read_run
from icl_sim.storage.store import Store

CONFIG = {"seed": 1}
HEADER = {"schema": 1, "config": CONFIG, "info": {}}


def fill(directory, count=4):
    with Store(directory, config=CONFIG) as store:
        for i in range(count):
            store.append(Record(f"cell {i}", {"failures": i}))
        return digest(store.records())


@pytest.mark.parametrize("replaced", [False, True])
@pytest.mark.parametrize("more", [False, True])
def test_a_removed_directory_is_noticed(tmp_path, more, replaced):
    out = tmp_path / "out"
    store = Store(out, config=CONFIG)
    store.append(Record("a", 1))
    shutil.rmtree(out)
    if replaced:
        fill(out)

    def end():
        with store:
            if more:
                store.append(Record("b", 2))

    with pytest.raises(InputError, match="was removed or replaced"):
        end()


@pytest.mark.parametrize(
    "content", [b"precious data without newline", b"{}", b"\xff", b"precious\n"]
)
def test_a_foreign_file_is_not_erased(tmp_path, content):
    path = tmp_path / "records-0.jsonl"
    path.write_bytes(content)
    with pytest.raises(InputError, match="expected"):
        Store(tmp_path, config=CONFIG)
    assert path.read_bytes() == content


def test_a_pipe_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "records-0.jsonl")
    with pytest.raises(InputError, match="expected a file of records"):
        read_run(tmp_path)


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_a_missing_line_is_noticed_and_its_result_computed_again(tmp_path, lost, caplog):
    whole = fill(tmp_path)
    path = tmp_path / "records-0.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:lost] + lines[lost + 1 :]))
    with Store(tmp_path, config=CONFIG) as store:
        (told,) = store.recovered
        assert "1 lines are missing" in told
        assert told in caplog.text
    assert fill(tmp_path) == whole
    assert read_file(path).lost == 1


def test_a_torn_line_is_told(tmp_path, caplog):
    fill(tmp_path)
    path = tmp_path / "records-0.jsonl"
    path.write_bytes(path.read_bytes()[:-9])
    Store(tmp_path, config=CONFIG).close()
    assert "dropped an unfinished last line" in caplog.text


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_lines_missing_at_the_end_are_noticed(tmp_path, lost, caplog):
    whole = fill(tmp_path)
    path = tmp_path / "records-0.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-lost]))
    read_run(tmp_path)
    assert "its last lines are missing" in caplog.text
    assert fill(tmp_path) == whole
    caplog.clear()
    read_run(tmp_path)
    assert caplog.text == ""


def test_a_repeated_line_is_noticed_and_its_result_taken_once(tmp_path):
    whole = fill(tmp_path)
    path = tmp_path / "records-0.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:3], lines[2], *lines[3:]]))
    with Store(tmp_path, config=CONFIG) as store:
        (told,) = store.recovered
        assert "1 lines stand there twice" in told
        assert digest(store.records()) == whole


def test_a_finished_run_that_is_opened_again_is_left_as_it_was(tmp_path):
    fill(tmp_path)
    path = tmp_path / "records-0.jsonl"
    before = path.read_bytes()
    fill(tmp_path)
    assert path.read_bytes() == before
    fill(tmp_path, 5)
    assert path.read_bytes().startswith(before)
    assert read_file(path).faults() == []


@pytest.mark.parametrize(
    "second",
    [
        HEADER,
        [1],
        "text",
        {"key": 1, "result": 2, "info": {}},
        {"key": "a"},
        {"key": "a", "result": 1, "info": {}, "more": 1},
        {"key": "a", "result": 1, "info": []},
    ],
)
def test_a_line_that_is_no_record_is_refused(tmp_path, second):
    path = tmp_path / "records-0.jsonl"
    path.write_bytes(encode_line(HEADER) + encode_line(second))
    with pytest.raises(InputError, match="line 2: expected a record"):
        read_run(tmp_path)


@pytest.mark.parametrize(
    "result",
    ["NaN", "Infinity", "1e999", "[" * 3000 + "]" * 3000, "[" * 9000 + "]" * 9000, '{"b":1,"a":2}'],
)
def test_a_line_with_a_right_checksum_that_nothing_here_writes_is_refused(tmp_path, result):
    body = f'{{"info":{{}},"key":"a","line":2,"result":{result}}}'.encode()
    path = tmp_path / "records-0.jsonl"
    path.write_bytes(
        encode_line({**HEADER, "line": 1})
        + b'{"crc32":"%08x","record":%s}\n' % (zlib.crc32(body), body)
    )
    for read in (read_run, lambda directory: Store(directory, config=CONFIG)):
        with pytest.raises(InputError, match="line 2: expected a record"):
            read(tmp_path)


@pytest.mark.parametrize("first", [[], {"schema": 1}, {"key": "a", "result": 1}])
def test_a_file_without_its_header_is_refused(tmp_path, first):
    (tmp_path / "records-0.jsonl").write_bytes(encode_line(first))
    with pytest.raises(InputError, match="line 1: expected the header"):
        read_run(tmp_path)
