"""The door of every forward pass: leaves that are the spec's, all of one floating type."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from constructions.spec import Layer, TransformerSpec, param_shapes
from icl_sim.errors import InputError
from icl_sim.transformer import Transformer, init, stack_layers
from icl_sim.transformer.leaves import check_leaves

LAYER = Layer(heads=2, key_size=3, value_size=3, hidden=2, gate="silu")
SPEC = TransformerSpec(3, 4, 3, (LAYER, LAYER))


@pytest.fixture(scope="module")
def params():
    return init(Transformer(SPEC), jax.random.key(0))


def test_the_leaves_of_the_spec_pass_and_so_do_stacked_and_corrected_ones(params):
    check_leaves(SPEC, params)
    check_leaves(SPEC, stack_layers(SPEC, params))
    pair = {"layer_0.w_down.a": jnp.zeros((2, 1)), "layer_0.w_down.b": jnp.zeros((1, 4))}
    check_leaves(SPEC, params | {k: v.astype(params["embed"].dtype) for k, v in pair.items()})


def test_shapes_alone_are_enough_and_a_trace_is_no_hindrance(params):
    shapes = {n: jax.ShapeDtypeStruct(s, "float32") for n, s in param_shapes(SPEC).items()}
    check_leaves(SPEC, shapes)
    jax.jit(lambda p: check_leaves(SPEC, p))(params)


CHANGES = {
    "missing": (lambda p: {k: v for k, v in p.items() if k != "embed"}, "missing embed"),
    "extra": (lambda p: p | {"more": p["embed"]}, "more is no leaf of the spec"),
    "one row": (lambda p: p | {"embed": p["embed"][:1]}, "embed: expected shape"),
    "a row more": (lambda p: p | {"embed": jnp.ones((8, 4), p["embed"].dtype)}, "embed: expected"),
    "broadcast": (lambda p: p | {"layer_0.w_down": jnp.zeros((1,))}, "layer_0.w_down: expected sh"),
    "complex": (lambda p: p | {"embed": p["embed"] * 1j}, "embed: expected floating point"),
    "integers": (lambda p: p | {"embed": jnp.zeros((3, 4), int)}, "embed: expected floating point"),
    "objects": (lambda p: p | {"embed": np.zeros((3, 4), object)}, "embed: expected floating poi"),
    "a list": (lambda p: p | {"embed": [[0.0] * 4] * 3}, "embed: expected floating point"),
    "mixed": (lambda p: p | {"embed": p["embed"].astype("bfloat16")}, "expected one dtype"),
    "half a pair": (lambda p: p | {"embed.a": p["embed"]}, "both factors"),
    "run of none": (lambda p: p | {"run_0.w_down": jnp.zeros((0, 2, 4))}, "no leaf"),
    "run beyond": (lambda p: p | {"run_1.w_down": jnp.zeros((9, 2, 4))}, "no leaf"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_everything_else_is_refused_and_named(params, name):
    change, words = CHANGES[name]
    with pytest.raises(InputError, match="params do not fit the spec: ") as caught:
        check_leaves(SPEC, change(params))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_message_names_three_faults_and_counts_the_others():
    with pytest.raises(InputError, match=r"missing embed .*; .*; .* and \d+ more$"):
        check_leaves(SPEC, {})
