"""Integers that int32 cannot hold are refused at every door, and never wrapped."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from constructions.spec import Layer, TransformerSpec
from icl_sim.cli.command_line import run
from icl_sim.errors import InputError
from icl_sim.execution.integers import int32
from icl_sim.execution.seeds import checked_seed
from icl_sim.reproduction import compare_routes, verify
from icl_sim.statistics.lemmas import check_lemma
from icl_sim.training import Examples, fine_tune
from icl_sim.training.pretraining import start
from icl_sim.training.runs import train_sft
from icl_sim.transformer import Transformer, forward, init

SPEC = TransformerSpec(3, 4, 3, (Layer(hidden=2, gate="silu"),))
MODEL = Transformer(SPEC)


@pytest.fixture(scope="module")
def params():
    return init(MODEL, jax.random.key(0))


@pytest.mark.parametrize(
    "value", [2**31, -(2**31) - 1, 2**64, [1, 2**70], 1.0, "1", None, [True], 1j, [[1], [2, 3]]]
)
def test_the_door_refuses_what_is_no_int32(value):
    with pytest.raises(InputError, match="number: expected"):
        int32(value, name="number")


def test_the_number_that_is_refused_is_named():
    for values, odd in (([-5, 3], -5), ([3, 12], 12), ([-5, 12], -5)):
        with pytest.raises(InputError, match=f"got {odd}$"):
            int32(values, name="number", least=0, most=9)


def test_the_door_keeps_what_int32_holds():
    for value in (-(2**31), 2**31 - 1, np.uint64(7), np.zeros((0, 2), np.int64)):
        got = int32(value, name="number")
        assert got.dtype == np.int32
        np.testing.assert_array_equal(got, value)


@pytest.mark.parametrize("token", [2**32 + 1, -1, 3, 2**63])
def test_forward_refuses_tokens_beyond_the_vocabulary(params, token):
    with pytest.raises(InputError, match="inputs: expected 0 to 2"):
        forward(SPEC, params, np.array([0, token], np.uint64 if token > 2**62 else np.int64))


@pytest.mark.parametrize("token", [-1, -3, 3])
def test_traced_tokens_beyond_the_vocabulary_become_nan(params, token):
    out = jax.jit(forward, static_argnums=0)(SPEC, params, jnp.array([0, token]))
    assert np.isfinite(out[0]).all()
    assert np.isnan(out[1]).all()


def test_forward_refuses_an_offset_that_wraps(params):
    with pytest.raises(InputError, match="offset: expected"):
        forward(SPEC, params, np.array([0]), offset=np.int64(2**32))


@pytest.mark.parametrize("count", [2**32, 2**31 - 1, 1e-40, -1, np.nan, np.inf, 1j])
def test_fine_tune_refuses_counts_that_change_or_are_none(params, count):
    examples = Examples(np.array([[0]]), np.array([[count, 1, 0]]))
    with pytest.raises(InputError, match="counts of the examples: expected"):
        fine_tune(MODEL, params, examples, key=jax.random.key(0))


SEEDED = {
    "verify": lambda seed: verify(["C0"], seed=seed),
    "compare": lambda seed: compare_routes("english", seed=seed),
    "train sft": lambda seed: train_sft(seed=seed),
    "check_lemma": lambda seed: check_lemma(lambda key: 0.0, bound=1, delta=0.1, seed=seed),
    "pretraining": lambda seed: start(SPEC, seed),
}


@pytest.mark.parametrize("seed", [2**32, -1, 1.0, True, "0", None, 10**400])
@pytest.mark.parametrize("name", SEEDED)
def test_every_seed_passes_one_door(name, seed):
    with pytest.raises(InputError, match="seed: expected an integer from 0 to"):
        SEEDED[name](seed)


@pytest.mark.parametrize("seed", ["4294967296", "-1", "1.0", "9" * 400, "9" * 5000])
def test_the_command_line_refuses_such_a_seed(capsys, seed):
    assert run(["icl-sim", "verify", "C0", f"--seed={seed}"]) == 2
    line = capsys.readouterr().err
    assert "seed" in line
    assert (line.count("\n"), len(line) < 300) == (1, True)


def test_small_seeds_are_themselves():
    assert [checked_seed(seed) for seed in (0, np.int64(7), 2**32 - 1)] == [0, 7, 2**32 - 1]
