"""Tiny stock models of every family: a config each, weights drawn by seed and name."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import safetensors.numpy

from constructions import CONSTRUCTIONS, TuringMachine
from constructions.spec import param_shapes
from icl_sim.pretrained import read_config
from icl_sim.pretrained.layouts import stock_shape

SEED = 14
LENGTH = 128
FIXTURES = Path(__file__).parent / "fixtures"
_TOKENS = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
_SMALL = _TOKENS | {
    "vocab_size": 64,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 160,
}
_LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 40,
}
_YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 40}
CASES = {
    "llama": _SMALL | {"model_type": "llama", "rope_theta": 500.0, "rope_scaling": _LLAMA3},
    "llama with biases": _SMALL
    | {"model_type": "llama", "attention_bias": True, "mlp_bias": True, "num_key_value_heads": 6},
    "smollm2": _SMALL
    | {
        "model_type": "llama",
        "rope_theta": 100_000.0,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": True,
    },
    "mistral": _SMALL | {"model_type": "mistral", "head_dim": 10, "sliding_window": 24},
    "qwen2": _SMALL
    | {
        "model_type": "qwen2",
        "rope_theta": 1e6,
        "rope_scaling": _YARN,
        "use_sliding_window": True,
        "sliding_window": 20,
        "max_window_layers": 1,
    },
    "qwen3": _SMALL
    | {
        "model_type": "qwen3",
        "head_dim": 12,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
        "tie_word_embeddings": True,
    },
    "gpt2": _TOKENS
    | {
        "model_type": "gpt2",
        "vocab_size": 64,
        "n_embd": 48,
        "n_layer": 3,
        "n_head": 4,
        "n_positions": 130,
    },
    "opt": _TOKENS
    | {
        "model_type": "opt",
        "vocab_size": 64,
        "hidden_size": 48,
        "ffn_dim": 96,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "max_position_embeddings": 130,
        "word_embed_proj_dim": 48,
    },
    "gemma3": _SMALL
    | {
        "model_type": "gemma3_text",
        "num_hidden_layers": 4,
        "head_dim": 12,
        "query_pre_attn_scalar": 20,
        "sliding_window": 16,
        "layer_types": 2 * ["sliding_attention", "full_attention"],
        "rope_theta": 1e6,
        "rope_local_base_freq": 1e4,
        "rope_scaling": {"rope_type": "linear", "factor": 8.0},
    },
}


def weights(config, seed=SEED):
    """Stock name -> float32 tensor: each from a generator of its own."""
    family, spec = read_config(config, name="case")
    shapes = param_shapes(spec)
    found = {}
    for name, row in family.rows(spec).items():
        rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
        values = rng.standard_normal(stock_shape(row, shapes), np.float32)
        if values.ndim == 1:
            gain = name.endswith("weight") and spec.norm != "rms_offset"
            values = np.float32(0.2) * values + np.float32(gain)
        else:
            values *= np.float32(0.4 if "emb" in name or "wte" in name else 1.5 / spec.width**0.5)
        found[name] = values
    return found


def tokens(config):
    """int32 [128]."""
    return np.random.default_rng(SEED).integers(0, config["vocab_size"], LENGTH, dtype=np.int32)


def machine():
    """The smallest stock machine that runs BB(2), and the tokens of that run, prompt and all."""
    built = CONSTRUCTIONS["stock"](states=2, bits=3)
    beaver = TuringMachine.from_bbchallenge("1RB1LB_1LA1RZ")
    prompt = built.encode({"machine": beaver, "tape": "", "steps": 9})
    return built, np.concatenate([prompt, built.machine.transcribe(beaver.run("", 9))])


def write(folder, config, tensors=None):
    """A directory as others write it: config.json and model.safetensors."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    tensors = weights(config) if tensors is None else tensors
    safetensors.numpy.save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


def fixture_path(name):
    """Logits of transformers for a case, float32 [128, V]."""
    return FIXTURES / f"{name.replace(' ', '_')}.npy"
