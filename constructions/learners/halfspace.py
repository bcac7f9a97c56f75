"""What the learners of a halfspace share: their data, and the two layers of a loop.

They keep weights w in the residual stream of every token, so that token t ends with what the first
t examples teach: one pass gives the whole learning curve. A loop has two layers: the first forms
z_i = y_i x_i and changes w by the example that was picked, the second picks one with a hardmax head
on the least <w, z_i>.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from constructions.blueprint import Block, Blueprint
from constructions.certificate import UNIT
from constructions.learners.examples import fields_of, regression, within
from constructions.learners.terms import embedding
from constructions.residual import Residual


def plan_of(
    r: Residual, layers: tuple[Block, ...], loops: int, *, scale: float, index: str | None = None
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
        index=index,
    )
    return blueprint, fields


def labeled(problem: Mapping[str, Any], dim: int, radius: float) -> dict[str, np.ndarray]:
    """``inputs`` [n, d], ``labels`` [n] of +-1 and ``query`` [d]; ValueError if they are not."""
    data = regression(problem, dim)
    labels = data["labels"]
    if (np.abs(labels) != 1).any():
        raise ValueError(f"labels: expected +1 or -1, got {labels[np.abs(labels) != 1][0]:g}")
    within("inputs", data["inputs"], radius)
    within("query", data["query"][None], radius)
    return data


def check_sizes(dim: int, radius: float, loops: int, length: int, dtype: str) -> None:
    """Raises ValueError for a size out of range."""
    for name, value, least in (("dim", dim, 1), ("loops", loops, 2), ("length", length, 2)):
        if value < least:
            raise ValueError(f"{name}: expected at least {least}, got {value}")
    if not 0 < radius < math.inf:
        raise ValueError(f"radius: expected a positive number, got {radius}")
    if dtype not in UNIT:
        raise ValueError(f"dtype: expected one of {', '.join(UNIT)}, got {dtype!r}")
