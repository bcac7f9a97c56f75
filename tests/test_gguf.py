"""GGUF files as llama.cpp lays them out: the stock checkpoint in other clothes."""

from __future__ import annotations

import numpy as np
import pytest
import stock_models
from stock_models import CASES

from constructions import CONSTRUCTIONS
from constructions.rotary import Rotary
from icl_sim import from_pretrained, to_pretrained
from icl_sim.cli import run
from icl_sim.errors import InputError

pytest.importorskip("tokenizers")
gguf = pytest.importorskip("gguf")

from icl_sim.pretrained import to_gguf  # noqa: E402
from icl_sim.pretrained.gguf_files import GGUF, NAMES  # noqa: E402

LETTERS = ["<s>", "</s>", "h", "e", "l", "o", "\u0120", "1", "2", "he", "ll", "<think>"]
MERGES = ["h e", "l l"]


def write_gguf(path, arch, config, tensors, words="gpt2", **more):
    """The stock tensors as llama.cpp's converter writes them."""
    stock_names = {stock: ours for ours, stock in NAMES[arch].items()}
    writer = gguf.GGUFWriter(path, arch)
    spec = GGUF_KEYS[arch](config)
    for key, value in (spec | more).items():
        add = {int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}
        add[type(value)](f"{arch}.{key}", value)
    writer.add_tokenizer_model(words)
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(LETTERS)
    writer.add_token_types([3, 3, *[1] * 9, 4])
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    for name, x in tensors.items():
        stem, _, kind = name.rpartition(".")
        parts = stem.split(".")
        layer = next((part for part in parts if part.isdecimal()), None)
        pattern = ".".join("{}" if part == layer else part for part in parts)
        if arch == "llama" and ("q_proj" in name or "k_proj" in name):
            heads = config["num_attention_heads" if "q_proj" in name else "num_key_value_heads"]
            x = x.reshape(heads, 2, -1, *x.shape[1:]).swapaxes(1, 2).reshape(x.shape)
        if arch == "gpt2" and (".c_" in name and kind == "weight"):
            x = x.T
        if arch == "gemma3" and "norm" in name:
            x = x + 1
        ours = stock_names[pattern].format(layer)
        writer.add_tensor(f"{ours}.{kind}", np.ascontiguousarray(x))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def decoder_keys(config):
    H, D = config["num_attention_heads"], config["hidden_size"]
    return {
        "embedding_length": D,
        "block_count": config["num_hidden_layers"],
        "attention.head_count": H,
        "attention.head_count_kv": config["num_key_value_heads"],
        "attention.key_length": config.get("head_dim", D // H),
        "feed_forward_length": config["intermediate_size"],
        "attention.layer_norm_rms_epsilon": config.get("rms_norm_eps", 1e-6),
        "rope.freq_base": float(config.get("rope_theta", 1e6)),
        "context_length": config["max_position_embeddings"],
    }


def gpt2_keys(config):
    return {
        "embedding_length": config["n_embd"],
        "block_count": config["n_layer"],
        "attention.head_count": config["n_head"],
        "feed_forward_length": 4 * config["n_embd"],
        "attention.layer_norm_epsilon": 1e-5,
        "context_length": config["n_positions"],
    }


GGUF_KEYS = dict.fromkeys(("llama", "qwen2", "qwen3", "gemma3"), decoder_keys) | {"gpt2": gpt2_keys}
_PLAIN = {"rope_scaling": None, "use_sliding_window": False}
GGUF_CASES = {
    "llama": (CASES["smollm2"], {}),
    "qwen2": (
        CASES["qwen2"] | _PLAIN | {"rope_scaling": {"rope_type": "linear", "factor": 2.0}},
        {"rope.scaling.type": "linear", "rope.scaling.factor": 2.0},
    ),
    "qwen3": (CASES["qwen3"], {}),
    "gpt2": (CASES["gpt2"], {}),
    "gemma3": (
        CASES["gemma3"] | {"query_pre_attn_scalar": 12, "layer_types": None, "rms_norm_eps": 1e-5},
        {
            "attention.sliding_window": 16,
            "rope.scaling.type": "linear",
            "rope.scaling.factor": 8.0,
        },
    ),
}


@pytest.mark.parametrize("arch", GGUF_CASES)
def test_a_gguf_file_is_the_stock_checkpoint(tmp_path, arch):
    config, more = GGUF_CASES[arch]
    tensors = stock_models.weights(config)
    expected = from_pretrained(
        stock_models.write(tmp_path / "stock", config, tensors), tokenizer=False
    )
    path = write_gguf(tmp_path / "x.gguf", arch, config, tensors, **more)
    model, params, words = from_pretrained(path)
    assert model.spec == expected[0].spec
    for name, leaf in expected[1].items():
        # Gemma's gains are stored with one added, which rounds.
        atol = 2.0**-22 if arch == "gemma3" and "norm" in name else 0
        np.testing.assert_allclose(params[name], leaf, rtol=0, atol=atol, err_msg=name)
    assert words.encode("hello 12</s>") == [9, 10, 5, 6, 7, 8, 1]
    assert words.encode("<think>he") == [11, 9]
    assert words.decode([11, 1]) == "<think>"
    folder = to_pretrained(model, tmp_path / "out", params=params)
    again = from_pretrained(folder)
    assert again[0].spec == model.spec
    assert all(np.array_equal(again[1][name], leaf) for name, leaf in params.items())
    assert (again[2].bos, again[2].eos) == (0, 1)


def test_llama_3s_scaling_is_found_in_the_divisors(tmp_path):
    config = CASES["smollm2"]
    rotary = Rotary(100_000.0, "llama3", 8.0, low=1.0, high=4.0, length=8192)
    divisors = Rotary(rotary.theta).frequencies(8) / rotary.frequencies(8)
    tensors = stock_models.weights(config) | {"rope_freqs.weight": divisors.astype(np.float32)}
    names = NAMES["llama"]
    names["rope_freqs"] = "rope_freqs"
    try:
        path = write_gguf(tmp_path / "a.gguf", "llama", config, tensors)
        assert from_pretrained(path)[0].spec.layers[0].rotary == rotary
        tensors["rope_freqs.weight"] = np.float32([1, 2, 3, 8])
        path = write_gguf(tmp_path / "b.gguf", "llama", config, tensors)
        with pytest.raises(InputError, match="rope_freqs.weight: expected Llama 3's scaling"):
            from_pretrained(path)
    finally:
        del names["rope_freqs"]


def test_a_hundred_corruptions_of_the_header_are_refused_or_change_nothing(tmp_path):
    path = write_gguf(tmp_path / "x.gguf", "llama", *_parts())
    whole = from_pretrained(path)[0].spec
    raw, rng = path.read_bytes(), np.random.default_rng(0)
    start = GGUF(path)._tensors["token_embd.weight"].data_offset
    for i in range(100):
        damaged = bytearray(raw)
        damaged[rng.integers(start)] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged if i % 4 else raw[: rng.integers(len(raw))])
        try:
            spec = from_pretrained(path)[0].spec
        except InputError as error:
            line = str(error)
        else:  # the file states no digest: a number may be another
            line = ""
            assert spec.width == whole.width
        assert "\n" not in line


def test_a_sentencepiece_vocabulary_is_refused_in_one_line_and_the_model_loads_without(tmp_path):
    path = write_gguf(tmp_path / "x.gguf", "llama", *_parts(), words="llama")
    with pytest.raises(InputError, match=r"expected gpt2 \(byte-level BPE\), got 'llama'.*$") as it:
        from_pretrained(path)
    assert "\n" not in str(it.value)
    assert "tokenizer=False" in str(it.value)
    assert from_pretrained(path, tokenizer=False)[2] is None


def _parts():
    return CASES["smollm2"], stock_models.weights(CASES["smollm2"])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"expert_count": 8}, "llama.expert_count: expected none, got 8"),
        ({"attention.sliding_window": 9}, "llama.attention.sliding_window: expected none, got 9"),
        ({"rope.dimension_count": 4}, "rope.dimension_count: expected 8, all of a head, got 4"),
        ({"rope.scaling.type": "longrope"}, "rope_type: expected one of"),
    ],
)
def test_metadata_that_the_spec_cannot_say_are_refused(tmp_path, more, message):
    path = write_gguf(tmp_path / "x.gguf", "llama", *_parts(), **more)
    with pytest.raises(InputError, match=message):
        from_pretrained(path)


def test_other_files_are_no_gguf(tmp_path):
    path = tmp_path / "x.gguf"
    for raw in (b"", b"GGUF", b"PK" * 50, b"GGUF" + b"\xff" * 60):
        path.write_bytes(raw)
        with pytest.raises(InputError, match="expected a GGUF file, got no GGUF header"):
            from_pretrained(path)
    writer = gguf.GGUFWriter(path, "mamba")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(InputError, match="general.architecture: expected one of llama.*'mamba'"):
        from_pretrained(path)


def test_an_exported_machine_is_read_back_with_its_words(tmp_path, capsys):
    command = [
        "icl-sim",
        "export",
        "--format",
        "gguf",
        "--option",
        "states=2",
        "--option",
        "bits=3",
    ]
    assert run([*command, str(tmp_path), "stock"]) == 0
    assert "stock: stock.gguf" in capsys.readouterr().out
    model, params, words = from_pretrained(tmp_path / "stock.gguf")
    built, tokens = stock_models.machine()
    built.certify(model.spec, {name: np.asarray(leaf) for name, leaf in params.items()})
    assert words.decode(tokens, special=True) == built.fields.text(tokens)
    assert words.encode(built.fields.text(tokens) + " ") == tokens.tolist()
    assert words.eos == words.pad == built.machine.stop


def test_only_machines_with_words_become_files(tmp_path, capsys):
    with pytest.raises(InputError, match="lookup: expected a machine whose tokens have names"):
        to_gguf(CONSTRUCTIONS["lookup"](), tmp_path / "x.gguf")
    (tmp_path / "file").write_text("")
    assert run(["icl-sim", "export", "--format", "gguf", str(tmp_path / "file"), "stock"]) == 2
    assert "expected a directory that can be written" in capsys.readouterr().err
