"""Which switches of the architecture an engine computes, and its refusal of the rest by name."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import fields
from typing import Any

from constructions.spec import TransformerSpec, feature_kind

# Fields that say how large something is; every other field is a switch.
SIZES = frozenset(
    ("input_size", "width", "output_size", "layers", "epsilon", "embed_scale", "heads")
) | frozenset(("key_size", "value_size", "hidden", "scale"))
# Switches that mean nothing without heads, and without hidden units.
OF_HEADS = frozenset(
    ("attend", "mask", "window", "kv_heads", "reach", "rotary", "head_norm", "projection_bias")
)
OF_HIDDEN = frozenset(("gate", "mlp", "mlp_bias"))

# What an engine computes: the values of each switch. ANY stands for all that the spec allows.
ANY = None
Known = Mapping[str, Collection[Any] | None]


def unsupported(spec: TransformerSpec, *, known: Known) -> list[str]:
    """The switches of a spec that an engine does not know; empty if it can compute the spec.

    Switches of absent parts (the gate of a layer without hidden units) do not count.

    Args:
      known: {switch: values that the engine computes}, a switch being a field of `TransformerSpec`
        or `Layer` that is no size; of ``positions``, kinds of features. A switch that is not listed
        must have its default: an engine refuses what was added to the spec after it.

    >>> from constructions.spec import Layer
    >>> spec = TransformerSpec(3, 8, 3, (Layer(hidden=5, gate="silu"),), loops=2)
    >>> unsupported(spec, known={"gate": ("relu",)})
    ['loops 2 (known: 1)', 'layer 0: gate silu (known: relu)']
    """
    faults = list(_unknown(spec, known))
    for i, layer in enumerate(spec.layers):
        absent = (frozenset() if layer.heads else OF_HEADS) | (
            frozenset() if layer.hidden else OF_HIDDEN
        )
        faults += [f"layer {i}: {fault}" for fault in _unknown(layer, known, absent)]
    return faults


def _unknown(part: Any, known: Known, absent: Collection[str] = ()) -> Iterator[str]:
    for field in fields(part):
        if field.name in SIZES or field.name in absent:
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
