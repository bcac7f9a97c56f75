"""The atlas: theorems are judged as derived, and a wrong constant turns each."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from icl_sim import cli
from icl_sim.claims import ATLAS, CLAIMS, judge, register_claim, select
from icl_sim.claims.atlas import ahn, bai, fu, perez, petrov, von_oswald, xie, zhang
from icl_sim.claims.atlas.preconditioned import POINTS, optimum
from icl_sim.claims.claim import FALSE, OPEN
from icl_sim.claims.controls import ATTENTION, convex_hull
from icl_sim.errors import InputError

PAGE = (Path(__file__).parent.parent / "docs" / "atlas.md").read_text()
STATEMENTS = [s for claim in ATLAS.values() for s in claim.statements]


def test_every_theorem_is_judged_as_it_is_derived_and_nothing_is_sampled():
    audit = judge(["atlas"])
    assert [s.statement.id for s in audit.statements] == [s.id for s in STATEMENTS]
    assert audit.surprises == ()
    assert audit.confidence == 1
    assert all(s.outcome.replicates == 0 for s in audit.statements)


def test_it_stands_beside_the_audit():
    assert not {s.id for _, s in select([])} & {s.id for s in STATEMENTS}
    assert [s.id for _, s in select(["Ahn", "xie.BAYES"])] == ["Ahn.preconditioner", "Xie.bayes"]
    with pytest.raises(InputError, match="exists already"):
        register_claim(ATLAS["Ahn"])
    assert not CLAIMS.keys() & ATLAS.keys()


@pytest.mark.parametrize("statement", STATEMENTS, ids=lambda s: s.id)
def test_every_theorem_says_what_it_judges_and_is_proved(statement):
    for name in ("statement", "reading", "premises", "formula", "lower", "basis", "sources"):
        assert getattr(statement, name), name
    assert re.search(rf"^## {re.escape(statement.id)}$", PAGE, re.MULTILINE)
    assert f"| {statement.derived} |" in PAGE
    assert "TEST" not in statement.basis


def test_the_three_points_have_the_moments_of_a_gaussian():
    moments = [sum(p * z**k for z, p in POINTS) for k in range(6)]
    np.testing.assert_allclose(moments, [1, 0, 1, 0, 3, 0], atol=1e-12)


def another_rate(inputs, targets, steps, rate):
    return von_oswald.descent(inputs, targets, steps, rate * 2)


def one_step_fewer(inputs, targets, steps, rate):
    return von_oswald.descent(inputs, targets, steps - 1, rate)


WRONG = {
    "another rate": lambda run: von_oswald.step_experiment(run, oracle=another_rate),
    "one step fewer": lambda run: von_oswald.step_experiment(run, oracle=one_step_fewer),
    "n for n + 1": lambda run: ahn.preconditioner_experiment(
        run, formula=lambda lam, n: 1 / (np.array(lam) + sum(lam) / n)
    ),
    "no trace": lambda run: ahn.preconditioner_experiment(
        run, formula=lambda lam, n: n / ((n + 1) * np.array(lam))
    ),
    "trained where it is asked": lambda run: zhang.risk_experiment(
        run, formula=lambda lam, N, M: zhang.closed_form(lam, M, M)
    ),
    "no variance": lambda run: zhang.risk_experiment(
        run, formula=lambda lam, N, M: zhang.limit(lam, N)
    ),
    "half the layers": lambda run: bai.ridge_experiment(
        run, depth=lambda kappa, eps: -(-bai.layers(kappa, eps) // 2)
    ),
    "the rule of thumb": lambda run: bai.ridge_experiment(
        run, depth=lambda kappa, eps: int(kappa * np.log(1 / eps)) + 1
    ),
    "a twelfth for a half": lambda run: bai.lasso_experiment(
        run, depth=lambda distance, eps: -(-bai.lasso_layers(distance, eps) // 6)
    ),
    "twice the gap": lambda run: bai.lasso_experiment(
        run, gap=lambda distance, loops: 2 * bai.lasso_gap(distance, loops)
    ),
    "linear": lambda run: fu.newton_experiment(run, rate=lambda steps: fu.left(0) ** (steps + 1)),
    "a step more": lambda run: fu.newton_experiment(run, rate=lambda steps: fu.left(steps + 1)),
    "a bit less": lambda run: perez.horizon_experiment(run, last=lambda p: perez.horizon(p - 1)),
    "nine tenths": lambda run: xie.bayes_experiment(run, bound=lambda p: 0.9 * xie.budget(p)),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_constant_turns_it(run, name):
    assert WRONG[name](run).verdict == FALSE


def test_two_layers_leave_the_hull(run):
    two = lambda rng: convex_hull(rng, layers=(ATTENTION,) * 2, longest=2)
    assert petrov.prefix_experiment(run, control=two).verdict == OPEN


def test_the_best_preconditioner_tends_to_the_inverse_covariance():
    np.testing.assert_allclose(optimum((1.0, 0.25), 10**9), [1, 4], rtol=1e-8)


def test_its_records_become_pages(tmp_path, capsys):
    out = str(tmp_path / "run")
    assert cli.run(["icl-sim", "verify", "Zhang", "--out", out]) == 0
    assert cli.run(["icl-sim", "report", out]) == 0
    pages = "".join(path.read_text() for path in tmp_path.rglob("*.html"))
    assert "Zhang.risk" in pages
    assert "Zhang.risk" in capsys.readouterr().out
