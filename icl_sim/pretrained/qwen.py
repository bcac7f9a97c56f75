"""Qwen 2 and 3: Llamas with biases on queries, keys and values, or with head norms."""

from __future__ import annotations

from typing import Any

from constructions.spec import Layer, TransformerSpec
from icl_sim.pretrained.layouts import Family, row
from icl_sim.pretrained.llama import TABLE, decoder, decoder_keys, heads, layer_count
from icl_sim.pretrained.stock_config import Config, gate_name, rotary_keys

_HEAD_NORMS = {
    "model.layers.{}.self_attn.q_norm.weight": row("norm_q"),
    "model.layers.{}.self_attn.k_norm.weight": row("norm_k"),
}


def _spec(config: Config, head: int | None, **more: Any) -> TransformerSpec:
    count = layer_count(config)
    window = config.size("sliding_window", 4096) if config.flag("use_sliding_window") else 0
    first = config.size("max_window_layers", 28, least=0)
    slides = [bool(window) and i >= first for i in range(count)]
    same: dict[str, Any] = heads(config, head) | {
        "hidden": config.size("intermediate_size"),
        "gate": config.gate("hidden_act", "silu"),
        "rotary": config.rotary(),
        "mlp_bias": "none",
    }
    reaches = config.reaches(count, window=window, default=slides)
    return decoder(config, tuple(Layer(**same, **more, reach=reach) for reach in reaches))


def _qwen2_spec(config: Config) -> TransformerSpec:
    return _spec(config, None, projection_bias="qkv")


def _qwen3_spec(config: Config) -> TransformerSpec:
    bias = "all" if config.flag("attention_bias") else "none"
    return _spec(config, 128, projection_bias=bias, head_norm=True)


def _qwen2_config(spec: TransformerSpec) -> dict[str, Any]:
    layer = spec.layers[0]
    window = max(layer.reach for layer in spec.layers)
    kinds = {True: "sliding_attention", False: "full_attention"}
    return (
        decoder_keys(spec, layer)
        | rotary_keys(layer.rotary)
        | {
            "hidden_act": gate_name(layer.gate),
            "use_sliding_window": bool(window),
            "sliding_window": window or None,
            "max_window_layers": len(spec.layers),
            "layer_types": [kinds[bool(layer.reach)] for layer in spec.layers],
        }
    )


def _qwen3_config(spec: TransformerSpec) -> dict[str, Any]:
    bias = spec.layers[0].projection_bias == "all"
    return _qwen2_config(spec) | {"attention_bias": bias}


QWEN2 = Family("qwen2", "Qwen2ForCausalLM", TABLE, _qwen2_spec, _qwen2_config)
QWEN3 = Family("qwen3", "Qwen3ForCausalLM", TABLE | _HEAD_NORMS, _qwen3_spec, _qwen3_config)
