"""The one architecture in JAX: a pure forward pass, a Flax shell over it, one door for weights."""

from __future__ import annotations

from constructions.catalog import register_construction
from icl_sim.transformer.activation_memory import forward_bytes, gradient_bytes, require_memory
from icl_sim.transformer.activations import Activations
from icl_sim.transformer.arithmetic import CERTIFIED, FAST, HALF, Arithmetic
from icl_sim.transformer.features import head_features, jacobian_features
from icl_sim.transformer.forward_pass import (
    embed,
    forward,
    hidden,
    loop,
    position_features,
    readout,
    stack_layers,
    unembed,
    unembedding,
    unstack_layers,
)
from icl_sim.transformer.module import Transformer, init, load, load_params
from icl_sim.transformer.sublayers import Params, attention, mlp, project, visible
from icl_sim.transformer.switches import norm

__all__ = [
    "CERTIFIED",
    "FAST",
    "HALF",
    "Activations",
    "Arithmetic",
    "Params",
    "Transformer",
    "attention",
    "embed",
    "forward",
    "forward_bytes",
    "gradient_bytes",
    "head_features",
    "hidden",
    "init",
    "jacobian_features",
    "load",
    "load_params",
    "loop",
    "mlp",
    "norm",
    "position_features",
    "project",
    "readout",
    "register_construction",
    "require_memory",
    "stack_layers",
    "unembed",
    "unembedding",
    "unstack_layers",
    "visible",
]
