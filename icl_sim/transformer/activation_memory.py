"""How much memory a forward pass and its gradient take, from shapes alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from constructions.spec import Layer, TransformerSpec
from icl_sim.execution.memory_guard import placed, require, shards
from icl_sim.transformer.switches import HALF_ARRAYS, require_known


def forward_bytes(spec: TransformerSpec, *, batch: int, tokens: int, itemsize: int = 4) -> int:
    """Memory of a forward pass at its peak, without params and inputs.

    A layer holds the residual stream, before and after, its norm, the square of it and a copy in
    another order: 5 B T D; and its attention or its MLP, one after the other. Attention: queries,
    keys, values and two arrays of answers; arrays [B, H, T, T] as `HALF_ARRAYS` says, and a bias.
    The MLP: six arrays [B, T, M] (two products, two sums, the gate and its product). The logits
    come when the layers are done.
    """
    require_known(spec)
    parts = [part for layer in spec.layers for part in _activations(layer, batch, tokens)]
    most = max([*parts, batch * tokens * spec.output_size])
    return itemsize * (5 * batch * tokens * spec.width + most)


def gradient_bytes(spec: TransformerSpec, *, batch: int, tokens: int) -> int:
    """Memory of a forward and a backward pass at their peak, without params and their gradient.

    What the forward pass computes in each layer is kept, and the logits are there three times:
    their logarithms and their gradient come to them.
    """
    require_known(spec)
    layers = sum(sum(_activations(layer, batch, tokens)) for layer in spec.layers)
    streams = 4 * len(spec.layers) * spec.width + 3 * spec.output_size
    return 4 * spec.loops * (layers + batch * tokens * streams)


def _activations(layer: Layer, B: int, T: int) -> tuple[int, int]:
    """Entries of the arrays of a layer's attention, and of its MLP."""
    H, G, K, U = layer.heads, layer.groups, layer.key_size, layer.value_size
    halves = HALF_ARRAYS[layer.attend] + (layer.window > 0) if H else 0
    rows = H * (K + 2 * U) + G * (K + U)
    if G < H:  # keys and values copied for the heads that share them
        rows += H * (K + U)
    if layer.rotary or layer.head_norm:  # queries and keys before and after
        rows += (H + G) * K
    units = 6 if layer.mlp == "gated" else 3
    return B * T * rows + halves * B * H * T * T // 2, units * B * T * layer.hidden


def require_memory(spec: TransformerSpec, params: Mapping[str, Any], inputs: Any) -> None:
    """Raises InputError if a forward pass does not fit into memory."""
    shape = np.shape(inputs)[: -1 if spec.inputs == "vectors" else None]
    itemsize, parts, copies = params["embed"].dtype.itemsize, shards(inputs), placed(params)

    def cost(batch: int, tokens: int) -> int:
        whole = forward_bytes(spec, batch=batch, tokens=tokens, itemsize=itemsize)
        return copies + whole // parts

    if shape:
        require("forward pass", cost, batch=math.prod(shape[:-1]), tokens=shape[-1])
