"""Records and the store: nothing acknowledged is lost, nothing corrupt is believed."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import time

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

import icl_sim.storage.store
from icl_sim.errors import InputError
from icl_sim.storage.records import (
    Record,
    canonical_json,
    decode_line,
    digest,
    encode_line,
    read_run,
)
from icl_sim.storage.store import Store

CONFIG = {"seed": 1, "profile": "smoke", "sizes": {"V": [2, 32], "R": 400}}
RECORDS = [Record(f"cell-{i}", {"failures": i, "high": i / 7}) for i in range(5)]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)  # fmt: skip


def filled(directory, records=RECORDS):
    with Store(directory, config=CONFIG) as store:
        for record in records:
            store.append(record)
    return directory / "records-0.jsonl"


def one_line(error):
    assert isinstance(error, ValueError)
    assert len(str(error).splitlines()) == 1
    return str(error)


# --- the text of a record ------------------------------------------------------------------------


@hypothesis.given(json_values)
def test_canonical_json_is_a_fixed_point_and_a_line_gives_its_record_back(value):
    text = canonical_json(value)
    assert canonical_json(json.loads(text)) == text
    line = encode_line({"value": value})
    assert line.count(b"\n") == 1
    assert canonical_json(decode_line(line[:-1])) == canonical_json({"value": value})
    assert json.loads(line)["record"] == json.loads(canonical_json({"value": value}))


def test_numbers_of_numpy_are_plain_numbers():
    value = {"a": np.int64(3), "b": np.float32(0.5), "c": np.bool_(True), "d": np.float64(0.1)}
    assert canonical_json(value) == '{"a":3,"b":0.5,"c":true,"d":0.1}'


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1: 2}, {1, 2}, np.ones(2), b"a"])
def test_what_has_no_one_text_is_refused(value):
    with pytest.raises(ValueError, match=r"not JSON compliant|a record"):
        canonical_json(value)


@hypothesis.given(st.data())
def test_a_line_with_any_bit_flipped_is_not_believed(data):
    line = bytearray(encode_line({"key": "cell", "result": {"failures": 17}})[:-1])
    bit = data.draw(st.integers(0, 8 * len(line) - 1))
    line[bit // 8] ^= 1 << bit % 8
    assert decode_line(bytes(line)) is None


def test_digest_ignores_order_repetition_and_info_but_not_results():
    expected = digest(RECORDS)
    text = "\n".join(f'["cell-{i}",{{"failures":{i},"high":{i / 7!r}}}]' for i in range(5))
    assert expected == hashlib.sha256(text.encode()).hexdigest()
    timed = [Record(r.key, r.result, info={"seconds": i}) for i, r in enumerate(RECORDS)]
    assert digest(reversed([*RECORDS, *timed])) == expected
    assert digest([*RECORDS[:4], Record("cell-4", {"failures": 4, "high": 0.5})]) != expected
    assert digest([*RECORDS[:4], Record("cell-5", RECORDS[4].result)]) != expected
    assert digest(RECORDS[:4]) != expected


# --- writing and resuming ------------------------------------------------------------------------


def test_records_come_back_after_reopening(tmp_path):
    filled(tmp_path / "new" / "directory")
    with Store(tmp_path / "new" / "directory", config=CONFIG) as store:
        assert store.records() == RECORDS
        assert store.has("cell-3")
        assert store.get("cell-3") == RECORDS[3]
        assert not store.has("cell-9")
        assert store.get("cell-9") is None
        assert store.recovered == ()
    assert read_run(tmp_path / "new" / "directory")[1] == RECORDS


def test_a_result_written_again_is_kept_once_and_another_result_is_refused(tmp_path):
    path = filled(tmp_path)
    size = path.stat().st_size
    with Store(tmp_path, config=CONFIG) as store:
        store.append(Record("cell-1", RECORDS[1].result, info={"seconds": 3}))
        assert path.stat().st_size == size
        with pytest.raises(InputError, match="already has another result") as caught:
            store.append(Record("cell-1", {"failures": 2}))
    one_line(caught.value)


def test_a_recorded_result_is_not_computed_again(tmp_path):
    def first():
        return {"failures": (1, 2)}

    def second():
        raise AssertionError("computed twice")

    with Store(tmp_path, config=CONFIG) as store:
        assert store.result("cell", first) == {"failures": [1, 2]}
        assert store.result("cell", second) == {"failures": [1, 2]}
        assert store.get("cell").info["seconds"] >= 0
    with Store(tmp_path, config=CONFIG) as store:
        assert store.result("cell", second) == {"failures": [1, 2]}


def test_earlier_results_are_refused_where_they_are_not_to_be_resumed(tmp_path):
    filled(tmp_path, records=[])
    Store(tmp_path, config=CONFIG, resume=False).close()
    filled(tmp_path)
    with pytest.raises(InputError, match=r"already holds 5 results.*--resume") as caught:
        Store(tmp_path, config=CONFIG, resume=False)
    one_line(caught.value)


def test_another_configuration_is_refused_and_each_difference_named(tmp_path):
    filled(tmp_path)
    other = {"seed": 2, "sizes": {"V": [2, 32], "R": 800}, "new": 1, "profile": "smoke"}
    with pytest.raises(InputError) as caught:
        Store(tmp_path, config=other)
    message = one_line(caught.value)
    assert "new was null, now 1; seed was 1, now 2; sizes.R was 400, now 800" in message
    assert "sizes.V" not in message
    assert "profile" not in message
    Store(tmp_path, config=CONFIG).close()


def test_records_of_another_schema_are_refused(tmp_path):
    header = {"schema": 2, "config": CONFIG, "info": {}}
    (tmp_path / "records-0.jsonl").write_bytes(encode_line(header))
    with pytest.raises(InputError, match="expected records of schema 1, found 2") as caught:
        Store(tmp_path, config=CONFIG)
    one_line(caught.value)


def test_several_record_files_are_read_as_one(tmp_path):
    first = filled(tmp_path, RECORDS[:4])
    more = [Record(record.key, record.result, info={"file": 1}) for record in RECORDS[3:]]
    filled(tmp_path / "other", more).rename(tmp_path / "records-1.jsonl")
    assert digest(read_run(tmp_path)[1]) == digest(RECORDS)
    assert read_run(tmp_path)[1][3].info == {}  # of equal results, that of the lower number
    before = first.read_bytes()
    with Store(tmp_path, config=CONFIG) as store:
        assert digest(store.records()) == digest(RECORDS)
    assert first.read_bytes() == before


def test_record_files_that_disagree_are_refused(tmp_path):
    filled(tmp_path)
    other = [Record("cell-1", {"failures": 5})]
    filled(tmp_path / "other", other).rename(tmp_path / "records-1.jsonl")
    with pytest.raises(InputError, match="another result for 'cell-1'") as caught:
        read_run(tmp_path)[1]
    one_line(caught.value)


# --- damage --------------------------------------------------------------------------------------


def test_a_torn_last_line_is_dropped_reported_and_written_again(tmp_path):
    path = filled(tmp_path)
    whole = path.read_bytes()
    closing = whole.rindex(b"\n", 0, -1) + 1
    last = whole.rindex(b"\n", 0, closing - 1) + 1
    for cut in (last + 1, closing - 30, closing - 1):
        path.write_bytes(whole[:cut])
        with Store(tmp_path, config=CONFIG) as store:
            assert store.records() == RECORDS[:4]
            (report,) = store.recovered
            assert f"{path}: dropped an unfinished last line of {cut - last} bytes" == report
            store.append(RECORDS[4])
        assert path.read_bytes() == whole


def test_a_file_torn_before_its_header_ended_starts_anew(tmp_path):
    path = filled(tmp_path)
    for cut in (0, 7):
        path.write_bytes(path.read_bytes()[:cut])
        filled(tmp_path)
        assert read_run(tmp_path)[1] == RECORDS


def test_every_flipped_bit_of_a_whole_line_is_found_and_located(tmp_path):
    path = filled(tmp_path)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for position in rng.choice(len(whole) - 1, 60, replace=False):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(bytes(damaged))
        with pytest.raises(InputError, match=r"records-0.jsonl, line \d:") as caught:
            Store(tmp_path, config=CONFIG)
        line = whole[:position].count(b"\n") + 1
        assert f"line {line}:" in one_line(caught.value)
        assert path.read_bytes() == bytes(damaged)


def test_a_missing_directory_of_results_is_named(tmp_path):
    with pytest.raises(InputError, match="found none") as caught:
        read_run(tmp_path / "nowhere")[1]
    one_line(caught.value)


# --- a disk that refuses -------------------------------------------------------------------------


def test_a_directory_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    for directory in (tmp_path / "file", tmp_path / "file" / "inside", "/proc/none"):
        with pytest.raises(InputError, match="cannot create") as caught:
            Store(directory, config=CONFIG)
        one_line(caught.value)


@pytest.mark.parametrize("name", ["run-0.lock", "records-0.jsonl"])
def test_a_file_that_cannot_be_opened_is_one_line(tmp_path, monkeypatch, name):
    filled(tmp_path)
    real_open = os.open

    def refuse(path, flags, *rest):
        if str(path).endswith(name) and flags & os.O_RDWR:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return real_open(path, flags, *rest)

    monkeypatch.setattr(icl_sim.storage.store.os, "open", refuse)
    with pytest.raises(InputError, match=f"cannot open .*{name}: Permission denied") as caught:
        Store(tmp_path, config=CONFIG)
    one_line(caught.value)
    monkeypatch.undo()
    with Store(tmp_path, config=CONFIG) as store:  # the lock was not left behind
        assert store.records() == RECORDS


class Disk:
    """os.write with room for this number of bytes, then an exception."""

    def __init__(self, room, exception):
        self.room, self.exception, self.real_write = room, exception, os.write

    def write(self, descriptor, data):
        if self.room == 0:
            raise self.exception
        written = self.real_write(descriptor, data[: self.room])
        self.room -= written
        return written


@pytest.mark.parametrize("room", [0, 1, 40])
@pytest.mark.parametrize(
    ("exception", "raised"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), InputError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_a_full_disk_or_ctrl_c_leaves_earlier_results_and_no_half_line(
    tmp_path, monkeypatch, room, exception, raised
):
    filled(tmp_path, RECORDS[:3])
    with Store(tmp_path, config=CONFIG) as store:
        monkeypatch.setattr(icl_sim.storage.store.os, "write", Disk(room, exception).write)
        with pytest.raises(raised) as caught:
            store.append(RECORDS[3])
        monkeypatch.undo()
        if raised is InputError:
            assert "No space left on device; free some space" in one_line(caught.value)
        assert not store.has("cell-3")
        store.append(RECORDS[4])
        store.append(RECORDS[3])
    assert read_run(tmp_path)[1] == RECORDS


# --- one writer ----------------------------------------------------------------------------------

HOLD = """
import sys, time
from icl_sim.storage.store import Store
Store(sys.argv[1], config={"seed": 1})
sys.stdout.write("held\\n")
sys.stdout.flush()
time.sleep(60)
"""


def hold(directory):
    command = [sys.executable, "-c", HOLD, str(directory)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"held\n"
    return process


def test_a_second_run_is_refused_naming_the_holder_whose_death_frees_the_directory(tmp_path):
    holder = hold(tmp_path)
    try:
        with pytest.raises(InputError) as caught:
            Store(tmp_path, config={"seed": 1})
        message = one_line(caught.value)
        assert f"is in use by process {holder.pid} on {os.uname().nodename}, started " in message
        assert time.strftime("%Y-%m", time.gmtime()) in message
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        holder.stdout.close()
    assert "process" in (tmp_path / "run-0.lock").read_text()  # stale
    with Store(tmp_path, config={"seed": 1}):
        assert f"process {os.getpid()} " in (tmp_path / "run-0.lock").read_text()


def test_the_lock_holds_within_one_process_too_and_ends_with_close(tmp_path):
    store = Store(tmp_path, config=CONFIG)
    with pytest.raises(InputError, match="is in use by process"):
        Store(tmp_path, config=CONFIG)
    store.close()
    store.close()
    Store(tmp_path, config=CONFIG).close()
