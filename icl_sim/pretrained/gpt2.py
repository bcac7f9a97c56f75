"""GPT-2: layer norms, learned positions, matrices stored [in, out], one for q, k and v."""

from __future__ import annotations

from typing import Any

from constructions.spec import Layer, TransformerSpec
from icl_sim.pretrained.layouts import HEADS, LINEAR, Family, row
from icl_sim.pretrained.llama import MOST_LAYERS
from icl_sim.pretrained.stock_config import Config, gate_name

_BLOCK = "transformer.h.{}."
TABLE = {
    "transformer.wte.weight": row("embed"),
    "transformer.wpe.weight": row("position_table"),
    f"{_BLOCK}ln_1.weight": row("norm_attention"),
    f"{_BLOCK}ln_1.bias": row("norm_attention_bias"),
    f"{_BLOCK}attn.c_attn.weight": row("w_q w_k w_v", "d (h k) -> h d k"),
    f"{_BLOCK}attn.c_attn.bias": row("b_q b_k b_v", HEADS),
    f"{_BLOCK}attn.c_proj.weight": row("w_o", "(h k) d -> h k d"),
    f"{_BLOCK}attn.c_proj.bias": row("b_o"),
    f"{_BLOCK}ln_2.weight": row("norm_mlp"),
    f"{_BLOCK}ln_2.bias": row("norm_mlp_bias"),
    f"{_BLOCK}mlp.c_fc.weight": row("w_gate"),
    f"{_BLOCK}mlp.c_fc.bias": row("b_gate"),
    f"{_BLOCK}mlp.c_proj.weight": row("w_down"),
    f"{_BLOCK}mlp.c_proj.bias": row("b_down"),
    "transformer.ln_f.weight": row("norm_out"),
    "transformer.ln_f.bias": row("norm_out_bias"),
    "lm_head.weight": row("w_out", LINEAR),
}


def _spec(config: Config) -> TransformerSpec:
    config.only("scale_attn_by_inverse_layer_idx", None, False)
    vocabulary, D, H = config.size("vocab_size"), config.size("n_embd"), config.size("n_head")
    if D % H:
        config.refuse("n_embd", f"a multiple of {H} heads")
    K = D // H
    layer = Layer(
        heads=H,
        key_size=K,
        value_size=K,
        hidden=config.size("n_inner", 4 * D),
        scale=K**-0.5 if config.flag("scale_attn_weights", True) else 1.0,
        gate=config.gate("activation_function", "gelu_new"),
        projection_bias="all",
        mlp="plain",
        mlp_bias="all",
    )
    return TransformerSpec(
        vocabulary,
        D,
        vocabulary,
        (layer,) * config.size("n_layer", most=MOST_LAYERS),
        norm="layer",
        epsilon=config.number("layer_norm_epsilon", 1e-5),
        readout="tied" if config.flag("tie_word_embeddings", True) else "logits",
        position_rows=config.size("n_positions"),
    )


def _config(spec: TransformerSpec) -> dict[str, Any]:
    layer = spec.layers[0]
    return {
        "vocab_size": spec.input_size,
        "n_positions": spec.position_rows,
        "n_embd": spec.width,
        "n_layer": len(spec.layers),
        "n_head": layer.heads,
        "n_inner": layer.hidden,
        # Its own approximation by tanh rounds as the published models were trained.
        "activation_function": "gelu_new" if layer.gate == "gelu_tanh" else gate_name(layer.gate),
        "layer_norm_epsilon": spec.epsilon,
        "scale_attn_weights": layer.scale != 1,
        "scale_attn_by_inverse_layer_idx": False,
        "tie_word_embeddings": spec.readout == "tied",
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
    }


GPT2 = Family(
    "gpt2",
    "GPT2LMHeadModel",
    TABLE,
    _spec,
    _config,
    prefix="transformer.",
    buffers=r"\.attn\.(masked_)?bias$",
)
