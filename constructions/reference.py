"""What the architecture means: the forward pass in NumPy float64, or exactly in fractions.

Written for reading, sublayer by sublayer, with no optimization; every other engine is tested
against it. Shape letters are those of `constructions.spec`.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from constructions.spec import (
    ANY,
    RMS_EPSILON,
    Layer,
    Params,
    TransformerSpec,
    check_params,
    feature_kind,
    feature_size,
    require_supported,
)

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


def _rms(x: Array) -> Array:
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + RMS_EPSILON)


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
}
NORMS: dict[str, Callable[[Array, Params, str], Array]] = {
    "none": lambda x, leaves, name: x,
    "rms": lambda x, leaves, name: _rms(x) * leaves[name],
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
    "readout": ("logits", "simplex"),
    "loops": ANY,
}
RATIONAL = {
    **KNOWN,
    "attend": ("hardmax", "linear"),
    "gate": ("hard_sigmoid", "relu"),
    "norm": ("none",),
}


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
    if spec.positions:
        x = x + number(position_features(spec, len(inputs), offset)) @ weights["positions"]
    norm = NORMS[spec.norm]
    for _ in range(spec.loops):
        for i, layer in enumerate(spec.layers):
            leaves = _leaves_of_layer(weights, i)
            if layer.heads:
                h = norm(x, leaves, "norm_attention")
                seen = None if watch is None else partial(watch, i)
                x = x + attention(layer, leaves, h, prefix, number, seen)
            if layer.hidden:
                h = norm(x, leaves, "norm_mlp")
                x = x + gated_mlp(layer, leaves, h)
    return norm(x, weights, "norm_out") @ weights["w_out"]


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
    return weights["embed"][inputs]


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
    return MASKS[layer.mask](t, s, length if prefix is None else prefix)


def attention(
    layer: Layer,
    leaves: Params,
    x: Array,
    prefix: int | None,
    number: Any,
    watch: Callable[[int, Array], None] | None = None,
) -> Array:
    """[T, D]: the sum of the heads' outputs; sums are taken before the one division."""
    T = len(x)
    mask = visible(layer, T, prefix)
    distance = np.arange(T)[:, None] - np.arange(T)[None, :]
    out = np.zeros_like(x)
    for h in range(layer.heads):
        q, k, v = (x @ leaves[name][h] for name in ("w_q", "w_k", "w_v"))
        scores = (q @ k.T) * number(np.array(layer.scale)).item()
        if layer.window:
            scores = scores + leaves["bias"][h][np.clip(distance, 0, layer.window - 1)]
        if watch:
            watch(h, np.where(mask, scores.astype(np.float64), -np.inf))
        weight, total = WEIGHTS[layer.attend](scores, mask)
        head = (weight @ v) / total
        out = out + head @ leaves["w_o"][h]
    return out


def gated_mlp(layer: Layer, leaves: Params, x: Array) -> Array:
    """[T, D]: (gate(x W_g + b_g) * (x W_u + b_u)) W_d."""
    z = x @ leaves["w_gate"] + leaves["b_gate"]
    return (GATES[layer.gate](z) * (x @ leaves["w_up"] + leaves["b_up"])) @ leaves["w_down"]


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
