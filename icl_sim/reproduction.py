"""The main job: judge every claim, compare the predictors on real and synthetic tables."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

import jax

from icl_sim.claims import judge
from icl_sim.comparison import compare
from icl_sim.experiments.sweep import Progress
from icl_sim.records import digest
from icl_sim.store import Store

# Demonstrations in all, over 8 contexts; tables of each family.
COMPARISONS: dict[str, dict[str, Any]] = {
    "smoke": {"sizes": (16, 64, 256), "tasks": 12},
    "standard": {"sizes": (16, 64, 256, 1024), "tasks": 24},
    "full": {"sizes": (16, 64, 256, 1024), "tasks": 96, "seeds": 3},
}
LOOKUP_LIMIT = 1e-6
FINE_TUNED_LIMIT = 0.02


@contextmanager
def open_store(out: str | None, *, resume: bool, config: dict[str, Any]) -> Iterator[Store]:
    """The store of a run: in ``out``, or in a directory that goes with the run."""
    config = config | {"versions": {name: version(name) for name in ("jax", "numpy", "scipy")}}
    if out is not None:
        with Store(out, config=config, resume=resume) as store:
            yield store
        return
    with tempfile.TemporaryDirectory() as directory, Store(directory, config=config) as store:
        yield store


def verify(
    names: Sequence[str],
    *,
    profile: str,
    seed: int,
    out: str | None = None,
    resume: bool = False,
    progress: Progress,
) -> dict[str, Any]:
    """Verdicts of the named claims and statements; see `icl_sim.claims.judge`."""
    config = {"command": "verify", "profile": profile, "seed": seed}
    with open_store(out, resume=resume, config=config) as store:
        return judge(names, profile=profile, seed=seed, store=store, progress=progress)


def compare_routes(
    task: str,
    *,
    seed: int,
    out: str | None = None,
    resume: bool = False,
    progress: Progress,
    **options: Any,
) -> dict[str, Any]:
    """`icl_sim.comparison.compare` with a store of its own; also the digest of its records."""
    config = {"command": "compare", "task": task, "seed": seed} | options
    with open_store(out, resume=resume, config=config) as store:
        found = compare(task, key=jax.random.key(seed), store=store, progress=progress, **options)
        return found | {"seed": seed, "digest": digest(store.records())}


def reproduce(
    *, profile: str, seed: int, out: str, resume: bool = False, progress: Progress
) -> dict[str, Any]:
    """Everything: all verdicts, the comparisons, and the checks of the weights.

    Returns:
      What `judge` returns, with ``comparisons`` (see `icl_sim.comparison.compare`) and ``checks``
      (name, value, limit, passed).
    """
    config = {"command": "reproduce", "profile": profile, "seed": seed}
    with open_store(out, resume=resume, config=config) as store:
        results = judge([], profile=profile, seed=seed, store=store, progress=progress)
        comparisons = [
            compare(
                task,
                **COMPARISONS[profile],
                key=jax.random.key(seed),
                store=store,
                progress=progress,
            )
            for task in ("english", "tables")
        ]
        return results | {
            "comparisons": comparisons,
            "checks": [check for comparison in comparisons for check in _checks(comparison)],
            "digest": digest(store.records()),
        }


def _checks(comparison: dict[str, Any]) -> list[dict[str, Any]]:
    """The weights against the algorithm that they implement, and training against its limit."""
    cells = [
        (n, comparison["matrix"][str(size)])
        for size, n in zip(comparison["sizes"], comparison["per_context"], strict=True)
    ]
    lookup = max(cell["lookup"]["counts"]["max"] for _, cell in cells)
    tuned = max(cell["fine-tuned"]["counts"]["mean"] for n, cell in cells if n >= 8)
    task = comparison["task"]
    return [
        {
            "name": f"{task}: lookup's weights against counts, largest total variation",
            "value": lookup,
            "limit": LOOKUP_LIMIT,
            "passed": lookup <= LOOKUP_LIMIT,
        },
        {
            "name": f"{task}: converged fine-tuning against counts, mean, n >= 8 a context",
            "value": tuned,
            "limit": FINE_TUNED_LIMIT,
            "passed": tuned <= FINE_TUNED_LIMIT,
        },
    ]
