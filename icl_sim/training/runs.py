"""The two training runs a user asks for by name: pretraining a base, and fine-tuning on a task.

Both are resumable.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from icl_sim.data.bayes import posterior_predictive
from icl_sim.data.corpora import TEXT, TEXT_SHA256
from icl_sim.data.tasks import Demonstrations, empirical_law, make_task, sample_demonstrations
from icl_sim.divergence import total_variation
from icl_sim.errors import InputError
from icl_sim.execution.hosts import from_first, is_first
from icl_sim.execution.memory_guard import require
from icl_sim.execution.progress import Progress, quiet
from icl_sim.execution.seeds import checked_seed
from icl_sim.execution.signatures import checked
from icl_sim.storage.checkpoints import Checkpoints, discard
from icl_sim.storage.json_form import json_form
from icl_sim.storage.locks import require_free
from icl_sim.training import Copies, Examples, TrainConfig, fine_tune_copies
from icl_sim.training.base_model import (
    CONFIGS,
    LENGTH,
    RECIPE,
    SPEC,
    WINDOW,
    Base,
    bare_laws,
    gate,
    in_context_laws,
    load_base,
    save_base,
    table_examples,
    table_prompts,
)
from icl_sim.training.fine_tuning import training_bytes
from icl_sim.training.pretraining import pretrain
from icl_sim.training.pretraining_sequences import CONTEXTS, OUTPUTS
from icl_sim.training.run_results import FineTuning, OracleStop, Pretraining
from icl_sim.transformer import Transformer

TARGETS = ("counts", "bayes", "in-context", "truth")


@checked
def train_base(
    out: str | Path,
    *,
    seed: int = 0,
    replicas: int = 0,
    steps: int = RECIPE.steps,
    resume: bool = False,
    progress: Progress = quiet,
) -> Pretraining:
    """Pretrains a base and, if it passes the gate, writes ``out``/base.safetensors and base.json.

    Args:
      seed: of weights and batches.
      replicas: the number of further seeds (seed + 1, ...) trained and gated; the sidecar states
        their figures.
      steps: of pretraining.
      resume: go on from the checkpoints that a stopped run left in ``out``.
    """
    if replicas < 0:
        raise InputError(f"replicas: expected at least 0, got {replicas}")
    checked_seed(checked_seed(seed) + replicas)  # the last one's, before hours of work
    config = replace(RECIPE, steps=steps, warmup=min(RECIPE.warmup, steps))
    gates, facts = {}, {}
    for one in range(seed, seed + 1 + replicas):
        base, figures = _pretrained(Path(out), one, config, resume, progress)
        gates[one] = gate(base)
        if one == seed:
            first, facts = base, figures
    others = {s: found for s, found in gates.items() if s != seed}
    about = {
        "name": "base",
        "alphabet": "contexts are symbols 0 to 7, outputs 8 to 15; a prompt is c1 y1 ... cN yN c",
        "recipe": {"seed": seed, "length": LENGTH, "config": asdict(config)},
        "script": "scripts/train-base",
        "text": {"file": TEXT, "sha256": TEXT_SHA256},
        "gate": json_form(gates[seed]),
        "replicas": json_form(others),
        "made_with": {"python": platform.python_version(), "jax": jax.__version__},
        **facts,
    }
    passed = all(found.passed for found in gates.values())
    path = Path(out) / "base"
    if is_first():
        if passed:
            save_base(replace(first, about=about), path)
        for one in gates:
            discard(_checkpoints(Path(out), one))
    return Pretraining(
        path=f"{path}.safetensors" if passed else None,
        passed=passed,
        gate=gates[seed],
        replicas=others,
        **facts,
    )


def _checkpoints(out: Path, seed: int) -> Path:
    return out / f"checkpoints-base-{seed}"


def _pretrained(
    out: Path, seed: int, config: TrainConfig, resume: bool, progress: Progress
) -> tuple[Base, dict[str, Any]]:
    directory = _checkpoints(out, seed)
    _fresh(directory, resume)
    run = {"seed": seed, "spec": asdict(SPEC), "length": LENGTH, "config": asdict(config)}
    cpu, wall = time.process_time(), time.perf_counter()
    with Checkpoints(directory, config=run | {"jax": jax.__version__}) as checkpoints:
        trained = pretrain(
            SPEC,
            seed=seed,
            length=LENGTH,
            config=config,
            checkpoints=checkpoints,
            progress=lambda label, done, total: progress(f"seed {seed}: {label}", done, total),
        )
    tokens = 8 * 3 * LENGTH * config.steps
    figures = {
        "losses": [round(float(part.mean()), 4) for part in _parts(trained.losses, 50)],
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "tokens_per_second": round(tokens / (time.perf_counter() - wall)),
    }
    return Base(SPEC, trained.params, WINDOW, {}), figures


def _parts(values: np.ndarray, size: int) -> list[np.ndarray]:
    return [values[i : i + size] for i in range(0, len(values), size)]


def _fresh(directory: Path, resume: bool) -> None:
    """A run that is not to be resumed must not find another's checkpoints."""

    def check() -> bytes:
        require_free(directory)
        if os.path.exists(directory) and not resume:
            raise InputError(
                f"{directory} holds checkpoints of a stopped run: ask to resume it (--resume), or "
                "remove them"
            )
        return b""

    from_first(check)


def fine_tuning_config(adapt: str = "full", **options: Any) -> TrainConfig:
    """The base's usual way of training these leaves, but for the options that are not None.

    >>> fine_tuning_config("lora", rank=None, steps=50).steps
    50
    """
    given = {name: value for name, value in options.items() if value is not None}
    return replace(CONFIGS.get(adapt, CONFIGS["full"]), **{"adapt": adapt} | given)


@checked
def train_sft(
    task: str = "english",
    *,
    sizes: Sequence[int] = (16, 64),
    tasks: int = 4,
    seeds: int = 1,
    config: TrainConfig | None = None,
    every: int = 20,
    seed: int = 0,
    out: str | Path | None = None,
    resume: bool = False,
    progress: Progress = quiet,
) -> FineTuning:
    """Fine-tunes the base on tables of a task: every (size, table, seed) copy in one program.

    Args:
      task: a family of `icl_sim.data.tasks.TASKS`, at 8 contexts and 8 outputs.
      sizes: N, demonstrations in all, contexts drawn uniformly.
      tasks, seeds: the number of tables, and of data sets of each.
      config: how; by default all leaves, Adam, 400 steps.
      every: steps between two points of the curves.
      out: checkpoints go there while the run lasts; None keeps none.
      resume: go on from the checkpoints that a stopped run left in ``out``.
    """
    checked_seed(seed)
    config = CONFIGS["full"] if config is None else config
    for name, value in (("tasks", tasks), ("seeds", seeds), ("every", every)):
        if value < 1:
            raise InputError(f"{name}: expected at least 1, got {value}")
    directory = None if out is None else Path(out) / "checkpoints-sft"
    if directory is not None:
        _fresh(directory, resume)
    base = load_base()
    # What does not fit the base's window is found before anything is drawn.
    order, table = ((max(sizes),), (CONTEXTS, OUTPUTS))
    shown = (jax.ShapeDtypeStruct(shape, np.int32) for shape in (order, order, table))
    jax.eval_shape(partial(table_prompts, base), Demonstrations(*shown))
    cost = partial(training_bytes, base.spec, config, CONTEXTS, 1)
    require("fine-tuning", cost, copies=len(sizes) * tasks * seeds)
    truths = np.stack([make_task(task, i).law for i in range(tasks)]).astype(np.float32)
    root = jax.random.key(seed)
    examples, targets = [], []
    for size in sizes:
        keys = jax.random.split(jax.random.fold_in(root, size), (tasks, seeds))
        reference = jax.jit(lambda key, law, size=size: _references(base, key, law, size))
        for law, row in zip(truths, keys, strict=True):
            for key in row:
                example, target = reference(key, law)
                examples.append(example)
                targets.append(target)
    stacked = Examples(*map(jnp.stack, zip(*examples, strict=True)))
    copies = len(examples)
    keys = jax.random.split(jax.random.fold_in(root, 2**31), copies)
    arguments: dict[str, Any] = {
        "config": config,
        "keys": keys,
        "chunk": every,
        "measure": _distances,
        "targets": jnp.stack(targets),
        "progress": progress,
    }
    wall = time.perf_counter()
    if directory is None:
        tuned = fine_tune_copies(Transformer(base.spec), base.params, stacked, **arguments)
    else:
        run = {
            "task": task,
            "sizes": list(sizes),
            "tasks": tasks,
            "seeds": seeds,
            "seed": seed,
            "every": every,
            "config": asdict(config),
            "base": base.about["sha256"],
            "jax": jax.__version__,
        }
        with Checkpoints(directory, config=run) as checkpoints:
            tuned = fine_tune_copies(
                Transformer(base.spec), base.params, stacked, checkpoints=checkpoints, **arguments
            )
        if is_first():
            discard(directory)
    rate = copies * 8 * config.steps / (time.perf_counter() - wall)
    of_size = {
        size: slice(i * tasks * seeds, (i + 1) * tasks * seeds) for i, size in enumerate(sizes)
    }
    return FineTuning(
        task=task,
        sizes=tuple(sizes),
        copies=copies,
        adapt=config.adapt,
        steps=[min(i * every, config.steps) for i in range(tuned.looks.shape[1])],
        curves={size: _curves(tuned, every, rows) for size, rows in of_size.items()},
        oracle={
            size: _oracle(tuned.looks[rows], every, config.steps) for size, rows in of_size.items()
        },
        tokens_per_second=round(rate),
    )


def _oracle(looks: np.ndarray, every: int, steps: int) -> OracleStop:
    """Where stopping is best: no rule that looks every ``every`` steps can stop nearer."""
    distance = looks[:, :, TARGETS.index("truth")]
    best = np.minimum(distance.argmin(axis=1) * every, steps)
    return OracleStop(float(best.mean()), round(float(distance.min(axis=1).mean()), 4))


def _references(
    base: Base, key: jax.Array, law: jax.Array, size: int
) -> tuple[Examples, jax.Array]:
    """One copy's examples, and its target laws [4, m, V] in the order of TARGETS."""
    data = sample_demonstrations(key, law, total=size)
    laws = [
        empirical_law(data.counts),
        posterior_predictive(data.counts, most=size),
        in_context_laws(base, base.params, data),
        law,
    ]
    return table_examples(data.counts), jnp.stack(laws)


def _distances(params: dict[str, jax.Array], targets: jax.Array) -> jax.Array:
    """float32 [4]: mean TV over contexts of the tuned base to each target."""
    laws = bare_laws(load_base(), params, *targets.shape[1:])
    return total_variation(laws[None], targets).mean(axis=1)


def _curves(tuned: Copies, every: int, copies: slice) -> dict[str, list[float]]:
    looks, losses = tuned.looks[copies].mean(axis=0), tuned.losses[copies].mean(axis=0)
    curves = {"loss": losses[::every], **dict(zip(TARGETS, looks.T, strict=True))}
    return {name: [round(float(value), 4) for value in curve] for name, curve in curves.items()}
