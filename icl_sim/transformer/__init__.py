"""The one architecture in JAX: a pure forward pass, a Flax shell over it, one door for weights."""

from __future__ import annotations

from icl_sim.transformer.activation_memory import forward_bytes, gradient_bytes, require_memory
from icl_sim.transformer.features import head_features, jacobian_features
from icl_sim.transformer.forward_pass import (
    Params,
    attention,
    embed,
    forward,
    gated_mlp,
    hidden,
    loop,
    position_features,
    readout,
    visible,
)
from icl_sim.transformer.module import Transformer, init, load, load_params

__all__ = [
    "Params",
    "Transformer",
    "attention",
    "embed",
    "forward",
    "forward_bytes",
    "gated_mlp",
    "gradient_bytes",
    "head_features",
    "hidden",
    "init",
    "jacobian_features",
    "load",
    "load_params",
    "loop",
    "position_features",
    "readout",
    "require_memory",
    "visible",
]
