"""The main job: judge every claim, compare the predictors on real and synthetic tables."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax

from icl_sim.claims import Audit, judge, select
from icl_sim.comparison import (
    Comparison,
    LanguageComparison,
    compare,
    compare_language,
    costs,
)
from icl_sim.data.tasks import TASKS
from icl_sim.data.vectors import VECTOR_TASKS
from icl_sim.errors import InputError, require_known, same_name
from icl_sim.execution.profiles import PROFILES
from icl_sim.execution.progress import Progress, quiet
from icl_sim.execution.seeds import checked_seed
from icl_sim.execution.signatures import checked
from icl_sim.predictors import PREDICTORS
from icl_sim.predictors.selected import CHOICES
from icl_sim.report.findings import Check, Findings
from icl_sim.storage.json_form import from_json, json_form
from icl_sim.storage.provenance import FIELDS
from icl_sim.storage.records import digest
from icl_sim.storage.result_store import FinishedRun, ResultStore, open_store
from icl_sim.training.run_results import FineTuning, Pretraining
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
_NO_OPTIONS = {"command", "seed", "plugins", *FIELDS}  # of what a run's config holds
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


@checked
def reproduce(
    *,
    profile: str = "smoke",
    seed: int = 0,
    out: str | Path,
    resume: bool = False,
    progress: Progress = quiet,
) -> Findings:
    """Everything: all verdicts, the comparisons, the path of fine-tuning, the checks, the costs.

    Args:
      profile: smoke, standard or full.
      seed: root of all randomness.
      out: directory of the records.
      resume: whether it may hold earlier results.
      progress: called as progress(label, done, total).
    """
    require_known(profile, PROFILES, what="--profile")
    config = {"command": "reproduce", "profile": profile, "seed": checked_seed(seed)}
    with open_store(out, resume=resume, config=config) as store:
        found = _reproduced(profile=profile, seed=seed, store=store, progress=progress)
        return replace(found, costs=tuple(costs()))


def _reproduced(*, profile: str, seed: int, store: ResultStore, progress: Progress) -> Findings:
    """What is claimed; what each route does with the same data; how fine-tuning gets there."""
    jobs, shapes, statements = comparison_jobs(profile), collapse_jobs(profile), len(select([]))
    parts = statements + len(jobs) + len(shapes) + 1

    def judged(label: str, done: int, total: int) -> None:
        if label == "statements":
            label, total = "all", parts
        progress(label, done, total)

    audit = judge([], profile=profile, seed=seed, store=store, progress=judged)

    def done(jobs: Sequence[Job], before: int) -> tuple[Comparison, ...]:
        run = partial(compare, key=jax.random.key(seed), store=store, progress=progress)
        found = []
        for count, job in enumerate(jobs):
            progress("all", before + count, parts)
            found.append(replace(run(job.task, **job.options), seed=seed))
        return tuple(found)

    comparisons = done(jobs, statements)
    collapse = done(shapes, statements + len(jobs))
    progress("all", parts - 1, parts)
    path = store.result("training/english", partial(_path, profile, seed, progress))
    found = zip(jobs, comparisons, strict=True)
    return Findings(
        audit=replace(audit, digest=digest(store.records())),
        comparisons=comparisons,
        collapse=collapse,
        training=(from_json(FineTuning, path),),
        checks=tuple(check for job, comparison in found for check in job.checks(comparison)),
    )


@checked
def verify(
    names: Sequence[str] = (),
    *,
    profile: str = "smoke",
    seed: int = 0,
    out: str | Path | None = None,
    resume: bool = False,
    progress: Progress = quiet,
) -> Audit:
    """Verdicts of the named claims and statements; see `icl_sim.claims.judge`.

    Args:
      names: ids; none stands for all.
      profile, seed, out, resume, progress: see `reproduce`; without ``out`` nothing is kept.
    """
    require_known(profile, PROFILES, what="--profile")
    config = {"command": "verify", "profile": profile, "seed": checked_seed(seed)}
    with open_store(out, resume=resume, config=config) as store:
        return judge(names, profile=profile, seed=seed, store=store, progress=progress)


def compare_routes(
    task: str,
    *,
    seed: int = 0,
    out: str | Path | None = None,
    resume: bool = False,
    progress: Progress = quiet,
    **options: Any,
) -> Comparison:
    """`icl_sim.comparison.compare`, recorded; with the seed and the digest of its records."""
    task = same_name(task, (*TASKS, *VECTOR_TASKS))
    if "predictors" in options:
        options["predictors"] = [same_name(name, PREDICTORS) for name in options["predictors"]]
    config = {"command": "compare", "task": task, "seed": checked_seed(seed)} | options
    with open_store(out, resume=resume, config=config) as store:
        found = compare(task, key=jax.random.key(seed), store=store, progress=progress, **options)
        return replace(found, seed=seed, digest=digest(store.records()))


def compare_language_routes(
    base: str,
    *,
    seed: int = 0,
    out: str | Path | None = None,
    resume: bool = False,
    progress: Progress = quiet,
    **options: Any,
) -> LanguageComparison:
    """`icl_sim.comparison.compare_language`, recorded; with the seed and the digest of it."""
    chosen = {name: value for name, value in options.items() if value is not None}
    config = {"command": "compare", "base": base, "seed": checked_seed(seed)} | chosen
    with open_store(out, resume=resume, config=config) as store:
        found = compare_language(base, seed=seed, store=store, progress=progress, **chosen)
        return replace(found, seed=seed, digest=digest(store.records()))


def recorded(directory: str | Path) -> Findings:
    """What a run returned, from what it left.

    Args:
      directory: their --out.

    Returns:
      The verdicts that are recorded, and of a finished `reproduce` all but the costs; the matrix of
      `compare`; all that `compare_language` found; the curves of `train_sft` and `train_base`.

    Raises:
      InputError: no records, no verdict among them, or a run that did not finish.
    """
    results = Path(directory) / "results.json"
    if results.is_file() and not list(Path(directory).glob("records-*.jsonl")):
        return _trained(results)
    run = FinishedRun(directory)
    if run.config.get("command") == "compare" and "base" in run.config:
        return _through_language_model(results, run)
    if run.config.get("command") == "compare":
        options = {k: v for k, v in run.config.items() if k not in _NO_OPTIONS}
        seed = run.config["seed"]
        compared = compare(**options, key=jax.random.key(seed), store=run)
        found = replace(compared, seed=seed, digest=digest(run.records()))
        return Findings(comparisons=(found,))
    judged = [*select([]), *select(["atlas"])]
    names = [s.id for _, s in judged if run.has(f"statement/{s.id}")]
    if not names or not run.config.keys() >= {"command", "profile", "seed"}:
        raise InputError(f"{directory}: expected a run of verify or reproduce, found no verdict")
    profile, seed = run.config["profile"], run.config["seed"]
    if run.config["command"] == "reproduce":
        return _reproduced(profile=profile, seed=seed, store=run, progress=quiet)
    return Findings(judge(names, profile=profile, seed=seed, store=run))


def _trained(results: Path) -> Findings:
    """The curves that a training left in results.json."""
    found = _read(results, "the curves of train sft or train base, or records beside it")
    if not (found.training or found.pretraining):
        raise InputError(f"{results}: expected the curves of train sft or train base, found none")
    return found


def _through_language_model(results: Path, run: FinishedRun) -> Findings:
    """What results.json says of a run through a language model, if it speaks of its records."""
    found = _read(results, "what compare found; finish it with --resume")
    if [one.digest for one in found.language] != [digest(run.records())]:
        raise InputError(f"{results}: expected what the records say, got another run's: --resume")
    return found


def _read(results: Path, expected: str) -> Findings:
    """The findings of results.json without an audit."""
    kinds = {
        "language": tuple[LanguageComparison, ...],
        "training": tuple[FineTuning, ...],
        "pretraining": tuple[Pretraining, ...],
    }
    try:
        found = json.loads(results.read_text(encoding="utf-8"))
        read = {name: from_json(kind, found.get(name, [])) for name, kind in kinds.items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        raise InputError(f"{results}: expected {expected}") from None
    return Findings(**read)


def _path(profile: str, seed: int, progress: Progress) -> Any:
    """The path of fine-tuning on English, without the speed, which is not the same twice."""
    found = train_sft(sizes=(16, 64), tasks=TRAINING[profile], seed=seed, progress=progress)
    return json_form(replace(found, tokens_per_second=None))


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
