"""How much memory a forward pass and its gradient take, from shapes alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from constructions.spec import Layer, TransformerSpec
from icl_sim.execution.memory_guard import placed, require, shards
from icl_sim.transformer.arithmetic import CERTIFIED, Arithmetic
from icl_sim.transformer.sublayers import attention_blocks
from icl_sim.transformer.switches import HALF_ARRAYS, require_known


def forward_bytes(spec: TransformerSpec, *, batch: int, tokens: int, itemsize: int = 4) -> int:
    """Memory of a forward pass at its peak, without params and inputs.

    A layer, which is compiled, holds the residual stream, before and after, its norm, the square of
    it and a copy in another order: 5 B T D; and its attention or its MLP, one after the other.
    Attention: queries, keys, values and two arrays of answers; arrays [B, H, T, T] as `HALF_ARRAYS`
    says, and a bias. The MLP, gated: seven arrays [B, T, M], of which the compiler holds four (two
    products, the gate, their product), and the library that it calls copies of three. The logits
    come when the layers are done.
    """
    require_known(spec)
    found = [_activations(layer, batch, tokens) for layer in spec.layers]
    most = max([*(part for parts in found for part in parts), batch * tokens * spec.output_size])
    return itemsize * (5 * batch * tokens * spec.width + most)


def gradient_bytes(
    spec: TransformerSpec, *, batch: int, tokens: int, how: Arithmetic = CERTIFIED
) -> int:
    """Memory of a forward and a backward pass at their peak, without params and their gradient.

    What the forward pass computes in each layer is kept: its attention and its MLP, eight times the
    residual stream (of either, what comes in, its scale, its norm and what comes out), and the
    relative bias, which does not wait for the layer before. The gradients of one layer's heads come
    to it, and the logits are there three times: their logarithms and their gradient come to them.
    """
    require_known(spec)
    layers = [_activations(layer, batch, tokens, how) for layer in spec.layers]
    # The gradient holds one more half of the scores, and one array of the MLP fewer.
    kept = sum(sum(parts) for parts in layers) + sum(
        batch * (layer.heads * _pairs(layer, tokens, how) // 2 - tokens * layer.hidden)
        for layer in spec.layers
    )
    kept += sum(_bias(layer, tokens, how) for layer in spec.layers)
    heads = max((_rows(layer) for layer in spec.layers), default=0)
    streams = 8 * len(spec.layers) * spec.width + 3 * spec.output_size
    return 4 * (spec.loops * (kept + batch * tokens * streams) + batch * tokens * heads)


def _activations(layer: Layer, B: int, T: int, how: Arithmetic = CERTIFIED) -> tuple[int, int]:
    """Entries of the arrays of a layer's attention, and of its MLP."""
    arrays = HALF_ARRAYS[layer.attend] + (layer.window > 0)
    scores = arrays * B * layer.heads * _pairs(layer, T, how) // 2
    units = 7 if layer.mlp == "gated" else 4
    return B * T * _rows(layer) + scores, units * B * T * layer.hidden


def _pairs(layer: Layer, T: int, how: Arithmetic) -> int:
    """Queries and keys that are scored."""
    blocks = attention_blocks(layer, T, how)
    return sum((q.stop - q.start) * (k.stop - k.start) for q, k in blocks)


def _bias(layer: Layer, T: int, how: Arithmetic) -> int:
    """Entries of the relative bias, in rows as long as queries and keys together."""
    blocks = [(q.stop - q.start, k.stop - k.start) for q, k in attention_blocks(layer, T, how)]
    return layer.heads * sum(t * (t + s) for t, s in blocks) if layer.window else 0


def _rows(layer: Layer) -> int:
    """Entries of a token's queries, keys, values and answers."""
    H, G, K, U = layer.heads, layer.groups, layer.key_size, layer.value_size
    rows = H * (K + 2 * U) + G * (K + U)
    if G < H:  # keys and values copied for the heads that share them
        rows += H * (K + U)
    if layer.rotary or layer.head_norm:  # queries and keys before and after
        rows += (H + G) * K
    return rows


def require_memory(spec: TransformerSpec, params: Mapping[str, Any], inputs: Any) -> None:
    """Raises InputError if a forward pass does not fit into memory."""
    shape = np.shape(inputs)[: -1 if spec.inputs == "vectors" else None]
    itemsize, parts, copies = params["embed"].dtype.itemsize, shards(inputs), placed(params)

    def cost(batch: int, tokens: int) -> int:
        whole = forward_bytes(spec, batch=batch, tokens=tokens, itemsize=itemsize)
        return copies + whole // parts

    if shape:
        require("forward pass", cost, batch=math.prod(shape[:-1]), tokens=shape[-1])
