"""One architecture, three engines: reference, jitted JAX and Flax agree on every switch."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import ARCHITECTURES
from tolerances import F32, F64

from constructions import reference
from constructions.rotary import SCALINGS, Rotary
from constructions.spec import (
    ATTEND,
    FEATURES,
    GATES,
    INPUTS,
    MASKS,
    MLP_BIASES,
    MLPS,
    NORMS,
    PROJECTION_BIASES,
    READOUTS,
    feature_kind,
    param_shapes,
)
from icl_sim.errors import InputError
from icl_sim.transformer import Transformer, forward, init, load_params

names = pytest.mark.parametrize("name", ARCHITECTURES)
jitted = jax.jit(forward, static_argnums=0)


def as_dtype(params, dtype):
    return {name: jnp.asarray(leaf, dtype) for name, leaf in params.items()}


def jit_and_reference(name, dtype):
    """Outputs of one architecture, by the compiled pass in this dtype and by the reference."""
    case = ARCHITECTURES[name]
    params, inputs = case.params(), case.inputs()
    expected = reference.forward(case.spec, params, inputs, **case.arguments)
    got = jitted(case.spec, as_dtype(params, dtype), inputs, **case.arguments)
    assert got.dtype == dtype
    return got, expected


@names
def test_jit_equals_reference_in_float64(name):
    got, expected = jit_and_reference(name, jnp.float64)
    np.testing.assert_allclose(got, expected, **F64)


@names
def test_jit_equals_reference_in_float32(name):
    got, expected = jit_and_reference(name, jnp.float32)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(got / scale, expected / scale, **F32)


@names
def test_flax_has_the_same_leaves_and_the_same_bits(name):
    case = ARCHITECTURES[name]
    params = as_dtype(case.params(), jnp.float32)
    model = Transformer(case.spec)
    fresh = init(model, jax.random.key(0))
    chex.assert_trees_all_equal_shapes_and_dtypes(fresh, params)
    assert {n: leaf.shape for n, leaf in fresh.items()} == param_shapes(case.spec)
    got = jax.jit(model.apply)({"params": params}, case.inputs(), **case.arguments)
    expected = jitted(case.spec, params, case.inputs(), **case.arguments)
    np.testing.assert_array_equal(got, expected)


@names
def test_leading_batch_axes_are_separate_sequences(name):
    case = ARCHITECTURES[name]
    params = as_dtype(case.params(), jnp.float64)
    batch = np.stack([case.inputs(seed=s) for s in range(4)])
    batch = batch.reshape((2, 2, *batch.shape[1:]))
    got = jitted(case.spec, params, batch, **case.arguments)
    for i, j in np.ndindex(2, 2):
        one = jitted(case.spec, params, batch[i, j], **case.arguments)
        np.testing.assert_allclose(got[i, j], one, **F64)


@names
def test_reference_is_exact_in_fractions_or_refuses(name):
    case = ARCHITECTURES[name]
    params, inputs = case.params(), case.inputs()
    layers = case.spec.layers
    rational = case.spec.norm == "none" and all(
        (not layer.heads or (layer.attend in ("hardmax", "linear") and not layer.rotary))
        and (not layer.hidden or layer.gate in ("hard_sigmoid", "relu"))
        for layer in layers
    )
    if not rational:
        with pytest.raises(ValueError, match="rational"):
            reference.forward(case.spec, params, inputs, exact=True, **case.arguments)
        return
    exact = reference.forward(case.spec, params, inputs, exact=True, **case.arguments)
    floats = reference.forward(case.spec, params, inputs, **case.arguments)
    np.testing.assert_allclose(exact.astype(np.float64), floats, **F64)


def test_every_switch_has_a_case():
    specs = [case.spec for case in ARCHITECTURES.values()]
    layers = [layer for spec in specs for layer in spec.layers]
    assert {layer.attend for layer in layers if layer.heads} == set(ATTEND)
    assert {layer.mask for layer in layers if layer.heads} == set(MASKS)
    assert {layer.gate for layer in layers if layer.hidden} == set(GATES)
    assert {spec.norm for spec in specs} == set(NORMS)
    assert {spec.inputs for spec in specs} == set(INPUTS)
    assert {spec.readout for spec in specs} == set(READOUTS)
    assert {layer.mlp for layer in layers if layer.hidden} == set(MLPS)
    assert {layer.mlp_bias for layer in layers if layer.hidden} == set(MLP_BIASES)
    assert {layer.projection_bias for layer in layers if layer.heads} == set(PROJECTION_BIASES)
    assert {layer.rotary.scaling for layer in layers if layer.rotary} == set(SCALINGS)
    for name in ("kv_heads", "reach", "head_norm", "window"):
        assert any(getattr(layer, name) for layer in layers), name
    for name in ("post_norm", "position_rows", "position_offset"):
        assert any(getattr(spec, name) for spec in specs), name
    assert any(spec.embed_scale != 1 for spec in specs)
    assert any(spec.loops > 1 for spec in specs)
    assert any(layer.window for layer in layers)
    assert {feature_kind(f) for spec in specs for f in spec.positions} == set(FEATURES)


@names
def test_no_output_depends_on_a_later_token_outside_the_prefix(name):
    case = ARCHITECTURES[name]
    params = as_dtype(case.params(), jnp.float64)
    inputs = case.inputs()
    t = 6
    changed = inputs.copy()
    changed[t + 1 :] = case.inputs(seed=7)[t + 1 :]
    before = jitted(case.spec, params, inputs, **case.arguments)
    after = jitted(case.spec, params, changed, **case.arguments)
    np.testing.assert_array_equal(before[: t + 1], after[: t + 1])
    assert not np.array_equal(before[t + 1 :], after[t + 1 :])


def test_prefix_tokens_see_each_other():
    case = ARCHITECTURES["prefix mask"]
    params = as_dtype(case.params(), jnp.float64)
    inputs = case.inputs()
    changed = inputs.copy()
    changed[3] = (changed[3] + 1) % case.spec.input_size
    before = jitted(case.spec, params, inputs, prefix=4)
    assert not np.array_equal(before[0], jitted(case.spec, params, changed, prefix=4)[0])
    assert np.array_equal(
        jitted(case.spec, params, inputs, prefix=3)[0],
        jitted(case.spec, params, changed, prefix=3)[0],
    )


def test_by_default_the_prefix_is_the_whole_sequence_in_every_engine():
    case = ARCHITECTURES["prefix mask"]
    params, inputs = case.params(), case.inputs()
    expected = reference.forward(case.spec, params, inputs, prefix=len(inputs))
    variables = {"params": as_dtype(params, jnp.float64)}
    np.testing.assert_array_equal(reference.forward(case.spec, params, inputs), expected)
    np.testing.assert_allclose(jitted(case.spec, variables["params"], inputs), expected, **F64)
    np.testing.assert_allclose(Transformer(case.spec).apply(variables, inputs), expected, **F64)
    causal = reference.forward(case.spec, params, inputs, prefix=0)
    assert not np.allclose(causal, expected)


def test_forward_is_traced_once_for_any_prefix_and_offset():
    case = ARCHITECTURES["prefix mask"]
    params = as_dtype(case.params(), jnp.float32)
    traced = chex.assert_max_traces(forward, n=1)
    once = jax.jit(traced, static_argnums=0)
    for prefix in (1, 2, 3):
        once(case.spec, params, case.inputs(), prefix=prefix, offset=prefix)


def test_a_token_out_of_range_cannot_pass_unseen():
    case = ARCHITECTURES["softmax"]
    inputs = case.inputs()
    inputs[2] = case.spec.input_size
    got = jitted(case.spec, as_dtype(case.params(), jnp.float32), inputs)
    assert np.isnan(got).all()
    with pytest.raises(ValueError, match="expected tokens from 0 to 4"):
        reference.forward(case.spec, case.params(), inputs)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda p: p.pop("layer_0.w_q"), r"missing layer_0.w_q \(2, 6, 3\)"),
        (lambda p: p.update(extra=p["embed"]), "unexpected extra"),
        (
            lambda p: p.update({"layer_0.w_o": p["layer_0.w_o"].swapaxes(1, 2)}),
            r"layer_0.w_o: expected shape \(2, 2, 6\), got \(2, 6, 2\)",
        ),
        (lambda p: p.update(embed=p["embed"].astype(np.float64)), "one dtype"),
        (lambda p: p.update(embed=p["embed"].astype(np.int32)), "embed: expected floating"),
        (lambda p: p["w_out"].__setitem__((0, 0), np.nan), "w_out: expected finite"),
    ],
)
def test_the_door_names_what_does_not_fit(fault, message):
    case = ARCHITECTURES["softmax"]
    params = case.params()
    load_params(case.spec, params)
    fault(params)
    with pytest.raises(InputError, match=message):
        load_params(case.spec, params)


def test_the_door_refuses_another_dtype():
    case = ARCHITECTURES["softmax"]
    doubles = {name: leaf.astype(np.float64) for name, leaf in case.params().items()}
    with pytest.raises(InputError, match="expected float32, got float64"):
        load_params(case.spec, doubles)


@pytest.mark.parametrize(
    ("name", "inputs", "message"),
    [
        ("softmax", np.zeros(3, np.float32), "expected integers"),
        ("vectors", np.zeros((3, 4), np.float32), r"expected shape \[..., T, 5\]"),
    ],
)
def test_inputs_of_the_wrong_kind_are_refused(name, inputs, message):
    case = ARCHITECTURES[name]
    with pytest.raises(InputError, match=message):
        forward(case.spec, as_dtype(case.params(), jnp.float32), inputs)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attend": "sparse"}, "Layer.attend: expected one of softmax, hardmax, linear"),
        ({"mask": "none"}, "Layer.mask"),
        ({"gate": "swish"}, "Layer.gate"),
        ({"kv_heads": 3}, "Layer.kv_heads: expected a divisor of 2 heads, got 3"),
        ({"rotary": Rotary()}, "Layer.rotary: expected an even key_size, got 3"),
        ({"heads": -1}, "Layer.heads: expected an integer >= 0"),
        ({"heads": 1, "key_size": 0}, "Layer.key_size"),
    ],
)
def test_a_layer_says_what_it_expected(change, message):
    from dataclasses import replace

    with pytest.raises(ValueError, match=message):
        replace(ARCHITECTURES["softmax"].spec.layers[0], **change)
