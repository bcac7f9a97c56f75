"""Learning in a forward pass: its distance from the algorithm, and its time beside scikit-learn's.

Distances are on the shipped base's features. Times are of one prompt, from arrays to predictions:
encoding, the jitted forward pass, decoding; fit and predict.

``python -m benchmarks --suite learners`` measures; ``python -m benchmarks.learners FILE.svg`` also
plots the error of the softmax-only form against its temperature.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from matplotlib.axes import Axes
from sklearn.linear_model import Lasso, Ridge
from sklearn.svm import SVC

from benchmarks.measure import Call, Row, measure
from benchmarks.roofline import against_roof, forward_work
from constructions import Construction
from constructions import forward as reference
from constructions.learners.lasso import lasso
from constructions.learners.least_squares import ridge
from constructions.learners.network import network
from constructions.learners.newton_schulz import newton_schulz
from constructions.learners.softmax_head import softmax_head, softmax_only
from constructions.learners.svm import svm
from icl_sim.training.base_model import load_base
from icl_sim.transformer import forward, head_features, load

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


def run(*, rounds: int = 7) -> list[Row]:
    """Distances, then the rows of `roofline` with their distance from scikit-learn's answer.

    The distances are total variations, largest over the queries.
    moved: between the model before and after the training.
    float32: of the jitted forward pass from the algorithm in float64.
    float64: the same of the reference, so with no error but that of the method.
    """
    return [*distances(), *_beside_sklearn(rounds)]


def distances() -> list[Row]:
    """One row for each construction and recipe."""
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


def _row(built: Construction, recipe: str, problem: Any, steps: int) -> Row:
    expected, inputs = built.oracle(problem), built.encode(problem)
    fast = jax.jit(forward, static_argnums=0)(built.spec, built.params, inputs)
    exact = reference(built.spec, built.params, inputs)
    return {
        "name": built.name,
        "recipe": recipe,
        "steps": steps,
        "moved": _distance(_before(problem), expected),
        "float32": _distance(built.decode(fast), expected),
        "float64": _distance(built.decode(exact), expected),
    }


def _beside_sklearn(rounds: int, *, n: int = 256, dim: int = 8, queries: int = 64) -> list[Row]:
    """Ridge regression by two algorithms, the Lasso and the hard-margin SVM, on one data set."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n + queries, dim))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    scores = x[:n] @ rng.normal(size=dim)
    y = scores + 0.1 * rng.normal(size=n)
    y /= np.abs(y).max()
    apart = np.abs(scores) > 0.3  # separable with a margin
    x, asked = x[:n], x[n:]
    regression = {"features": x, "targets": y, "queries": asked}
    sparse = {"inputs": x, "labels": y, "query": asked[0]}
    separable = {"inputs": x[apart], "labels": np.sign(scores[apart]), "query": asked[0]}
    sizes: dict[str, Any] = {"features": dim, "queries": queries, "norm": 1.001}
    one: dict[str, Any] = {"dim": dim, "radius": 1.001, "length": n + 1}
    step = float(1 / np.linalg.norm(x, 2) ** 2)
    return [
        row
        for name, constructions, problem, answer, peer in (
            (
                "ridge",
                {
                    "gradient descent": ridge(**sizes, steps=200, learning_rate=1.8),
                    "Newton-Schulz": newton_schulz(**sizes),
                },
                regression,
                np.asarray,
                lambda: Ridge(alpha=0.1 * n, fit_intercept=False).fit(x, y).predict(asked),
            ),
            (
                "Lasso",
                {"ISTA": lasso(**one, penalty=0.5, step=step, loops=100)},
                sparse,
                lambda found: found["weights"],
                lambda: Lasso(alpha=0.5 / n, fit_intercept=False, tol=1e-8).fit(x, y).coef_,
            ),
            (
                "SVM",
                {"Frank-Wolfe": svm(**one, loops=2000)},
                separable,
                lambda found: found["weights"] / np.linalg.norm(found["weights"]),
                lambda: _direction(separable),
            ),
        )
        for row in _compared(name, constructions, problem, answer, peer, rounds)
    ]


def _direction(problem: Any) -> np.ndarray:
    weights = SVC(kernel="linear", C=1e6).fit(problem["inputs"], problem["labels"]).coef_[0]
    return np.asarray(weights / np.linalg.norm(weights))


def _compared(
    name: str, constructions: dict[str, Construction], problem: Any,
    answer: Callable[[Any], np.ndarray], peer: Call, rounds: int,
) -> list[Row]:  # fmt: skip
    def learn(built: Construction, apply: Callable[[Any], Any]) -> np.ndarray:
        return answer(built.decode(np.asarray(apply(built.encode(problem)))))

    calls: dict[str, Call] = {}
    work = {}
    for algorithm, built in constructions.items():
        apply = jax.jit(partial(forward, built.spec, load(built)[1]))
        calls[algorithm] = partial(learn, built, apply)
        work[algorithm] = forward_work(built.spec, built.params, len(built.encode(problem)))
    calls["scikit-learn"] = peer
    rows = against_roof(measure(calls, rounds=rounds, reference="scikit-learn"), work)
    for row in rows:
        row["distance"] = float(np.abs(calls[row["name"]]() - peer()).max())
        row["name"] = f"{name}: {row['name']}"
    return rows


def _before(problem: Any) -> np.ndarray:
    if "inner" in problem:
        logits = np.maximum(problem["queries"] @ problem["inner"].T, 0) @ problem["outer"].T
    else:
        logits = problem["queries"] @ problem["head"]
    law = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(law / law.sum(axis=1, keepdims=True))


def _distance(p: np.ndarray, q: np.ndarray) -> float:
    return float(0.5 * np.abs(p - q).sum(axis=-1).max())


def temperatures(axes: Axes, rows: Any) -> None:
    """Error of the softmax-only form against its temperature; rows of the suite ``learners``."""
    eps = [float(row["recipe"].split()[1]) for row in rows]
    for name, color, marker in (("float64", "#0072B2", "o"), ("float32", "#D55E00", "s")):
        errors = [row[name] for row in rows]
        axes.loglog(eps, errors, marker, color=color, linestyle="-", label=name)
    slope = [rows[0]["float64"] * (e / eps[0]) ** 2 for e in eps]
    axes.loglog(eps, slope, color="#000000", linestyle=":", label="slope 2")
    axes.set(xlabel="temperature of the reflected tokens", ylabel="largest total variation")
    axes.set(ylim=(min(row["float64"] for row in rows) / 2, 1))
    axes.set_title(f"{rows[0]['steps']} steps of SGD by softmax heads only")
    axes.legend(fontsize=8)


if __name__ == "__main__":
    from icl_sim.report.plots import svg

    rows = [row for row in distances() if "temperature" in row["recipe"]]
    Path(sys.argv[1]).write_text(svg(temperatures, rows))
