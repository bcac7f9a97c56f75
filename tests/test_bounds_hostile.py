"""Numbers too long, too small or too large for a bound are one line, and end at once."""

from __future__ import annotations

import json

import pytest

from icl_sim.bounds import exact_failure_probability, sample_size
from icl_sim.bounds.tokens import two_coins
from icl_sim.cli.command_line import run
from icl_sim.errors import InputError

GIVEN = {"vocab": "8", "eps": ".1", "delta": ".1", "contexts": "2"}


def command(**changes):
    words = [f"--{name}={value}" for name, value in (GIVEN | changes).items()]
    return run(["icl-sim", "sample-size", *words, "--json"])


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "change",
    [
        *({"eps": value} for value in ("1e-999999999", "1e999999999", "1e-300", "0." + "1" * 500)),
        *({name: "9" * 400} for name in ("vocab", "contexts", "length", "dim")),
        {"delta": "5e-324"},
    ],
)
def test_the_command_refuses_them_in_one_line(change, capsys):
    assert command(**change) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert ": expected" in line
    assert len(line) < 200


@pytest.mark.timeout(20)
@pytest.mark.parametrize("vocab", [2, 3, 8])
@pytest.mark.parametrize("eps", ["1e-7", "1e-9", "1e-30"])
def test_a_tiny_error_is_answered_with_closed_forms(vocab, eps, capsys):
    assert command(vocab=str(vocab), eps=eps) == 0
    found = json.loads(capsys.readouterr().out)
    assert 0 < found["lower"] < found["weissman"]
    assert found["exact"] is None
    assert "not computed" in found["note"]


def test_the_closed_form_is_below_the_coins_own_size():
    assert 0 < two_coins(eps="0.000099", delta=0.1) < two_coins(eps="0.0001", delta=0.1)


def test_an_exact_tail_is_guarded_before_it_allocates(monkeypatch):
    monkeypatch.setenv("ICL_SIM_MEMORY", "2GiB")
    for n, eps in ((10**15, "1e-8"), (10**18, "1e-9")):
        with pytest.raises(InputError, match="exact tail"):
            exact_failure_probability(vocab=2, n=n, eps=eps)


def test_sizes_stay_what_they_were():
    found = sample_size(vocab=32, eps=0.15, delta=0.1, contexts=1)
    assert (found.lower, found.exact, found.weissman, found.mcdiarmid) == (17, 304, 545, 662)
