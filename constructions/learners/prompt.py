"""What a problem holds, checked, and the prompts that pose it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from constructions.blueprint import Blueprint
from constructions.certificate import Certificate
from constructions.construction import Construction, assemble
from constructions.fields import TokenRanges, vectors
from constructions.learners.descent import LOGITS, HeadTask, Recipe
from constructions.residual import Residual
from constructions.spec import Params, TransformerSpec

# What is certified of `weights_and_score`.
WEIGHT_OR_SCORE = "largest error of a weight or the score"


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


def stream(problem: Mapping[str, Any], vocab: int) -> dict[str, np.ndarray]:
    """The symbols of ``problem["stream"]``, int64 [T]."""
    values = np.asarray(problem["stream"]).reshape(-1)
    return {"stream": integers("stream", values, len(values), 0, vocab - 1)}


def check_whole(reason: str, **arrays: np.ndarray) -> None:
    """Raises ValueError for a number that is no integer, with the reason why it must be one."""
    for name, values in arrays.items():
        wrong = values[values != np.rint(values)]
        if wrong.size:
            raise ValueError(
                f"{name}: expected integers, {reason}, got {wrong[0]:g}: multiply by the inverse "
                "of the data's grid"
            )


def longest(*rows: np.ndarray) -> float:
    """The largest Euclidean norm of a row."""
    return float(np.sqrt((np.concatenate(rows) ** 2).sum(axis=1).max(initial=0)))


def within(name: str, vectors: np.ndarray, radius: float) -> None:
    """Raises ValueError if a row is longer than ``radius``, the norm that is certified."""
    norm = longest(vectors)
    if norm > radius * (1 + 1e-6):
        raise ValueError(f"{name}: expected rows of norm at most {radius:g}, got {norm:g}")


def examples_and_query(problem: Mapping[str, Any], dim: int) -> dict[str, np.ndarray]:
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


def last_law(outputs: Any) -> Any:
    """The last token's answer: a law [V]."""
    return outputs[..., -1, :]


def weights_learner(
    name: str,
    plan: Blueprint,
    fields: Residual,
    *,
    certify: Callable[[TransformerSpec, Params], Certificate],
    parse: Callable[[Any], dict[str, Any]],
    oracle: Callable[..., Any],
    source: str,
    proof: str,
    check: Callable[..., None] = lambda **data: None,
    enclose: Callable[..., float] | None = None,
) -> Construction:
    """`assemble` for a learner of weights: it reads a `prompt`, answers `weights_and_score`."""
    fill = partial(prompt, fields)
    return assemble(
        name, plan, fields=fields, parse=parse, fill=fill, decode=weights_and_score,
        certify=certify, check=check, oracle=oracle, source=source, proof=proof,
        enclose=enclose,
    )  # fmt: skip


def stream_learner(
    name: str,
    plan: Blueprint,
    fields: TokenRanges,
    *,
    vocab: int,
    certify: Callable[[TransformerSpec, Params], Certificate],
    fill: Callable[..., Any],
    oracle: Callable[..., Any],
    source: str,
    proof: str,
) -> Construction:
    """`assemble` for a learner of what follows a `stream`: it answers the `last_law`."""
    return assemble(
        name, plan, fields=fields, parse=partial(stream, vocab=vocab), fill=fill, decode=last_law,
        certify=certify, oracle=oracle, source=source, proof=proof,
    )  # fmt: skip


def parse(problem: Mapping[str, Any], recipe: Recipe, task: HeadTask) -> dict[str, np.ndarray]:
    """The problem in float64, checked: the keyword arguments of `fill`.

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
    task: HeadTask,
    *,
    features: Any,
    queries: Any,
    labels: Any,
    weights: Any,
    logits: Any,
) -> Any:
    """float32 [T, I]: class tokens, examples (copies or reflections of them), queries.

    Args:
      fields, recipe, task: of the construction.
      features: [n, d], or Jacobians [n, O, d], of NumPy or JAX like all that follow.
      queries: [m, d] or [m, O, d].
      labels: laws [n, O].
      weights: [B, n].
      logits: [n + m, O], where training starts, the examples' first.
    """
    k, n, m = task.classes, len(labels), len(queries)
    hidden = {"hidden": 1} if recipe.temperature else {}
    groups: list[tuple[int, dict[str, Any]]] = [(k, {"one": 1, "class": task.free, **hidden})]
    example = {
        "one": 1, "other": 1, "label": labels, "logits": logits[:n],
        "weight": weights.T, **_features(features),
    }  # fmt: skip
    if recipe.temperature:
        for sign in (1, -1):
            mirrored = {"key": sign * features, "weight": sign * n * weights.T}
            groups.append((n, {**example, **mirrored}))
    elif task.mask == "causal":
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
