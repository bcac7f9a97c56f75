"""Draws the data, asks every predictor on the same data, records the laws, sums them up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache, partial
from typing import Any

import jax
import numpy as np

from icl_sim.comparison import pairwise
from icl_sim.comparison.answer_strings import LENGTHS, AnswerStrings
from icl_sim.comparison.asking import answers_of, draw, require_room, stream
from icl_sim.comparison.entry import certified, check_request
from icl_sim.comparison.held_out import check_sizes, held_out_laws, sizes_that_fit
from icl_sim.comparison.result import TRUTH, Comparison
from icl_sim.data.tasks import TASKS, make_task
from icl_sim.data.vectors import HELD_OUT, VECTOR_TASKS, is_vector_task
from icl_sim.errors import InputError, same_name
from icl_sim.execution.memory_guard import require
from icl_sim.execution.progress import Progress, quiet
from icl_sim.execution.signatures import checked
from icl_sim.predictors import PREDICTORS, get_predictor, predictor_names
from icl_sim.storage.result_store import MemoryStore, ResultStore

SIZES = (16, 64, 256)
# By kind of data: what is compared unless others are named.
ROUTES = {
    "classification": (
        *("least-squares", "logistic", "logistic-in-context", "perceptron"),
        *("perceptron-in-context", "svm", "svm-in-context"),
    ),
    "language": ("zero-shot", "in-context", "lora-8", "counts"),
    "table": ("bayes", "counts", "lookup", "full", "in-context"),
}
SEEN = 8  # demonstrations a context from which on all contexts count as seen


@checked
def compare(
    task: str = "english",
    *,
    sizes: Sequence[int] | None = None,
    predictors: Sequence[str] | None = None,
    tasks: int = 12,
    seeds: int = 1,
    contexts: int = 8,
    vocab: int = 8,
    key: jax.Array | None = None,
    store: ResultStore | None = None,
    progress: Progress = quiet,
) -> Comparison:
    """Every predictor on the same data: pairwise total variation, and each one's distance to truth.

    Args:
      task: a family of `icl_sim.data.tasks.TASKS`, or linear classification (see
        `icl_sim.data.vectors.split`), whose contexts are held-out inputs.
      sizes: N, demonstrations in all, their contexts drawn uniformly; by default those of SIZES
        that the task has data for.
      predictors: names in `PREDICTORS`, in any case, of the task's kind; by default the usual ones.
      tasks, seeds: the number of tables, and of data sets of each.
      contexts, vocab: m and V of tables.
      key: root of all randomness, not consumed; by default `jax.random.key(0)`.
      store: each predictor's laws at each size are recorded there, and found again on resuming; by
        default nothing outlives the call.
      progress: called as progress(label, done, total).

    Raises:
      InputError: unknown names, sizes below 1, beyond a predictor's window or what memory lasts
        for; a law that is none, negative or not of sum 1.
      FloatingPointError: a predictor's law is not finite.

    >>> found = compare("tables", sizes=(32,), predictors=("counts", "lookup"), tasks=2)
    >>> found.matrix[32]["counts"]["lookup"].max < 1e-6
    True
    """
    key = jax.random.key(0) if key is None else key
    store = MemoryStore() if store is None else store
    task = same_name(task, (*TASKS, *VECTOR_TASKS))
    classes = is_vector_task(task)
    kind = "classification" if classes else "table"
    predictors = ROUTES[kind] if predictors is None else predictors
    predictors = [same_name(name, PREDICTORS) for name in predictors]
    names = (*predictors, TRUTH)
    if sizes is None:
        sizes = sizes_that_fit(task, SIZES, max(tasks, 1)) if classes else SIZES
    check_request(predictors, sizes, tasks=tasks, seeds=seeds)
    for name, value, least in (("contexts", contexts, 1), ("vocab", vocab, 2)):
        if not classes and value < least:
            raise InputError(f"--{name}: expected at least {least}, got {value}")
    about: dict[str, Any] = {
        "task": task,
        "sizes": tuple(sizes),
        "predictors": names,
        "tasks": tasks,
        "seeds": seeds,
    }
    require(
        "the comparison",
        partial(comparison_bytes, len(names)),
        tasks=tasks,
        seeds=seeds,
        demonstrations=max(sizes),
        contexts=HELD_OUT if classes else contexts,
        vocab=2 if classes else vocab,
    )
    _check_kind(task, kind, predictors)
    every: dict[int, np.ndarray] = {}
    if classes:
        check_sizes(task, sizes, tasks)
        for done, size in enumerate(sizes):
            progress(f"compare {task}", done, len(sizes))
            every[size] = _classified(task, size, names, tasks, seeds, key, store, progress)
        return Comparison(**about, **_summed_up(every, names, tasks, seen=1))
    for size in sizes:
        for name in predictors:
            require_room(name, size, contexts, vocab)
    tables = [make_task(task, i, contexts=contexts, vocab=vocab).law for i in range(tasks)]
    laws = np.stack(tables).astype(np.float32)
    laws = np.repeat(laws, seeds, axis=0)
    strings = AnswerStrings(laws) if contexts == vocab else None
    run = f"compare/{task}/{contexts}x{vocab}/{tasks}x{seeds}"
    every, order, lengths = {}, {}, {}
    bounds: dict[int, dict[str, float]] = {}
    parts = len(sizes) * len(predictors)
    for size in sizes:
        data = cache(partial(draw, laws, size, key))  # only if some predictor is not recorded
        answers: list[Any] = []
        moved, decoded = {}, {}
        for name in predictors:
            progress(f"compare {task}", len(every) * len(predictors) + len(answers), parts)
            shown = partial(progress, f"{task} {size} {name}")
            record = f"{run}/{size}/{name}"
            ask, decode = answers_of(name, data, key, shown, strings)
            answers.append(store.result(record, ask))
            if decode is not None:
                decoded[name] = store.result(f"{record}/decoded", decode)
            elif strings is not None:
                decoded[name] = strings.chain(answers[-1])
            certify = get_predictor(name).bound
            if certify is not None:
                each = store.result(f"{record}/bound", partial(certified, certify, data))
                bounds.setdefault(size, {})[name] = max(each)
            if not get_predictor(name).counts_only:
                ask, _ = answers_of(name, data, key, shown, permute=True)
                again = store.result(f"{record}/permuted", ask)
                moved[name] = pairwise.moved(answers[-1], again)
        order[size], lengths[size] = moved, pairwise.sequences(decoded, tasks, LENGTHS)
        every[size] = np.array([*answers, laws], np.float32)
    found = _summed_up(every, names, tasks, seen=SEEN * contexts)
    more = {"order": order, "lengths": lengths, "bounds": bounds or None}
    return Comparison(**about | found | more, contexts=contexts, vocab=vocab)


def comparison_bytes(
    predictors: int, tasks: int, seeds: int, demonstrations: int, contexts: int, vocab: int
) -> int:
    """Memory of a comparison at its peak, apart from what a predictor computes with.

    Every copy's demonstrations, two numbers each, in parts, put together and on the device; their
    counts likewise; the tables in float64; and the laws, which are recorded as text: a number is a
    float in a list, some 20 characters twice (alone and in its line), and three float32.
    """
    copies, law = tasks * seeds, contexts * vocab
    data = 3 * 4 * copies * (2 * demonstrations + law)
    return data + 16 * tasks * law + (32 + 40 + 12) * predictors * copies * law


def _summed_up(
    every: Mapping[int, np.ndarray], names: Sequence[str], tasks: int, *, seen: int
) -> dict[str, Any]:
    """The summaries of the laws float32 [P, R, m, V] at each size; rates from N = ``seen`` on."""
    distance = {size: pairwise.distances(laws, tasks) for size, laws in every.items()}
    fitted = {size: found for size, found in distance.items() if size >= seen}
    return {
        "matrix": {n: pairwise.matrix(found, names) for n, found in distance.items()},
        "paired": {n: pairwise.paired(found, names) for n, found in distance.items()},
        "lengths": {n: {} for n in every},
        "order": {n: {} for n in every},
        "rates": pairwise.rates(fitted, names) if len(fitted) > 1 else {},
    }


def _classified(
    task: str,
    size: int,
    names: Sequence[str],
    tasks: int,
    seeds: int,
    key: jax.Array,
    store: ResultStore,
    progress: Progress,
) -> np.ndarray:
    """float32 [P, R, m, 2]: every classifier's laws on the held-out inputs."""
    answers = []
    for done, name in enumerate(names, start=1):
        asked = None if name == TRUTH else name
        own = stream(key, name, size)
        answer = partial(held_out_laws, asked, task, size, tasks, seeds, key, own)
        answers.append(store.result(f"compare/{task}/{tasks}x{seeds}/{size}/{name}", answer))
        progress(f"{task} {size}", done, len(names))
    return np.array(answers, np.float32)


def _check_kind(task: str, kind: str, names: Sequence[str]) -> None:
    """Raises InputError for an unknown predictor, or one that reads other data than the task's."""
    for name in names:
        found = get_predictor(name).kind
        if found.name != kind:
            raise InputError(
                f"predictor of {task}: expected one of {', '.join(predictor_names(kind))}, got "
                f"{name}, which reads {found.reads}"
            )
