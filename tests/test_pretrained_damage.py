"""Damaged and foreign checkpoints: one line that names what is wrong, and nothing loaded."""

from __future__ import annotations

import json
import re
import struct

import numpy as np
import pytest
import safetensors.numpy
import stock_models
from stock_models import CASES

from icl_sim import from_pretrained, to_pretrained
from icl_sim.errors import InputError
from icl_sim.pretrained import read_config

CONFIG = CASES["llama"]
WEIGHTS = "model.safetensors"


def refused(path, message):
    with pytest.raises(InputError, match=message) as caught:
        from_pretrained(path, tokenizer=False)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def changed(**keys):
    return {key: value for key, value in (CONFIG | keys).items() if value != "absent"}


@pytest.fixture
def written(tmp_path):
    """A directory of our own, which states its digest."""
    read = from_pretrained(stock_models.write(tmp_path / "in", CONFIG), tokenizer=False)
    return to_pretrained(read[0], tmp_path / "out", params=read[1])


def rewrite(path, change):
    """Changes the header of a safetensors file."""
    raw = path.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    text = change(raw[8 : 8 + size].decode()).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + size :])


@pytest.mark.parametrize("file", [WEIGHTS, "config.json"])
def test_a_hundred_corruptions_are_refused(written, file):
    path, rng, lines = written / file, np.random.default_rng(0), []
    raw = path.read_bytes()
    before = read_config(json.loads((written / "config.json").read_text()), name="x")
    for _ in range(100):
        damaged = bytearray(raw)
        for place in rng.integers(0, len(raw), rng.integers(1, 4)):
            damaged[place] ^= rng.integers(1, 256)
        path.write_bytes(damaged)
        try:
            model, _, _ = from_pretrained(written, tokenizer=False)
        except InputError as error:
            lines.append(str(error))
        else:
            # A key that no spec depends on.
            assert file == "config.json"
            assert model.spec == before[1]
    assert len(lines) >= (100 if file == WEIGHTS else 50)
    assert not any("\n" in line for line in lines)


@pytest.mark.parametrize("keep", [0, 5, 8, 100, 3000, -1])
def test_a_file_that_is_cut_off_is_refused(written, keep):
    raw = (written / WEIGHTS).read_bytes()
    (written / WEIGHTS).write_bytes(raw[:keep])
    refused(written, "expected")


def test_bytes_behind_the_tensors_are_refused(written):
    with (written / WEIGHTS).open("ab") as file:
        file.write(b"more")
    refused(written, "bytes, got .* damaged")


def test_weights_changed_behind_the_digest_are_refused(written):
    """A flipped bit leaves a finite weight of the right shape."""
    raw = bytearray((written / WEIGHTS).read_bytes())
    raw[-3] ^= 1
    (written / WEIGHTS).write_bytes(raw)
    refused(written, "expected SHA-256 .* write them again with to_pretrained")


def test_a_config_of_another_model_is_refused(written):
    config = json.loads((written / "config.json").read_text())
    (written / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 1e-3}))
    refused(written, "the weights or the config are damaged")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h: h.replace('"model.norm.weight"', '"../../x"'), "missing model.norm.*unknown"),
        (lambda h: h.replace('"model.norm.weight"', '"lm_head.weight"'), "once, got 'lm_head.weig"),
        (lambda h: h.replace('"F32"', '"I32"', 1), "expected .*one of F32, F16, BF16, got 'I32'"),
        (lambda h: h.replace('"F32"', '"F16"', 1), "offsets"),
        (lambda h: h.replace('"F32"', "[]", 1), "expected"),
        (lambda h: h.replace("[64,48]", "[48,64]", 1), r"shape \(64, 48\), got \(48, 64\)"),
        (lambda h: h.replace("[64,48]", "[-64,-48]", 1), "sizes, got"),
        (lambda h: h.replace("[64,48]", "64", 1), "expected"),
        (lambda h: h.replace('"shape"', '"form"', 1), "data_offsets, got"),
        (lambda h: h.replace('{"__meta', '{"extra":{"dtype":"F32","shape":[0],'
                             '"data_offsets":[0,0]},"__meta'), "unknown extra"),
        (lambda h: "[" * 100_000, "expected"),
        (lambda h: "[1]", "expected a JSON object, got list"),
        (lambda h: h.strip()[:-1], "expected JSON"),
    ],
)  # fmt: skip
def test_a_header_that_is_none_is_refused(written, change, message):
    rewrite(written / WEIGHTS, change)
    refused(written, message)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ('{"sha256":1}', "__metadata__ to be an object of texts"),
        ('{"format":"pt","more":["a"]}', "__metadata__ to be an object of texts"),
        ('["pt"]', "__metadata__ to be an object of texts"),
        ("null", "__metadata__ to be an object of texts"),
        ('{"a":' * 50_000 + "1" + "}" * 50_000, "expected"),
        ('{"format":"pt","format":"pt"}', "once, got 'format' twice"),
        ('{"format":"flax"}', "format: one of pt, np, mlx, got 'flax'"),
        ('{"format":"pt","sha256":"0"}', "expected SHA-256 0"),
    ],
)
@pytest.mark.parametrize("sharded", [False, True])
def test_metadata_that_were_tampered_with_are_refused(written, metadata, message, sharded):
    own = re.compile('"__metadata__":{[^}]*}')
    rewrite(written / WEIGHTS, lambda h: own.sub(f'"__metadata__":{metadata}', h))
    if sharded:
        (written / WEIGHTS).rename(written / "a.safetensors")
        places = dict.fromkeys(stock_models.weights(CONFIG), "a.safetensors")
        (written / f"{WEIGHTS}.index.json").write_text(json.dumps({"weight_map": places}))
    refused(written, message)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(tmp_path, bad):
    tensors = stock_models.weights(CONFIG)
    tensors["model.layers.1.mlp.up_proj.weight"][3, 3] = bad
    refused(stock_models.write(tmp_path, CONFIG, tensors), "layer_1.w_up: expected finite weights")


def test_missing_extra_and_misshapen_tensors_are_named(tmp_path):
    tensors = stock_models.weights(CONFIG)
    norm = tensors.pop("model.norm.weight")
    tensors["model.layers.7.mlp.up_proj.weight"] = norm
    tensors["lm_head.weight"] = tensors["lm_head.weight"][:-1].copy()
    refused(
        stock_models.write(tmp_path, CONFIG, tensors),
        r"missing model.norm.weight; unknown model.layers.7.*; lm_head.weight: shape \(64, 48\), "
        r"got \(63, 48\)",
    )


def test_integers_and_doubles_are_refused(tmp_path):
    tensors = stock_models.weights(CONFIG)
    wide = {name: x.astype(np.float64) for name, x in tensors.items()}
    refused(stock_models.write(tmp_path, CONFIG, wide), "one of F32, F16, BF16, got 'F64'")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"model_type": "mixtral"}, "model_type: expected one of gemma3_text.*, got 'mixtral'"),
        ({"model_type": "absent"}, "model_type: .* got None"),
        ({"hidden_size": "absent"}, "hidden_size: expected an integer from 1 .*, got nothing"),
        ({"hidden_size": 48.5}, "hidden_size: .* got 48.5"),
        ({"hidden_size": True}, "hidden_size: .* got True"),
        ({"hidden_size": 50}, "hidden_size: expected a multiple of 6 heads, got 50"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers: expected an integer from 1 to 4096"),
        ({"num_key_value_heads": 4}, "num_key_value_heads: expected a divisor of 6 heads, got 4"),
        ({"head_dim": 7}, "head_dim: expected an even number, got 7"),
        ({"rms_norm_eps": "1e-6"}, "rms_norm_eps: expected a number > 0, got '1e-6'"),
        ({"rms_norm_eps": 0}, "rms_norm_eps"),
        ({"hidden_act": "mish"}, "hidden_act: expected one of silu.*, got 'mish'"),
        ({"tie_word_embeddings": 1}, "tie_word_embeddings: expected true or false, got 1"),
        ({"tie_word_embeddings": True}, "lm_head.weight: expected model.embed_tokens.weight"),
        ({"attention_bias": True}, "missing model.layers.0.self_attn.q_proj.bias"),
        ({"quantization_config": {"bits": 4}}, "quantization_config: expected null, got"),
        ({"auto_map": {"AutoModel": "x.Y"}}, "auto_map"),
        ({"num_local_experts": 8}, "num_local_experts: expected null or 0, got 8"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor: expected null or 1, got 0.5"),
        ({"attn_logit_softcapping": 50.0}, "attn_logit_softcapping: expected null, got 50.0"),
        (
            {"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}},
            "rope_type: expected one of de",
        ),
        ({"rope_scaling": {"type": "linear", "factor": 0.5}}, "factor: expected a number >= 1"),
        ({"rope_scaling": {"type": "linear"}}, "factor: expected a number > 0, got nothing"),
        ({"rope_scaling": {"type": "linear", "factor": 2, "x": 1}}, "x: expected no such key"),
        ({"rope_scaling": [1]}, "rope_scaling: expected an object"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "rope_scaling.rope_type: expected 'yarn' as"),
        ({"rope_parameters": {"rope_theta": 7.0}}, "rope_theta: expected 7.0 as in rope_param"),
        ({"rope_theta": 0.5}, "rope_theta: expected a finite number > 1, got 0.5"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 2.0, "mscale": 1.0}}, "mscale"),
    ],
)
def test_a_config_that_the_spec_cannot_say_is_refused_by_its_key(tmp_path, keys, message):
    folder = stock_models.write(tmp_path, CONFIG)
    (folder / "config.json").write_text(json.dumps(changed(**keys)))
    refused(folder, message)


@pytest.mark.parametrize(
    ("name", "keys", "message"),
    [
        ("mistral", {"sliding_window": 0}, "sliding_window: expected an integer from 1"),
        ("qwen2", {"layer_types": ["chunked"] * 3}, "layer_types: expected 3 times full_attention"),
        ("qwen2", {"use_sliding_window": False, "layer_types": ["sliding_attention"] * 3}, "layer"),
        ("gemma3", {"final_logit_softcapping": 30.0}, "final_logit_softcapping"),
        ("gemma3", {"use_bidirectional_attention": True}, "use_bidirectional_attention"),
        ("gemma3", {"rope_parameters": {"rope_type": "default"}}, "rope_parameters: expected slid"),
        ("opt", {"do_layer_norm_before": False}, "do_layer_norm_before: expected true, got False"),
        ("opt", {"word_embed_proj_dim": 24}, "word_embed_proj_dim: expected null or 48, got 24"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx"),
        ("gpt2", {"n_head": 5}, "n_embd: expected a multiple of 5 heads"),
    ],
)  # fmt: skip
def test_switches_of_the_families_are_refused_by_their_key(name, keys, message):
    with pytest.raises(InputError, match=message):
        read_config(CASES[name] | keys, name="config.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected JSON"),
        ("[]", "expected a JSON object, got list"),
        ('{"model_type": "llama", "model_type": "gpt2"}', "each name once, got 'model_type' twice"),
        ('{"rms_norm_eps": NaN}', "expected finite numbers, got NaN"),
        ("[" * 100_000, "expected"),
        ("\x00", "expected JSON"),
    ],
)
def test_a_config_that_is_no_object_is_refused(tmp_path, text, message):
    stock_models.write(tmp_path, CONFIG)
    (tmp_path / "config.json").write_text(text)
    refused(tmp_path, message)
    (tmp_path / "config.json").unlink()
    refused(tmp_path, "config.json: expected a file")


def test_pickled_weights_are_refused_by_name(tmp_path):
    stock_models.write(tmp_path, CONFIG)
    (tmp_path / WEIGHTS).rename(tmp_path / "pytorch_model.bin")
    refused(tmp_path, "pytorch_model.bin: expected model.safetensors, got pickled weights")
    (tmp_path / "pytorch_model.bin").unlink()
    refused(tmp_path, "expected model.safetensors or model.safetensors.index.json, got neither")


@pytest.mark.parametrize(
    ("places", "message"),
    [
        ({"a": "../model.safetensors"}, r"beside it, got '\.\./model"),
        ({"a": "/etc/passwd"}, "beside it, got '/etc/passwd'"),
        ({"a": "b.bin"}, "beside it, got 'b.bin'"),
        ({"a": 1}, "beside it, got 1"),
        ({"a": "gone.safetensors"}, "beside it, got 'gone"),
        ({}, "expected a weight_map"),
        ({"a": "part.safetensors"}, r"a: expected it in None, got part\.safetensors"),
    ],
)
def test_an_index_that_disagrees_is_refused(tmp_path, places, message):
    folder = stock_models.write(tmp_path / "in", CONFIG)
    stock_models.write(tmp_path, CONFIG)  # what ../ leads to is there
    (folder / WEIGHTS).rename(folder / "part.safetensors")
    (folder / f"{WEIGHTS}.index.json").write_text(json.dumps({"weight_map": places}))
    refused(folder, message)


def test_a_tensor_in_two_shards_is_refused(tmp_path):
    stock_models.write(tmp_path, CONFIG)
    (tmp_path / WEIGHTS).rename(tmp_path / "a.safetensors")
    one = {"model.norm.weight": np.ones(48, np.float32)}
    safetensors.numpy.save_file(one, tmp_path / "b.safetensors")
    places = {"x": "a.safetensors", "y": "b.safetensors"}
    (tmp_path / f"{WEIGHTS}.index.json").write_text(json.dumps({"weight_map": places}))
    refused(tmp_path, "each tensor in one file, got model.norm.weight again")


def test_more_weights_than_memory_lasts_for_are_refused_before_they_are_read(tmp_path, monkeypatch):
    monkeypatch.setenv("ICL_SIM_MEMORY", "100KiB")
    refused(stock_models.write(tmp_path, CONFIG), "expected at most 100.0 KiB of memory")


def test_other_weights_are_not_written_over(tmp_path, written):
    read = from_pretrained(written, tokenizer=False)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / f"{WEIGHTS}.index.json").write_text("{}")
    with pytest.raises(InputError, match="expected no other weights"):
        to_pretrained(read[0], tmp_path / "other", params=read[1])
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        to_pretrained(read[0], tmp_path / "file", params=read[1])


@pytest.mark.parametrize("path", ["nowhere", "x.gguf", "smollm2", "/dev/null"])
def test_a_path_with_no_model_is_refused(path, monkeypatch, tmp_path):
    monkeypatch.setenv("ICL_SIM_CACHE", str(tmp_path))
    refused(path, "expected")
