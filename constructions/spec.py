"""The one architecture: a residual decoder whose every weight is a leaf of one flat dict.

    x  = embed(inputs) + positions(index)
    x += attention_l(norm(x)); x += gated_mlp_l(norm(x))      for each layer, `loops` times
    out = norm(x) @ w_out

Glossary of shape letters, used in every comment and einsum of this library:

    T  tokens in the sequence (queries)      S  tokens attended to (keys), S = T without a cache
    D  width of the residual stream          H  heads of a layer
    G  heads of keys and values; H/G heads share one
    K  key size of a head                    U  value size of a head
    M  hidden units of an MLP                V  entries of the output (vocabulary)
    I  input tokens, or input features       P  position features
    W  window of the relative bias           N  rows of a table of learned positions
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from constructions.argument_types import check_fields, checked, short
from constructions.rotary import Rotary, check_choice, check_number, check_size

Params = dict[str, np.ndarray]

ATTEND = ("softmax", "hardmax", "linear")
MASKS = ("causal", "prefix")
GATES = ("hard_sigmoid", "relu", "silu", "gelu", "gelu_tanh")
MLPS = ("gated", "plain")
MLP_BIASES = ("none", "inner", "all")
PROJECTION_BIASES = ("none", "qkv", "all")
NORMS = ("none", "rms", "rms_offset", "layer")
INPUTS = ("tokens", "vectors")
READOUTS = ("logits", "simplex", "tied")
FEATURES = ("index", "square", "bits")


@dataclass(frozen=True)
class Layer:
    """One layer: attention, then an MLP; either may be absent (0 heads, 0 hidden units).

    Args:
      heads: H.
      key_size, value_size: K and U of every head of the layer.
      hidden: M, units of the MLP: ``(gate(x W_g + b_g) * (x W_u + b_u)) W_d``.
      attend: ``softmax``; ``hardmax``, the average over equal best scores; or ``linear``, the sum
        of score times value with no normalization.
      mask: ``causal``, or ``prefix``: every token also sees all of the first ``prefix`` tokens,
        by default the whole sequence.
      scale: multiplies the inner product of query and key.
      window: W, entries of the relative bias that each head adds to its scaled scores. Entry j
        is for the token j places back, the last entry for all further back (0: no bias). With
        the prefix mask, entry 0 is also for the tokens ahead.
      gate: ``hard_sigmoid`` is clip(z, 0, 1); ``relu``; ``silu`` is z / (1 + exp(-z)); ``gelu`` is
        z Phi(z), Phi the normal distribution function, and ``gelu_tanh`` its approximation by tanh.
      kv_heads: G, heads of keys and values, each shared by H/G consecutive heads (0: H of them).
      reach: a token sees the last ``reach`` tokens only, its own included (0: all).
      rotary: rotary positions, or None.
      head_norm: queries and keys of each head pass a norm of their own, of the spec's kind, before
        they turn.
      projection_bias: ``none``; ``qkv``, of queries, keys and values; ``all``, of the output too.
      mlp: ``gated``, or ``plain``: ``gate(x W_g + b_g) W_d``.
      mlp_bias: ``none``; ``inner``, b_g and b_u; ``all``, also one added behind W_d.

    >>> Layer(heads=1, key_size=4, value_size=4).attend
    'softmax'
    """

    heads: int = 0
    key_size: int = 0
    value_size: int = 0
    hidden: int = 0
    attend: str = "softmax"
    mask: str = "causal"
    scale: float = 1.0
    window: int = 0
    gate: str = "hard_sigmoid"
    kv_heads: int = 0
    reach: int = 0
    rotary: Rotary | None = None
    head_norm: bool = False
    projection_bias: str = "none"
    mlp: str = "gated"
    mlp_bias: str = "inner"

    def __post_init__(self) -> None:
        for name in ("heads", "hidden", "window", "kv_heads", "reach"):
            check_size(f"Layer.{name}", getattr(self, name), 0)
        for name in ("key_size", "value_size"):
            check_size(f"Layer.{name}", getattr(self, name), 1 if self.heads else 0)
        check_number("Layer.scale", self.scale, -math.inf)
        check_choice("Layer.attend", self.attend, ATTEND)
        check_choice("Layer.mask", self.mask, MASKS)
        check_choice("Layer.gate", self.gate, GATES)
        check_choice("Layer.mlp", self.mlp, MLPS)
        check_choice("Layer.mlp_bias", self.mlp_bias, MLP_BIASES)
        check_choice("Layer.projection_bias", self.projection_bias, PROJECTION_BIASES)
        check_fields(self)
        if self.kv_heads and self.heads % self.kv_heads:
            raise ValueError(
                f"Layer.kv_heads: expected a divisor of {self.heads} heads, got {self.kv_heads}"
            )
        if self.rotary and self.key_size % 2:
            raise ValueError(f"Layer.rotary: expected an even key_size, got {self.key_size}")

    @property
    def groups(self) -> int:
        """G, heads of keys and values."""
        return self.kv_heads or self.heads


@dataclass(frozen=True)
class TransformerSpec:
    """All the switches of a decoder; with it a params dict determines the function.

    Args:
      inputs: ``tokens`` (integers below ``input_size``) or ``vectors`` (rows of that many floats).
      input_size: I.
      width: D.
      output_size: V.
      layers: the layers, in order.
      positions: features computed from the index p = 0, 1, ...: ``index`` is p, ``square`` is p^2,
        ``bits<k>`` is the k lowest binary digits of p as +-1, lowest first.
      norm: ``none``; or before each sublayer and before the readout ``rms``, ``rms_offset`` (whose
        gain is one more than its leaf), or ``layer`` (mean subtracted, with a bias).
      readout: ``logits`` (a softmax of them is the law), ``simplex`` (x @ w_out is the law), or
        ``tied``: logits from the embedding's own rows, with no w_out.
      loops: how often the stack of layers is applied.
      epsilon: added to the mean square, or variance, of a norm.
      post_norm: what a sublayer adds passes a norm too.
      embed_scale: multiplies the embedding's rows.
      position_rows: N, rows of a table of learned positions (0: none).
      position_offset: the row of index 0.

    >>> spec = TransformerSpec(input_size=3, width=8, output_size=3, layers=(Layer(hidden=5),))
    >>> sorted(param_shapes(spec))[:2]
    ['embed', 'layer_0.b_gate']
    """

    input_size: int
    width: int
    output_size: int
    layers: tuple[Layer, ...]
    inputs: str = "tokens"
    positions: tuple[str, ...] = ()
    norm: str = "none"
    readout: str = "logits"
    loops: int = 1
    epsilon: float = 1e-6
    post_norm: bool = False
    embed_scale: float = 1.0
    position_rows: int = 0
    position_offset: int = 0

    def __post_init__(self) -> None:
        for name in ("input_size", "width", "output_size", "loops"):
            check_size(f"TransformerSpec.{name}", getattr(self, name), 1)
        for name in ("position_rows", "position_offset"):
            check_size(f"TransformerSpec.{name}", getattr(self, name), 0)
        check_number("TransformerSpec.epsilon", self.epsilon, 0)
        check_number("TransformerSpec.embed_scale", self.embed_scale, 0)
        check_choice("TransformerSpec.inputs", self.inputs, INPUTS)
        check_choice("TransformerSpec.norm", self.norm, NORMS)
        check_choice("TransformerSpec.readout", self.readout, READOUTS)
        check_fields(self)
        for feature in self.positions:
            feature_size(feature)
        if self.readout == "tied" and (self.inputs, self.input_size) != (
            "tokens",
            self.output_size,
        ):
            raise ValueError(
                "TransformerSpec.readout: expected tokens and equal input_size and output_size "
                f"when tied, got {self.inputs}, {self.input_size} and {self.output_size}"
            )
        if self.norm == "none" and (self.post_norm or any(x.head_norm for x in self.layers)):
            raise ValueError("TransformerSpec.norm: expected a norm with post_norm or head_norm")


def feature_kind(feature: str) -> str:
    """The entry of `FEATURES` that a position feature belongs to.

    >>> feature_kind("bits18")
    'bits'
    """
    return feature.rstrip("0123456789")


def feature_size(feature: str) -> int:
    """Columns of one position feature: 1, or k for ``bits<k>`` with k from 1 to 31.

    >>> feature_size("bits18")
    18
    """
    kind = feature_kind(feature)
    digits = feature[len(kind) :]
    if kind in FEATURES and kind != "bits" and not digits:
        return 1
    if kind == "bits" and digits and 1 <= int(digits) <= 31:
        return int(digits)
    raise ValueError(
        f"position feature: expected index, square or bits1 to bits31, got {feature!r}"
    )


@checked
def param_shapes(spec: TransformerSpec) -> dict[str, tuple[int, ...]]:
    """Name and shape of every leaf of ``spec``'s params, in order of use.

    Absent parts (no heads, no hidden units, no positions, no norm) have no leaves, so no leaf has
    size zero.
    """
    D = spec.width
    shapes: dict[str, tuple[int, ...]] = {"embed": (spec.input_size, D)}
    if spec.positions:
        shapes["positions"] = (sum(map(feature_size, spec.positions)), D)
    if spec.position_rows:
        shapes["position_table"] = (spec.position_rows, D)
    for i, layer in enumerate(spec.layers):
        leaves = (_attention_shapes(spec, layer) if layer.heads else {}) | (
            _mlp_shapes(spec, layer) if layer.hidden else {}
        )
        shapes |= {f"layer_{i}.{name}": shape for name, shape in leaves.items()}
    shapes |= _norm_shapes(spec, "norm_out", D)
    if spec.readout != "tied":
        shapes["w_out"] = (D, spec.output_size)
    return shapes


def _attention_shapes(spec: TransformerSpec, layer: Layer) -> dict[str, tuple[int, ...]]:
    D, H, G, K, U = spec.width, layer.heads, layer.groups, layer.key_size, layer.value_size
    shapes = _norm_shapes(spec, "norm_attention", D)
    shapes |= {"w_q": (H, D, K), "w_k": (G, D, K), "w_v": (G, D, U), "w_o": (H, U, D)}
    if layer.window:
        shapes["bias"] = (H, layer.window)
    if layer.projection_bias != "none":
        shapes |= {"b_q": (H, K), "b_k": (G, K), "b_v": (G, U)}
    if layer.projection_bias == "all":
        shapes["b_o"] = (D,)
    if layer.head_norm:
        shapes |= _norm_shapes(spec, "norm_q", K) | _norm_shapes(spec, "norm_k", K)
    if spec.post_norm:
        shapes |= _norm_shapes(spec, "norm_attention_out", D)
    return shapes


def _mlp_shapes(spec: TransformerSpec, layer: Layer) -> dict[str, tuple[int, ...]]:
    D, M = spec.width, layer.hidden
    shapes = _norm_shapes(spec, "norm_mlp", D)
    for name in ("gate", "up") if layer.mlp == "gated" else ("gate",):
        shapes[f"w_{name}"] = (D, M)
        if layer.mlp_bias != "none":
            shapes[f"b_{name}"] = (M,)
    shapes["w_down"] = (M, D)
    if layer.mlp_bias == "all":
        shapes["b_down"] = (D,)
    if spec.post_norm:
        shapes |= _norm_shapes(spec, "norm_mlp_out", D)
    return shapes


def _norm_shapes(spec: TransformerSpec, name: str, size: int) -> dict[str, tuple[int, ...]]:
    if spec.norm == "none":
        return {}
    names = (name, f"{name}_bias") if spec.norm == "layer" else (name,)
    return dict.fromkeys(names, (size,))


def is_gain(name: str) -> bool:
    """Whether a leaf is the gain of a norm."""
    leaf = name.rpartition(".")[2]
    return leaf.startswith("norm_") and not leaf.endswith("_bias")


@checked
def blank(spec: TransformerSpec) -> Params:
    """All-zero float32 params of ``spec`` (norm gains one), for a construction to write into."""
    one = float(spec.norm != "rms_offset")
    return {
        name: np.full(shape, one if is_gain(name) else 0.0, np.float32)
        for name, shape in param_shapes(spec).items()
    }


def check_params(spec: TransformerSpec, params: Params) -> None:
    """Raises ValueError, naming every missing, extra, misshapen or mistyped leaf at once.

    All leaves must be floating point, of one dtype.
    """
    expected = param_shapes(spec)
    if bad := [name for name, leaf in params.items() if not hasattr(leaf, "dtype")]:
        raise ValueError(f"params: expected arrays, got {short(params[bad[0]])} as {short(bad[0])}")
    faults = [f"missing {name} {shape}" for name, shape in expected.items() if name not in params]
    faults += [f"unexpected {name}" for name in params if name not in expected]
    dtypes = {str(leaf.dtype) for leaf in params.values()}
    for name in expected.keys() & params.keys():
        if params[name].shape != expected[name]:
            faults.append(f"{name}: expected shape {expected[name]}, got {params[name].shape}")
        if params[name].dtype.kind != "f" and str(params[name].dtype) != "bfloat16":
            faults.append(f"{name}: expected floating point, got {params[name].dtype}")
    if len(dtypes) > 1:
        faults.append(f"expected one dtype, got {', '.join(sorted(dtypes))}")
    if faults:
        raise ValueError("params do not fit the spec: " + "; ".join(sorted(faults)))
