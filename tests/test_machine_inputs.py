"""A machine's own input, and where a certificate ends."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from constructions import CONSTRUCTIONS
from icl_sim import load
from icl_sim.cli import run
from icl_sim.emulation.machine_files import find_machine
from icl_sim.emulation.turing import emulate
from icl_sim.errors import InputError

OWN = """
input: 'aab'
blank: '.'
start state: s
table:
  s:
    a: R
    b: {R: ok}
  ok:
"""


@pytest.mark.parametrize(("tape", "steps"), [((), 3), (("--tape", "b"), 1), (("--tape", ""), 0)])
def test_a_file_s_own_input_is_the_tape_unless_another_is_given(tmp_path, capsys, tape, steps):
    path = tmp_path / "m.yaml"
    path.write_text(OWN)
    words = ("emulate", str(path), "--engine", "cached", "--max-steps", "50", "--json")
    assert run(["icl-sim", *words, *tape]) == 0
    assert json.loads(capsys.readouterr().out)["steps"] == steps


def test_the_trace_and_the_prompt_take_it_too(tmp_path, capsys):
    path = tmp_path / "m.yaml"
    path.write_text(OWN)
    assert run(["icl-sim", "prompt", str(path), "--json"]) == 0
    own = json.loads(capsys.readouterr().out)
    assert run(["icl-sim", "prompt", str(path), "--tape", "aab", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == own


LASSO = {"dim": 2, "step": 0.05, "loops": 8, "length": 8, "dtype": "float64"}


def test_a_certificate_for_float64_is_kept_in_float64_or_refused():
    built = CONSTRUCTIONS["lasso"](**LASSO)
    model, params = load(built)
    assert {leaf.dtype for leaf in params.values()} == {jnp.dtype("float64")}
    rng = np.random.default_rng(0)
    problem = {"inputs": rng.uniform(-1, 1, (4, 2)) / 2, "labels": rng.uniform(-1, 1, 4) / 2}
    problem["query"] = problem["inputs"][0]
    found = built.decode(model.apply({"params": params}, built.encode(problem)))
    error = abs(found["score"] - built.oracle(problem)["score"])
    assert error <= built.certificate.error(**built.certificate.limits)
    jax.config.update("jax_enable_x64", False)
    try:
        with pytest.raises(InputError, match="expected float64, which its certificate is for"):
            load(built)
    finally:
        jax.config.update("jax_enable_x64", True)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["verify", "specialised"])
def test_engines_end_alike_before_they_leave_the_certified_cells(engine):
    found = emulate(find_machine("1RA1RA"), engine=engine, max_steps=524_290)
    assert (found.ended, found.steps, found.agrees) == ("cells", 524_287, True)
    assert found.certified_cells == found.steps + 1
