"""Data in a prompt: a stream of symbols, or labeled vectors and a query."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from constructions.residual import Residual


def embedding(residual: Residual, *names: str) -> dict[str, np.ndarray]:
    """Input features one after another into the slices of these names, as they are."""
    total = sum(residual.sizes[name] for name in names)
    rows, start = {}, 0
    for name in names:
        stop = start + residual.sizes[name]
        rows[name] = np.eye(total)[:, start:stop]
        start = stop
    return rows


def rows(name: str, values: Any, columns: int) -> np.ndarray:
    """float64 [n, columns], rounded to float32 as the prompt will be.

    Raises:
      ValueError: another shape, or a number that is not finite.
    """
    found = np.asarray(values, np.float32).astype(np.float64)
    if found.ndim != 2 or found.shape[1] != columns:
        raise ValueError(f"{name}: expected shape [n, {columns}], got {list(found.shape)}")
    if not np.isfinite(found).all():
        raise ValueError(f"{name}: expected finite numbers, got NaN or infinity")
    return found


def integers(name: str, values: Any, size: int, least: int, most: int) -> np.ndarray:
    """int64 [size] with entries from ``least`` to ``most``.

    Raises:
      ValueError: another shape, kind or range.
    """
    found = np.asarray(values)
    if found.shape != (size,) or (size and found.dtype.kind not in "iu"):
        raise ValueError(
            f"{name}: expected {size} integers, got {found.dtype} of shape {list(found.shape)}"
        )
    if size and not least <= found.min() <= found.max() <= most:
        raise ValueError(f"{name}: expected {least} to {most}, got {found.min()} to {found.max()}")
    return found.astype(np.int64)


def stream(problem: Mapping[str, Any], vocab: int) -> np.ndarray:
    """The symbols of ``problem["stream"]``, int64 [T]."""
    values = np.asarray(problem["stream"]).reshape(-1)
    return integers("stream", values, len(values), 0, vocab - 1)


def within(name: str, vectors: np.ndarray, radius: float) -> None:
    """Raises ValueError if a row is longer than ``radius``, the norm that is certified."""
    longest = float(np.sqrt((vectors**2).sum(axis=1).max(initial=0)))
    if longest > radius * (1 + 1e-6):
        raise ValueError(f"{name}: expected rows of norm at most {radius:g}, got {longest:g}")


def regression(problem: Mapping[str, Any], dim: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``inputs`` [n, d], ``labels`` [n] and ``query`` [d] of a problem.

    Raises:
      ValueError: shapes that do not fit each other, no examples, numbers that are not finite.
    """
    inputs = rows("inputs", problem["inputs"], dim)
    labels = rows("labels", np.reshape(problem["labels"], (-1, 1)), 1)[:, 0]
    query = rows("query", np.reshape(problem["query"], (1, -1)), dim)[0]
    if len(labels) != len(inputs) or not len(inputs):
        raise ValueError(
            f"labels: expected one for each of 1 or more inputs, got {len(labels)} for "
            f"{len(inputs)} inputs"
        )
    return inputs, labels, query


def prompt(inputs: np.ndarray, labels: np.ndarray, query: np.ndarray) -> np.ndarray:
    """float32 [n + 1, 2 d + 2]: rows (x, y, 0, 1) of the examples, then (0, 0, query, 1).

    >>> prompt(np.array([[2.0]]), np.array([-1.0]), np.array([3.0])).tolist()
    [[2.0, -1.0, 0.0, 1.0], [0.0, 0.0, 3.0, 1.0]]
    """
    n, d = inputs.shape
    tokens = np.zeros((n + 1, 2 * d + 2), np.float32)
    tokens[:n, :d], tokens[:n, d] = inputs, labels
    tokens[n, d + 1 : -1] = query
    tokens[:, -1] = 1
    return tokens


def weights_and_score(outputs: Any) -> dict[str, Any]:
    """The last token's answer: ``weights`` [d], and ``score``, their product with the query."""
    return {"weights": outputs[..., -1, :-1], "score": outputs[..., -1, -1]}
