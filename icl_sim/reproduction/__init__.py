"""The main job: judge every claim, compare the predictors on real and synthetic tables."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
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
from icl_sim.execution.lookahead import beside
from icl_sim.execution.profiles import PROFILES
from icl_sim.execution.progress import Progress, quiet
from icl_sim.execution.seeds import checked_seed
from icl_sim.execution.signatures import checked
from icl_sim.predictors import PREDICTORS
from icl_sim.report.findings import Findings
from icl_sim.reproduction.jobs import TRAINING, collapse_jobs, comparison_jobs
from icl_sim.storage.json_form import from_json, json_form
from icl_sim.storage.provenance import FIELDS
from icl_sim.storage.records import digest
from icl_sim.storage.result_store import FinishedRun, ResultStore, open_store
from icl_sim.training.run_results import FineTuning, Pretraining
from icl_sim.training.runs import train_sft

_NO_OPTIONS = {"command", "seed", "plugins", *FIELDS}  # of what a run's config holds


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
    jobs, shapes = comparison_jobs(profile), collapse_jobs(profile)
    ids = [statement.id for _, statement in select([])]
    count, begun = itertools.count(1), 0
    parts = len(ids) + len(jobs) + len(shapes) + 1

    def judged(label: str, done: int, total: int) -> None:
        nonlocal begun
        others.check()
        if label != "statements":
            progress(label, done, total)
            return
        begun = done  # the number of the one that comes next
        if done:
            progress("all", next(count), parts)

    def compared(go_on: Callable[[], None]) -> tuple[list[Comparison], Any]:
        def shown(label: str, done: int, total: int) -> None:
            go_on()
            if label != "statements":
                progress(label, done, total)

        found, run = [], partial(compare, key=jax.random.key(seed), store=store, progress=shown)
        for job in (*jobs, *shapes):
            found.append(replace(run(job.task, **job.options), seed=seed))
            progress("all", next(count), parts)
        path = store.result("training/english", partial(_path, profile, seed, shown))
        progress("all", next(count), parts)
        # Then the last statements, which the other thread will find in the store.
        for last in reversed(range(len(ids))):
            if last > begun:
                judge([ids[last]], profile=profile, seed=seed, store=store, progress=shown)
        return found, path

    progress("all", 0, parts)
    # Compilation and small programs leave a second core idle.
    with beside(compared, alone=_one_thread()) as others:
        audit = judge([], profile=profile, seed=seed, store=store, progress=judged)
        found, path = others.result()
    checks = (job.checks(one) for job, one in zip(jobs, found, strict=False))
    return Findings(
        audit=replace(audit, digest=digest(store.records())),
        comparisons=tuple(found[: len(jobs)]),
        collapse=tuple(found[len(jobs) :]),
        training=(from_json(FineTuning, path),),
        checks=tuple(itertools.chain.from_iterable(checks)),
    )


def _one_thread() -> bool:
    """Whether all has to run in one: devices that exchange what they compute want one order."""
    return jax.device_count() > 1 or not _shared_settings()


def _shared_settings() -> bool:
    """Whether JAX's settings are those of all threads; one as ``with jax.enable_x64()`` is not."""

    def settings() -> dict[str, str]:
        return {name: repr(getattr(jax.config, name, None)) for name in jax.config.values}

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(settings).result() == settings()


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
