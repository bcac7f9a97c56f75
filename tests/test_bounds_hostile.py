"""Numbers too long, too small or too large for a bound are one line, and end at once."""

from __future__ import annotations

import json
import math
from fractions import Fraction

import numpy as np
import pytest

from icl_sim.bounds import exact_failure_probability, exact_sample_size, sample_size
from icl_sim.bounds.sizes import _coin_tails
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


def test_the_closed_forms_are_those_of_four_symbols():
    found = sample_size(vocab=4, eps="1e-9", delta=0.1, contexts=1)
    np.testing.assert_allclose([found.mcdiarmid, found.weissman], [3.76e18, 2.47e18], rtol=1e-3)


@pytest.mark.timeout(20)
def test_coins_are_counted_exactly_at_small_errors():
    assert sample_size(vocab=2, eps="1e-4", delta=0.1, contexts=1).exact == 67_645_000
    beyond = sample_size(vocab=2, eps="1e-5", delta=0.1, contexts=1)
    assert beyond.exact is None
    assert "beyond 1e+10, where floats do not hold the probability to 1e-9" in beyond.note


@pytest.mark.parametrize("eps", ["0.013", "1/7", "0.1", "0.25", "0.499"])
@pytest.mark.parametrize("delta", [0.5, 0.1, 1e-3])
def test_the_coins_that_are_looked_at_hold_the_last_that_fail(eps, delta):
    """Against every n below Hoeffding's size."""
    level = Fraction(eps)
    most = math.ceil(math.log(2 / delta) / (2 * float(level) ** 2))
    failing = np.flatnonzero(_coin_tails(range(1, most), level) > delta * (1 + 1e-9))
    expected = 2 + int(failing[-1]) if len(failing) else 1
    assert exact_sample_size(vocab=2, eps=eps, delta=delta) == expected


def test_an_exact_tail_that_rounding_would_spoil_is_refused_for_that():
    with pytest.raises(InputError, match=r"vocab 100000, n 100000 .* may lose 5e-10 .*rounding"):
        exact_failure_probability(vocab=100_000, n=100_000, eps="0.4")
    with pytest.raises(InputError, match=r"may take 1e\+11 multiply-adds and needs"):
        exact_failure_probability(vocab=2**12, n=10**10, eps="0.4")


def test_the_closed_form_is_below_the_coins_own_size():
    assert 0 < two_coins(eps="0.000099", delta=0.1) < two_coins(eps="0.0001", delta=0.1)


def test_an_exact_tail_is_guarded_before_it_allocates(monkeypatch):
    monkeypatch.setenv("ICL_SIM_MEMORY", "2GiB")
    for n, eps in ((10**14, "1e-8"), (10**15, "1e-8"), (10**16, "3e-8"), (10**18, "1e-9")):
        with pytest.raises(InputError, match="exact tail"):
            exact_failure_probability(vocab=2, n=n, eps=eps)


def test_sizes_stay_what_they_were():
    found = sample_size(vocab=32, eps=0.15, delta=0.1, contexts=1)
    assert (found.lower, found.exact, found.weissman, found.mcdiarmid) == (17, 304, 545, 662)
