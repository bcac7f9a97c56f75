"""What the learners of a halfspace share: their data, and the two layers of a loop.

They keep weights w in the residual stream of every token, so that token t ends with what the first
t examples teach: one pass gives the whole learning curve. A loop has two layers: the first forms
z_i = y_i x_i and changes w by the example that was picked, the second picks one with a hardmax head
on the least <w, z_i>.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from constructions.blueprint import Blueprint, LayerBlueprint
from constructions.certificate import check_dtype
from constructions.gadgets import embedding
from constructions.learners.options import check_positive, check_sizes
from constructions.learners.prompt import examples_and_query, fields_of, within
from constructions.residual import Residual


def plan_of(
    r: Residual,
    layers: tuple[LayerBlueprint, ...],
    loops: int,
    *,
    scale: float,
    positions: tuple[str, ...] = (),
) -> tuple[Blueprint, Residual]:
    """What reads out ``scale`` times ``weights`` [d] and ``score``, and the input's fields."""
    dim = r.sizes["weights"]
    fields = fields_of(r, "x", "label", "query", "one")
    blueprint = Blueprint(
        residual=r,
        inputs="vectors",
        embed=embedding(fields, r),
        layers=layers,
        out={
            "weights": scale * np.eye(dim, dim + 1),
            "score": scale * np.eye(dim + 1)[dim:],
        },
        loops=loops,
        positions=positions,
    )
    return blueprint, fields


def labeled(problem: Mapping[str, Any], dim: int, radius: float) -> dict[str, np.ndarray]:
    """``inputs`` [n, d], ``labels`` [n] of +-1 and ``query`` [d]; ValueError if they are not."""
    data = examples_and_query(problem, dim)
    labels = data["labels"]
    if (np.abs(labels) != 1).any():
        raise ValueError(f"labels: expected +1 or -1, got {labels[np.abs(labels) != 1][0]:g}")
    within("inputs", data["inputs"], radius)
    within("query", data["query"][None], radius)
    return data


def check_halfspace(dim: int, radius: float, loops: int, length: int, dtype: str) -> None:
    """Raises ValueError for a size out of range."""
    check_sizes(dim=(dim, 1), loops=(loops, 2), length=(length, 2))
    check_positive(radius=radius)
    check_dtype(dtype)
