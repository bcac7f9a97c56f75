"""Fine-tuning in a forward pass: its distance from the algorithm, on the shipped base's features.

``python -m benchmarks --suite learners`` measures; ``python -m benchmarks.learners FILE.svg`` also
plots the error of the softmax-only form against its temperature.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np

from constructions import Construction
from constructions import forward as reference
from constructions.learners.network import network
from constructions.learners.softmax_head import softmax_head, softmax_only
from icl_sim.base import load_base
from icl_sim.features import head_features
from icl_sim.transformer import forward

STEPS, EXAMPLES, QUERIES = 100, 48, 16
TEMPERATURES = (0.4, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0001)
RECIPES: dict[str, dict[str, Any]] = {
    "SGD": {"learning_rate": 0.5},
    "momentum": {"learning_rate": 0.1, "momentum": 0.9},
    "momentum, decay, cosine": {
        "learning_rate": 0.2,
        "momentum": 0.9,
        "weight_decay": 0.01,
        "schedule": "cosine",
    },
    "the same, 5 mini-batches": {
        "learning_rate": 0.2,
        "momentum": 0.9,
        "weight_decay": 0.01,
        "schedule": "cosine",
        "batches": 5,
    },
}


def run() -> list[dict[str, Any]]:
    """Rows of construction, recipe, steps and three total variations, largest over the queries.

    moved: between the model before and after the training.
    float32: of the jitted forward pass from the algorithm in float64.
    float64: the same of the reference, so with no error but that of the method.
    """
    problem = base_problem()
    options: dict[str, Any] = {"classes": 16, "features": 64, "steps": STEPS, "queries": QUERIES}
    rows = []
    for name, recipe in RECIPES.items():
        posed = dict(problem)
        if "batches" in recipe:
            posed["batch"] = np.arange(EXAMPLES) * 7 % recipe["batches"]
        rows.append(_row(softmax_head(**options, **recipe), name, posed, STEPS))
    for temperature in TEMPERATURES:
        built = softmax_only(temperature=temperature, **options)
        rows.append(_row(built, f"temperature {temperature:g}", problem, STEPS))
    rng = np.random.default_rng(0)
    x = rng.normal(size=(94, 5))
    built = network(
        classes=4, features=5, hidden=7, steps=50, learning_rate=0.5, momentum=0.9, queries=30,
        norm=8.0, weight_norm=8.0,
    )  # fmt: skip
    posed = {
        "features": x[:64], "labels": rng.integers(0, 4, 64), "queries": x[64:],
        "inner": rng.normal(size=(7, 5)) / 5**0.5, "outer": rng.normal(size=(4, 7)) / 7**0.5,
    }  # fmt: skip
    rows.append(_row(built, "momentum", posed, 50))
    return rows


def base_problem() -> dict[str, Any]:
    """Frozen features of the shipped base, scaled to norm 1, and labels that it does not know."""
    base = load_base()
    rng = np.random.default_rng(8)
    prompts = rng.integers(0, base.spec.input_size, (EXAMPLES + QUERIES, 7))
    z = np.asarray(head_features(base.spec, base.params, prompts), np.float64)
    scale = np.linalg.norm(z, axis=1).max()
    return {
        "features": z[:EXAMPLES] / scale,
        "labels": (z[:EXAMPLES] @ rng.normal(size=(64, 16))).argmax(1),
        "queries": z[EXAMPLES:] / scale,
        "head": np.asarray(base.params["w_out"], np.float64) * scale,
    }


def _row(built: Construction, recipe: str, problem: Any, steps: int) -> dict[str, Any]:
    expected, inputs = built.oracle(problem), built.encode(problem)
    fast = jax.jit(forward, static_argnums=0)(built.spec, built.params, inputs)
    exact = reference(built.spec, built.params, inputs)
    return {
        "construction": built.name,
        "recipe": recipe,
        "steps": steps,
        "moved": _distance(_before(problem), expected),
        "float32": _distance(built.decode(fast), expected),
        "float64": _distance(built.decode(exact), expected),
    }


def _before(problem: Any) -> np.ndarray:
    if "inner" in problem:
        logits = np.maximum(problem["queries"] @ problem["inner"].T, 0) @ problem["outer"].T
    else:
        logits = problem["queries"] @ problem["head"]
    law = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(law / law.sum(axis=1, keepdims=True))


def _distance(p: np.ndarray, q: np.ndarray) -> float:
    return float(0.5 * np.abs(p - q).sum(axis=-1).max())


if __name__ == "__main__":
    from icl_sim.report.curves import temperatures
    from icl_sim.report.plots import svg

    rows = [row for row in run() if row["recipe"].startswith("temperature")]
    Path(sys.argv[1]).write_text(svg(temperatures, rows))
