"""What the architecture means: the forward pass in NumPy float64, or exactly in fractions.

Written for reading, sublayer by sublayer, with no optimization; every other engine is tested
against it. Shape letters are those of `constructions.spec`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from constructions.argument_types import checked
from constructions.rotary import Rotary
from constructions.spec import (
    Layer,
    Params,
    TransformerSpec,
    check_params,
    feature_kind,
    feature_size,
)
from constructions.support import ANY, require_supported

Array = np.ndarray[Any, Any]


def _softmax(scores: Array, seen: Array) -> tuple[Array, Any]:
    best = np.where(seen, scores, scores.min()).max(axis=1, keepdims=True)
    weight = np.exp(np.where(seen, scores - best, -np.inf))
    return weight, weight.sum(axis=1, keepdims=True)


def _hardmax(scores: Array, seen: Array) -> tuple[Array, Any]:
    best = np.where(seen, scores, scores.min()).max(axis=1, keepdims=True)
    weight = (seen & (scores == best)).astype(np.int64)
    return weight, weight.sum(axis=1, keepdims=True)


def _linear(scores: Array, seen: Array) -> tuple[Array, Any]:
    return np.where(seen, scores, 0 * scores), 1


def _rms(x: Array, epsilon: float) -> Array:
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + epsilon)


def _layer_norm(x: Array, leaves: Params, name: str, epsilon: float) -> Array:
    centered = x - np.mean(x, axis=-1, keepdims=True)
    return _rms(centered, epsilon) * leaves[name] + leaves[f"{name}_bias"]


def _erf(z: Array) -> Array:
    return np.vectorize(math.erf, otypes=[float])(z)


# What each value of a switch means. A head returns weight @ values / total.
WEIGHTS = {"softmax": _softmax, "hardmax": _hardmax, "linear": _linear}
MASKS: dict[str, Callable[[Array, Array, int], Array]] = {
    "causal": lambda t, s, prefix: s <= t,
    "prefix": lambda t, s, prefix: (s <= t) | (s < prefix),
}
GATES: dict[str, Callable[[Any], Any]] = {
    "hard_sigmoid": lambda z: np.minimum(np.maximum(z, 0), 1),
    "relu": lambda z: np.maximum(z, 0),
    # z * sigmoid(z), without overflow for very negative z.
    "silu": lambda z: z * np.exp(-np.logaddexp(0, -z)),
    "gelu": lambda z: z * (1 + _erf(z / math.sqrt(2))) / 2,
    "gelu_tanh": lambda z: z * (1 + np.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3))) / 2,
}
# Of the residual stream, the leaves, the norm's name among them, and epsilon.
NORMS: dict[str, Callable[[Array, Params, str, float], Array]] = {
    "none": lambda x, leaves, name, epsilon: x,
    "rms": lambda x, leaves, name, epsilon: _rms(x, epsilon) * leaves[name],
    "rms_offset": lambda x, leaves, name, epsilon: _rms(x, epsilon) * (1 + leaves[name]),
    "layer": _layer_norm,
}
FEATURES: dict[str, Callable[[Array, int], list[Array]]] = {
    "index": lambda p, size: [p],
    "square": lambda p, size: [p * p],
    "bits": lambda p, size: [2 * (p >> k & 1) - 1 for k in range(size)],
}
KNOWN = {
    "inputs": ("tokens", "vectors"),
    "positions": FEATURES,
    "attend": WEIGHTS,
    "mask": MASKS,
    "window": ANY,
    "gate": GATES,
    "norm": NORMS,
    "readout": ("logits", "simplex", "tied"),
    "loops": ANY,
    "kv_heads": ANY,
    "reach": ANY,
    "rotary": ANY,
    "head_norm": ANY,
    "projection_bias": ("none", "qkv", "all"),
    "mlp": ("gated", "plain"),
    "mlp_bias": ("none", "inner", "all"),
    "post_norm": ANY,
    "position_rows": ANY,
    "position_offset": ANY,
}
RATIONAL = {
    **KNOWN,
    "attend": ("hardmax", "linear"),
    "gate": ("hard_sigmoid", "relu"),
    "norm": ("none",),
    "rotary": (None,),
}


@partial(checked, left=("inputs",))
def forward(
    spec: TransformerSpec,
    params: Params,
    inputs: Array,
    *,
    prefix: int | None = None,
    offset: int = 0,
    exact: bool = False,
    watch: Callable[[int, int, Array], None] | None = None,
) -> Array:
    """The decoder's output at every position.

    Args:
      spec, params: the architecture and its weights.
      inputs: int [T] for token inputs, float [T, I] for vector inputs.
      prefix: how many leading tokens the ``prefix`` mask lets every token see; by default all.
      offset: index of the first token, for the position features.
      exact: compute in `fractions.Fraction`, with no rounding at all. Only the rational switches
        qualify: hardmax or linear attention, hard_sigmoid or relu gates, no norm.
      watch: called as watch(layer, head, scores [T, S]) with each head's scaled scores, -inf where
        a token is hidden.

    Returns:
      Logits or laws (see `TransformerSpec.readout`), [T, V]; float64, or objects if ``exact``.

    Raises:
      ValueError: a switch that is not known, params that do not fit the spec, tokens out of range,
        an irrational switch with ``exact``.

    >>> from constructions.spec import TransformerSpec, blank
    >>> spec = TransformerSpec(input_size=2, width=2, output_size=2, layers=())
    >>> params = blank(spec)
    >>> params["embed"][:] = params["w_out"][:] = np.eye(2)
    >>> forward(spec, params, np.array([1, 0]))
    array([[0., 1.],
           [1., 0.]])
    """
    require_supported(spec, known=KNOWN, engine="reference", instead="define it there first")
    check_params(spec, params)
    number = _fractions if exact else _floats
    if exact:
        advice = "compute in floating point"
        require_supported(spec, known=RATIONAL, engine="rational arithmetic", instead=advice)
    weights = {name: number(leaf) for name, leaf in params.items()}
    x = embed(spec, weights, inputs, number)
    index = np.arange(offset, offset + len(x))
    if spec.positions:
        x = x + number(position_features(spec, len(x), offset)) @ weights["positions"]
    if spec.position_rows:
        x = x + position_rows(spec, weights["position_table"], index)
    for _ in range(spec.loops):
        for i, layer in enumerate(spec.layers):
            leaves = _leaves_of_layer(weights, i)
            if layer.heads:
                h = norm(spec, x, leaves, "norm_attention")
                seen = None if watch is None else partial(watch, i)
                h = attention(spec, layer, leaves, h, prefix, index, number, seen)
                x = x + (norm(spec, h, leaves, "norm_attention_out") if spec.post_norm else h)
            if layer.hidden:
                h = mlp(layer, leaves, norm(spec, x, leaves, "norm_mlp"))
                x = x + (norm(spec, h, leaves, "norm_mlp_out") if spec.post_norm else h)
    x = norm(spec, x, weights, "norm_out")
    return x @ (weights["embed"].T if spec.readout == "tied" else weights["w_out"])


def embed(spec: TransformerSpec, weights: Params, inputs: Array, number: Any) -> Array:
    """[T, D]: rows of ``embed`` for tokens, inputs @ ``embed`` for vectors."""
    inputs = np.asarray(inputs)
    if spec.inputs == "vectors":
        if inputs.ndim != 2 or inputs.shape[1] != spec.input_size:
            raise ValueError(f"inputs: expected shape [T, {spec.input_size}], got {inputs.shape}")
        return number(inputs) @ weights["embed"]
    if inputs.ndim != 1 or inputs.dtype.kind not in "iu":
        raise ValueError(f"inputs: expected integers [T], got {inputs.dtype} {inputs.shape}")
    if inputs.size and not 0 <= inputs.min() <= inputs.max() < spec.input_size:
        raise ValueError(
            f"inputs: expected tokens from 0 to {spec.input_size - 1}, "
            f"got {inputs.min()} to {inputs.max()}"
        )
    return weights["embed"][inputs] * number(np.array(spec.embed_scale)).item()


def position_rows(spec: TransformerSpec, table: Array, index: Array) -> Array:
    """[T, D]: the learned positions of these indices."""
    row = index + spec.position_offset
    if row.size and row.max() >= len(table):
        most = len(table) - spec.position_offset
        raise ValueError(f"inputs: expected at most {most} tokens, got index {index.max()}")
    return table[row]


def position_features(spec: TransformerSpec, length: int, offset: int = 0) -> Array:
    """[T, P], int64: the spec's position features of the indices offset, offset + 1, ...

    >>> spec = TransformerSpec(1, 1, 1, (), positions=("index", "square", "bits2"))
    >>> position_features(spec, 4).tolist()
    [[0, 0, -1, -1], [1, 1, 1, -1], [2, 4, -1, 1], [3, 9, 1, 1]]
    """
    p = np.arange(offset, offset + length, dtype=np.int64)
    columns: list[Array] = []
    for feature in spec.positions:
        columns.extend(FEATURES[feature_kind(feature)](p, feature_size(feature)))
    return np.stack(columns, axis=1)


def visible(layer: Layer, length: int, prefix: int | None) -> Array:
    """Bool [T, S]: may token t attend to token s."""
    t, s = np.arange(length)[:, None], np.arange(length)[None, :]
    seen = MASKS[layer.mask](t, s, length if prefix is None else prefix)
    return seen & (s > t - layer.reach) if layer.reach else seen


def attention(
    spec: TransformerSpec,
    layer: Layer,
    leaves: Params,
    x: Array,
    prefix: int | None,
    index: Array,
    number: Any,
    watch: Callable[[int, Array], None] | None = None,
) -> Array:
    """[T, D]: the sum of the heads' outputs; sums are taken before the one division."""
    T = len(x)
    mask = visible(layer, T, prefix)
    distance = np.arange(T)[:, None] - np.arange(T)[None, :]
    out = np.zeros_like(x)
    for h in range(layer.heads):
        g = h // (layer.heads // layer.groups)
        q = project(spec, layer, leaves, x, "q", h, index)
        k = project(spec, layer, leaves, x, "k", g, index)
        v = project(spec, layer, leaves, x, "v", g, index)
        scores = (q @ k.T) * number(np.array(layer.scale)).item()
        if layer.window:
            scores = scores + leaves["bias"][h][np.clip(distance, 0, layer.window - 1)]
        if watch:
            watch(h, np.where(mask, scores.astype(np.float64), -np.inf))
        weight, total = WEIGHTS[layer.attend](scores, mask)
        head = (weight @ v) / total
        out = out + head @ leaves["w_o"][h]
    return out + leaves["b_o"] if layer.projection_bias == "all" else out


def project(
    spec: TransformerSpec, layer: Layer, leaves: Params, x: Array, kind: str, h: int, index: Array
) -> Array:
    """[T, K or U]: queries (kind ``q``), keys (``k``) or values (``v``) of one head."""
    y = x @ leaves[f"w_{kind}"][h]
    if layer.projection_bias != "none":
        y = y + leaves[f"b_{kind}"][h]
    if kind == "v":
        return y
    if layer.head_norm:
        y = norm(spec, y, leaves, f"norm_{kind}")
    return y if layer.rotary is None else rotate(layer.rotary, y, index)


def rotate(rotary: Rotary, y: Array, index: Array) -> Array:
    """[T, K]: entries i and i + K/2, turned as a vector of the plane by index f_i."""
    angle = index[:, None] * rotary.frequencies(y.shape[1])
    cos, sin = rotary.stretch * np.cos(angle), rotary.stretch * np.sin(angle)
    a, b = np.split(y, 2, axis=1)
    return np.concatenate([a * cos - b * sin, a * sin + b * cos], axis=1)


def mlp(layer: Layer, leaves: Params, x: Array) -> Array:
    """[T, D]: (gate(x W_g + b_g) * (x W_u + b_u)) W_d + b_d, as far as the layer has them."""

    def linear(x: Array, name: str) -> Array:
        y = x @ leaves[f"w_{name}"]
        return y + leaves[f"b_{name}"] if f"b_{name}" in leaves else y

    h = GATES[layer.gate](linear(x, "gate"))
    if layer.mlp == "gated":
        h = h * linear(x, "up")
    return linear(h, "down")


def norm(spec: TransformerSpec, x: Array, leaves: Params, name: str) -> Array:
    """The norm of that name; `TransformerSpec.norm` defines them."""
    return NORMS[spec.norm](x, leaves, name, spec.epsilon)


def _leaves_of_layer(weights: Params, i: int) -> Params:
    start = f"layer_{i}."
    return {
        name.removeprefix(start): leaf for name, leaf in weights.items() if name.startswith(start)
    }


def _floats(values: Array) -> Array:
    return np.asarray(values, dtype=np.float64)


def _fractions(values: Array) -> Array:
    flat = [Fraction(value) for value in np.asarray(values).reshape(-1).tolist()]
    out = np.empty(len(flat), dtype=object)
    out[:] = flat
    return out.reshape(np.shape(values))
