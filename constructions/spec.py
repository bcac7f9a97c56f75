"""The one architecture: a residual decoder whose every weight is a leaf of one flat dict.

    x  = embed(inputs) + positions(index)
    x += attention_l(norm(x)); x += gated_mlp_l(norm(x))      for each layer, `loops` times
    out = norm(x) @ w_out

Glossary of shape letters, used in every comment and einsum of this library:

    T  tokens in the sequence (queries)      S  tokens attended to (keys), S = T without a cache
    D  width of the residual stream          H  heads of a layer
    K  key size of a head                    U  value size of a head
    M  hidden units of a gated MLP           V  entries of the output (vocabulary)
    I  input tokens, or input features       P  position features
    W  window of the relative bias
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

Params = dict[str, np.ndarray]

RMS_EPSILON = 1e-6

ATTEND = ("softmax", "hardmax", "linear")
MASKS = ("causal", "prefix")
GATES = ("hard_sigmoid", "relu", "silu")
NORMS = ("none", "rms")
INPUTS = ("tokens", "vectors")
READOUTS = ("logits", "simplex")
FEATURES = ("index", "square", "bits")

# Fields that say how large something is; every other field is a switch.
_SIZES = {"input_size", "width", "output_size", "layers"}
_SIZES |= {"heads", "key_size", "value_size", "hidden", "scale"}

# What an engine computes: the values of each switch. ANY stands for all that the spec allows.
ANY = None
Known = Mapping[str, Collection[Any] | None]


def _check(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name}: expected one of {', '.join(allowed)}, got {value!r}")


def _check_size(name: str, value: int, least: int) -> None:
    if not isinstance(value, int) or value < least:
        raise ValueError(f"{name}: expected an integer >= {least}, got {value!r}")


@dataclass(frozen=True)
class Layer:
    """One layer: attention, then a gated MLP; either may be absent (0 heads, 0 hidden units).

    Args:
      heads: H.
      key_size, value_size: K and U of every head of the layer.
      hidden: M, units of the gated MLP ``(gate(x W_g + b_g) * (x W_u + b_u)) W_d``.
      attend: ``softmax``; ``hardmax``, the average over equal best scores; or ``linear``, the sum
        of score times value with no normalization.
      mask: ``causal``, or ``prefix``: every token also sees all of the first ``prefix`` tokens,
        by default the whole sequence.
      scale: multiplies the inner product of query and key.
      window: W, entries of the relative bias that each head adds to its scaled scores. Entry j
        is for the token j places back, the last entry for all further back (0: no bias). With
        the prefix mask, entry 0 is also for the tokens ahead.
      gate: ``hard_sigmoid`` is clip(z, 0, 1); ``relu``; ``silu`` is z / (1 + exp(-z)).

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

    def __post_init__(self) -> None:
        for name in ("heads", "hidden", "window"):
            _check_size(f"Layer.{name}", getattr(self, name), 0)
        for name in ("key_size", "value_size"):
            _check_size(f"Layer.{name}", getattr(self, name), 1 if self.heads else 0)
        _check("Layer.attend", self.attend, ATTEND)
        _check("Layer.mask", self.mask, MASKS)
        _check("Layer.gate", self.gate, GATES)


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
      norm: ``none``, or ``rms`` before each sublayer and before the readout.
      readout: ``logits`` (a softmax of them is the law) or ``simplex`` (x @ w_out is the law).
      loops: how often the stack of layers is applied.

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

    def __post_init__(self) -> None:
        for name in ("input_size", "width", "output_size", "loops"):
            _check_size(f"TransformerSpec.{name}", getattr(self, name), 1)
        _check("TransformerSpec.inputs", self.inputs, INPUTS)
        _check("TransformerSpec.norm", self.norm, NORMS)
        _check("TransformerSpec.readout", self.readout, READOUTS)
        for feature in self.positions:
            feature_size(feature)


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


def unsupported(spec: TransformerSpec, *, known: Known) -> list[str]:
    """The switches of a spec that an engine does not know; empty if it can compute the spec.

    Switches of absent parts (the gate of a layer without hidden units) do not count.

    Args:
      known: {switch: values that the engine computes}, a switch being a field of `TransformerSpec`
        or `Layer` that is no size; of ``positions``, kinds of features. A switch that is not listed
        must have its default: an engine refuses what was added to the spec after it.

    >>> spec = TransformerSpec(3, 8, 3, (Layer(hidden=5, gate="silu"),), loops=2)
    >>> unsupported(spec, known={"gate": ("relu",)})
    ['loops 2 (known: 1)', 'layer 0: gate silu (known: relu)']
    """
    faults = list(_unknown(spec, known))
    for i, layer in enumerate(spec.layers):
        absent = set() if layer.heads else {"attend", "mask", "window"}
        absent |= set() if layer.hidden else {"gate"}
        faults += [f"layer {i}: {fault}" for fault in _unknown(layer, known, absent)]
    return faults


def _unknown(part: Any, known: Known, absent: Collection[str] = ()) -> Iterator[str]:
    for field in fields(part):
        if field.name in _SIZES or field.name in absent:
            continue
        value = getattr(part, field.name)
        several = field.name == "positions"
        listed = known.get(field.name, () if several else (field.default,))
        for one in map(feature_kind, value) if several else (value,):
            if listed is not ANY and one not in listed:
                yield f"{field.name} {one} (known: {', '.join(map(str, listed)) or 'none'})"


def require_supported(
    spec: TransformerSpec,
    *,
    known: Known,
    engine: str,
    instead: str,
    error: type[ValueError] = ValueError,
) -> None:
    """Raises ``error``, one line, if an engine does not know a switch of the spec.

    Args:
      known: as for `unsupported`.
      engine: its name.
      instead: what to do about it.
    """
    if faults := unsupported(spec, known=known):
        raise error(
            f"{engine}: expected switches that it computes, got {'; '.join(faults)}: {instead}"
        )


def param_shapes(spec: TransformerSpec) -> dict[str, tuple[int, ...]]:
    """Name and shape of every leaf of ``spec``'s params, in order of use.

    Absent parts (no heads, no hidden units, no positions, no norm) have no leaves, so no leaf has
    size zero.
    """
    D = spec.width
    shapes: dict[str, tuple[int, ...]] = {"embed": (spec.input_size, D)}
    if spec.positions:
        shapes["positions"] = (sum(map(feature_size, spec.positions)), D)
    for i, layer in enumerate(spec.layers):
        if layer.heads:
            if spec.norm != "none":
                shapes[f"layer_{i}.norm_attention"] = (D,)
            shapes[f"layer_{i}.w_q"] = (layer.heads, D, layer.key_size)
            shapes[f"layer_{i}.w_k"] = (layer.heads, D, layer.key_size)
            shapes[f"layer_{i}.w_v"] = (layer.heads, D, layer.value_size)
            shapes[f"layer_{i}.w_o"] = (layer.heads, layer.value_size, D)
            if layer.window:
                shapes[f"layer_{i}.bias"] = (layer.heads, layer.window)
        if layer.hidden:
            if spec.norm != "none":
                shapes[f"layer_{i}.norm_mlp"] = (D,)
            shapes[f"layer_{i}.w_gate"] = (D, layer.hidden)
            shapes[f"layer_{i}.b_gate"] = (layer.hidden,)
            shapes[f"layer_{i}.w_up"] = (D, layer.hidden)
            shapes[f"layer_{i}.b_up"] = (layer.hidden,)
            shapes[f"layer_{i}.w_down"] = (layer.hidden, D)
    if spec.norm != "none":
        shapes["norm_out"] = (D,)
    shapes["w_out"] = (D, spec.output_size)
    return shapes


def blank(spec: TransformerSpec) -> Params:
    """All-zero float32 params of ``spec`` (norm gains one), for a construction to write into."""
    return {
        name: np.full(shape, float(".norm_" in name or name == "norm_out"), np.float32)
        for name, shape in param_shapes(spec).items()
    }


def check_params(spec: TransformerSpec, params: Params) -> None:
    """Raises ValueError, naming every missing, extra, misshapen or mistyped leaf at once.

    All leaves must be floating point, of one dtype.
    """
    expected = param_shapes(spec)
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
