"""Stock checkpoints in and out: the logits of others' software, and the same bits both ways."""

from __future__ import annotations

import json
from dataclasses import replace

import jax
import numpy as np
import pytest
import safetensors.numpy
import stock_models
from cases import LLAMA_LAYER
from stock_models import CASES

from constructions import CONSTRUCTIONS
from constructions.rotary import Rotary
from constructions.spec import TransformerSpec, param_shapes
from icl_sim import Transformer, forward, from_pretrained, to_pretrained
from icl_sim.errors import InputError
from icl_sim.pretrained import FAMILIES, read_config, stock_config
from icl_sim.pretrained.layouts import stock_shape, to_leaves, to_stock
from icl_sim.transformer import CERTIFIED, FAST, init, stack_layers

jitted = jax.jit(forward, static_argnums=0, static_argnames="how")
SPEC = read_config(CASES["smollm2"], name="smollm2")[1]


def tensors(folder):
    return safetensors.numpy.load_file(folder / "model.safetensors")


def same_bits(a, b):
    return a.keys() == b.keys() and all(
        np.asarray(a[n]).tobytes() == np.asarray(b[n]).tobytes() for n in a
    )


@pytest.mark.parametrize("name", CASES)
def test_logits_are_those_of_transformers(tmp_path, name):
    model, params, _ = from_pretrained(stock_models.write(tmp_path, CASES[name]), tokenizer=False)
    expected = np.load(stock_models.fixture_path(name))
    tokens = stock_models.tokens(CASES[name])
    assert expected.shape == (stock_models.LENGTH, 64)
    assert np.ptp(expected) > 5
    for how in (CERTIFIED, FAST):
        got = jitted(model.spec, params, tokens, how=how)
        assert np.abs(np.asarray(got) - expected).max() <= 1e-4


@pytest.mark.parametrize("name", CASES)
def test_what_was_read_is_written_again_bit_for_bit(tmp_path, name):
    first = stock_models.write(tmp_path / "a", CASES[name])
    model, params, _ = from_pretrained(first, tokenizer=False)
    second = to_pretrained(model, tmp_path / "b", params=params)
    assert same_bits(tensors(first), tensors(second))
    config = json.loads((second / "config.json").read_text())
    assert all(config[key] == value for key, value in CASES[name].items() if key[:4] != "rope")
    again, leaves, _ = from_pretrained(second, tokenizer=False)
    assert again.spec == model.spec
    assert same_bits(params, leaves)


@pytest.mark.parametrize("name", CASES)
def test_a_spec_gets_a_config_that_says_it(name):
    family, spec = read_config(CASES[name], name=name)
    config = stock_config(family, spec)
    assert read_config(config, name=name) == (family, spec)
    if spec.layers[0].rotary:
        # The form of transformers 5 alone, and the older form alone, say the same.
        for keys in (("rope_theta", "rope_scaling", "rope_local_base_freq"), ("rope_parameters",)):
            one = {key: value for key, value in config.items() if key not in keys}
            assert read_config(one, name=name)[1] == spec


def test_every_family_has_a_case():
    assert {config["model_type"] for config in CASES.values()} == set(FAMILIES)


@pytest.mark.parametrize("name", CASES)
def test_a_layout_is_a_bijection(name):
    family, spec = read_config(CASES[name], name=name)
    shapes = param_shapes(spec)
    for row in family.rows(spec).values():
        shape = stock_shape(row, shapes)
        count = np.arange(np.prod(shape)).reshape(shape)
        leaves = to_leaves(row, count, shapes)
        assert {leaf: x.shape for leaf, x in leaves.items()} == {x: shapes[x] for x in row.leaves}
        assert np.array_equal(to_stock(row, leaves), count)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_read_exactly_and_kept(tmp_path, dtype):
    kind = jax.numpy.dtype(dtype)
    halves = {n: x.astype(kind) for n, x in stock_models.weights(CASES["qwen2"]).items()}
    first = stock_models.write(tmp_path / "a", CASES["qwen2"], halves)
    model, params, _ = from_pretrained(first, tokenizer=False)
    wide = {n: x.astype(np.float32) for n, x in halves.items()}
    plain = from_pretrained(
        stock_models.write(tmp_path / "b", CASES["qwen2"], wide), tokenizer=False
    )
    assert same_bits(params, plain[1])
    second = to_pretrained(model, tmp_path / "c", params=params)
    assert same_bits(tensors(second), halves)
    assert json.loads((second / "config.json").read_text())["dtype"] == dtype
    # One weight that no half is: all are written as float32.
    moved = params | {"norm_out": params["norm_out"].at[0].set(1 + 2.0**-20)}
    third = to_pretrained(model, tmp_path / "d", params=moved)
    assert {x.dtype for x in tensors(third).values()} == {np.dtype(np.float32)}
    fourth = to_pretrained(model, tmp_path / "e", params=moved, dtype=dtype)
    assert {x.dtype for x in tensors(fourth).values()} == {kind}


def test_shards_bare_names_and_buffers_are_read(tmp_path):
    config = CASES["llama"]
    whole = stock_models.weights(config)
    expected = from_pretrained(stock_models.write(tmp_path / "a", config), tokenizer=False)[1]
    buffer = {"model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(4, np.float32)}
    names = sorted(whole | buffer)
    folder = stock_models.write(tmp_path / "b", config)
    (folder / "model.safetensors").unlink()
    files = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
    for file, part in files.items():
        found = {name: (whole | buffer)[name] for name in part}
        safetensors.numpy.save_file(found, folder / file, {"format": "pt"})
    places = {name: file for file, part in files.items() for name in part}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    assert same_bits(from_pretrained(folder, tokenizer=False)[1], expected)
    bare = {name.removeprefix("model."): x for name, x in whole.items()}
    folder = stock_models.write(tmp_path / "c", config, bare)
    assert same_bits(from_pretrained(folder, tokenizer=False)[1], expected)


def test_a_tied_head_may_be_stored_if_it_is_the_embedding(tmp_path):
    whole = stock_models.weights(CASES["gpt2"])
    whole["lm_head.weight"] = whole["transformer.wte.weight"].copy()
    folder = stock_models.write(tmp_path, CASES["gpt2"], whole)
    assert "w_out" not in from_pretrained(folder, tokenizer=False)[1]
    whole["lm_head.weight"][3, 3] += 1
    stock_models.write(tmp_path, CASES["gpt2"], whole)
    with pytest.raises(InputError, match="to which it is tied"):
        from_pretrained(folder, tokenizer=False)


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen3", "gemma3_text"])
def test_a_model_of_our_own_is_written(tmp_path, family):
    case = next(config for config in CASES.values() if config["model_type"] == family)
    spec = read_config(case, name=family)[1]
    params = init(Transformer(spec), jax.random.key(0))
    folder = to_pretrained(
        Transformer(spec), tmp_path, params=stack_layers(spec, params), family=family, window=77
    )
    again, leaves, _ = from_pretrained(folder, tokenizer=False)
    assert again.spec == spec
    assert same_bits(leaves, params)
    assert again.origin.window == 77
    # The stock classes' own tokens would end its answers.
    config = json.loads((folder / "config.json").read_text())
    assert config["eos_token_id"] is None
    assert json.loads((folder / "generation_config.json").read_text())["do_sample"] is False


@pytest.mark.parametrize(
    ("family", "change", "message"),
    [
        ("llama", {"norm": "layer"}, "llama: norm: expected 'rms', got 'layer'"),
        ("llama", {"loops": 2}, "loops: expected 1, got 2"),
        ("llama", {"position_rows": 9}, "position_rows: expected 0, got 9"),
        ("llama", {"inputs": "vectors", "readout": "logits"}, "expected layers and tokens"),
        ("llama", {"layers": ()}, "expected layers and tokens, got no layers"),
        ("gpt2", {}, "n_positions"),
        ("mamba", {}, "family: expected one of gemma3_text, .* got 'mamba'"),
    ],
)
def test_a_spec_that_the_family_cannot_hold_is_refused(tmp_path, family, change, message):
    spec = replace(SPEC, **change)
    with pytest.raises(InputError, match=message):
        to_pretrained(Transformer(spec), tmp_path, params={}, family=family)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scale": 1.0}, "layer 0 scale: expected 0.35"),
        ({"attend": "hardmax"}, "layer 0 attend: expected 'softmax', got 'hardmax'"),
        ({"window": 3}, "layer 0 window"),
        ({"reach": 3}, "layer 0 reach"),
        ({"rotary": None}, "layer 0 rotary"),
        ({"rotary": Rotary(10.0, "linear", 0.5)}, "factor: expected a number >= 1"),
        ({"mlp_bias": "inner"}, "layer 0 mlp_bias: expected 'none', got 'inner'"),
        ({"hidden": 0}, "intermediate_size"),
        ({"gate": "hard_sigmoid"}, "hidden_act"),
    ],
)
def test_a_layer_that_the_family_cannot_hold_is_refused(change, message):
    layers = tuple(replace(layer, **change) for layer in SPEC.layers)
    with pytest.raises(InputError, match=message):
        stock_config(FAMILIES["llama"], replace(SPEC, layers=layers))


def test_a_construction_without_a_stock_form_is_refused(tmp_path):
    with pytest.raises(InputError, match="llama: "):
        to_pretrained(CONSTRUCTIONS["lookup"](), tmp_path)
    with pytest.raises(InputError, match="expected params with a model"):
        to_pretrained(Transformer(SPEC), tmp_path)


def test_weights_that_are_not_finite_or_do_not_fit_are_not_written(tmp_path):
    params = init(Transformer(SPEC), jax.random.key(0))
    bad = params | {"norm_out": params["norm_out"].at[0].set(np.nan)}
    with pytest.raises(InputError, match="norm_out: expected finite"):
        to_pretrained(Transformer(SPEC), tmp_path, params=bad)
    with pytest.raises(InputError, match="missing norm_out"):
        to_pretrained(
            Transformer(SPEC), tmp_path, params={n: params[n] for n in params if n != "norm_out"}
        )
    big = params | {"norm_out": params["norm_out"] * 1e6}
    with pytest.raises(InputError, match="range of float16"):
        to_pretrained(Transformer(SPEC), tmp_path, params=big, dtype="float16")
    with pytest.raises(InputError, match="dtype: expected one of bfloat16"):
        to_pretrained(Transformer(SPEC), tmp_path, params=params, dtype="int8")
    assert not list(tmp_path.iterdir())


def test_heads_equal_in_number_are_one_spec(tmp_path):
    layer = replace(LLAMA_LAYER, kv_heads=2)
    spec = TransformerSpec(5, 8, 5, (layer,), norm="rms")
    params = init(Transformer(spec), jax.random.key(1))
    folder = to_pretrained(Transformer(spec), tmp_path, params=params)
    again, leaves, _ = from_pretrained(folder, tokenizer=False)
    assert again.spec == replace(spec, layers=(replace(layer, kv_heads=0),))
    assert same_bits(leaves, params)


def test_the_base_has_a_name():
    model, params, tokenizer = from_pretrained("base", tokenizer=False)
    assert param_shapes(model.spec).keys() == params.keys()
    assert tokenizer is None
