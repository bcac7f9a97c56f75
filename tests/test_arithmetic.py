"""The fast ways of the forward pass: in blocks, scanned, recomputed, packed, in half precision."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import ARCHITECTURES
from tolerances import F64

from icl_sim.errors import InputError
from icl_sim.transformer import (
    FAST,
    HALF,
    Arithmetic,
    forward,
    init,
    stack_layers,
    unstack_layers,
)
from icl_sim.transformer.module import Transformer
from icl_sim.transformer.sublayers import attention_blocks

jitted = jax.jit(forward, static_argnums=0, static_argnames="how")
SOME = ("rotary", "grouped heads", "reach", "prefix mask", "equal layers", "gpt2", "gemma")


def params_of(case, dtype=jnp.float64):
    return {name: jnp.asarray(leaf, dtype) for name, leaf in case.params().items()}


@pytest.mark.parametrize("name", SOME)
def test_fast_arithmetic_is_the_certified_one_up_to_rounding(name):
    case = ARCHITECTURES[name]
    params, inputs = params_of(case, jnp.float32), case.inputs()
    expected = np.asarray(jitted(case.spec, params, inputs, **case.arguments))
    got = jitted(case.spec, params, inputs, how=FAST, **case.arguments)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


BLOCKED = (*SOME, "relative bias", "relative bias and prefix", "linear", "grouped heads, hardmax")


@pytest.mark.parametrize("name", BLOCKED)
def test_attention_in_blocks_of_queries_is_that_of_all_at_once(name):
    case = ARCHITECTURES[name]
    params, inputs = params_of(case), case.inputs(7)
    expected = jitted(case.spec, params, inputs, **case.arguments)
    got = jitted(case.spec, params, inputs, how=Arithmetic(block=2), **case.arguments)
    np.testing.assert_allclose(got, expected, **F64)


def test_blocks_of_queries_have_the_gradient_and_leave_out_what_the_mask_hides():
    case = ARCHITECTURES["relative bias"]
    params, inputs = params_of(case), case.inputs(7)
    segments = np.array([0, 0, 0, 1, 1, 1, 1])

    def loss(params, how):
        return forward(case.spec, params, inputs, segments=segments, how=how).var()

    gradient = jax.jit(jax.grad(loss), static_argnums=1)
    plain, blocks = gradient(params, Arithmetic()), gradient(params, Arithmetic(block=3))
    for name, leaf in plain.items():
        np.testing.assert_allclose(blocks[name], leaf, **F64, err_msg=name)
    layer = replace(case.spec.layers[0], reach=2)
    found = attention_blocks(layer, 7, Arithmetic(block=3))
    assert found == [
        (slice(0, 3), slice(0, 3)),
        (slice(3, 6), slice(2, 6)),
        (slice(6, 7), slice(5, 7)),
    ]
    assert len(attention_blocks(layer, 1000, Arithmetic(block=3))) == 8


def test_packed_sequences_are_the_sequences_alone():
    case = ARCHITECTURES["gemma"]
    params = params_of(case)
    parts = [case.inputs(length, seed) for length, seed in ((4, 1), (6, 2), (1, 3))]
    segments = np.repeat([5, 2, 5], [4, 6, 1])  # one number may come again, not side by side
    segments[-1] = 7
    packed = jitted(case.spec, params, np.concatenate(parts), segments=segments)
    alone = [jitted(case.spec, params, part) for part in parts]
    np.testing.assert_allclose(packed, np.concatenate(alone), **F64)
    unmasked = jitted(case.spec, params, np.concatenate(parts))
    assert not np.allclose(unmasked[4:], packed[4:])


def test_packed_learned_positions_start_again():
    case = ARCHITECTURES["gpt2"]
    params = params_of(case)
    parts = case.inputs(5, 1), case.inputs(4, 2)
    packed = jitted(case.spec, params, np.concatenate(parts), segments=np.repeat([0, 1], [5, 4]))
    alone = [jitted(case.spec, params, part) for part in parts]
    np.testing.assert_allclose(packed, np.concatenate(alone), **F64)


def test_scanned_layers_are_the_layers_one_by_one():
    case = ARCHITECTURES["equal layers"]
    params, inputs = params_of(case), case.inputs()
    expected = jitted(case.spec, params, inputs)
    stack = stack_layers(case.spec, params)
    assert stack["run_0.w_q"].shape == (2, *params["layer_0.w_q"].shape)
    back = unstack_layers(case.spec, stack)
    assert back.keys() == params.keys()
    assert all(np.array_equal(back[name], leaf) for name, leaf in params.items())
    for given in (params, stack):
        got = jitted(case.spec, given, inputs, how=Arithmetic(scan=True))
        np.testing.assert_allclose(got, expected, **F64)


def test_recomputed_layers_have_the_same_gradient():
    case = ARCHITECTURES["equal layers"]
    params, inputs = params_of(case), case.inputs()

    def loss(params, how):
        return forward(case.spec, params, inputs, how=how).var()

    gradient = jax.jit(jax.grad(loss), static_argnums=1)
    plain = gradient(params, Arithmetic())
    for scan in (False, True):
        again = gradient(params, Arithmetic(scan=scan, remat=True))
        for name, leaf in plain.items():
            np.testing.assert_allclose(again[name], leaf, **F64, err_msg=name)


def test_half_precision_is_near_and_returns_its_dtype():
    case = ARCHITECTURES["gemma"]
    spec = replace(
        case.spec, width=16, layers=tuple(replace(x, hidden=32) for x in case.spec.layers)
    )
    params = init(Transformer(spec), jax.random.key(0))
    exact = np.asarray(forward(spec, params, case.inputs()))
    half = forward(spec, params, case.inputs(), how=HALF)
    assert half.dtype == jnp.bfloat16
    error = np.abs(np.asarray(half, np.float32) - exact).max()
    assert 0 < error < 0.05 * np.abs(exact).max()


def test_more_tokens_than_learned_positions_are_refused():
    case = ARCHITECTURES["gpt2"]
    params = params_of(case, jnp.float32)
    with pytest.raises(InputError, match="at most 12 tokens"):
        forward(case.spec, params, case.inputs(13))
    behind = jitted(case.spec, params, case.inputs(4), offset=9)
    assert np.isnan(behind[3]).any()
