"""The command line: its JSON, its exit codes, its one-line errors."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest

from icl_sim.cli import run


def call(capsys, *arguments):
    code = run(["icl-sim", *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_help_answers_without_heavy_imports():
    program = (
        "import sys; from icl_sim.cli import run\n"
        "try: run(['icl-sim', '--help'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "heavy = {'jax', 'scipy', 'matplotlib', 'numpy', 'flax'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "verify" in done.stdout
    assert time.monotonic() - start < 5


def test_sample_size_prints_one_json_object(capsys):
    code, out, err = call(
        capsys,
        *("sample-size", "--vocab", "32", "--eps", "0.15", "--delta", "0.1", "--contexts", "1"),
        "--json",
    )
    assert (code, err) == (0, "")
    size = json.loads(out)
    assert size["exact"] == 304
    assert {"mcdiarmid", "weissman", "abstract", "lower", "exact"} <= size.keys()
    assert size["lower"] <= size["exact"] <= min(size["mcdiarmid"], size["weissman"])
    assert len(out.splitlines()) == 1


SAMPLE = {"--vocab": "8", "--eps": "0.1", "--delta": "0.1", "--contexts": "2"}


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"--eps": "0"}, "eps"),
        ({"--eps": "1"}, "eps"),
        ({"--eps": "1.5"}, "eps"),
        ({"--eps": "much"}, "eps"),
        ({"--eps": "nan"}, "eps"),
        ({"--vocab": "1"}, "vocab"),
        ({"--vocab": "two"}, "--vocab"),
        ({"--delta": "0"}, "delta"),
        ({"--delta": "1"}, "delta"),
        ({"--contexts": "0"}, "contexts"),
        ({"--length": "0"}, "length"),
        ({"--dim": "0"}, "dim"),
    ],
)
def test_bad_numbers_give_one_line_and_code_2(capsys, change, word):
    arguments = [part for pair in (SAMPLE | change).items() for part in pair]
    code, out, err = call(capsys, "sample-size", *arguments)
    assert code == 2
    assert out == ""
    assert len(err.splitlines()) == 1
    assert word in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("nonsense",), "nonsense"),
        (("--json",), "COMMAND"),
        (("sample-size",), "--vocab"),
        (("verify", "C99"), "C99"),
        (("verify", "C1", "--profile", "huge"), "huge"),
        (("verify", "C1", "--resume"), "--out"),
        (("verify", "C1", "--out", "/proc/nowhere"), "/proc/nowhere"),
        (("reproduce", "--out", "/dev/null/x"), "/dev/null"),
        (("compare", "--predictors", "magic"), "magic"),
        (("compare", "--task", "french"), "french"),
        (("compare", "--sizes", "300", "--predictors", "in-context"), "287"),
        (("compare", "--resume"), "--out"),
        (("train",), "base|sft"),
        (("train", "sft", "--adapt", "magic"), "magic"),
        (("train", "sft", "--rank", "0"), "rank"),
        (("train", "sft", "--task", "french"), "french"),
        (("train", "sft", "--sizes", "300"), "287"),
        (("train", "base", "--steps", "-1"), "steps"),
    ],
)
def test_bad_commands_give_one_line_and_code_2(capsys, arguments, word):
    code, out, err = call(capsys, *arguments)
    assert code == 2
    assert out == ""
    assert len(err.splitlines()) == 1
    assert word in err


@pytest.mark.parametrize(
    "line", ["--flagfile={} list", "@{}", "verify --flagfile={}", "verify @{}"]
)
def test_no_file_is_read_as_arguments(capsys, tmp_path, line):
    file = tmp_path / "arguments"
    file.write_text("list\n--json\n")
    code, out, err = call(capsys, *line.format(file).split())
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert str(file) in err


@pytest.mark.parametrize(
    "line",
    ["nonsense", "verify C1 --profile huge", "verify --resume", "compare --sizes many", "train"],
)
def test_bad_input_is_answered_without_heavy_imports(line):
    program = (
        f"import sys; from icl_sim.cli import run\nassert run(['icl-sim', *{line.split()}]) == 2\n"
        "assert not {'jax', 'scipy', 'matplotlib', 'numpy', 'flax'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr


def test_an_unwritable_directory_is_one_line(capsys, tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    code, _, err = call(capsys, "verify", "C1", "--out", str(file / "below"))
    assert code == 2
    assert len(err.splitlines()) == 1


def test_compare_prints_the_matrix_and_writes_a_report(capsys, tmp_path):
    arguments = ("compare", "--task", "markov", "--sizes", "16", "--tasks", "2", "--predictors")
    directory = tmp_path / "run"
    options = ("counts", "in-context", "--out", str(directory), "--json")
    code, out, _ = call(capsys, *arguments, *options)
    assert code == 0
    found = json.loads(out)
    assert found["predictors"] == ["counts", "in-context", "truth"]
    cell = found["matrix"]["16"]["counts"]["truth"]
    assert {"mean", "low", "high", "max"} <= cell.keys()
    assert 0 < cell["mean"] < 1
    assert (directory / "report.html").exists()
    code, again, _ = call(capsys, *arguments, *options, "--resume")
    assert (code, again) == (0, out)


def test_fine_tuning_from_the_command_line(capsys, tmp_path):
    directory = tmp_path / "run"
    options = ("--sizes", "16", "--tasks", "2", "--steps", "60", "--out", str(directory))
    code, out, _ = call(capsys, "train", "sft", "--task", "tables", *options, "--json")
    assert code == 0
    found = json.loads(out)
    assert found["copies"] == 2
    curves = found["curves"]["16"]
    assert len(curves["counts"]) == len(found["steps"]) == 4
    assert curves["counts"][-1] < curves["counts"][0]
    assert found["oracle"]["16"]["truth"] <= min(curves["truth"]) + 1e-4
    assert sorted(p.name for p in directory.iterdir()) == ["report.html", "results.json"]
    page = (directory / "report.html").read_text()
    (directory / "report.html").unlink()
    assert call(capsys, "report", str(directory))[0] == 0
    assert (directory / "report.html").read_text() == page


def test_list_names_what_there_is(capsys):
    code, out, _ = call(capsys, "list", "--json")
    assert code == 0
    found = json.loads(out)
    assert {"constructions", "machines", "claims", "predictors", "tasks"} <= found.keys()
    lookup = next(c for c in found["constructions"] if c["name"] == "lookup")
    assert lookup["kind"] == "learner"
    assert "total variation" in lookup["certificate"]
    assert "english" in found["tasks"]
    assert "C1.token" in {claim["id"] for claim in found["claims"]}
    assert "Fu.newton" in {theorem["id"] for theorem in found["atlas"]}
    kinds = {kind["kind"]: kind for kind in found["kinds"]}
    assert "svm" in kinds["classification"]["predictors"]
    assert "digits" in kinds["classification"]["tasks"]
    for names in ("predictors", "tasks"):
        assert found[names] == sorted({name for kind in kinds.values() for name in kind[names]})


def test_doctor_finds_exact_products(capsys):
    code, out, _ = call(capsys, "doctor", "--json")
    assert code == 0
    assert json.loads(out)["exact products"] is True


def test_an_interrupt_ends_with_130(capsys, monkeypatch):
    def interrupted(**_):
        raise KeyboardInterrupt

    monkeypatch.setattr("icl_sim.reproduction.verify", lambda *_, **__: interrupted())
    code, _, err = call(capsys, "verify", "C1")
    assert code == 130
    assert "--resume" in err


def test_a_machine_may_begin_with_an_undefined_transition(capsys):
    code, out, err = call(capsys, "emulate", "---1RZ_1LB---", "--max-steps", "9", "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert (found["machine"], found["steps"], found["halted"]) == ("---1RZ_1LB---", 0, True)


def test_a_reader_that_goes_away_is_no_traceback():
    command = [sys.executable, "-m", "icl_sim", "sample-size", "--vocab", "8", "--eps", ".2"]
    command += ["--delta", ".1", "--contexts", "1"]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_console_script_is_installed():
    script = os.path.join(os.path.dirname(sys.executable), "icl-sim")
    done = subprocess.run([script, "nonsense"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1


def test_a_report_is_made_again_from_the_records(capsys, tmp_path):
    code, first, _ = call(capsys, "verify", "C2.sequence", "--out", str(tmp_path), "--json")
    assert code == 0
    code, second, _ = call(capsys, "report", str(tmp_path), "--json")
    assert code == 0
    again = json.loads(second)
    assert again.pop("report") == str(tmp_path / "report.html")
    assert again == json.loads(first)
    assert "C2.sequence" in (tmp_path / "audit.html").read_text()


def test_a_report_of_nothing_is_one_line(capsys, tmp_path):
    code, _, err = call(capsys, "report", str(tmp_path))
    assert code == 2
    assert "found none" in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["verfy"], "verify"),
        (
            [
                "sample-size",
                "--vocab",
                "3",
                "--eps",
                ".1",
                "--delta",
                ".1",
                "--contexts",
                "1",
                "--lenght",
                "2",
            ],
            "--length",
        ),
        (["verify", "c1.summ"], "C1.sum"),
        (["compare", "--task", "tabels"], "tables"),
        (["compare", "--predictors", "lokup"], "lookup"),
        (["emulate", "bb44"], "bb4"),
        (["emulate", "fibonaci", "--construction", "looped"], "fibonacci"),
        (["verify", "--profile", "smok"], "smoke"),
    ],
)
def test_a_name_that_is_nearly_right_is_proposed(words, meant, capsys):
    assert run(["icl-sim", *words]) == 2
    error = capsys.readouterr().err
    assert f"did you mean {meant}?" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("line", "taken"),
    [
        ("export lookup --out DIR", "icl-sim export takes DIR, NAME, --help, --json"),
        ("export --out", "the following arguments are required: DIR; see icl-sim export"),
        ("verify C1 --vocab 3", "icl-sim verify takes CLAIM | STATEMENT, --help"),
        ("train sft --trace t.html", "icl-sim train sft takes --help"),
        ("doctor now", "icl-sim doctor takes --help, --json"),
    ],
)
def test_what_a_command_does_not_take_is_answered_with_what_it_takes(line, taken, capsys):
    assert run(["icl-sim", *line.split()]) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert taken in error
    assert "did you mean" not in error
    assert error.endswith("--help")


def test_the_version_is_told(capsys):
    with pytest.raises(SystemExit) as ended:
        run(["icl-sim", "--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("icl-sim 0.")


def test_without_a_command_it_shows_what_to_do_first(capsys):
    assert run(["icl-sim"]) == 0
    assert "icl-sim verify C1.token" in capsys.readouterr().out
