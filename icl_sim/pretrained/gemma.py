"""Gemma 3, text: local and global layers, head norms, norms before and after each sublayer."""

from __future__ import annotations

from typing import Any

from constructions.rotary import Rotary
from constructions.spec import Layer, TransformerSpec
from icl_sim.pretrained.layouts import Family, row
from icl_sim.pretrained.llama import TABLE, decoder, decoder_keys, heads, layer_count
from icl_sim.pretrained.stock_config import Config, gate_name, rotary_keys

LOCAL, GLOBAL = "sliding_attention", "full_attention"

_TABLE = TABLE | {
    "model.layers.{}.self_attn.q_norm.weight": row("norm_q"),
    "model.layers.{}.self_attn.k_norm.weight": row("norm_k"),
    "model.layers.{}.post_attention_layernorm.weight": row("norm_attention_out"),
    "model.layers.{}.pre_feedforward_layernorm.weight": row("norm_mlp"),
    "model.layers.{}.post_feedforward_layernorm.weight": row("norm_mlp_out"),
}


def _spec(config: Config) -> TransformerSpec:
    count = layer_count(config)
    period = config.size("sliding_window_pattern", 6)
    slides = [(i + 1) % period > 0 for i in range(count)]
    window = config.size("sliding_window", 4096)
    same: dict[str, Any] = heads(config, 256) | {
        "scale": config.number("query_pre_attn_scalar", 256) ** -0.5,
        "hidden": config.size("intermediate_size"),
        "gate": config.gate("hidden_activation", "gelu_pytorch_tanh"),
        "projection_bias": "all" if config.flag("attention_bias") else "none",
        "mlp_bias": "none",
        "head_norm": True,
    }
    near = config.rotary(kind=LOCAL, theta=1e4, old="rope_local_base_freq")
    far = config.rotary(kind=GLOBAL, theta=1e6)
    layers = tuple(
        Layer(**same, reach=reach, rotary=near if reach else far)
        for reach in config.reaches(count, window=window, default=slides)
    )
    scale = config.size("hidden_size") ** 0.5
    return decoder(config, layers, tied=True, norm="rms_offset", post_norm=True, embed_scale=scale)


def _config(spec: TransformerSpec) -> dict[str, Any]:
    layer = spec.layers[0]
    near = next((x for x in spec.layers if x.reach), Layer(reach=4096, rotary=Rotary(1e4)))
    far = next((x for x in spec.layers if not x.reach), Layer(rotary=Rotary(1e6)))
    local = rotary_keys(near.rotary, old="rope_local_base_freq")
    whole = rotary_keys(far.rotary)
    parameters = {LOCAL: local.pop("rope_parameters"), GLOBAL: whole.pop("rope_parameters")}
    scalar = layer.scale**-2 if layer.scale else 0
    return (
        decoder_keys(spec, layer)
        | local
        | whole
        | {
            "rope_parameters": parameters,
            "hidden_activation": gate_name(layer.gate),
            "attention_bias": layer.projection_bias == "all",
            "query_pre_attn_scalar": round(scalar),
            "sliding_window": near.reach,
            "layer_types": [LOCAL if layer.reach else GLOBAL for layer in spec.layers],
        }
    )


GEMMA3 = Family("gemma3_text", "Gemma3ForCausalLM", _TABLE, _spec, _config)
