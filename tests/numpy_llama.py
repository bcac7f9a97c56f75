"""A Llama in NumPy that shares no code with the packages: a directory in, logits out.

Llama, Mistral without a window, and Qwen 2: biases are added where the file has them. Written from
the papers: Zhang and Sennrich 2019 (norm), Su et al. 2021 (positions), Shazeer 2020 (gated units),
Ainslie et al. 2023 (grouped queries), Touvron et al. 2023 (arXiv:2302.13971). A checkpoint of
bfloat16 or float16 is run as stock software does: all that is stored is rounded to that type, sums
within a product are added in float32, norms and softmax computed in it.
"""

from __future__ import annotations

import json
from pathlib import Path

import ml_dtypes
import numpy as np
import safetensors.numpy

TYPES = {"bfloat16": ml_dtypes.bfloat16, "float16": np.float16}


class NumpyLlama:
    """A checkpoint, run in float32 on all tokens, or token by token with a cache."""

    def __init__(self, folder: Path):
        self.config = json.loads((folder / "config.json").read_text())
        tensors = safetensors.numpy.load_file(folder / "model.safetensors")
        self.weights = {name: tensor.astype(np.float32) for name, tensor in tensors.items()}
        c = self.config
        self.type = TYPES.get(c.get("dtype"), np.float32)
        self.heads, self.groups = c["num_attention_heads"], c["num_key_value_heads"]
        self.size = c.get("head_dim") or c["hidden_size"] // self.heads
        theta = (c.get("rope_parameters") or c).get("rope_theta", 10_000.0)
        turns = float(theta) ** (-np.arange(0, self.size, 2) / self.size)
        self.turns = turns.astype(np.float32)

    def _stored(self, x):
        return x.astype(self.type).astype(np.float32)

    def _linear(self, name, x):
        y = x @ self.weights[f"{name}.weight"].T
        if f"{name}.bias" in self.weights:
            y = y + self.weights[f"{name}.bias"]
        return self._stored(y)

    def _norm(self, name, x):
        mean = np.mean(x * x, axis=-1, keepdims=True) + np.float32(
            self.config.get("rms_norm_eps", 1e-6)
        )
        return self._stored(self.weights[f"{name}.weight"] * self._stored(x / np.sqrt(mean)))

    def _turn(self, x, first):
        """[T, heads, size], of which entries i and i + size/2 turn together by position."""
        position = np.arange(first, first + len(x), dtype=np.float32)
        angle = position[:, None, None] * self.turns
        cos, sin = self._stored(np.cos(angle)), self._stored(np.sin(angle))
        a, b = np.split(x, 2, axis=-1)
        return self._stored(np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1))

    def _attend(self, name, x, cache):
        q, k, v = (
            self._linear(f"{name}.{part}_proj", x).reshape(len(x), -1, self.size) for part in "qkv"
        )
        first = len(cache[0]) if cache else 0
        q, k = self._turn(q, first), self._turn(k, first)
        if cache:
            k, v = np.concatenate([cache[0], k]), np.concatenate([cache[1], v])
        cache[:] = k, v
        k, v = (np.repeat(part, self.heads // self.groups, axis=1) for part in (k, v))
        scores = self._stored(np.einsum("qhd,khd->hqk", q, k) / np.float32(self.size**0.5))
        later = np.arange(len(k)) > first + np.arange(len(q))[:, None]
        scores = np.where(later, np.float32(-np.inf), scores)
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights = self._stored(weights / weights.sum(axis=-1, keepdims=True))
        found = self._stored(np.einsum("hqk,khd->qhd", weights, v)).reshape(len(x), -1)
        return self._linear(f"{name}.o_proj", found)

    def logits(self, tokens, caches=None):
        """float32 [T, V]; ``caches``, a list of lists, holds what came before and is added to."""
        x = self.weights["model.embed_tokens.weight"][np.asarray(tokens)]
        for i in range(self.config["num_hidden_layers"]):
            name, cache = f"model.layers.{i}", [] if caches is None else caches[i]
            y = self._norm(f"{name}.input_layernorm", x)
            x = self._stored(x + self._attend(f"{name}.self_attn", y, cache))
            y = self._norm(f"{name}.post_attention_layernorm", x)
            gate = self._linear(f"{name}.mlp.gate_proj", y)
            with np.errstate(over="ignore"):  # silu of what is far below zero is zero
                gate = self._stored(gate / (1 + np.exp(-gate)))
            gated = self._stored(gate * self._linear(f"{name}.mlp.up_proj", y))
            x = self._stored(x + self._linear(f"{name}.mlp.down_proj", gated))
        head = "model.embed_tokens" if self.config.get("tie_word_embeddings") else "lm_head"
        return self._stored(self._norm("model.norm", x) @ self.weights[f"{head}.weight"].T)

    def generate(self, prompt, most):
        """Greedy tokens behind the prompt, up to ``most`` or the end that the config names."""
        caches, found, tokens = [[] for _ in range(self.config["num_hidden_layers"])], [], prompt
        while len(found) < most and self.config["eos_token_id"] not in found[-1:]:
            found.append(int(self.logits(tokens, caches)[-1].argmax()))
            tokens = found[-1:]
        return found
