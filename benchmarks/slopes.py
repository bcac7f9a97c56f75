"""Error slopes in n of the halfspace learners, run through their weights on realizable data.

Inputs are normal, labels a random halfspace's, and the error is the exact disagreement, the angle
over pi. Weights live in every token's residual stream, so one forward pass over n examples gives
the whole learning curve. Everything runs in float64, where the perceptron's integers (inputs in
units of 1/16) are certified to be exact.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.measure import Row, timed
from constructions.learners.perceptron import perceptron
from constructions.learners.svm import svm
from icl_sim.transformer import forward

GRID = 16  # steps of a unit
SIZES = {5: (25, 50, 100, 200), 20: (60, 120, 240)}
LOOPS = {"perceptron": 3000, "svm": 10_000}


def learning_curves(
    learner: str, dim: int, sizes: Iterable[int], replicates: int, *, loops: int, seed: int = 0
) -> np.ndarray:
    """Exact errors [replicates, sizes] of the weights after a number of examples."""
    sizes = tuple(sizes)
    rng = np.random.default_rng([seed, dim])
    most = max(sizes)
    inputs = rng.standard_normal((replicates, most, dim))
    if learner == "perceptron":
        inputs = np.rint(GRID * inputs)
    targets = rng.standard_normal((replicates, dim))
    labels = np.where(np.einsum("rnd,rd->rn", inputs, targets) > 0, 1, -1)
    radius = math.ceil(np.linalg.norm(inputs, axis=2).max())
    options: dict[str, Any] = {"dim": dim, "radius": float(radius), "loops": loops}
    build = perceptron if learner == "perceptron" else svm
    with jax.enable_x64(True):
        built = build(**options, length=most + 1, dtype="float64")
        params = {name: jnp.asarray(leaf, jnp.float64) for name, leaf in built.params.items()}
        apply = jax.jit(lambda prompt: forward(built.spec, params, prompt))
        curves = []
        for x, y in zip(inputs, labels, strict=True):
            outputs = apply(built.encode({"inputs": x, "labels": y, "query": np.zeros(dim)}))
            curves.append(np.asarray(outputs)[np.array(sizes) - 1, :dim])
    weights = np.stack(curves)
    cosines = np.einsum("rsd,rd->rs", weights, targets)
    norms = np.linalg.norm(weights, axis=2) * np.linalg.norm(targets, axis=1)[:, None]
    return np.arccos(np.clip(cosines / norms, -1, 1)) / math.pi


def slope(sizes: Iterable[int], errors: np.ndarray) -> float:
    """Least squares of ln(mean error) on ln(n)."""
    return float(np.polyfit(np.log(list(sizes)), np.log(errors.mean(axis=0)), 1)[0])


def run(*, replicates: int = 16) -> list[Row]:
    """One row for each learner and dimension: mean errors, slope, and its bootstrap interval."""
    rows = []
    for learner, loops in LOOPS.items():
        for dim, sizes in SIZES.items():
            curves = partial(learning_curves, learner, dim, sizes, replicates, loops=loops)
            taken, errors = timed(curves)
            rng = np.random.default_rng(0)
            again = [
                slope(sizes, errors[rng.integers(0, replicates, replicates)]) for _ in range(1000)
            ]
            low, high = np.quantile(again, [0.025, 0.975])
            rows.append(
                {
                    "name": f"{learner}, d = {dim}",
                    "loops": loops,
                    "sizes": " ".join(map(str, sizes)),
                    "errors": " ".join(f"{error:.4f}" for error in errors.mean(axis=0)),
                    "slope": slope(sizes, errors),
                    "low": float(low),
                    "high": float(high),
                    "median_s": taken,
                }
            )
    return rows
