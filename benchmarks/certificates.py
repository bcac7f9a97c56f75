"""What `Construction.bound` certifies beside what float32 does, for every learner that has one.

Both are distances from the exact algorithm in float64, in the unit of the certificate; what float32
does is the jitted forward pass here. Ordinary data sets are those of scikit-learn, 20 splits a
learner, features standardized and scaled to norm 1; random ones are Gaussian, of three lengths and
several scales, 2,000 a learner.

``python -m benchmarks --suite certificates`` measures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

import jax
import numpy as np
from sklearn import datasets

from benchmarks.measure import Row
from constructions import CONSTRUCTIONS, Construction
from icl_sim.transformer import forward

ORDINARY, RANDOM = 20, 2000
EXAMPLES, QUERIES, FEATURES, CLASSES = 32, 16, 4, 3
CLASSIFIED = ("iris", "wine", "breast_cancer", "digits")

Problem = dict[str, Any]
# Draws a problem of n examples and m queries from features [n + m, d] of norm 1 and labels of all
# kinds.
Pose = Callable[[np.random.Generator, np.ndarray, np.ndarray], Problem]


def run(*, ordinary: int = ORDINARY, random: int = RANDOM) -> list[Row]:
    """One row for each learner and recipe.

    distance, bound: medians over the ordinary sets.
    ratio, largest: bound / distance there, the median and the largest.
    least: the least ratio on the random ones; below: how many of both are below 1.
    a priori: the certificate of all prompts of the ordinary sets' length.
    """
    return [
        _row(name, recipe, options, pose, ordinary, random)
        for name, recipe, options, pose in learners()
    ]


def learners() -> Iterator[tuple[str, str, Problem, Pose]]:
    """(name, recipe, options, how problems are posed)."""
    head: Problem = {"classes": CLASSES, "features": FEATURES, "queries": QUERIES, "norm": 1.001}
    recipes: dict[str, Problem] = {
        "SGD": {"learning_rate": 0.5},
        "momentum": {"learning_rate": 0.1, "momentum": 0.9},
        "decay": {"learning_rate": 0.5, "weight_decay": 0.01, "schedule": "cosine"},
        "coupled decay": {"momentum": 0.5, "weight_decay": 0.01, "decoupled": False},
        "Nesterov, decay": {"momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
        "5 mini-batches": {"learning_rate": 0.2, "momentum": 0.9, "batches": 5},
    }
    for recipe, options in recipes.items():
        batches = int(options.get("batches", 1))
        yield "softmax-head", recipe, head | options, partial(_classes, batches=batches)
    long = head | {"steps": 100, "momentum": 0.9, "learning_rate": 0.1}
    yield "softmax-head", "100 steps, momentum", long, _classes
    yield "softmax-head-softmax-only", "SGD", head, _classes
    one: Problem = {"features": FEATURES, "queries": QUERIES, "norm": 1.001}
    yield "logistic", "momentum", one | {"momentum": 0.9, "learning_rate": 0.2}, _signs
    network: Problem = {"hidden": 6, "learning_rate": 0.2, "weight_norm": 6.0}
    yield "network", "momentum, 10 steps", head | network | {"momentum": 0.9, "steps": 10}, _network
    yield "least-squares", "32 steps", one, _targets
    yield "ridge", "32 steps", one, _targets
    yield "newton-schulz", "8 steps", one, _targets
    dim: Problem = {"dim": FEATURES, "radius": 1.001}
    yield "lasso", "200 loops", dim | {"step": 1 / 41, "loops": 200}, _sparse
    yield "svm", "any answer", dim | {"loops": 500}, _separable
    yield "svm", "gap of the answer", dim | {"loops": 500}, _separable


def _row(name: str, recipe: str, options: Problem, pose: Pose, ordinary: int, random: int) -> Row:
    built = CONSTRUCTIONS[name](**options)
    answered = "gap" in recipe
    rng = np.random.default_rng(0)
    found = [compared(built, pose(rng, *_ordinary(rng, i)), answered) for i in range(ordinary)]
    drawn = [compared(built, pose(rng, *_random(rng)), answered) for _ in range(random)]
    distance = np.array([one[0] for one in found])
    ratio = np.array([bound / d for d, bound in found if d > 0])
    least = min((bound / d for d, bound in drawn if d > 0), default=np.inf)
    return {
        "name": name,
        "recipe": recipe,
        "distance": float(np.median(distance)),
        "bound": float(np.median([one[1] for one in found])),
        "ratio": float(np.median(ratio)),
        "largest": float(ratio.max()),
        "least": float(least),
        "below": sum(bound < d for d, bound in (*found, *drawn)),
        "a priori": float(built.certificate.error(length=EXAMPLES + QUERIES)),
    }


def compared(built: Construction, problem: Problem, answered: bool = False) -> tuple[float, float]:
    """What float32 is off by, and the bound; with ``answered`` that of this very answer."""
    outputs = np.asarray(_jitted()(built.spec, built.params, built.encode(problem)))
    bound = built.bound(problem, outputs=outputs if answered else None)
    return distance(built, built.decode(outputs), built.oracle(problem)), bound


def distance(built: Construction, found: Any, expected: Any) -> float:
    """In the unit of the certificate: the largest over queries, or over weights and score."""
    if isinstance(expected, dict):
        return max(distance(built, found[key], expected[key]) for key in expected)
    gap = np.abs(np.asarray(found, np.float64) - expected)
    laws = built.certificate.unit == "total variation" and gap.ndim == 2
    return float((gap.sum(axis=-1) / 2 if laws else gap).max())


@cache
def _jitted() -> Callable[..., Any]:
    return jax.jit(forward, static_argnums=0)


def _unit(x: np.ndarray) -> np.ndarray:
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12))


@cache
def _loaded(name: str) -> tuple[np.ndarray, np.ndarray]:
    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    x = np.asarray(x, np.float64)
    x = x[:, x.std(axis=0) > 0]
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    return _unit(np.linalg.svd(x, full_matrices=False)[0][:, :FEATURES]), np.asarray(y) % CLASSES


def _ordinary(rng: np.random.Generator, i: int) -> tuple[np.ndarray, np.ndarray]:
    """Features and classes of a split of data set i; its first principal components."""
    x, y = _loaded(CLASSIFIED[i % len(CLASSIFIED)])
    chosen = rng.permutation(len(x))[: EXAMPLES + QUERIES]
    return x[chosen], y[chosen]


def _random(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    n = int(rng.choice([5, 12, EXAMPLES])) + QUERIES  # few lengths: each is compiled
    x = rng.normal(size=(n, FEATURES)) * rng.choice([1e-3, 1.0, 30.0], FEATURES)
    return _unit(x) * rng.choice([0.01, 0.3, 1.0]), rng.integers(0, CLASSES, n)


def _classes(
    rng: np.random.Generator, x: np.ndarray, y: np.ndarray, *, batches: int = 1
) -> Problem:
    shown = len(x) - QUERIES
    posed = {"features": x[:shown], "labels": y[:shown], "queries": x[shown:]}
    start = {"head": rng.normal(size=(FEATURES, CLASSES))}
    return posed | start | ({"batch": np.arange(shown) % batches} if batches > 1 else {})


def _signs(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> Problem:
    posed = _classes(rng, x, y)
    return {**posed, "labels": np.where(posed["labels"] > 0, 1, -1)} | {"head": np.zeros((4, 1))}


def _network(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> Problem:
    posed = _classes(rng, x, y)
    del posed["head"]
    inner, outer = rng.normal(size=(6, FEATURES)), rng.normal(size=(CLASSES, 6))
    return posed | {"inner": inner / 2, "outer": outer / 6**0.5}


def _targets(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> Problem:
    shown = len(x) - QUERIES
    labels = x[:shown] @ rng.normal(size=FEATURES) + 0.3 * y[:shown]
    return {
        "features": x[:shown],
        "targets": labels / max(1.0, np.abs(labels).max()),
        "queries": x[shown:],
    }


def _sparse(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> Problem:
    posed = _targets(rng, x, y)
    return {
        "inputs": posed["features"],
        "labels": posed["targets"],
        "query": posed["queries"][0],
    }


def _separable(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> Problem:
    shown = len(x) - QUERIES
    labels = np.where(x[:shown] @ rng.normal(size=FEATURES) > 0, 1, -1)
    return {"inputs": x[:shown], "labels": labels, "query": x[shown]}
