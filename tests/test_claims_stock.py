"""C0.stock: its verdict holds with the exported checkpoint and changes with a wrong one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from constructions.programs.training_machines import TRAINING
from icl_sim.claims import c0, stock_software
from icl_sim.claims.claim import FALSE, HOLDS
from icl_sim.claims.stock_software import exported, stock_experiment
from icl_sim.execution.profiles import PROFILES

COUNTING = ("counting", {"contexts": 2, "outputs": 2}, 4, 2)


@pytest.fixture
def brief(monkeypatch):
    monkeypatch.setitem(stock_software.TASKS, "smoke", [COUNTING])


@pytest.fixture(scope="module")
def checkpoint():
    return exported(states=40, bits=6)


def test_a_checkpoint_of_files_answers_as_the_trained_model(run, brief, checkpoint):
    outcome = stock_experiment(run, checkpoint=lambda: checkpoint)
    assert outcome.verdict == HOLDS
    assert outcome.replicates == 2
    (row,) = outcome.figures["trained"]
    assert (row["queries"], row["wrong_answers"], row["wrong_tokens"]) == (4, 0, 0)
    assert row["tokens"] > 1000
    assert "0 of 4 answers on 2 data sets differ" in outcome.why
    # A second run finds the records and computes nothing again.
    assert stock_experiment(run, checkpoint=lambda: (checkpoint[0], None, None)) == outcome


@pytest.mark.parametrize("tasks", [c0.TASKS, stock_software.TASKS], ids=["universal", "stock"])
def test_every_training_program_runs_in_every_profile(tasks):
    for profile in PROFILES:
        assert [name for name, *_ in tasks[profile]] == list(TRAINING)


def test_a_checkpoint_that_forgets_a_symbol_is_noticed(run, brief, checkpoint):
    built, model, params = checkpoint
    symbol = built.residual.column("symbol", 1)
    broken = params | {"w_out": params["w_out"].at[symbol].set(0)}
    outcome = stock_experiment(run, checkpoint=lambda: (built, model, broken))
    assert outcome.verdict == FALSE
    assert outcome.figures["trained"][0]["wrong_tokens"] > 0


def test_an_oracle_that_trains_otherwise_is_noticed(run, brief, checkpoint):
    def other(**options):
        program = TRAINING["counting"](**options)
        wrong = lambda inputs, labels, queries: 1 - program.oracle(inputs, labels, queries)
        return replace(program, oracle=wrong)

    outcome = stock_experiment(run, checkpoint=lambda: checkpoint, programs={"counting": other})
    assert outcome.verdict == FALSE
    (row,) = outcome.figures["trained"]
    assert (row["wrong_answers"], row["wrong_tokens"]) == (4, 0)


def test_files_with_another_weight_are_not_certified(monkeypatch):
    read = stock_software.from_pretrained

    def damaged(*arguments, **more):
        model, params, words = read(*arguments, **more)
        leaf = np.array(params["layer_1.w_down"])
        leaf[tuple(np.argwhere(leaf)[0])] *= -1
        return model, params | {"layer_1.w_down": leaf}, words

    monkeypatch.setattr(stock_software, "from_pretrained", damaged)
    with pytest.raises(ValueError, match=r"stock: layer_1.w_down\[0, "):
        exported(states=2, bits=3)
