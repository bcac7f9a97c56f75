"""The benchmarks: the stopwatch, the roof, the history, the tables; what the slow suites find."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import certificates, exact, history, literature, memory, sharding, tables, tightness
from benchmarks.__main__ import main
from benchmarks.literature import D, N
from benchmarks.measure import NOT_INSTALLED, measure, peer
from benchmarks.roofline import Roof, Work, against_roof, forward_work, measured_roof, picture
from benchmarks.slopes import LOOPS, SIZES, learning_curves, slope
from constructions import CONSTRUCTIONS
from constructions.spec import Layer, TransformerSpec, param_shapes

ROOF = Roof(stream=10e9, triad=6e9, peak=100e9)


class Clock:
    """Moves only when a function says how long it took."""

    def __init__(self):
        self.now = 0.0
        self.calls = []

    def perf_counter(self):
        return self.now

    def sleep(self, seconds):
        pass  # pauses are between the calls, and count for none

    def taking(self, name, *seconds):
        left = iter(seconds)

        def call():
            self.now += next(left)
            self.calls.append(name)

        return call


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("benchmarks.measure.time", clock)
    return clock


def test_first_calls_are_apart_and_rounds_interleave(clock):
    a, b = clock.taking("a", 9, 1, 2, 3, 4, 100), clock.taking("b", 1, 6, 6, 6, 6, 6)
    rows = measure({"a": a, "b": b}, rounds=5, reference="b")
    assert clock.calls == list("ab" * 6)
    assert rows == [
        {"name": "a", "compile_s": 6, "median_s": 3, "spread_s": 2, "speedup": 2},
        # The first call was the fastest: nothing was compiled.
        {"name": "b", "compile_s": 0, "median_s": 6, "spread_s": 0, "speedup": 1},
    ]


def test_results_are_waited_for(clock):
    class Pending:
        def block_until_ready(self):
            clock.now += 5

    (row,) = measure({"a": Pending}, rounds=3)
    assert row["median_s"] == 5


def test_a_missing_peer_is_a_note(clock):
    def absent():
        import no_such_library  # noqa: F401

    calls = {"ours": clock.taking("ours", 1, 1), **peer("theirs", absent, asked=True)}
    (_, row) = against_roof(measure(calls, rounds=1), {"theirs": Work(1, 1)}, ROOF)
    assert row == {"name": "theirs", "note": NOT_INSTALLED}
    assert peer("theirs", absent, asked=False) == {}


def test_fractions_of_the_roof():
    rows = [{"name": name, "median_s": 2.0} for name in ("read", "multiply", "unknown")]
    work = {"read": Work(bytes=5e9, flops=1e9), "multiply": Work(bytes=1e9, flops=50e9)}
    read, multiply, unknown = against_roof(rows, work, ROOF)
    # 0.5 s of reading against 0.01 of arithmetic, and 0.5 s of arithmetic against 0.1 of reading.
    assert read["of_roof"] == multiply["of_roof"] == 0.25
    assert (read["gb_per_s"], read["gflop_per_s"]) == (2.5, 0.5)
    assert (multiply["gb_per_s"], multiply["gflop_per_s"]) == (0.5, 25)
    assert unknown == rows[2]


def test_the_roof_is_measured(monkeypatch):
    monkeypatch.setattr("benchmarks.roofline._array_bytes", lambda: 2**24)
    monkeypatch.setattr("benchmarks.roofline.LONG", 1e-9)
    roof = measured_roof.__wrapped__()
    assert roof.triad > 1e8
    assert roof.stream > 1e8
    assert roof.peak > 1e8
    assert roof.speed(1e-3) == roof.stream * 1e-3
    assert roof.speed(1e9) == roof.peak


def test_the_picture_names_every_point_and_is_the_same_twice():
    rows = [{"name": f"kernel {i}", "median_s": 1.0 + i % 3} for i in range(30)]
    placed = against_roof(rows, {row["name"]: Work(2e9, 1e9) for row in rows}, ROOF)
    drawn = picture(ROOF, [*placed, {"name": "untimed", "note": NOT_INSTALLED}])
    assert all(f"kernel {i}, " in drawn for i in range(30))
    assert "untimed" not in drawn
    assert drawn == picture(ROOF, placed)


ABOUT = {"processor": "p", "cores": 2, "devices": ["cpu: cpu"], "python": "3", "jax": "0"} | {
    "stream": 1e10,
    "triad": 1e10,
    "peak": 1e11,
    "commit": "c",
}


def test_a_history_comes_back_and_is_compared_on_the_same_machine(tmp_path):
    path = tmp_path / "history.jsonl"
    assert history.read(path) == []
    rows = [{"name": "a", "median_s": np.float64(2.0), "steps": np.int64(3)}, {"name": "b"}]
    history.append(path, "exact", rows, ABOUT)
    history.append(path, "exact", [{"name": "a", "median_s": 1.0}], ABOUT | {"cores": 64})
    history.append(path, "slopes", [{"name": "a", "median_s": 5.0}], ABOUT)
    first, *_ = records = history.read(path)
    assert (first["suite"], first["rows"], first["machine"]) == ("exact", rows, ABOUT)
    now = [{"name": "a", "median_s": 3.0}, {"name": "new", "median_s": 1.0}, {"name": "b"}]
    compared = history.beside_last(now, records, "exact", ABOUT)
    assert [row.get("of_last") for row in compared] == [1.5, None, None]
    assert history.beside_last(now, records, "training", ABOUT) == now


@pytest.mark.parametrize("line", ["{", "[]", "7", '{"suite": "exact"}'])
def test_a_history_that_is_none_gives_one_line(tmp_path, capsys, line):
    path = tmp_path / "history.jsonl"
    path.write_text(json.dumps({"suite": "exact", "machine": {}, "rows": []}) + f"\n{line}\n")
    assert main(["--suite", "exact", "--json", str(path)]) == 2
    message = capsys.readouterr().err
    assert len(message.splitlines()) == 1
    assert "line 2" in message


def test_a_machine_knows_itself(monkeypatch):
    monkeypatch.setattr("benchmarks.history.measured_roof", lambda: ROOF)
    about = json.loads(json.dumps(history.machine()))
    assert ABOUT.keys() <= about.keys()
    assert "10.0 GB/s" in tables.one_line(about)


def test_tables_in_markdown_stand_between_their_marks(tmp_path):
    path = tmp_path / "page.md"
    path.write_text("before\n<!-- exact -->\nold\n<!-- /exact -->\nafter\n")
    rows = [
        {
            "name": "a|b",
            "median_s": 0.0123456,
            "steps": 47_176_870,
            "bytes": 3.0,
            "per_s": 123456.0,
        },
        {"name": "c", "median_s": 2.0},
        {"name": "e", "median_s": 9.8765e-5},
        {"name": "d", "other": True},
        {"name": "peer", "note": NOT_INSTALLED},
    ]
    for _ in range(2):
        tables.replace(path, "exact", rows, ABOUT)
    text = path.read_text()
    assert text.startswith("before\n<!-- exact -->\n\n20")
    assert text.endswith("<!-- /exact -->\nafter\n")
    assert "| name | median | steps | per_s |" in text
    assert "| a\\|b | 12.3 ms | 47,176,870 | 123,000 |\n| c | 2.00 s |  |  |\n" in text
    assert "| e | 98.8 us |  |  |\n\n| name | other" in text
    assert text.count(NOT_INSTALLED) == 1
    assert "old" not in text
    assert "bytes" not in text


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--suite", "nonsense"), "nonsense"),
        (("--nonsense",), "nonsense"),
        (("--json", "/dev/null/x"), "/dev/null/x"),
        (("--picture", "/dev/null/x"), "/dev/null/x"),
        (("--suite", "exact", "--markdown", "{tmp}/page.md"), "<!-- exact -->"),
    ],
)
def test_bad_input_gives_one_line_and_code_2(capsys, tmp_path, arguments, word):
    assert main([a.replace("{tmp}", str(tmp_path)) for a in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    assert word in captured.err


def test_a_run_is_printed_recorded_drawn_and_written(tmp_path, capsys, monkeypatch):
    row = {"name": "a", "median_s": 1.0}
    suite = SimpleNamespace(
        run=lambda *, peers: against_roof([row], {"a": Work(1e9, 1e9)}, ROOF) if peers else []
    )
    monkeypatch.setattr("benchmarks.__main__.import_module", lambda name: suite)
    monkeypatch.setattr("benchmarks.roofline.measured_roof", lambda: ROOF)
    monkeypatch.setattr("benchmarks.history.measured_roof", lambda: ROOF)
    files = {name: tmp_path / name for name in ("h.jsonl", "r.svg", "page.md")}
    files["page.md"].write_text("<!-- exact -->\n<!-- /exact -->\n")
    arguments = ["--suite", "exact", "--peers", "--json", str(files["h.jsonl"])]
    arguments += ["--picture", str(files["r.svg"]), "--markdown", str(files["page.md"])]
    assert main(arguments) == 0
    assert "of_last" not in capsys.readouterr().out
    assert main(arguments) == 0
    assert "of_last" in capsys.readouterr().out
    assert [r["rows"][0]["median_s"] for r in history.read(files["h.jsonl"])] == [1.0, 1.0]
    assert "exact: a, 10%" in files["r.svg"].read_text()
    assert "| a |" in files["page.md"].read_text()
    assert "of_last" not in files["page.md"].read_text()


def test_suites_name_their_rows():
    for rows in (tightness.run(), exact.run(rounds=1, draws=10)):
        names = [row["name"] for row in rows]
        assert len(set(names)) == len(names)
        assert all(name in tables.plain(rows) for name in names)


def test_work_of_a_forward_pass_counts_every_product():
    spec = TransformerSpec(5, 3, 7, (Layer(heads=2, key_size=4, value_size=6, hidden=8),), loops=9)
    params = {name: np.zeros(shape) for name, shape in param_shapes(spec).items()}
    work = forward_work(spec, params, 11, sequences=13)
    projections, mlp = 2 * 3 * (2 * 4 + 2 * 6), 3 * 3 * 8
    attention = 2 * (4 + 6) * (11 + 1) / 2  # causal: (T + 1)/2 tokens on average
    assert work.flops == 2 * 13 * 11 * (9 * (projections + mlp + attention) + 3 * 7)
    numbers = sum(leaf.size for leaf in params.values())
    assert work.bytes == 4 * (numbers + 13 * 11 * (1 + 7))


@pytest.mark.slow
def test_runs_on_several_devices_see_the_same_sequences_and_end_close_to_each_other():
    rows = sharding.sequences(2)
    assert rows.tokens.shape == (16, sharding.LENGTH)
    np.testing.assert_allclose(rows.weights.sum(axis=1), 1, rtol=1e-5)
    layer = Layer(heads=1, key_size=8, value_size=8, hidden=16, gate="silu", scale=0.3)
    spec = TransformerSpec(16, 16, 16, (layer,), norm="rms")
    (start, whole, _), (_, shared, _) = (
        sharding.trained(spec, steps=2, shared=way) for way in (False, True)
    )
    for name, leaf in whole.items():
        np.testing.assert_allclose(shared[name], leaf, atol=1e-4, err_msg=name)
    assert np.abs(whole["embed"] - start["embed"]).max() > 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", list(memory.CASES))
def test_estimates_are_within_a_factor_of_two_of_what_is_measured(name):
    row = memory.measure(name)
    assert 0.5 < row["ratio"] < 2, row


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("dim", SIZES)
@pytest.mark.parametrize(("learner", "loops"), LOOPS.items())
def test_errors_fall_as_one_over_n(learner, loops, dim):
    errors = learning_curves(learner, dim, SIZES[dim], 16, loops=loops)
    assert -1.2 <= slope(SIZES[dim], errors) <= -0.8


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_bounds_on_twenty_ordinary_and_two_thousand_random_data_sets():
    rows = certificates.run()
    assert not any(row["below"] for row in rows)
    assert max(row["largest"] for row in rows) < 1000


def test_one_step_is_certified_of_the_prompt_and_of_no_other():
    built = literature.gradient_descent()
    off, bound = certificates.compared(
        built, literature._posed(literature.draw(np.random.default_rng(0)), False)
    )
    assert off <= bound < 1e-3
    assert built.certificate.error(length=N + 1) == np.inf
    with pytest.raises(ValueError, match="or descent diverges"):
        CONSTRUCTIONS["least-squares"](**literature.SIZES, learning_rate=N / (N + D + 1))
    with pytest.raises(ValueError, match="raise the penalty, or shorten the prompt"):
        CONSTRUCTIONS["newton-schulz"](**literature.SIZES, penalty=1 / N)


@pytest.mark.parametrize("build", [literature.newton, literature.ridge_descent, literature.ista])
def test_what_is_certified_is_less_than_the_learner_does_not_know(build):
    built = build(300) if build is literature.ista else build()
    sparse = built.name == "lasso"
    problem = literature._posed(literature.draw(np.random.default_rng(1), sparse=sparse), sparse)
    assert 0 < built.bound(problem) < 0.25 < built.certificate.error(length=N + 1)


@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_the_closed_form_of_one_steps_error(noise):
    rng = np.random.default_rng(4)
    eta, found = N / (N + D + 1), []
    for _ in range(3000):
        x, w = rng.normal(size=(N, D)), rng.normal(size=D)
        step = eta * x.T @ (x @ w + noise * rng.normal(size=N)) / N
        found.append(((step - w) ** 2).sum() / D)  # the mean over queries
    error = np.std(found) / len(found) ** 0.5
    assert abs(np.mean(found) - literature.one_step_risk(N, noise)) < 5 * error
    assert error < 0.01
    # Other rates are worse, without noise; with it the best is n/(n + d + 1 + noise^2).
    best = N / (N + D + 1 + noise**2)
    risk = [1 - 2 * e + e**2 * (1 + (D + 1 + noise**2) / N) for e in (0.9 * best, best, 1.1 * best)]
    assert min(risk) == risk[1]
    assert literature.one_step_risk(N, noise) < 1.001 * risk[1]


def test_newton_squares_what_gradient_descent_multiplies():
    task = literature.draw(np.random.default_rng(2))
    problem, x = literature._posed(task, False), task["x"][:N]
    exact = task["x"][N] @ np.linalg.solve(x.T @ x + np.eye(D), x.T @ task["y"])

    def left(built, loops):
        return abs(float(np.squeeze(literature._after(built, problem, loops))) - exact)

    newton, descent = literature.newton(), literature.ridge_descent()
    assert left(newton, 9) > 0.1
    assert left(newton, 12) < 1e-4
    assert left(descent, 32) > 1e-2
    assert left(descent, 64) > 1e-5
