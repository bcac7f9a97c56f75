"""Every route through one language model: how far is prompting from fine-tuning?

A cell is one size, task and draw of demonstrations. Its answers, and the distances between them on
the whole vocabulary, are recorded one by one; all else is computed from the records.
"""

from __future__ import annotations

import base64
import itertools
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import numpy as np

from icl_sim.comparison.candidates import note, with_candidates
from icl_sim.comparison.entry import check_request, checked_laws
from icl_sim.comparison.language_result import LanguageComparison
from icl_sim.comparison.language_summary import summed_up
from icl_sim.comparison.run import ROUTES, SIZES
from icl_sim.data.text_pairs import (
    COMPLETION,
    DEFAULT_TEMPLATE,
    PROMPT,
    HeldOut,
    LanguageData,
    Template,
    TextTask,
    equal_prompts,
)
from icl_sim.divergence import (
    jensen_shannon_from_hidden,
    kl_from_hidden,
    top1_from_hidden,
    total_variation_from_hidden,
)
from icl_sim.execution.progress import Progress, quiet
from icl_sim.predictors import get_predictor
from icl_sim.predictors.language_model import (
    TUNING,
    Answer,
    LanguageModel,
    Question,
    load_language_model,
)
from icl_sim.predictors.language_prompts import prompts
from icl_sim.storage.result_store import MemoryStore, ResultStore
from icl_sim.training import TrainConfig
from icl_sim.transformer import unembedding

KIND = "language"
# Routes that show all demonstrations in one prompt.
ALL = {"in-context", "calibrated", "distilled", "lora-in-context"}
WHOLE: dict[str, Callable[..., jax.Array]] = {
    "total_variation": total_variation_from_hidden,
    "kl": kl_from_hidden,
    "jensen_shannon": jensen_shannon_from_hidden,
    "top1": top1_from_hidden,
}
# The other template of the noise that templates make: the first that is not the data's.
OTHERS = ("{prompt} -> {completion}\n", DEFAULT_TEMPLATE)


@dataclass(frozen=True, eq=False)
class Cell:
    """What one size, task and draw gave.

    Attributes:
      answers: [route], whose hidden states may be missing.
      noises: [route][noise], the same with one thing changed.
      labels: float64 [m, C], shares of the held-out labels of each query.
      truth: float64 [m, C], the true law, or the labels.
      whole: [measure][row][column], float32 [m], between routes that ask the model; and
        ``noise`` [route][noise], total variation.
      prompts, choices: the m queries and the C choices.
      seen: int [m], demonstrations of each query's own context.
      notes: of the queries and choices.
    """

    answers: dict[str, Answer]
    noises: dict[str, dict[str, Answer]]
    labels: np.ndarray
    truth: np.ndarray
    whole: dict[str, Any]
    prompts: tuple[str, ...]
    choices: tuple[str, ...]
    seen: np.ndarray
    notes: tuple[str, ...]


def compare_tasks(
    base: str | LanguageModel,
    tasks: Sequence[TextTask],
    *,
    sizes: Sequence[int] | None = None,
    predictors: Sequence[str] = ROUTES[KIND],
    seeds: int = 1,
    tuning: TrainConfig = TUNING,
    seed: int = 0,
    store: ResultStore | None = None,
    progress: Progress = quiet,
) -> LanguageComparison:
    """Every route on the same demonstrations, pairwise and against what is held out.

    Args:
      base: a model, or what `load_language_model` takes.
      tasks: tasks of one family, or splits of one file; intervals resample them.
      sizes: N, demonstrations in all; by default those of SIZES that the tasks have, or all that
        they have if these are fewer.
      predictors: names of kind ``language``.
      seeds: draws of demonstrations of each task.
      tuning: how routes are tuned that are; what is recorded was tuned so.
      seed: root of all randomness.
      store: each answer is recorded there, and found again on resuming.
      progress: called as progress(label, answers done, answers).

    Raises:
      InputError: unknown names, sizes that the data do not have, prompts beyond the window, choices
        that the tokenizer cannot tell apart.
      FloatingPointError: a law that is not finite, a training step that is not.
    """
    store = MemoryStore() if store is None else store
    if sizes is None:
        most = min((len(task.pool) for task in tasks), default=0)
        sizes = tuple(size for size in SIZES if size <= most) or (most,)
    _check(tasks, sizes, predictors, seeds)
    base = load_language_model(base) if isinstance(base, str) else base
    cells = list(itertools.product(sizes, range(len(tasks)), range(seeds)))
    for task in tasks:
        data, _ = with_candidates(*task.split(max(sizes), seed), name=task.name)
        # Before anything is computed: what the window or the tokenizer refuses.
        shown = data if ALL.intersection(predictors) else data._replace(demonstrations=())
        prompts(base, shown)
    work = _Work(base, predictors, tuning, seed, store, progress, len(cells))
    found = {(n, t, s): work.cell(n, t, s, tasks[t]) for n, t, s in cells}
    seconds = {
        record.key: float(record.info["seconds"])
        for record in store.records()
        if "seconds" in record.info
    }
    return summed_up(
        base, tasks, sizes, tuple(predictors), seeds, found, seconds=seconds, key_of=_key_of
    )


def _check(
    tasks: Sequence[TextTask], sizes: Sequence[int], predictors: Sequence[str], seeds: int
) -> None:
    check_request(predictors, sizes, tasks=len(tasks), seeds=seeds)
    for name in predictors:
        get_predictor(name, KIND)
    for task in tasks:
        task.split(max(sizes))


def _key_of(size: int, t: int, s: int, name: str) -> str:
    return f"language/{size}/{t}/{s}/{name}"


class _Work:
    """Asks the routes, cell by cell, and records what they answer."""

    def __init__(
        self,
        base: LanguageModel,
        predictors: Sequence[str],
        tuning: TrainConfig,
        seed: int,
        store: ResultStore,
        progress: Progress,
        cells: int,
    ) -> None:
        self._base, self._predictors, self._tuning = base, predictors, tuning
        self._seed, self._store, self._progress = seed, store, progress
        # A vocabulary without the words of another template has no noise of templates.
        self._templates = all(_speaks(base, text) for text in OTHERS)
        noises = sum(len(self._moved_by(name)) for name in predictors)
        self._unread: dict[tuple[str, str | None], Callable[[], Answer]] = {}
        self._done, self._total = 0, cells * (len(predictors) + noises)

    def cell(self, size: int, t: int, s: int, task: TextTask) -> Cell:
        whole_data, held = task.split(size, self._seed + s)
        data, held = with_candidates(whole_data, held, name=task.name)
        answers: dict[str, Answer] = {}
        noises: dict[str, dict[str, Answer]] = {}
        ask = partial(self._answer, data, size, t, s)
        for name in self._predictors:
            answers[name] = ask(name, None)
            noises[name] = {noise: ask(name, noise) for noise in self._moved_by(name)}
        whole = self._store.result(
            _key_of(size, t, s, "vocabulary"), partial(self._whole, answers, noises)
        )
        self._unread.clear()
        labels = _label_shares(data, held)
        truth = labels if held.laws is None else np.asarray(held.laws, np.float64)
        return Cell(
            answers,
            noises,
            labels,
            truth,
            whole,
            data.queries,
            data.choices,
            equal_prompts(data).sum(axis=1),
            note(whole_data, data),
        )

    def _moved_by(self, name: str) -> tuple[str, ...]:
        every = get_predictor(name, KIND).moved_by
        return tuple(noise for noise in every if self._templates or noise != "template")

    def _answer(
        self, data: LanguageData, size: int, t: int, s: int, name: str, noise: str | None
    ) -> Answer:
        full = name if noise is None else f"{name}/{noise}"
        kept: list[Answer] = []
        key = _key_of(size, t, s, full)

        def compute() -> dict[str, Any]:
            kept.append(self._compute(data, size, t, s, name, noise))
            return _recorded(kept[0])

        record = self._store.result(key, compute)
        self._done += 1
        self._progress("answers", self._done, self._total)
        if kept:
            return kept[0]
        if record["readout"]:
            self._unread[name, noise] = partial(self._compute, data, size, t, s, name, noise)
        return _read_back(record)

    def _compute(
        self, data: LanguageData, size: int, t: int, s: int, name: str, noise: str | None
    ) -> Answer:
        root = jax.random.key(self._seed)
        # The key is the same at every size, so that a curve over sizes is one of the data.
        key = jax.random.fold_in(root, zlib.crc32(f"{name}/{t}/{s}".encode()))
        if noise == "seed":
            key = jax.random.fold_in(key, 1)
        elif noise == "order":
            rng = np.random.default_rng([self._seed, t, s, size])
            order = rng.permutation(len(data.demonstrations))
            data = data._replace(demonstrations=tuple(data.demonstrations[i] for i in order))
        elif noise == "template":
            data = data._replace(template=other_template(data.template))
        found = get_predictor(name, KIND)(Question(data, self._base, self._tuning), key)
        shape = (len(data.queries), len(data.choices))
        laws = checked_laws(found, name=name, shown=f"{size} demonstrations", shape=shape)
        return replace(found, laws=laws) if isinstance(found, Answer) else Answer(laws)

    def _whole(
        self,
        answers: dict[str, Answer],
        noises: dict[str, dict[str, Answer]],
    ) -> dict[str, Any]:
        """Distances on the whole vocabulary, of the routes that asked the model."""
        base = unembedding(self._base.model.spec, self._base.params)

        def states(name: str, noise: str | None, answer: Answer) -> tuple[Any, Any]:
            if (name, noise) in self._unread:  # its readout is not recorded
                answer = self._unread.pop((name, noise))()
            return answer.hidden, base if answer.readout is None else answer.readout

        seen = {n: states(n, None, a) for n, a in answers.items() if a.hidden is not None}
        found: dict[str, Any] = {
            measure: {
                row: {column: _listed(distance(*a, *b)) for column, b in seen.items()}
                for row, a in seen.items()
            }
            for measure, distance in WHOLE.items()
        }
        found["noise"] = {}
        for name in seen:
            found["noise"][name] = {
                noise: _listed(
                    total_variation_from_hidden(*states(name, noise, answer), *seen[name])
                )
                for noise, answer in noises[name].items()
            }
        return found


def other_template(template: Template) -> Template:
    """A usual template that is not this one, under the same header."""
    text = next(text for text in OTHERS if text != template.text)
    return replace(template, text=text)


def _speaks(base: LanguageModel, text: str) -> bool:
    """Whether the model's tokens can write a template's own words."""
    words = text.replace(PROMPT, "").replace(COMPLETION, "").split()
    tokens = base.tokenizer.encode(" ".join(words), special=False)
    return base.tokenizer.decode(tokens).split() == words


def _listed(values: Any) -> list[float]:
    return [float(v) for v in np.asarray(values)]


def _recorded(answer: Answer) -> dict[str, Any]:
    """The JSON form; a readout of a route's own is too large, and left out."""
    packed = None
    if answer.hidden is not None:
        packed = base64.b64encode(np.asarray(answer.hidden, "<f4").tobytes()).decode()
    return {
        "laws": answer.laws.tolist(),
        "hidden": packed,
        "readout": answer.readout is not None,
        "trained": answer.trained,
        "adapted": answer.adapted,
        "shared": answer.shared,
        "own": answer.own,
        "figures": answer.figures,
    }


def _read_back(record: dict[str, Any]) -> Answer:
    laws = np.array(record["laws"], np.float32)
    hidden = None
    if record["hidden"] is not None:
        flat = np.frombuffer(base64.b64decode(record["hidden"]), "<f4")
        hidden = flat.reshape(len(laws), -1)
    return Answer(
        laws,
        hidden,
        trained=record["trained"],
        adapted=record["adapted"],
        shared=record["shared"],
        own=record["own"],
        figures=record["figures"],
    )


def _label_shares(data: LanguageData, held: HeldOut) -> np.ndarray:
    """float64 [m, C]."""
    shares = [[labels.count(choice) for choice in data.choices] for labels in held.labels]
    counts = np.array(shares, np.float64)
    return counts / counts.sum(axis=1, keepdims=True)
