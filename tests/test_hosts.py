"""Runs of several processes: one result, deaths survived, one-line errors."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from icl_sim.cli import run
from icl_sim.execution.hosts import from_first, is_first
from icl_sim.storage.records import digest, read_run

ROOT = Path(__file__).parents[1]
VERIFY = ("verify", "C2.sup", "--json")


def launch(*arguments, **variables):
    return subprocess.Popen(
        [sys.executable, "-m", "icl_sim", *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def workers(process):
    """The process numbers of a supervisor's children."""
    path = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(number) for number in path.read_text().split()]


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition, seconds=60):
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.02)


def recorded(directory):
    path = directory / "records-0.jsonl"
    return path.read_bytes().count(b"\n") - 1 if path.exists() else 0


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """The digest of one process, with two devices."""
    directory = tmp_path_factory.mktemp("one")
    assert run(["icl-sim", *VERIFY[:2], "--out", str(directory)]) == 0
    return digest(read_run(directory)[1])


needs_proc = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")


@needs_proc
def test_a_worker_killed_inside_a_collective_is_replaced_and_nothing_changes(tmp_path, expected):
    process = launch(*VERIFY, "--processes", 2, "--out", tmp_path)
    wait_until(lambda: recorded(tmp_path) > 0)
    os.kill(workers(process)[1], signal.SIGKILL)
    acknowledged = {record.key for record in read_run(tmp_path)[1]}
    code, out, err = finish(process)
    assert code == 0
    assert err == "icl-sim: process 1 ended by SIGKILL; restart 1 of 3\n"
    assert out.count("\n") == 1
    assert json.loads(out)["digest"]
    assert acknowledged <= {record.key for record in read_run(tmp_path)[1]}
    assert digest(read_run(tmp_path)[1]) == expected


def test_two_hosts_of_a_slurm_job_give_the_digest_of_one_process(tmp_path, expected):
    hosts = [
        launch(
            *(*VERIFY, "--coordinator", "auto", "--out", tmp_path / str(i)),
            SLURM_JOB_ID=str(os.getpid()),
            SLURM_STEP_NODELIST="localhost",
            SLURM_NTASKS="2",
            SLURM_PROCID=str(i),
            SLURM_LOCALID=str(i),
            SLURM_STEP_NUM_NODES="2",
        )
        for i in (0, 1)
    ]
    (code, out, err), second = map(finish, hosts)
    assert (code, err) == (0, "")
    assert json.loads(out)["statements"][0]["id"] == "C2.sup"
    assert second == (0, "", "")
    assert digest(read_run(tmp_path / "0")[1]) == expected
    assert not (tmp_path / "1").exists()


def test_open_mpi_is_detected_and_another_number_of_processes_refused():
    hosts = [
        launch(
            *(*VERIFY, "--coordinator", "auto", "--processes", 3),
            OMPI_MCA_orte_hnp_uri=f"{os.getpid() * 2**12}.0;tcp://127.0.0.1:34911",
            OMPI_COMM_WORLD_SIZE="2",
            OMPI_COMM_WORLD_RANK=str(i),
            OMPI_COMM_WORLD_LOCAL_RANK=str(i),
        )
        for i in (0, 1)
    ]
    (code, out, err), (other, *_) = map(finish, hosts)
    assert (code, other, out) == (2, 2, "")
    assert err.startswith("icl-sim: --processes: the cluster has 2 processes, got 3;")
    assert err.count("\n") == 1


def test_what_the_first_process_refuses_all_refuse_and_one_says(tmp_path, expected):
    run(["icl-sim", "verify", "C1.sum", "--out", str(tmp_path)])
    again = launch("verify", "C1.sum", "--processes", 2, "--out", tmp_path, JAX_ENABLE_X64="1")
    code, out, err = finish(again)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert "already holds 1 results" in err


@needs_proc
def test_after_the_last_restart_it_gives_up_and_says_so(tmp_path):
    process = launch(*VERIFY, "--processes", 2, "--restarts", 0, "--out", tmp_path)
    wait_until(lambda: (tmp_path / "run-0.lock").exists())
    os.kill(workers(process)[0], signal.SIGKILL)
    code, out, err = finish(process)
    assert (code, out) == (1, "")
    assert err == "icl-sim: process 0 ended by SIGKILL; gave up after 0 restarts\n"


@needs_proc
@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGKILL])
def test_no_worker_outlives_its_supervisor(tmp_path, sign):
    process = launch(*VERIFY, "--processes", 2, "--out", tmp_path)
    wait_until(lambda: (tmp_path / "run-0.lock").exists())  # joined, and at work
    team = workers(process)
    asked = time.monotonic()
    process.send_signal(sign)
    code, out, err = finish(process)
    assert out == ""
    if sign == signal.SIGINT:
        assert (code, err) == (
            130,
            "icl-sim: interrupted; --resume continues a run that has --out\n",
        )
    else:
        assert code == -sign
    wait_until(lambda: not any(map(alive, team)), seconds=5)
    assert time.monotonic() - asked < 5


UNREACHABLE = ("--coordinator", "localhost:1", "--processes", "2", "--process", "1")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--processes", "0"), "--processes: expected at least 1, got 0"),
        (("--process", "1"), "expected --processes N, or --coordinator HOST:PORT"),
        (("--restarts", "1"), "expected --processes N, or --coordinator HOST:PORT"),
        (("--processes", "2", "--process", "1"), "--process: expected --coordinator"),
        (("--processes", "2", "--restarts", "-1"), "--restarts of at least 0"),
        (("--processes", "2", "--join-timeout", "0"), "--join-timeout of at least 1"),
        (("--coordinator", "host"), "expected HOST:PORT or auto, got 'host'"),
        (("--coordinator", "host:0"), "expected HOST:PORT or auto"),
        (("--coordinator", "host:4000"), "expected --processes N and --process I"),
        ((*UNREACHABLE[:-1], "2"), "--process: expected 0 to 1, got 2"),
        ((*UNREACHABLE, "--join-timeout", "1"), "cannot reach localhost:1 within 1 s: Connection"),
    ],
)
def test_bad_places_are_one_line_and_code_2(capsys, flags, words):
    assert run(["icl-sim", "verify", "C1.sum", *flags]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert words in captured.err
    assert captured.err.count("\n") == 1


def test_a_port_in_use_is_named(capsys):
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
        flags = ("--coordinator", f"localhost:{port}", "--processes", "2", "--process", "0")
        assert run(["icl-sim", "verify", "C1.sum", *flags]) == 2
    assert f"cannot listen on port {port}" in capsys.readouterr().err


def test_the_coordinator_needs_an_address_of_this_machine(capsys):
    flags = ("--coordinator", "192.0.2.1:4000", "--processes", "2", "--process", "0")
    assert run(["icl-sim", "verify", "C1.sum", *flags]) == 2
    assert "cannot listen on port 4000 of 192.0.2.1" in capsys.readouterr().err


@needs_proc
@pytest.mark.slow
def test_the_coordinator_listens_on_its_address_alone_and_refuses_another_run(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.2", 0))
        port = probe.getsockname()[1]
        address = f"127.0.0.2:{port}"
    places = ("--coordinator", address, "--processes", 2, "--process")
    first = launch("verify", "C1.sum", *places, 0, "--out", tmp_path)
    wanted = f"{port:04X}"

    def listening():
        lines = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
        rows = [line.split() for line in lines.splitlines()]
        return {row[1].split(":")[0] for row in rows if row[1].endswith(wanted) and row[3] == "0A"}

    wait_until(listening)
    assert listening() <= {"0200007F", "0000000000000000FFFF00000200007F"}
    second = launch("verify", "C1.sum", "--seed", 1, *places, 1, "--out", tmp_path)
    ended = [finish(first), finish(second)]
    assert [code for code, _, _ in ended] == [2, 2]
    assert "got another run from process 1" in ended[0][2]
    assert all(err.count("\n") <= 1 for _, _, err in ended)


def test_without_a_cluster_or_without_peers_the_message_says_so():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    lonely = ("--coordinator", f"127.0.0.1:{port}", "--processes", 2, "--process", 0)
    runs = [
        launch("verify", "C1.sum", "--coordinator", "auto"),
        launch("verify", "C1.sum", *lonely, "--join-timeout", 1),
    ]
    words = ["detected none; give HOST:PORT", f"within 1 s at 127.0.0.1:{port}; start the others"]
    for (code, out, err), said in zip(map(finish, runs), words, strict=True):
        assert (code, out) == (2, "")
        assert said in err
        assert err.count("\n") == 1


def test_one_process_is_the_first_and_asks_nobody():
    assert is_first()
    assert from_first(lambda: b"it") == b"it"
