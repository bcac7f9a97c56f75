"""What a problem holds, checked, and the prompts that pose it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from constructions.certificate import Certificate
from constructions.learners.descent import LOGITS, HeadData, HeadTask, Recipe
from constructions.residual import Residual


def as_array(name: str, values: Any, shape: tuple[int | None, ...]) -> np.ndarray:
    """float64 of that shape (None: any length), all finite, or ValueError."""
    array = np.asarray(values, dtype=np.float64)
    wanted = ", ".join("n" if size is None else str(size) for size in shape)
    fits = array.ndim == len(shape) and all(
        size in (None, got) for size, got in zip(shape, array.shape, strict=True)
    )
    if not fits:
        raise ValueError(f"{name}: expected shape [{wanted}], got {list(array.shape)}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: expected finite numbers, got NaN or infinity")
    return array


def rows(name: str, values: Any, columns: int) -> np.ndarray:
    """float64 [n, columns], rounded to float32 as the prompt will be.

    Raises:
      ValueError: another shape, or a number that is not finite.
    """
    return as_array(name, np.asarray(values, np.float32), (None, columns))


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


def longest(*rows: np.ndarray) -> float:
    """The largest Euclidean norm of a row."""
    return float(np.sqrt((np.concatenate(rows) ** 2).sum(axis=1).max(initial=0)))


def within(name: str, vectors: np.ndarray, radius: float) -> None:
    """Raises ValueError if a row is longer than ``radius``, the norm that is certified."""
    norm = longest(vectors)
    if norm > radius * (1 + 1e-6):
        raise ValueError(f"{name}: expected rows of norm at most {radius:g}, got {norm:g}")


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


def tokens(fields: Residual, count: int, values: Mapping[str, Any]) -> np.ndarray:
    """float32 [count, I]: input vectors with these values (broadcast) in the named fields.

    >>> tokens(Residual(one=1, x=2), 2, {"one": 1, "x": [[3, 4], [5, 6]]}).tolist()
    [[1.0, 3.0, 4.0], [1.0, 5.0, 6.0]]
    """
    out = np.zeros((count, fields.width), np.float32)
    for name, value in values.items():
        out[:, fields[name]] = value
    return out


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


def parse(problem: Mapping[str, Any], recipe: Recipe, task: HeadTask) -> HeadData:
    """The problem in float64, checked.

    Raises:
      ValueError: arrays of other shapes, or values beyond what is certified.
    """
    d, m, outputs = task.features, task.queries, task.outputs
    row = (outputs, d) if task.jacobian else (d,)
    x = as_array("features", problem["features"], (None, *row))
    n = len(x)
    queries = np.asarray(problem["queries"])
    z = np.concatenate(
        [x, as_array("queries", queries.reshape(-1, *queries.shape[-len(row) :]), (m, *row))]
    )
    largest = longest(z.reshape(len(z), -1))
    if largest > task.norm * (1 + 1e-6):
        raise ValueError(
            f"features: expected Euclidean norms up to {task.norm:g} (certified), got "
            f"{largest:.4g}: build with norm={largest:.4g}, or scale them"
        )
    labels = np.asarray(problem["labels"])
    if labels.ndim == 1 and labels.dtype.kind in "iu":
        k = task.classes
        if len(labels) != n or not 0 <= labels.min(initial=0) <= labels.max(initial=0) < k:
            raise ValueError(f"labels: expected {n} integers from 0 to {k - 1}, got {labels}")
        labels = task.free[labels]
    labels = as_array("labels", labels, (n, outputs))
    if "logits" in problem and "head" in problem:
        raise ValueError("expected logits or a head, got both")
    logits = np.zeros((n + m, outputs))
    if "logits" in problem:
        logits = as_array("logits", problem["logits"], (n + m, outputs))
    elif "head" in problem and not task.jacobian:
        logits = z @ as_array("head", problem["head"], (d, outputs))
    if np.abs(logits).max() > LOGITS:
        raise ValueError(
            f"logits: expected -{LOGITS:g} to {LOGITS:g} at the start (certified), got "
            f"{logits.min():.4g} to {logits.max():.4g}: subtract a constant"
        )
    return HeadData(z, labels, _weights(problem, recipe.batches, n), logits)


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


def encode(
    data: HeadData, recipe: Recipe, fields: Residual, task: HeadTask, certificate: Certificate
) -> np.ndarray:
    """float32 [T, I]: class tokens, examples (copies or reflections of them), queries."""
    z, labels, weights, logits = data
    n, m = len(labels), task.queries
    k = task.classes
    hidden = {"hidden": 1} if recipe.temperature else {}
    parts = [tokens(fields, k, {"one": 1, "class": task.free, **hidden})]
    example = {
        "one": 1, "other": 1, "label": labels, "logits": logits[:n],
        "weight": weights.T, **_features(z[:n]),
    }  # fmt: skip
    if recipe.temperature:
        for sign in (1, -1):
            scaled = sign * n * weights.T
            parts.append(tokens(fields, n, {**example, "key": sign * z[:n], "weight": scaled}))
    elif task.mask == "causal":
        for t in range(recipe.batches):
            weight = np.zeros((n, recipe.batches))
            weight[:, t] = weights[t % len(weights)]
            parts.append(tokens(fields, n, {**example, "weight": weight}))
    else:
        parts.append(tokens(fields, n, example))
    query = {"one": 1, "other": 1, "logits": logits[n:], **_features(z[n:]), **hidden}
    parts.append(tokens(fields, m, query))
    inputs = np.concatenate(parts)
    certificate.check(length=len(inputs))
    return inputs


def _features(z: np.ndarray) -> dict[str, np.ndarray]:
    if z.ndim == 2:
        return {"features": z}
    return {f"features_{c}": z[:, c] for c in range(z.shape[1])}
