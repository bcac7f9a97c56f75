"""A task by its name, or a user's own file, through every route of a language model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from icl_sim.comparison.entry import check_request
from icl_sim.comparison.language import KIND, compare_tasks
from icl_sim.comparison.language_result import LanguageComparison
from icl_sim.comparison.run import ROUTES, SIZES
from icl_sim.data.text_files import read_pairs
from icl_sim.data.text_pairs import Template, TextPair, TextTask
from icl_sim.data.text_tasks import text_task
from icl_sim.errors import InputError
from icl_sim.execution.progress import Progress, quiet
from icl_sim.execution.seeds import checked_seed
from icl_sim.execution.signatures import checked
from icl_sim.predictors.language_model import TUNING, LanguageModel
from icl_sim.storage.result_store import ResultStore
from icl_sim.training import TrainConfig
from icl_sim.training.base_model import CONTEXTS, check_table
from icl_sim.training.base_model import NAME as BASE

# Pairs of symbols: what the shipped base was trained on.
SYMBOLS = Template("{prompt} {completion}\n")
TASKS = 2  # tasks of a family, or splits of a file


@checked
def compare_language(
    base: str | LanguageModel = "smollm2",
    *,
    task: str = "english",
    data: str | Path | None = None,
    prompt_column: str | None = None,
    completion_column: str | None = None,
    choices: Sequence[str] | None = None,
    template: str | None = None,
    header: str | None = None,
    held_out: int | None = None,
    sizes: Sequence[int] | None = None,
    predictors: Sequence[str] | None = None,
    tasks: int | None = None,
    seeds: int = 1,
    contexts: int | None = None,
    vocab: int | None = None,
    tuning: TrainConfig = TUNING,
    seed: int = 0,
    store: ResultStore | None = None,
    progress: Progress = quiet,
) -> LanguageComparison:
    """How far is prompting from fine-tuning, in a language model, on these data?

    Args:
      base: ``smollm2``, ``base``, a directory in the stock form, a .gguf file, or a model.
      task: a name in `icl_sim.data.text_tasks.TEXT_TASKS`, unless there are ``data``.
      data: a file, see `icl_sim.data.text_files.read_pairs`, which takes the next six as well.
      prompt_column, completion_column, choices, template, header, held_out: of the file.
      sizes: N, demonstrations in all; 16, 64 and 256 as far as there are data.
      predictors: routes of kind ``language``; by default zero-shot, in-context, lora-8 and counts.
      tasks: how many tasks of the family, or splits of the file (2).
      seeds: draws of demonstrations of each.
      contexts, vocab: m and C of tasks that are tables.
      tuning: how routes are tuned that are.
      seed: root of all randomness.
      store: each answer is recorded there, and found again on resuming.
      progress: called as progress(label, answers done, answers).

    Raises:
      InputError: see `read_pairs` and `icl_sim.comparison.language.compare_tasks`.
      FloatingPointError: a law that is not finite, a training step that is not.
    """

    def one(index: int) -> TextTask:
        if data is None:
            found = text_task(task, index, contexts=contexts, vocab=vocab)
            name = base if isinstance(base, str) else base.name
            return in_symbols(found) if name == BASE else found
        return read_pairs(
            data,
            prompt_column=prompt_column,
            completion_column=completion_column,
            choices=choices,
            template=template,
            header=header,
            held_out=held_out,
            seed=seed + index,
        )

    checked_seed(seed)
    routes = ROUTES[KIND] if predictors is None else predictors
    count = TASKS if tasks is None else tasks
    check_request(routes, SIZES[:1] if sizes is None else sizes, tasks=count, seeds=seeds)
    return compare_tasks(
        base,
        [one(index) for index in range(count)],
        sizes=sizes,
        predictors=routes,
        seeds=seeds,
        tuning=tuning,
        seed=seed,
        store=store,
        progress=progress,
    )


def in_symbols(task: TextTask) -> TextTask:
    """The task in the alphabet of the shipped base, whose words are the numbers of its symbols.

    Contexts are the first symbols, choices those of the base's outputs, in their order.

    Raises:
      InputError: more contexts or choices than the base has symbols for, or a prompt of the pool
        that is not asked about.

    >>> task = in_symbols(text_task("tables", contexts=2, vocab=2))
    >>> task.queries, task.choices, task.pool[0].prompt in task.queries
    (('0', '1'), ('8', '9'), True)
    """
    check_table(len(task.queries), len(task.choices))
    contexts = {query: str(i) for i, query in enumerate(task.queries)}
    outputs = {choice: str(CONTEXTS + i) for i, choice in enumerate(task.choices)}
    if other := next((p.prompt for p in task.pool if p.prompt not in contexts), None):
        raise InputError(f"{BASE}: expected a table, as tables or english are, got {other!r}")

    def renamed(pairs: tuple[TextPair, ...]) -> tuple[TextPair, ...]:
        return tuple(TextPair(contexts[p.prompt], outputs[p.completion]) for p in pairs)

    return replace(
        task,
        pool=renamed(task.pool),
        held_out=renamed(task.held_out),
        choices=tuple(outputs.values()),
        template=SYMBOLS,
        notes=(*task.notes, "Words are numbers of the base's symbols."),
    )
