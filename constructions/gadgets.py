"""Gadgets: each function writes one named piece of a computation into params.

A gadget's proof stands beside the weights that it writes.  Gadgets speak of residual slices by
name and never of column numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from constructions.residual import Residual
from constructions.spec import Params


def copy_columns(matrix: np.ndarray, rows: slice, columns: slice, gain: float = 1.0) -> None:
    """matrix[rows, columns] += gain I: carries one slice onto another of the same size."""
    size = rows.stop - rows.start
    if columns.stop - columns.start != size:
        raise ValueError(f"copy: expected slices of one size, got {rows} and {columns}")
    matrix[rows, columns] += gain * np.eye(size, dtype=matrix.dtype)


def offset_head(
    params: Params,
    residual: Residual,
    layer: int,
    head: int,
    *,
    offset: int,
    source: str,
    target: str,
    sharpness: float,
) -> None:
    """``target`` := ``source`` of the token ``offset`` places back.

    Proof. w_q = w_k = 0, so the scores are the relative bias alone: ``sharpness`` at distance
    ``offset`` and 0 elsewhere.  If the token has ``offset`` predecessors, the one at that distance
    wins by ``sharpness``; the T - 1 others share a mass of at most (T - 1) exp(-sharpness).  A
    token with fewer predecessors gets the mean over those it has: pad the prompt.  QED
    """
    bias = params[f"layer_{layer}.bias"]
    if bias.shape[1] < offset + 2:
        raise ValueError(f"offset head {offset}: expected a window of {offset + 2} or more")
    # The last entry also serves all larger distances, so it must not be the offset's own.
    bias[head, offset] = sharpness
    size = residual.sizes[source]
    values = slice(0, size)
    copy_columns(params[f"layer_{layer}.w_v"][head], residual[source], values)
    copy_columns(params[f"layer_{layer}.w_o"][head], values, residual[target])


def match_head(
    params: Params,
    residual: Residual,
    layer: int,
    head: int,
    *,
    pairs: Sequence[tuple[str, str]],
    default: tuple[str, str],
    value: str,
    target: str,
) -> None:
    """``target`` := mean of ``value`` over the tokens that match the query in every pair.

    Args:
      pairs: (query slice, key slice), each holding a one-hot vector or zero.
      default: (query slice, key slice) of one column each, whose product is added to the score:
        the score of the tokens that answer when nothing matches.

    Proof. A pair contributes <one-hot, one-hot>, which is 1 if both name the same symbol and 0 if
    not or if either is zero.  The score of a token is the number of agreeing pairs: len(pairs) for
    a match, at most len(pairs) - 1 otherwise.  With the layer's scale beta the gap is beta, so N
    other tokens hold a mass of at most N exp(-beta) against one match, and equal scores share
    equally: the head returns the mean over the matches, up to that leak.  QED
    """
    w_q, w_k = params[f"layer_{layer}.w_q"][head], params[f"layer_{layer}.w_k"][head]
    start = 0
    for query, key in [*pairs, default]:
        columns = slice(start, start + residual.sizes[query])
        copy_columns(w_q, residual[query], columns)
        copy_columns(w_k, residual[key], columns)
        start = columns.stop
    values = slice(0, residual.sizes[value])
    copy_columns(params[f"layer_{layer}.w_v"][head], residual[value], values)
    copy_columns(params[f"layer_{layer}.w_o"][head], values, residual[target])
