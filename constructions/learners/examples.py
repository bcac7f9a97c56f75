"""Data in a prompt: a stream of symbols, or labeled vectors and a query."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from constructions.fields import vectors
from constructions.residual import Residual


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


def stream(problem: Mapping[str, Any], vocab: int) -> dict[str, np.ndarray]:
    """The symbols of ``problem["stream"]``, int64 [T]."""
    values = np.asarray(problem["stream"]).reshape(-1)
    return {"stream": integers("stream", values, len(values), 0, vocab - 1)}


def within(name: str, vectors: np.ndarray, radius: float) -> None:
    """Raises ValueError if a row is longer than ``radius``, the norm that is certified."""
    longest = float(np.sqrt((vectors**2).sum(axis=1).max(initial=0)))
    if longest > radius * (1 + 1e-6):
        raise ValueError(f"{name}: expected rows of norm at most {radius:g}, got {longest:g}")


def regression(problem: Mapping[str, Any], dim: int) -> dict[str, np.ndarray]:
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
    return {"inputs": inputs, "labels": labels, "query": query}


def fields_of(residual: Residual, *names: str) -> Residual:
    """The slices of these names, in this order, as the fields of an input vector."""
    return Residual(**{name: residual.sizes[name] for name in names})


def prompt(fields: Residual, *, inputs: Any, labels: Any, query: Any) -> Any:
    """float32 [n + 1, I]: a vector for each example, then one for the query.

    Args:
      fields: ``x`` [d], ``label``, ``query`` [d] and ``one``.
      inputs, labels, query: [n, d], [n] and [d], of NumPy or JAX.

    >>> fields = Residual(x=1, label=1, query=1, one=1)
    >>> data = {"inputs": [[2.0]], "labels": [-1.0], "query": [3.0]}
    >>> prompt(fields, **{name: np.array(value) for name, value in data.items()}).tolist()
    [[2.0, -1.0, 0.0, 1.0], [0.0, 0.0, 3.0, 1.0]]
    """
    return vectors(
        fields,
        (len(inputs), {"x": inputs, "label": labels[:, None], "one": 1}),
        (1, {"query": query, "one": 1}),
    )


def weights_and_score(outputs: Any) -> dict[str, Any]:
    """The last token's answer: ``weights`` [d], and ``score``, their product with the query."""
    return {"weights": outputs[..., -1, :-1], "score": outputs[..., -1, -1]}
