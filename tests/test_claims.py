"""Verdicts are computed: a wrong constant changes them; devices, kills and resumption do not."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import pytest

from icl_sim.bounds.sizes import exact_sample_size
from icl_sim.bounds.tokens import abstract, mcdiarmid, weissman
from icl_sim.claims import CLAIMS, _outcome, c1, judge, select, sums
from icl_sim.claims.claim import (
    FALSE,
    HOLDS,
    LOOSE,
    OPEN,
    SHARE,
    STATEMENTS,
    Outcome,
    Statement,
)
from icl_sim.errors import InputError
from icl_sim.execution.progress import quiet
from icl_sim.statistics.intervals import ALPHA
from icl_sim.storage.store import Store

DOCS = Path(__file__).parent.parent / "docs"


def test_the_abstract_s_size_for_one_token_holds_and_is_loose(run):
    outcome = c1.token_experiment(run)
    assert outcome.verdict == LOOSE
    assert outcome.replicates >= 400 * len(outcome.figures["sampled"])
    assert all(row["failure"] <= row["delta"] for row in outcome.figures["exact"])
    assert "0.919" in outcome.why


def test_a_tenth_of_the_abstract_s_size_is_refuted(run):
    tenth = lambda **options: abstract(**options) // 10
    outcome = c1.token_experiment(run, size=tenth)
    assert outcome.verdict == FALSE
    assert "fails with probability" in outcome.why


def test_the_sampled_part_alone_refutes_a_wrong_size(run, monkeypatch):
    monkeypatch.setattr(c1, "_exact_rows", lambda run, size: ROWS)
    wrong = lambda **options: max(8, mcdiarmid(**options) // 4)
    outcome = c1.token_experiment(run, size=wrong)
    assert outcome.verdict == FALSE
    assert "refuted by sampling" in outcome.why


ROWS = [
    {
        "vocab": 8,
        "contexts": 1,
        "delta": 0.1,
        "size": 100,
        "failure": 0.0,
        "mcdiarmid": 90,
        "weissman": 95,
        "exact": 50,
    }
]


def test_a_size_that_is_the_best_known_holds_without_being_loose(run):
    best = lambda **options: min(mcdiarmid(**options), weissman(**options))
    assert c1.token_experiment(run, size=best).verdict == HOLDS


def test_the_size_grows_as_a_sum(run):
    outcome = sums.sum_experiment(run)
    assert outcome.verdict == HOLDS
    assert "137 (V = 2), 154 (V = 8), 221 (V = 32)" in outcome.why


def test_a_size_that_grows_as_the_product_is_told_apart(run):
    assert sums.sum_experiment(run, size=abstract).verdict == FALSE


def test_growth_between_the_two_laws_is_inconclusive(run):
    def between(**options):
        return round((mcdiarmid(**options) * abstract(**options)) ** 0.5)

    assert sums.sum_experiment(run, size=between).verdict == OPEN


def test_one_law_whose_sizes_grow_as_the_product_refutes_the_sum(run, monkeypatch):
    monkeypatch.setitem(sums.UNIFORM, "smoke", ((2, 8), (1, 1000), (("0.3", 0.1),)))

    def needed(*, law, eps, delta, contexts):
        fails, suffices = sums.bracket(law=law, eps=eps, delta=delta, contexts=contexts)
        if law == sums.laws(len(law))["zipf"]:
            _, one = sums.bracket(law=law, eps=eps, delta=delta, contexts=1)
            suffices = round(one * math.log(contexts / delta) / math.log(1 / delta))
            fails = suffices - 1
        return fails, suffices

    outcome = sums.sum_experiment(run, needed=needed)
    assert outcome.verdict == FALSE
    places = {row["law"]: row["place_at_least"] for row in outcome.figures["other laws"]}
    assert [law for law, place in places.items() if place > 0.9] == ["zipf"]


@pytest.mark.parametrize("contexts", [1, 1000])
def test_the_bracket_of_sizes_holds_the_exact_one(contexts):
    options = {"eps": "0.3", "delta": 0.1, "contexts": contexts}
    for V in (2, 8, 24):
        exact = exact_sample_size(vocab=V, **options)
        fails, suffices = sums.bracket(law=[Fraction(1, V)] * V, **options)
        assert fails < exact <= suffices <= fails + 20, (V, fails, exact, suffices)


def test_selection_by_claim_and_statement():
    assert [s.id for _, s in select(["C1.sum"])] == ["C1.sum"]
    assert [s.id for _, s in select(["C1"])][:2] == ["C1.token", "C1.sum"]
    assert len(select([])) == sum(len(claim.statements) for claim in CLAIMS.values())
    with pytest.raises(InputError, match="expected one of C0, .*got C9"):
        select(["C9"])


def statement(experiment):
    return Statement("X.y", "s", "r", "TEST", HOLDS, "none", experiment)


@pytest.mark.parametrize(
    ("tests", "confidence"),
    [([], 1.0), ([SHARE], 1 - SHARE), ([SHARE / 2, SHARE / 2], 1 - SHARE)],
)
def test_the_confidence_is_what_the_tests_leave(run, tests, confidence):
    def experiment(run):
        for alpha in tests:
            run.spend(alpha)
        return Outcome(verdict=HOLDS, why="because")

    assert _outcome(statement(experiment), run)["confidence"] == confidence


def test_two_tests_at_the_whole_share_are_refused(run):
    def experiment(run):
        run.spend(SHARE)
        run.spend(SHARE)
        return Outcome(verdict=HOLDS, why="because")

    with pytest.raises(ValueError, match=r"X\.y: expected tests that share .* split alpha among 2"):
        _outcome(statement(experiment), run)


def test_the_whole_audit_has_confidence_95_percent():
    sampled = [s for claim in CLAIMS.values() for s in claim.statements if "TEST" in s.basis]
    assert len(sampled) <= STATEMENTS
    assert pytest.approx(ALPHA) == SHARE * STATEMENTS
    audit = judge(["C1.sum", "C4.statistic", "C1.prefixes"])
    exact = {s.statement.id: s.outcome.confidence for s in audit.statements}
    assert exact == {"C1.sum": 1.0, "C4.statistic": 1.0, "C1.prefixes": 1 - SHARE}
    assert audit.confidence == 1 - SHARE


def test_an_unknown_profile_is_refused(tmp_path):
    with Store(tmp_path, config={}) as store, pytest.raises(InputError, match="--profile"):
        judge(["C1.sum"], profile="huge", seed=0, store=store, progress=quiet)


def verify(*arguments, devices=1, **options):
    environment = os.environ | {
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "JAX_ENABLE_X64": "0",
    }
    command = [sys.executable, "-m", "icl_sim", "verify", *arguments, "--seed", "1", "--json"]
    return subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def digest_of(process):
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return json.loads(out)["digest"]


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "names",
    [
        ("C1.token", "C1.sum"),
        pytest.param(("C2.events", "C6.retrieval"), marks=pytest.mark.slow),
    ],
)
def test_the_digest_is_the_same_on_1_2_and_8_devices_and_after_a_kill(tmp_path, names):
    expected = digest_of(verify(*names))
    assert digest_of(verify(*names, devices=2)) == expected
    assert digest_of(verify(*names, devices=8)) == expected
    directory = tmp_path / "killed"
    process = verify(*names, "--out", str(directory))
    records = directory / "records-0.jsonl"
    deadline = time.monotonic() + 240
    while not records.exists() or len(records.read_bytes().splitlines()) < 4:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    acknowledged = records.read_bytes()
    assert digest_of(verify(*names, "--out", str(directory), "--resume")) == expected
    whole = acknowledged[: acknowledged.rindex(b"\n") + 1]
    assert records.read_bytes().startswith(whole)


@pytest.mark.parametrize("statement", [s for _, s in select([])], ids=lambda s: s.id)
def test_every_statement_says_what_it_judges(statement):
    for name in ("statement", "reading", "premises", "formula", "lower", "basis", "sources"):
        assert getattr(statement, name), name
    assert statement.corrected or statement.derived == HOLDS
    assert set(statement.basis.split(", ")) <= {"PROOF", "EXACT", "TEST"}


def test_the_audit_has_the_statements_of_the_theory():
    pages = sorted(p for p in DOCS.glob("c*.md") if p.stem.upper() in CLAIMS)
    headings = re.findall(r"^## (.*)", "\n".join(p.read_text() for p in pages), re.MULTILINE)
    proved = [name for heading in headings for name in re.findall(r"\bC\d+\.[\w-]+", heading)]
    assert proved == [s.id for _, s in select([])]
    assert [p.stem.upper() for p in pages] == list(CLAIMS)


def test_every_experiment_is_run_by_a_test():
    tests = "\n".join(p.read_text() for p in Path(__file__).parent.glob("test_claims*.py"))
    for _, statement in select([]):
        assert re.search(rf"\b{statement.experiment.__name__}\b", tests), statement.id
