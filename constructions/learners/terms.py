"""Terms that pick entries of slices, and take fields of an input vector, for blueprints.

`constructions.blueprint` has `move` and `products` for whole slices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from constructions.blueprint import Units
from constructions.residual import Residual

# A slice of the residual stream, or some of its entries in the order given.
Slice = str | tuple[str, Any]


def product(
    residual: Residual,
    factor: Slice,
    source: Slice,
    target: Slice,
    gain: float = 1.0,
    *,
    slope: float = 1.0,
    weights: Sequence[float] | None = None,
) -> Units:
    """Target += gain * factor * source, entry by entry; a slice of one entry serves all.

    Args:
      residual: the slices.
      factor: >= 0 with the relu gate, between 0 and 1 with the hard sigmoid.
      source, target: may name an entry several times; contributions to a target add up.
      gain: of the product.
      slope: the gate reads slope * factor; large, with the hard sigmoid, it is a step.
      weights: of the entries of ``factor``, which are then summed to a single factor.
    """
    parts = [_entries(residual, what) for what in (factor, source, target)]
    n = max(len(entries) for _, entries in parts[1:])
    if weights is None:
        n = max(n, len(parts[0][1]))
    (gate, factors), (up, sources), (down, targets) = (
        (name, entries if i == 0 and weights is not None else np.broadcast_to(entries, n))
        for i, (name, entries) in enumerate(parts)
    )
    if weights is None:
        read = slope * _select(residual, gate, factors)
    else:
        column = _select(residual, gate, factors) @ np.asarray(weights, np.float64)
        read = np.repeat(slope * column[:, None], n, axis=1)
    return Units(
        gate={gate: read},
        up={up: _select(residual, up, sources)},
        down={down: gain * _select(residual, down, targets).T},
    )


def signed_product(
    residual: Residual, factor: Slice, source: Slice, target: Slice, gain: float = 1.0
) -> tuple[Units, Units]:
    """`product` for a factor of either sign, with the relu gate."""
    return (
        product(residual, factor, source, target, gain),
        product(residual, factor, source, target, -gain, slope=-1.0),
    )


def embedding(
    fields: Residual, residual: Residual, extra: Mapping[str, tuple[str, int, int]] | None = None
) -> dict[str, np.ndarray]:
    """Every field into the slice of its name, if there is one.

    Args:
      fields: the named columns of an input vector.
      residual: the slices.
      extra: slice -> (field, its entry, the slice's entry) of one further copy each.
    """
    rows = {}
    for name, size in fields.sizes.items():
        if name in residual.sizes:
            rows[name] = np.eye(fields.width)[:, fields[name]]
            if size != residual.sizes[name]:
                raise ValueError(f"{name}: expected {residual.sizes[name]} columns, got {size}")
    for name, (field, source, target) in (extra or {}).items():
        rows[name] = np.zeros((fields.width, residual.sizes[name]))
        rows[name][fields.column(field, source), target] = 1
    return rows


def _entries(residual: Residual, what: Slice) -> tuple[str, np.ndarray]:
    name, entries = (what, None) if isinstance(what, str) else what
    everything = np.arange(residual.sizes[name])
    return name, everything if entries is None else everything[np.asarray(entries)].reshape(-1)


def _select(residual: Residual, name: str, entries: np.ndarray) -> np.ndarray:
    """[size, n]: column i is the unit vector of entry i."""
    return np.eye(residual.sizes[name])[:, entries]
