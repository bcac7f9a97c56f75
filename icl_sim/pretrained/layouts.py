"""Families of stock decoders, and how their tensors and our leaves are one another's rearrangement.

A family is data and two functions: a table of its tensors' names, each with the leaves that it
holds and a pattern, and config -> spec -> config. A pattern only reshapes and transposes, so that a
weight has the same bits on both sides: ``(h k) d -> h d k`` splits the first axis of a stock tensor
[H K, D] and moves D before K. Letters are those of `constructions.spec`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from constructions.spec import TransformerSpec, param_shapes
from icl_sim.errors import InputError
from icl_sim.pretrained.stock_config import Config

Array = np.ndarray
Shape = tuple[int, ...]

# The matrix of a linear layer is stored [out, in] in PyTorch.
LINEAR = "o i -> i o"
HEADS_OUT = "(h k) d -> h d k"
HEADS_IN = "d (h k) -> h k d"
HEADS = "(h k) -> h k"


@dataclass(frozen=True)
class Row:
    """What a stock tensor holds.

    Args:
      leaves: our names, of a layer without its ``layer_<i>.``; several are side by side along the
        tensor's last axis.
      pattern: from the tensor, or its part, to the leaf; empty: as it is.
    """

    leaves: tuple[str, ...]
    pattern: str = ""


def row(leaves: str, pattern: str = "") -> Row:
    """A `Row`; leaves separated by blanks."""
    return Row(tuple(leaves.split()), pattern)


@dataclass(frozen=True, eq=False)
class Family:
    """A family of stock decoders.

    Args:
      name: ``model_type`` of its config.
      architecture: the class that `transformers` loads it with.
      table: tensor name, ``{}`` for the layer's number -> what it holds. A row whose leaves a spec
        does not have is absent from its checkpoints.
      spec: config -> spec. Raises InputError, naming the key, for what the spec cannot say.
      config: spec -> config, complete but for token numbers. Where the family cannot hold a spec,
        the config is another spec's, which `stock_config` finds out.
      prefix: of all names but the head's; checkpoints of the bare decoder lack it.
      buffers: regular expression of tensors that some versions stored and none needs.
    """

    name: str
    architecture: str
    table: Mapping[str, Row]
    spec: Callable[[Config], TransformerSpec]
    config: Callable[[TransformerSpec], dict[str, Any]]
    prefix: str = "model."
    buffers: str = r"rotary_emb\.inv_freq$"

    def rows(self, spec: TransformerSpec) -> dict[str, Row]:
        """Stock names in ``spec``'s checkpoints -> rows with full names of leaves.

        Raises:
          InputError: a leaf that the family has no tensor for.
        """
        shapes = param_shapes(spec)
        found: dict[str, Row] = {}
        for name, entry in self.table.items():
            layers = range(len(spec.layers)) if "{}" in name else [None]
            for i in layers:
                start = "" if i is None else f"layer_{i}."
                leaves = tuple(start + leaf for leaf in entry.leaves)
                if all(leaf in shapes for leaf in leaves):
                    found[name.format(i)] = Row(leaves, entry.pattern)
        held = {leaf for entry in found.values() for leaf in entry.leaves}
        if homeless := sorted(shapes.keys() - held):
            raise InputError(f"{self.name}: expected leaves of this family, got {homeless[0]}")
        return found


def stock_shape(entry: Row, shapes: Mapping[str, Shape]) -> Shape:
    """The shape of a stock tensor, from those of its leaves.

    >>> stock_shape(row("w_q", HEADS_OUT), {"w_q": (4, 32, 8)})
    (32, 32)
    >>> stock_shape(row("b_q b_k b_v", HEADS), dict.fromkeys(("b_q", "b_k", "b_v"), (4, 8)))
    (96,)
    """
    shape = shapes[entry.leaves[0]]
    if entry.pattern:
        groups, letters = _parse(entry.pattern)
        size = dict(zip(letters, shape, strict=True))
        shape = tuple(math.prod(size[letter] for letter in group) for group in groups)
    return (*shape[:-1], len(entry.leaves) * shape[-1])


def to_leaves(entry: Row, tensor: Array, shapes: Mapping[str, Shape]) -> dict[str, Array]:
    """The leaves that a stock tensor holds, views of it where possible."""
    parts = np.split(tensor, len(entry.leaves), axis=-1)
    return {
        leaf: _forward(entry.pattern, part, shapes[leaf])
        for leaf, part in zip(entry.leaves, parts, strict=True)
    }


def to_stock(entry: Row, leaves: Mapping[str, Any]) -> Array:
    """The inverse of `to_leaves`, contiguous."""
    parts = [_backward(entry.pattern, np.asarray(leaves[leaf])) for leaf in entry.leaves]
    return np.ascontiguousarray(parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1))


def _parse(pattern: str) -> tuple[list[str], str]:
    """``(h k) d -> h d k`` as its groups ["hk", "d"] and the letters "hdk"."""
    left, right = pattern.split("->")
    groups = [a.replace(" ", "") or b for a, b in re.findall(r"\(([^)]*)\)|(\S)", left)]
    return groups, right.replace(" ", "")


def _forward(pattern: str, x: Array, shape: Shape) -> Array:
    if not pattern:
        return x
    groups, letters = _parse(pattern)
    order, size = "".join(groups), dict(zip(letters, shape, strict=True))
    split = x.reshape([size[letter] for letter in order])
    return split.transpose([order.index(letter) for letter in letters])


def _backward(pattern: str, leaf: Array) -> Array:
    if not pattern:
        return leaf
    groups, letters = _parse(pattern)
    size = dict(zip(letters, leaf.shape, strict=True))
    split = leaf.transpose([letters.index(letter) for letter in "".join(groups)])
    return split.reshape([math.prod(size[letter] for letter in group) for group in groups])
