"""The main job: judge every claim, compare the predictors on real and synthetic tables."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import jax

from icl_sim.claims import judge, select
from icl_sim.comparison import compare, costs
from icl_sim.errors import InputError
from icl_sim.predictors.selected import CHOICES
from icl_sim.statistics.sweep import Progress, quiet
from icl_sim.storage.records import Record, digest, read_run
from icl_sim.storage.store import Store
from icl_sim.training.runs import train_sft

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
COLLAPSE: dict[str, dict[str, Any]] = {
    "smoke": {"shapes": ((2, 2), (8, 8), (32, 32)), "tasks": 12, "predictors": ("counts",)},
    "standard": {
        "shapes": ((2, 2), (4, 16), (16, 4), (16, 16)),
        "tasks": 12,
        "predictors": ("counts", "fine-tuned"),
    },
    "full": {
        "shapes": ((2, 2), (4, 16), (16, 4), (16, 16), (32, 32)),
        "tasks": 48,
        "predictors": ("counts", "fine-tuned"),
    },
}
TRAINING = {"smoke": 4, "standard": 12, "full": 48}  # tables
LOOKUP_LIMIT = 1e-6
FINE_TUNED_LIMIT = 0.01
RETRIEVAL_LIMIT = 0.5


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
    """Everything: all verdicts, the comparisons, the path of fine-tuning, the checks.

    Returns:
      What `judge` returns, with ``comparisons`` and ``collapse`` (see
      `icl_sim.comparison.compare`), ``training`` (see
      `icl_sim.training.runs.train_sft`), ``costs`` (see `icl_sim.comparison.costs`)
      and ``checks`` (name, value, limit, passed).
    """
    config = {"command": "reproduce", "profile": profile, "seed": seed}
    with open_store(out, resume=resume, config=config) as store:
        found = _gather(
            [], profile=profile, seed=seed, store=store, progress=progress, comparisons=True
        )
        return found | {"costs": costs()}


def _gather(
    names: Sequence[str],
    *,
    profile: str,
    seed: int,
    store: Store,
    progress: Progress,
    comparisons: bool,
) -> dict[str, Any]:
    results = judge(names, profile=profile, seed=seed, store=store, progress=progress)
    if not comparisons:
        return results

    def routes(task: str, **options: Any) -> dict[str, Any]:
        key = jax.random.key(seed)
        return compare(task, key=key, store=store, progress=progress, **options)

    compared = [routes(task, **COMPARISONS[profile]) for task in ("english", "tables")]
    classes = [routes(task, **options) for task, options in CLASSES[profile].items()]
    retrieval = routes("tables", tasks=TASKS_OF_RETRIEVAL[profile], **RETRIEVAL)
    options = dict(COLLAPSE[profile])
    collapse = [
        routes("tables", sizes=(4 * m, 16 * m, 64 * m), contexts=m, vocab=V, **options)
        for m, V in options.pop("shapes")
    ]
    path = store.result("training/english", partial(_path, profile, seed, progress))
    checks = [check for comparison in compared for check in _checks(comparison)]
    return results | {
        "comparisons": [*compared, retrieval, *classes],
        "collapse": collapse,
        "training": [path],
        "checks": [*checks, *_checks_of_retrieval(retrieval)],
        "digest": digest(store.records()),
    }


class _Recorded:
    """The results of a finished run: like a store, but nothing is computed and nothing written."""

    def __init__(self, directory: str | Path) -> None:
        self.directory = directory
        self.config, records = read_run(directory)
        self._records = {record.key: record for record in records}

    def has(self, key: str) -> bool:
        return key in self._records

    def records(self) -> list[Record]:
        return list(self._records.values())

    def result(self, key: str, compute: Callable[[], Any]) -> Any:
        del compute
        if key not in self._records:
            raise InputError(
                f"{self.directory}: the run has no result for {key!r} yet; finish it with --resume"
            )
        return self._records[key].result


def recorded(directory: str | Path) -> dict[str, Any]:
    """What `verify` or `reproduce` returned, from the records that they left.

    Args:
      directory: their --out.

    Returns:
      The verdicts that are recorded, and of a finished `reproduce` the comparisons and checks.

    Raises:
      InputError: no records, no verdict among them, or a `reproduce` that did not finish.
    """
    run = _Recorded(directory)
    names = [s.id for _, s in select([]) if run.has(f"statement/{s.id}")]
    if not names or not run.config.keys() >= {"command", "profile", "seed"}:
        raise InputError(f"{directory}: expected a run of verify or reproduce, found no verdict")
    return _gather(
        names if run.config["command"] == "verify" else [],
        profile=run.config["profile"],
        seed=run.config["seed"],
        store=cast(Store, run),
        progress=quiet,
        comparisons=run.config["command"] == "reproduce",
    )


def _path(profile: str, seed: int, progress: Progress) -> dict[str, Any]:
    """The path of fine-tuning on English, without the speed, which is not the same twice."""
    found = train_sft(sizes=(16, 64), tasks=TRAINING[profile], seed=seed, progress=progress)
    del found["tokens_per_second"]
    return found


def _checks(comparison: dict[str, Any]) -> list[dict[str, Any]]:
    """The weights against the algorithm that they implement, and training against its limit."""
    matrix, task = comparison["matrix"], comparison["task"]
    lookup = max(cell["lookup"]["counts"]["max"] for cell in matrix.values())
    seen = [matrix[str(size)] for size in comparison["sizes"] if size >= 64]
    tuned = max(cell["full"]["counts"]["mean"] for cell in seen)
    return [
        _check(f"{task}: lookup's weights against counts, largest TV", lookup, LOOKUP_LIMIT),
        _check(
            f"{task}: converged fine-tuning against counts, mean TV, N >= 64",
            tuned,
            FINE_TUNED_LIMIT,
        ),
    ]


def _checks_of_retrieval(comparison: dict[str, Any]) -> list[dict[str, Any]]:
    """Retrieved demonstrations bring a prompt at least twice as near to fine-tuning as random."""
    found = []
    for size, matrix in comparison["matrix"].items():
        for route in ("in-context", "lookup"):
            near, far = (matrix["full"][f"{route}-{choice}"]["mean"] for choice in CHOICES)
            name = f"{comparison['task']}, N = {size}: {route}, TV to fine-tuning, retrieved/random"
            found.append(_check(name, near / far, RETRIEVAL_LIMIT))
    return found


def _check(name: str, value: float, limit: float) -> dict[str, Any]:
    return {"name": name, "value": value, "limit": limit, "passed": value <= limit}
