"""GGUF files, llama.cpp's format: metadata and tensors under the names of stock checkpoints.

llama.cpp stores matrices [out, in] whatever the family, turns neighbouring entries of a Llama's
heads where the stock form turns halves (so the rows of Q and K are permuted), and adds one to
Gemma's gains. All of it is undone here; quantized tensors become float32.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from constructions.rotary import Rotary
from icl_sim.errors import InputError
from icl_sim.pretrained.packages import need
from icl_sim.pretrained.safetensors_files import Stored
from icl_sim.pretrained.strict_json import one_line
from icl_sim.pretrained.tokenizer import Tokenizer, byte_level, words_tokenizer

FAMILIES = {
    "llama": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "gemma3": "gemma3_text",
    "gpt2": "gpt2",
}
# More would be a damaged count; the largest models have thousands.
MOST_ENTRIES = 10**5

_LAYER = "model.layers.{}."
_LLAMA = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "blk.{}.attn_norm": _LAYER + "input_layernorm",
    "blk.{}.attn_q": _LAYER + "self_attn.q_proj",
    "blk.{}.attn_k": _LAYER + "self_attn.k_proj",
    "blk.{}.attn_v": _LAYER + "self_attn.v_proj",
    "blk.{}.attn_output": _LAYER + "self_attn.o_proj",
    "blk.{}.attn_q_norm": _LAYER + "self_attn.q_norm",
    "blk.{}.attn_k_norm": _LAYER + "self_attn.k_norm",
    "blk.{}.ffn_norm": _LAYER + "post_attention_layernorm",
    "blk.{}.ffn_gate": _LAYER + "mlp.gate_proj",
    "blk.{}.ffn_up": _LAYER + "mlp.up_proj",
    "blk.{}.ffn_down": _LAYER + "mlp.down_proj",
}
_GEMMA = _LLAMA | {
    "blk.{}.post_attention_norm": _LAYER + "post_attention_layernorm",
    "blk.{}.ffn_norm": _LAYER + "pre_feedforward_layernorm",
    "blk.{}.post_ffw_norm": _LAYER + "post_feedforward_layernorm",
}
_GPT2 = {
    "token_embd": "transformer.wte",
    "position_embd": "transformer.wpe",
    "output_norm": "transformer.ln_f",
    "output": "lm_head",
    "blk.{}.attn_norm": "transformer.h.{}.ln_1",
    "blk.{}.attn_qkv": "transformer.h.{}.attn.c_attn",
    "blk.{}.attn_output": "transformer.h.{}.attn.c_proj",
    "blk.{}.ffn_norm": "transformer.h.{}.ln_2",
    "blk.{}.ffn_up": "transformer.h.{}.mlp.c_fc",
    "blk.{}.ffn_down": "transformer.h.{}.mlp.c_proj",
}
NAMES = {"llama": _LLAMA, "qwen2": _LLAMA, "qwen3": _LLAMA, "gemma3": _GEMMA, "gpt2": _GPT2}

# Our names of metadata <- keys after the architecture's name.
_KEYS = {
    "hidden_size": "embedding_length",
    "num_hidden_layers": "block_count",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "intermediate_size": "feed_forward_length",
    "head_dim": "attention.key_length",
    "rms_norm_eps": "attention.layer_norm_rms_epsilon",
    "rope_theta": "rope.freq_base",
    "max_position_embeddings": "context_length",
}
_GPT2_KEYS = {
    "n_embd": "embedding_length",
    "n_layer": "block_count",
    "n_head": "attention.head_count",
    "n_inner": "feed_forward_length",
    "layer_norm_epsilon": "attention.layer_norm_epsilon",
    "n_positions": "context_length",
}
# What the spec has no switch for.
_REFUSED = (
    "attn_logit_softcapping",
    "final_logit_softcapping",
    "expert_count",
    "logit_scale",
    "residual_scale",
    "attention.scale",
    "attention.clamp_kqv",
    "attention.max_alibi_bias",
)


class GGUF:
    """An open GGUF file.

    Args:
      path: of the file.

    Raises:
      InputError: a missing or damaged file, or an unknown architecture.
    """

    def __init__(self, path: Path) -> None:
        library = need("gguf")
        logging.getLogger("gguf").setLevel(logging.ERROR)
        self.path = path
        try:
            with path.open("rb") as file:
                head = file.read(24)
            counts = [int.from_bytes(head[i : i + 8], "little") for i in (8, 16)]
            if head[:4] != b"GGUF" or len(head) < 24 or max(counts) > MOST_ENTRIES:
                raise ValueError("no GGUF header")
            reader = library.GGUFReader(path)
            self.metadata = {key: field.contents() for key, field in reader.fields.items()}
        except OSError as error:
            raise InputError(f"{path}: cannot be read, {error.strerror}") from None
        except Exception as error:  # a damaged file breaks the reader anywhere
            raise InputError(f"{path}: expected a GGUF file, got {one_line(error)}") from None
        self._tensors = {tensor.name: tensor for tensor in reader.tensors}
        self._check_places()
        found, known = self.metadata.get("general.architecture"), ", ".join(FAMILIES)
        if not isinstance(found, str) or found not in FAMILIES:
            raise InputError(
                f"{path}: general.architecture: expected one of {known}, got {found!r}"
            )
        self.architecture: str = found

    def config(self) -> dict[str, Any]:
        """The metadata as the config.json of the stock form."""
        arch = self.architecture
        for key in (*_REFUSED, *([] if arch == "gemma3" else ["attention.sliding_window"])):
            if value := self._get(key):
                raise InputError(f"{self.path}: {arch}.{key}: expected none, got {value!r}")
        keys = _GPT2_KEYS if arch == "gpt2" else _KEYS
        config = {ours: self._get(key) for ours, key in keys.items()}
        config = {key: value for key, value in config.items() if value is not None}
        config["model_type"] = FAMILIES[arch]
        embedding = self._tensors.get("token_embd.weight")
        if embedding is not None:
            config["vocab_size"] = int(embedding.shape[-1])
        config["tie_word_embeddings"] = "output.weight" not in self._tensors
        for token in ("bos", "eos"):
            config[f"{token}_token_id"] = self.metadata.get(f"tokenizer.ggml.{token}_token_id")
        if arch == "gpt2":
            return config
        config["attention_bias"] = "blk.0.attn_output.bias" in self._tensors
        config["mlp_bias"] = "blk.0.ffn_down.bias" in self._tensors
        if arch == "gemma3":
            config["sliding_window"] = self._get("attention.sliding_window")
            # llama.cpp knows the 27B model, whose scale differs, by its number of layers.
            if config.get("num_hidden_layers") == 62:
                config["query_pre_attn_scalar"] = (
                    config["hidden_size"] // (config["num_attention_heads"])
                )
            else:
                config["query_pre_attn_scalar"] = config.get("head_dim")
            if local := self._get("rope.freq_base_swa"):
                config["rope_local_base_freq"] = local
        return config | {"rope_scaling": self._scaling(config)}

    def tensors(self, config: Mapping[str, Any]) -> dict[str, Stored]:
        """Stock name -> tensor, none of them read."""
        found: dict[str, Stored] = {}
        for name, tensor in self._tensors.items():
            if name == "rope_freqs.weight":
                continue  # said by rope_scaling
            stem, _, kind = name.rpartition(".")
            layer = re.match(r"blk\.(\d+)\.", stem)
            pattern = stem if layer is None else f"blk.{{}}.{stem[layer.end() :]}"
            stock = NAMES[self.architecture].get(pattern)
            if stock is None or kind not in ("weight", "bias"):
                raise InputError(
                    f"{self.path}: expected tensors of {self.architecture}, got {name}"
                )
            stock = stock.format(layer and layer[1]) + f".{kind}"
            shape = tuple(int(n) for n in reversed(tensor.shape))
            undo = self._undo(pattern, kind, config)
            turned = shape[::-1] if undo is np.transpose else shape
            found[stock] = Stored(turned, "float32", partial(self._read, tensor, shape, undo))
        return found

    def tokenizer(self) -> Tokenizer:
        """The byte-level BPE that the metadata hold."""
        kind = self._tokenizer("model")
        if kind != "gpt2":
            raise InputError(
                f"{self.path}: tokenizer.ggml.model: expected gpt2 (byte-level BPE), got {kind!r}: "
                "load the model alone with tokenizer=False"
            )
        tokens, merges = self._tokenizer("tokens"), self._tokenizer("merges")
        if not isinstance(tokens, list) or not isinstance(merges, list):
            raise InputError(f"{self.path}: expected tokenizer.ggml.tokens and merges, got none")
        kinds = self._tokenizer("token_type") or [1] * len(tokens)
        keys = {"bos": "bos", "eos": "eos", "pad": "padding", "unk": "unknown"}
        named = {
            f"{name}_token": tokens[i]
            for name, key in keys.items()
            if isinstance(i := self._tokenizer(f"{key}_token_id"), int) and i < len(tokens)
        }
        if set(kinds) <= {3, 4}:  # a machine's: words with blanks behind them
            words = [token.strip() for token in tokens]
            named = {key: token.strip() for key, token in named.items()}
            eos = words.index(named["eos_token"]) if "eos_token" in named else None
            return Tokenizer(words_tokenizer(words, eos=eos), named, name=str(self.path))
        text = byte_level(
            {token: i for i, token in enumerate(tokens)},
            merges,
            name=str(self.path),
            split=self._tokenizer("pre") or "gpt-2",
            special=[t for t, k in zip(tokens, kinds, strict=False) if k == 3],
            whole=[t for t, k in zip(tokens, kinds, strict=False) if k == 4],
            bos=named.get("bos_token") if self._tokenizer("add_bos_token") else None,
        )
        template = self.metadata.get("tokenizer.chat_template")
        config = named | ({"chat_template": template} if template else {})
        return Tokenizer(text, config, name=str(self.path))

    def _check_places(self) -> None:
        """Tensors lie one behind another, up to the end of the file at most."""
        stop = 0
        for tensor in sorted(self._tensors.values(), key=lambda tensor: tensor.data_offset):
            if tensor.data_offset < stop:
                raise InputError(
                    f"{self.path}: expected tensors apart, got {tensor.name} in another"
                )
            stop = tensor.data_offset + int(tensor.n_bytes)
        if stop > (length := self.path.stat().st_size):
            raise InputError(f"{self.path}: expected {stop:,} bytes, got {length:,}: it is cut off")

    def _get(self, key: str) -> Any:
        value = self.metadata.get(f"{self.architecture}.{key}")
        # Stored in float32: 1e-5 is meant where 9.99999974e-06 is what is next to it.
        return float(str(np.float32(value))) if isinstance(value, float) else value

    def _tokenizer(self, key: str) -> Any:
        return self.metadata.get(f"tokenizer.ggml.{key}")

    def _scaling(self, config: Mapping[str, Any]) -> dict[str, Any] | None:
        """The stock form's rope_scaling."""
        kind, factor = self._get("rope.scaling.type"), self._get("rope.scaling.factor")
        turned, head = self._get("rope.dimension_count"), config.get("head_dim")
        if turned and head and turned != head:
            raise InputError(
                f"{self.path}: {self.architecture}.rope.dimension_count: expected {head}, all of a "
                f"head, got {turned}"
            )
        if "rope_freqs.weight" in self._tensors:
            return self._llama3(config)
        if kind in (None, "none"):
            return None
        length = self._get("rope.scaling.original_context_length")
        more = {"original_max_position_embeddings": length} if kind == "yarn" else {}
        return {"rope_type": kind, "factor": factor} | more

    def _llama3(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Llama 3's scaling, of which the file has only the resulting divisors of frequencies."""
        name = "rope_freqs.weight"
        divisors = self._read(self._tensors[name], (), lambda x: x.reshape(-1))
        factor, theta = float(divisors.max()), config.get("rope_theta", 1e4)
        meant = Rotary(theta, "llama3", factor, low=1.0, high=4.0, length=8192)
        plain = Rotary(theta).frequencies(2 * len(divisors))
        expected = plain / meant.frequencies(2 * len(divisors))
        if not np.allclose(divisors, expected, rtol=1e-3):
            raise InputError(f"{self.path}: {name}: expected Llama 3's scaling, got another")
        return {
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        }

    def _undo(
        self, pattern: str, kind: str, config: Mapping[str, Any]
    ) -> Callable[[np.ndarray], np.ndarray]:
        """What turns a tensor of that name into the stock form."""
        part = pattern.removeprefix("blk.{}.")
        matrices = ("attn_qkv", "attn_output", "ffn_up", "ffn_down")
        if self.architecture == "gpt2" and kind == "weight" and part in matrices:
            return np.transpose
        if self.architecture == "gemma3" and part.endswith("norm"):
            return lambda x: x - 1
        if self.architecture == "llama" and part in ("attn_q", "attn_k"):
            many = config["num_attention_heads"]
            heads = many if part == "attn_q" else config.get("num_key_value_heads", many)
            return partial(halves_from_pairs, heads=heads)
        return lambda x: x

    def _read(
        self, tensor: Any, shape: tuple[int, ...], undo: Callable[[np.ndarray], np.ndarray]
    ) -> np.ndarray:
        try:
            values = need("gguf").quants.dequantize(tensor.data, tensor.tensor_type)
            values = np.asarray(values, np.float32)
            return undo(values.reshape(shape) if shape else values)
        except Exception as error:  # as above; kinds of quantization that the package cannot read
            raise InputError(f"{self.path}: {tensor.name}: {one_line(error)}") from None


def halves_from_pairs(rows: np.ndarray, *, heads: int) -> np.ndarray:
    """Rows of each head, entries (0, 1), (2, 3), ... of which turn together, as two halves.

    >>> halves_from_pairs(np.arange(8), heads=2).tolist()
    [0, 2, 1, 3, 4, 6, 5, 7]
    """
    split = rows.reshape(heads, -1, 2, *rows.shape[1:])
    return split.swapaxes(1, 2).reshape(rows.shape)


def pairs_from_halves(rows: np.ndarray, *, heads: int) -> np.ndarray:
    """The inverse of `halves_from_pairs`.

    >>> pairs_from_halves(np.array([0, 2, 1, 3, 4, 6, 5, 7]), heads=2).tolist()
    [0, 1, 2, 3, 4, 5, 6, 7]
    """
    split = rows.reshape(heads, 2, -1, *rows.shape[1:])
    return split.swapaxes(1, 2).reshape(rows.shape)
