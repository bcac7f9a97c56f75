"""What the main job compares in each profile, and the checks that its results must pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from icl_sim.comparison import Comparison
from icl_sim.predictors.selected import CHOICES
from icl_sim.report.findings import Check

# N, over 8 contexts; tables of each family; routes.
_ROUTES = ("counts", "lookup", "bayes", "in-context", "full")
_MORE = (*_ROUTES, "lora-4", "tuned-in-context", "zero-shot")
COMPARISONS: dict[str, dict[str, Any]] = {
    "smoke": {"sizes": (16, 64, 256), "tasks": 12, "predictors": _ROUTES},
    "standard": {"sizes": (16, 64, 128, 256), "tasks": 12, "predictors": _MORE},
    "full": {
        "sizes": (16, 32, 64, 128, 256),
        "tasks": 48,
        "seeds": 3,
        "predictors": (*_MORE, "lora-1", "lora-16", "head", "full-validated", "smoothed"),
    },
}
# More demonstrations than a prompt has room for: 90 of them shown, retrieved or at random.
RETRIEVAL: dict[str, Any] = {
    "sizes": (800,),
    "predictors": (
        "full",
        *(f"{route}-{choice}" for route in ("in-context", "lookup") for choice in CHOICES),
    ),
}
TASKS_OF_RETRIEVAL = {"smoke": 4, "standard": 12, "full": 48}
# Linear classification: held-out inputs are the contexts.
CLASSES: dict[str, dict[str, dict[str, Any]]] = {
    "smoke": {},
    "standard": {task: {"sizes": (16, 32, 64), "tasks": 12} for task in ("gaussian", "digits")},
    "full": {
        task: {"sizes": (16, 32, 64), "tasks": 45, "seeds": 3}
        for task in ("gaussian", "digits", "breast-cancer", "wine", "iris")
    },
}
# Tables of other sizes (m, V), beyond the base's vocabulary too, N = 4 m, 16 m, 64 m.
SHAPES = {
    "smoke": ((2, 2), (8, 8), (32, 32)),
    "standard": ((2, 2), (4, 16), (16, 4), (16, 16)),
    "full": ((2, 2), (4, 16), (16, 4), (16, 16), (32, 32)),
}
COLLAPSE: dict[str, dict[str, Any]] = {
    "smoke": {"tasks": 12, "predictors": ("counts",)},
    "standard": {"tasks": 12, "predictors": ("counts", "fine-tuned")},
    "full": {"tasks": 48, "predictors": ("counts", "fine-tuned")},
}
TRAINING = {"smoke": 4, "standard": 12, "full": 48}  # tables
LOOKUP_LIMIT = 1e-6
FINE_TUNED_LIMIT = 0.01
RETRIEVAL_LIMIT = 0.5


@dataclass(frozen=True)
class Job:
    """One comparison of the reproduction.

    Attributes:
      task, options: of `icl_sim.comparison.compare`.
      checks: what its result must pass.
    """

    task: str
    options: Mapping[str, Any]
    checks: Callable[[Comparison], Sequence[Check]] = lambda comparison: ()


def comparison_jobs(profile: str) -> tuple[Job, ...]:
    """Every route on tables, retrieval where not all data fit the prompt, and classification."""
    retrieval = RETRIEVAL | {"tasks": TASKS_OF_RETRIEVAL[profile]}
    return (
        *(Job(task, COMPARISONS[profile], routes_agree) for task in ("english", "tables")),
        Job("tables", retrieval, retrieval_helps),
        *(Job(task, options) for task, options in CLASSES[profile].items()),
    )


def collapse_jobs(profile: str) -> tuple[Job, ...]:
    """Tables of several sizes m and V, which one law of N, m and V is asked to describe."""
    shapes, options = SHAPES[profile], COLLAPSE[profile]
    return tuple(
        Job("tables", {"sizes": (4 * m, 16 * m, 64 * m), "contexts": m, "vocab": V} | options)
        for m, V in shapes
    )


def routes_agree(comparison: Comparison) -> list[Check]:
    """The weights against the algorithm that they implement, and training against its limit."""
    matrix, task = comparison.matrix, comparison.task
    lookup = max(cell["lookup"]["counts"].max for cell in matrix.values())
    tuned = max(matrix[N]["full"]["counts"].mean for N in comparison.sizes if N >= 64)
    return [
        _check(f"{task}: lookup's weights against counts, largest TV", lookup, LOOKUP_LIMIT),
        _check(
            f"{task}: converged fine-tuning against counts, mean TV, N >= 64",
            tuned,
            FINE_TUNED_LIMIT,
        ),
    ]


def retrieval_helps(comparison: Comparison) -> list[Check]:
    """Retrieved demonstrations bring a prompt at least twice as near to fine-tuning as random."""
    found = []
    for N, matrix in comparison.matrix.items():
        for route in ("in-context", "lookup"):
            near, far = (matrix["full"][f"{route}-{choice}"].mean for choice in CHOICES)
            name = f"{comparison.task}, N = {N}: {route}, TV to fine-tuning, retrieved/random"
            found.append(_check(name, near / far, RETRIEVAL_LIMIT))
    return found


def _check(name: str, value: float, limit: float) -> Check:
    return Check(name, value, limit, passed=value <= limit)
