"""Llama and Mistral; SmolLM2 and Llama 2 and 3 are Llamas."""

from __future__ import annotations

from typing import Any

from constructions.spec import Layer, TransformerSpec
from icl_sim.pretrained.layouts import HEADS, HEADS_IN, HEADS_OUT, LINEAR, Family, row
from icl_sim.pretrained.stock_config import Config, gate_name, rotary_keys

MOST_LAYERS = 4096

_ATTENTION = "model.layers.{}.self_attn."
TABLE = {
    "model.embed_tokens.weight": row("embed"),
    "model.layers.{}.input_layernorm.weight": row("norm_attention"),
    f"{_ATTENTION}q_proj.weight": row("w_q", HEADS_OUT),
    f"{_ATTENTION}k_proj.weight": row("w_k", HEADS_OUT),
    f"{_ATTENTION}v_proj.weight": row("w_v", HEADS_OUT),
    f"{_ATTENTION}o_proj.weight": row("w_o", HEADS_IN),
    f"{_ATTENTION}q_proj.bias": row("b_q", HEADS),
    f"{_ATTENTION}k_proj.bias": row("b_k", HEADS),
    f"{_ATTENTION}v_proj.bias": row("b_v", HEADS),
    f"{_ATTENTION}o_proj.bias": row("b_o"),
    "model.layers.{}.post_attention_layernorm.weight": row("norm_mlp"),
    "model.layers.{}.mlp.gate_proj.weight": row("w_gate", LINEAR),
    "model.layers.{}.mlp.up_proj.weight": row("w_up", LINEAR),
    "model.layers.{}.mlp.down_proj.weight": row("w_down", LINEAR),
    "model.layers.{}.mlp.gate_proj.bias": row("b_gate"),
    "model.layers.{}.mlp.up_proj.bias": row("b_up"),
    "model.layers.{}.mlp.down_proj.bias": row("b_down"),
    "model.norm.weight": row("norm_out"),
    "lm_head.weight": row("w_out", LINEAR),
}


def heads(config: Config, head: int | None = None) -> dict[str, Any]:
    """The arguments of `Layer` that say how many heads there are and how large.

    Args:
      config: the config.
      head: K if ``head_dim`` is absent; None: D/H.
    """
    H = config.size("num_attention_heads")
    G = config.size("num_key_value_heads", H)
    if H % G:
        config.refuse("num_key_value_heads", f"a divisor of {H} heads")
    D = config.size("hidden_size")
    if D % H:
        config.refuse("hidden_size", f"a multiple of {H} heads")
    K = config.size("head_dim", head or D // H)
    if K % 2:
        config.refuse("head_dim", "an even number")
    return {
        "heads": H,
        "kv_heads": G if G < H else 0,
        "key_size": K,
        "value_size": K,
        "scale": K**-0.5,
    }


def decoder(
    config: Config, layers: tuple[Layer, ...], *, tied: bool = False, **more: Any
) -> TransformerSpec:
    """The spec around the layers; ``tied`` if the config does not say."""
    vocabulary, D = config.size("vocab_size"), config.size("hidden_size")
    return TransformerSpec(
        vocabulary,
        D,
        vocabulary,
        layers,
        norm=more.pop("norm", "rms"),
        epsilon=config.number("rms_norm_eps", 1e-6),
        readout="tied" if config.flag("tie_word_embeddings", tied) else "logits",
        **more,
    )


def layer_count(config: Config) -> int:
    """How many layers."""
    return config.size("num_hidden_layers", most=MOST_LAYERS)


def decoder_keys(spec: TransformerSpec, layer: Layer) -> dict[str, Any]:
    """The keys that all these families share, from the spec and one of its layers."""
    return {
        "vocab_size": spec.input_size,
        "hidden_size": spec.width,
        "intermediate_size": layer.hidden,
        "num_hidden_layers": len(spec.layers),
        "num_attention_heads": layer.heads,
        "num_key_value_heads": layer.groups,
        "head_dim": layer.key_size,
        "rms_norm_eps": spec.epsilon,
        "tie_word_embeddings": spec.readout == "tied",
        "attention_dropout": 0.0,
    }


def _llama_spec(config: Config) -> TransformerSpec:
    layer = Layer(
        **heads(config),
        hidden=config.size("intermediate_size"),
        gate=config.gate("hidden_act", "silu"),
        rotary=config.rotary(),
        projection_bias="all" if config.flag("attention_bias") else "none",
        mlp_bias="all" if config.flag("mlp_bias") else "none",
    )
    return decoder(config, (layer,) * layer_count(config))


def _llama_config(spec: TransformerSpec) -> dict[str, Any]:
    layer = spec.layers[0]
    return (
        decoder_keys(spec, layer)
        | rotary_keys(layer.rotary)
        | {
            "hidden_act": gate_name(layer.gate),
            "attention_bias": layer.projection_bias == "all",
            "mlp_bias": layer.mlp_bias == "all",
        }
    )


def _mistral_spec(config: Config) -> TransformerSpec:
    window = 0 if config.values.get("sliding_window", 4096) is None else 4096
    layers = layer_count(config)
    config.only("layer_types", None, ["sliding_attention" if window else "full_attention"] * layers)
    layer = Layer(
        **heads(config),
        hidden=config.size("intermediate_size"),
        gate=config.gate("hidden_act", "silu"),
        reach=window and config.size("sliding_window", window),
        rotary=config.rotary(),
        mlp_bias="none",
    )
    return decoder(config, (layer,) * layers)


def _mistral_config(spec: TransformerSpec) -> dict[str, Any]:
    layer = spec.layers[0]
    return (
        decoder_keys(spec, layer)
        | rotary_keys(layer.rotary)
        | {"hidden_act": gate_name(layer.gate), "sliding_window": layer.reach or None}
    )


LLAMA = Family("llama", "LlamaForCausalLM", TABLE, _llama_spec, _llama_config)
MISTRAL = Family("mistral", "MistralForCausalLM", TABLE, _mistral_spec, _mistral_config)
