"""A file of prompts and completions as a task: columns, choices, and what is held out."""

from __future__ import annotations

import heapq
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from icl_sim.data.text_pairs import LanguageData, Template, TextPair, TextTask
from icl_sim.data.text_rows import Row, read_rows
from icl_sim.errors import InputError, did_you_mean
from icl_sim.execution.seeds import checked_seed
from icl_sim.execution.signatures import checked
from icl_sim.execution.streams import Fixed

PROMPTS = ("prompt", "input", "text", "question", "sentence", "instruction")
COMPLETIONS = ("completion", "output", "label", "answer", "response", "target")
MESSAGES = "messages"
MOST_ROWS = 100_000
MOST_CHARACTERS = 2**27
MOST_CHOICES = 32
HELD_OUT = 100  # prompts
SHOWN = 16  # names in a message


@checked
def read_pairs(
    path: str | Path,
    *,
    prompt_column: str | None = None,
    completion_column: str | None = None,
    choices: Sequence[str] | None = None,
    template: Template | str | None = None,
    header: str | None = None,
    held_out: int | None = None,
    seed: int = 0,
) -> TextTask:
    r"""A file as a task.

    White space around prompts and completions is dropped: the template brings its own. If prompts
    repeat, two rows a prompt or more on average, they are contexts: a quarter of each one's rows is
    held out. If not, a quarter of the prompts is, with all of their rows. Of a file that is larger
    than MOST_ROWS rows or MOST_CHARACTERS characters a sample is kept, fixed by the seed.

    Args:
      path: .jsonl, .csv, .tsv or .parquet; or chat as .jsonl, ``messages`` of a user and an
        assistant.
      prompt_column, completion_column: by default prompt, input, text or the like, and completion,
        output, label or the like, if there is one of each.
      choices: the completions there are; by default all of the file, if these are at most
        MOST_CHOICES and each occurs twice on average, else none: any text may follow. An empty list
        says so as well.
      template: a Template, or its text, in which \n and \t may stand for a line break and a tab.
      header: an instruction in front of everything, written likewise; a line break is added.
      held_out: at most so many prompts (100).
      seed: of the sample and of what is held out.

    Raises:
      InputError: what is wrong with the file, with its line and what to do.
    """
    words, rows = read_rows(path)
    rng = Fixed.HELD_OUT.stream(checked_seed(seed))
    if held_out is not None and held_out < 1:
        raise InputError(f"held_out: expected one or more prompts, got {held_out}")
    known = None if choices is None else _given(choices)
    pairs = _pairs(Path(path), words, rows, prompt_column, completion_column)
    kept, total = _sample(_chosen(pairs, known, f"{path}, {words}"), rng)
    if not total:
        raise InputError(f"{path}: expected rows of prompts and completions, got none: add some")
    notes = []
    if total > len(kept):
        notes.append(f"{len(kept)} of {total} rows were drawn, by seed {seed}.")
    classes = Counter(pair.completion for pair in kept)
    if len(classes) == 1:
        raise InputError(
            f"{path}: expected two or more different completions, got {_short(*classes)} in all "
            f"{total} rows: there is nothing to learn"
        )
    if known is None and len(classes) <= MOST_CHOICES and 2 * len(classes) <= len(kept):
        known = tuple(sorted(classes))
        notes.append(f"The choices are the {len(known)} completions of the file.")
    pool, held, said = _hold_out(kept, HELD_OUT if held_out is None else held_out, rng, path)
    return TextTask(
        name=Path(path).name,
        pool=pool,
        held_out=held,
        choices=known or (),
        template=_template(template, header),
        source=str(path),
        licence="the user's own",
        notes=(*notes, said),
    )


def check_window(data: LanguageData, *, count: Callable[[str], int], window: int) -> int:
    """Whether each query, and each demonstration alone, fits the window of a model.

    Args:
      count: text -> tokens.
      window: W tokens.

    Returns:
      Tokens of the longest.

    Raises:
      InputError: one that does not fit.

    >>> template = Template("{prompt} {completion}")
    >>> data = LanguageData((TextPair("a b", "c"),), ("d",), ("c", "f g"), template)
    >>> check_window(data, count=lambda text: len(text.split()), window=4)
    3
    """
    ends = data.choices or ("",)
    texts: list[tuple[str, str, tuple[str, ...]]] = [
        (f"demonstration {i}", p.prompt, (p.completion,)) for i, p in enumerate(data.demonstrations)
    ]
    texts += [(f"query {i}", prompt, ends) for i, prompt in enumerate(data.queries)]
    longest = 0
    for name, prompt, completions in texts:
        head = data.template.header + data.template.head(prompt)
        tokens = max(count(head + data.template.completion(text)) for text in completions)
        if tokens > window:
            raise InputError(
                f"{name} ({_short(prompt)}): expected at most {window} tokens, the model's window, "
                f"got {tokens}: shorten it, or leave it out"
            )
        longest = max(longest, tokens)
    return longest


def _pairs(
    file: Path, words: str, rows: Iterator[Row], prompt: str | None, completion: str | None
) -> Iterator[tuple[int, TextPair]]:
    """Numbers and pairs, by the columns of the first row."""
    chat = False
    for i, (number, row) in enumerate(rows):
        place = f"{file}, {words} {number}"
        if not i:
            chat = prompt is None and completion is None and MESSAGES in row
            if not chat:
                prompt, completion = _columns(file, list(row), prompt, completion)
        if chat:
            yield number, _message_pair(row, place)
            continue
        cells = []
        for column in (prompt, completion):
            if column not in row:
                raise InputError(
                    f"{place}: expected the column {_names([column])}, got {_names(row)}"
                )
            cells.append(_text(row[column], _names([column]), place))
        yield number, TextPair(*cells)


def _columns(
    file: Path, there: list[str], prompt: str | None, completion: str | None
) -> tuple[str, str]:
    found = []
    if prompt is None and completion is None and {PROMPTS[0], COMPLETIONS[0]} <= set(there):
        return PROMPTS[0], COMPLETIONS[0]
    for flag, named, usual in (
        ("--prompt-column", prompt, PROMPTS),
        ("--completion-column", completion, COMPLETIONS),
    ):
        if named is not None:
            if named not in there:
                raise InputError(
                    f"{file}: {flag}: expected one of {_names(there)}, got {named}"
                    + did_you_mean(named, there)
                )
            found.append(named)
            continue
        fitting = [name for name in there if name.lower() in usual]
        if len(fitting) != 1:
            got = f"{' and '.join(fitting)} of {_names(there)}" if fitting else _names(there)
            raise InputError(
                f"{file}: expected one column of {', '.join(usual)}, got {got}: name it by {flag}"
            )
        found += fitting
    return found[0], found[1]


def _message_pair(row: Mapping[str, Any], place: str) -> TextPair:
    """The pair of a chat: what its user says, behind what a system says; and the answer."""
    messages = row.get(MESSAGES)
    try:
        said = [(message["role"], message["content"]) for message in messages or ()]
    except (TypeError, KeyError):
        said = []
    roles = [role for role, _ in said]
    if roles not in (["user", "assistant"], ["system", "user", "assistant"]):
        raise InputError(
            f"{place}: expected messages of a user and an assistant, a system's before them or "
            f"not, got {_names(roles)}: keep one exchange a row"
        )
    *before, answer = (_text(content, f"content of {role}", place) for role, content in said)
    return TextPair("\n".join(before), answer)


def _text(cell: Any, column: str, place: str) -> str:
    if isinstance(cell, bool | int | float):
        cell = json.dumps(cell)
    if not isinstance(cell, str):
        got = "nothing" if cell is None else f"a {type(cell).__name__}"
        raise InputError(f"{place}: expected text as {column}, got {got}: leave the row out")
    text = cell.strip()
    if not text:
        raise InputError(f"{place}: expected text as {column}, got nothing: leave the row out")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InputError(f"{place}: expected text as {column}, got half a surrogate pair") from None
    return text


def _chosen(
    pairs: Iterable[tuple[int, TextPair]], choices: tuple[str, ...] | None, where: str
) -> Iterator[tuple[int, TextPair]]:
    known = frozenset(choices or ())
    for number, pair in pairs:
        if choices and pair.completion not in known:
            raise InputError(
                f"{where} {number}: expected one of the choices {_names(choices)}, got "
                f"{_short(pair.completion)}" + did_you_mean(pair.completion, choices)
            )
        yield number, pair


def _given(choices: Sequence[str]) -> tuple[str, ...]:
    given = tuple(choice.strip() for choice in choices)
    if given and (len(given) < 2 or len(set(given)) < len(given) or "" in given):
        raise InputError(f"choices: expected two or more distinct texts, got {list(choices)}")
    return given


def _sample(
    pairs: Iterable[tuple[int, TextPair]], rng: np.random.Generator
) -> tuple[list[TextPair], int]:
    """Pairs in the file's order, all or a uniform sample, and how many there are.

    Every row has a random priority; kept are the rows below the largest threshold that the limits
    allow. What has been dropped once lowers the threshold for all that follow.
    """
    heap: list[tuple[float, int, TextPair]] = []
    total, characters, threshold = 0, 0, 1.0
    for _, pair in pairs:
        priority = rng.random()
        total += 1
        if priority >= threshold:
            continue
        heapq.heappush(heap, (-priority, total, pair))
        characters += len(pair.prompt) + len(pair.completion)
        while len(heap) > MOST_ROWS or characters > MOST_CHARACTERS:
            negative, _, dropped = heapq.heappop(heap)
            threshold = -negative
            characters -= len(dropped.prompt) + len(dropped.completion)
    heap.sort(key=lambda entry: entry[1])
    return [pair for _, _, pair in heap], total


def _hold_out(
    pairs: Sequence[TextPair], most: int, rng: np.random.Generator, path: str | Path
) -> tuple[tuple[TextPair, ...], tuple[TextPair, ...], str]:
    """The pool, what is held out, and how that was done."""
    places: dict[str, list[int]] = {}
    for i, pair in enumerate(pairs):
        places.setdefault(pair.prompt, []).append(i)
    prompts = list(places)
    repeated = [prompt for prompt in prompts if len(places[prompt]) > 1]
    contexts = 2 * len(prompts) <= len(pairs)
    if contexts:
        chosen = [repeated[i] for i in rng.permutation(len(repeated))[:most]]
        held = {
            i
            for prompt in chosen
            for i in rng.permutation(places[prompt])[: max(1, len(places[prompt]) // 4)].tolist()
        }
        said = (
            f"Prompts repeat, {len(pairs)} rows of {len(prompts)}: they are contexts, and of "
            f"{len(chosen)} a quarter of the rows is held out ({len(held)})."
        )
    else:
        if len(prompts) < 2:
            raise InputError(f"{path}: expected two or more rows, got {len(pairs)}: add some")
        count = min(most, max(1, len(prompts) // 4))
        chosen = [prompts[i] for i in rng.permutation(len(prompts))[:count]]
        held = {i for prompt in chosen for i in places[prompt]}
        said = f"{len(chosen)} of {len(prompts)} prompts are held out, {len(held)} rows."
        if len(pairs) > len(prompts):
            said += f" {len(pairs) - len(prompts)} rows repeat a prompt and stay on its side."
    pool = tuple(pair for i, pair in enumerate(pairs) if i not in held)
    return pool, tuple(pairs[i] for i in sorted(held)), said


def _template(template: Template | str | None, header: str | None) -> Template:
    if template is None:
        template = Template()
    elif isinstance(template, str):
        template = Template(_typed(template))
    if header is None:
        return template
    text = _typed(header)
    return replace(template, header=text if text.endswith("\n") else text + "\n")


def _typed(text: str) -> str:
    """What was meant by a line break or a tab that a shell has no key for."""
    return text.replace("\\n", "\n").replace("\\t", "\t")


def _names(columns: Iterable[Any]) -> str:
    """Names in one line, the first ones of many."""
    names = [name if name.isprintable() else repr(name) for name in map(str, columns)]
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return (", ".join(names[:SHOWN]) or "none") + more


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:40]}...")
