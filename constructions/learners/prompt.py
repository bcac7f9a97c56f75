"""Prompts for gradient descent on a head: class tokens, examples, queries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from constructions.fields import vectors
from constructions.learners.descent import LOGITS, Recipe
from constructions.residual import Residual


class Shape(NamedTuple):
    """What a problem must look like.

    Args:
      free: [k, O], the outputs' row of each class token: softmax(logits free') is the law.
      features, queries, norm: d, m and the largest norm of a row of features.
      mask: of the layers; the causal one needs a copy of the data for each step.
      jacobian: rows of features are Jacobians [O, d].
    """

    free: np.ndarray
    features: int
    queries: int
    norm: float
    mask: str = "prefix"
    jacobian: bool = False


def parse(problem: Mapping[str, Any], recipe: Recipe, shape: Shape) -> dict[str, np.ndarray]:
    """The problem in float64, checked: the keyword arguments of `fill`.

    Raises:
      ValueError: arrays of other shapes, or values beyond what is certified.
    """
    d, m, outputs = shape.features, shape.queries, shape.free.shape[1]
    row = (outputs, d) if shape.jacobian else (d,)
    x = as_array("features", problem["features"], (None, *row))
    n = len(x)
    queries = np.asarray(problem["queries"])
    z = np.concatenate(
        [x, as_array("queries", queries.reshape(-1, *queries.shape[-len(row) :]), (m, *row))]
    )
    largest = float(np.sqrt((z * z).reshape(len(z), -1).sum(axis=1)).max())
    if largest > shape.norm * (1 + 1e-6):
        raise ValueError(
            f"features: expected Euclidean norms up to {shape.norm:g} (certified), got "
            f"{largest:.4g}: build with norm={largest:.4g}, or scale them"
        )
    labels = np.asarray(problem["labels"])
    if labels.ndim == 1 and labels.dtype.kind in "iu":
        k = len(shape.free)
        if len(labels) != n or not 0 <= labels.min(initial=0) <= labels.max(initial=0) < k:
            raise ValueError(f"labels: expected {n} integers from 0 to {k - 1}, got {labels}")
        labels = shape.free[labels]
    labels = as_array("labels", labels, (n, outputs))
    if "logits" in problem and "head" in problem:
        raise ValueError("expected logits or a head, got both")
    logits = np.zeros((n + m, outputs))
    if "logits" in problem:
        logits = as_array("logits", problem["logits"], (n + m, outputs))
    elif "head" in problem and not shape.jacobian:
        logits = z @ as_array("head", problem["head"], (d, outputs))
    if np.abs(logits).max() > LOGITS:
        raise ValueError(
            f"logits: expected -{LOGITS:g} to {LOGITS:g} at the start (certified), got "
            f"{logits.min():.4g} to {logits.max():.4g}: subtract a constant"
        )
    return {
        "features": x,
        "queries": z[n:],
        "labels": labels,
        "weights": _weights(problem, recipe.batches, n),
        "logits": logits,
    }


def _weights(problem: Mapping[str, Any], batches: int, n: int) -> np.ndarray:
    if "batch" in problem:
        batch = np.asarray(problem["batch"])
        counts = (batch == np.arange(batches)[:, None]).astype(np.float64)
        if batch.shape != (n,) or counts.sum() != n or not counts.any(axis=1).all():
            raise ValueError(
                f"batch: expected {n} integers that name each of the batches 0 to {batches - 1}, "
                f"got {batch}"
            )
        return counts / counts.sum(axis=1, keepdims=True)
    given = np.asarray(problem.get("weights", np.full((1, n), 1 / max(n, 1))), np.float64)
    weights = np.atleast_2d(given)
    if len(weights) == 1:
        weights = np.repeat(weights, batches, axis=0)
    as_array("weights", weights, (batches, n))
    if (weights < 0).any() or (weights.sum(axis=1) > 1 + 1e-6).any():
        raise ValueError(
            f"weights: expected numbers >= 0 of sum <= 1 in each batch, got a least weight of "
            f"{weights.min():.4g} and a largest sum of {weights.sum(axis=1).max():.4g}"
        )
    return weights


def fill(
    fields: Residual,
    recipe: Recipe,
    shape: Shape,
    *,
    features: Any,
    queries: Any,
    labels: Any,
    weights: Any,
    logits: Any,
) -> Any:
    """float32 [T, I]: class tokens, examples (copies or reflections of them), queries.

    Args:
      fields, recipe, shape: of the construction.
      features: [n, d], or Jacobians [n, O, d], of NumPy or JAX like all that follow.
      queries: [m, d] or [m, O, d].
      labels: laws [n, O].
      weights: [B, n].
      logits: [n + m, O], where training starts, the examples' first.
    """
    k, n, m = len(shape.free), len(labels), len(queries)
    hidden = {"hidden": 1} if recipe.temperature else {}
    groups: list[tuple[int, dict[str, Any]]] = [(k, {"one": 1, "class": shape.free, **hidden})]
    example = {
        "one": 1, "other": 1, "label": labels, "logits": logits[:n],
        "weight": weights.T, **_features(features),
    }  # fmt: skip
    if recipe.temperature:
        for sign in (1, -1):
            mirrored = {"key": sign * features, "weight": sign * n * weights.T}
            groups.append((n, {**example, **mirrored}))
    elif shape.mask == "causal":
        for t in range(recipe.batches):
            # The copy of step t has a weight for this step alone.
            column = np.arange(recipe.batches)[None] == t
            groups.append((n, {**example, "weight": weights[t % len(weights)][:, None] * column}))
    else:
        groups.append((n, example))
    query = {"one": 1, "other": 1, "logits": logits[n:], **_features(queries), **hidden}
    return vectors(fields, *groups, (m, query))


def _features(z: Any) -> dict[str, Any]:
    if z.ndim == 2:
        return {"features": z}
    return {f"features_{c}": z[:, c] for c in range(z.shape[1])}


def as_array(name: str, values: Any, shape: tuple[int | None, ...]) -> np.ndarray:
    """float64 of that shape (None: any length), all finite, or ValueError."""
    array = np.asarray(values, dtype=np.float64)
    wanted = [size if size is not None else "n" for size in shape]
    fits = array.ndim == len(shape) and all(
        size in (None, got) for size, got in zip(shape, array.shape, strict=True)
    )
    if not fits:
        raise ValueError(f"{name}: expected shape {wanted}, got {list(array.shape)}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: expected finite numbers, got NaN or infinity")
    return array
