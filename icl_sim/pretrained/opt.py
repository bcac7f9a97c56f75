"""OPT: layer norms before the sublayers, positions learned from row 2 on, ReLU."""

from __future__ import annotations

from typing import Any

from constructions.spec import Layer, TransformerSpec
from icl_sim.pretrained.layouts import HEADS, HEADS_IN, HEADS_OUT, LINEAR, Family, row
from icl_sim.pretrained.llama import MOST_LAYERS
from icl_sim.pretrained.stock_config import Config, gate_name

OFFSET = 2  # rows of the table before that of the first token
EPSILON = 1e-5  # no key states it

_LAYER = "model.decoder.layers.{}."
TABLE = {
    "model.decoder.embed_tokens.weight": row("embed"),
    "model.decoder.embed_positions.weight": row("position_table"),
    f"{_LAYER}self_attn_layer_norm.weight": row("norm_attention"),
    f"{_LAYER}self_attn_layer_norm.bias": row("norm_attention_bias"),
    f"{_LAYER}self_attn.q_proj.weight": row("w_q", HEADS_OUT),
    f"{_LAYER}self_attn.q_proj.bias": row("b_q", HEADS),
    f"{_LAYER}self_attn.k_proj.weight": row("w_k", HEADS_OUT),
    f"{_LAYER}self_attn.k_proj.bias": row("b_k", HEADS),
    f"{_LAYER}self_attn.v_proj.weight": row("w_v", HEADS_OUT),
    f"{_LAYER}self_attn.v_proj.bias": row("b_v", HEADS),
    f"{_LAYER}self_attn.out_proj.weight": row("w_o", HEADS_IN),
    f"{_LAYER}self_attn.out_proj.bias": row("b_o"),
    f"{_LAYER}final_layer_norm.weight": row("norm_mlp"),
    f"{_LAYER}final_layer_norm.bias": row("norm_mlp_bias"),
    f"{_LAYER}fc1.weight": row("w_gate", LINEAR),
    f"{_LAYER}fc1.bias": row("b_gate"),
    f"{_LAYER}fc2.weight": row("w_down", LINEAR),
    f"{_LAYER}fc2.bias": row("b_down"),
    "model.decoder.final_layer_norm.weight": row("norm_out"),
    "model.decoder.final_layer_norm.bias": row("norm_out_bias"),
    "lm_head.weight": row("w_out", LINEAR),
}


def _spec(config: Config) -> TransformerSpec:
    vocabulary, D = config.size("vocab_size"), config.size("hidden_size")
    H = config.size("num_attention_heads")
    # OPT-350m's: norms behind the sublayers, and embeddings narrower than the layers.
    config.only("do_layer_norm_before", True)
    config.only("word_embed_proj_dim", None, D)
    config.only("layer_norm_elementwise_affine", True)
    config.only("_remove_final_layer_norm", False)
    if D % H:
        config.refuse("hidden_size", f"a multiple of {H} heads")
    K = D // H
    bias = "all" if config.flag("enable_bias", True) else "none"
    layer = Layer(
        heads=H,
        key_size=K,
        value_size=K,
        hidden=config.size("ffn_dim"),
        scale=K**-0.5,
        gate=config.gate("activation_function", "relu"),
        projection_bias=bias,
        mlp="plain",
        mlp_bias=bias,
    )
    return TransformerSpec(
        vocabulary,
        D,
        vocabulary,
        (layer,) * config.size("num_hidden_layers", most=MOST_LAYERS),
        norm="layer",
        epsilon=EPSILON,
        readout="tied" if config.flag("tie_word_embeddings", True) else "logits",
        position_rows=config.size("max_position_embeddings") + OFFSET,
        position_offset=OFFSET,
    )


def _config(spec: TransformerSpec) -> dict[str, Any]:
    layer = spec.layers[0]
    return {
        "vocab_size": spec.input_size,
        "hidden_size": spec.width,
        "word_embed_proj_dim": spec.width,
        "ffn_dim": layer.hidden,
        "num_hidden_layers": len(spec.layers),
        "num_attention_heads": layer.heads,
        "max_position_embeddings": spec.position_rows - OFFSET,
        "activation_function": gate_name(layer.gate),
        "do_layer_norm_before": True,
        "layer_norm_elementwise_affine": True,
        "enable_bias": layer.projection_bias == "all",
        "tie_word_embeddings": spec.readout == "tied",
        "dropout": 0.0,
        "attention_dropout": 0.0,
        "layerdrop": 0.0,
    }


OPT = Family("opt", "OPTForCausalLM", TABLE, _spec, _config)
