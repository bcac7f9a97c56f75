"""What a predictor of kind ``language`` reads and answers, and how a model is asked.

The demonstrations stand in front of every query. What all prompts of a question begin with is read
once, into a cache of keys and values; only the rest is read for each query.

Letters: m queries, C choices, D width, V tokens of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from icl_sim.data.text_pairs import LanguageData, TextPair
from icl_sim.decoding.kv_cache import (
    KVCache,
    cache_bytes,
    check_decodable,
    empty_cache,
    extend_stream,
    share,
)
from icl_sim.errors import InputError
from icl_sim.execution.memory_guard import require
from icl_sim.pretrained import Tokenizer, from_pretrained
from icl_sim.training import TrainConfig
from icl_sim.training.targets import Located, Targets, log_probabilities, targets
from icl_sim.transformer import (
    FAST,
    Arithmetic,
    Params,
    Transformer,
    norm,
    stack_layers,
    unembedding,
)

READ = 4096  # tokens read at once, behind the shared ones
# Of all tuned routes, but for what each adapts.
TUNING = TrainConfig(learning_rate=1e-3, steps=45, schedule="constant", batch=16)


@dataclass(frozen=True, eq=False)
class LanguageModel:
    """A language model as routes use it.

    Args:
      name: for messages and records.
      model: a causal decoder of tokens with logits.
      params: its leaves; those of equal layers may be stacked.
      tokenizer: of its vocabulary.
      how: the arithmetic.

    Raises:
      InputError: a model that is not read token by token, or has no tokenizer.
    """

    name: str
    model: Transformer
    params: Params
    tokenizer: Tokenizer
    how: Arithmetic = FAST

    def __post_init__(self) -> None:
        check_decodable(self.model.spec)
        if self.model.spec.readout == "simplex":
            raise InputError(f"{self.name}: expected a model with logits, got one with laws")

    @property
    def window(self) -> int | None:
        """The most tokens that it was made for, if it says so."""
        if self.model.spec.position_rows:
            return self.model.spec.position_rows - self.model.spec.position_offset
        return None if self.model.origin is None else self.model.origin.window


def load_language_model(path: str | Path) -> LanguageModel:
    """The model of a name or path; see `icl_sim.pretrained.from_pretrained`.

    Raises:
      InputError: no such model, or one without a tokenizer.
    """
    model, params, tokenizer = from_pretrained(path)
    if tokenizer is None:
        raise InputError(f"{path}: expected a model with a tokenizer, got none")
    return LanguageModel(str(path), model, stack_layers(model.spec, params), tokenizer)


class Question(NamedTuple):
    """What a predictor of kind ``language`` reads.

    data: demonstrations, queries, choices and template.
    base: the model, its params and its tokenizer.
    tuning: how routes are tuned that are.
    """

    data: LanguageData
    base: LanguageModel
    tuning: TrainConfig = TUNING


@dataclass(frozen=True, eq=False)
class Answer:
    """What a route answers: an array of laws, and what stands behind it.

    Args:
      laws: float32 [m, C], of the choices.
      hidden: float32 [m, D], the normalized residual stream at the end of each prompt; None if no
        model was asked.
      readout: [D, V] that makes logits of it; None: the base's own.
      trained: tokens read in training.
      adapted: numbers that are trained.
      shared, own: tokens of a prompt that all queries share, and of a query alone, on average.
      figures: what else the route says of itself, by name.
    """

    laws: np.ndarray
    hidden: np.ndarray | None = None
    readout: jax.Array | None = None
    trained: int = 0
    adapted: int = 0
    shared: int = 0
    own: float = 0.0
    figures: dict[str, float] = field(default_factory=dict)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """The laws."""
        return np.array(self.laws, dtype, copy=copy)


class Prompts(NamedTuple):
    """Tokens of the prompts of a question.

    shared: what all of them begin with.
    rows: what follows for each query; none is empty.
    choices: [m][C], tokens of each choice behind each prompt; C = 0 if completions are free.
    """

    shared: list[int]
    rows: list[list[int]]
    choices: list[list[list[int]]]


def prompts(
    base: LanguageModel, data: LanguageData, shown: Sequence[Sequence[TextPair]] | None = None
) -> Prompts:
    """The prompts of all queries, and the choices behind them.

    A choice is what the tokens of prompt and choice have behind the tokens of the prompt; so blanks
    belong to the words that they stand in front of. Where one choice is the beginning of another,
    all are followed by the template's end.

    Args:
      base, data: the question.
      shown: the demonstrations of each query; by default those of the data for all.

    Raises:
      InputError: a prompt that the window does not hold, or choices that have the same tokens.
    """
    if shown is None:
        shown = [data.demonstrations] * len(data.queries)
    rows, choices = [], []
    for query, pairs in zip(data.queries, shown, strict=True):
        text = prompt_text(data, pairs, query)
        row, ends = _behind(base, text, [data.template.completion(c) for c in data.choices])
        if _nested(ends):
            ended = [data.template.completion(c) + data.template.end for c in data.choices]
            row, ends = _behind(base, text, ended)
        rows.append(row)
        choices.append(ends)
    _check(base, data, rows, choices)
    common = _common(rows)
    shared = common[: min(len(common), min(map(len, rows)) - 1)]
    return Prompts(shared, [row[len(shared) :] for row in rows], choices)


def prompt_text(data: LanguageData, pairs: Sequence[TextPair], query: str) -> str:
    """Header, demonstrations and the head of a query, as the model reads them."""
    shown = "".join(map(data.template.demonstration, pairs))
    return f"{data.template.header}{shown}{data.template.head(query)}"


def _behind(
    base: LanguageModel, text: str, completions: Sequence[str]
) -> tuple[list[int], list[list[int]]]:
    """Tokens of the text, and of each completion behind it."""
    whole = [base.tokenizer.encode(text + completion) for completion in completions]
    row = _common([base.tokenizer.encode(text), *whole])
    return row, [tokens[len(row) :] for tokens in whole]


def _common(rows: Sequence[Sequence[int]]) -> list[int]:
    """What all rows begin with."""
    first, last = min(rows), max(rows)
    same = next((i for i, (a, b) in enumerate(zip(first, last)) if a != b), None)  # noqa: B905
    return list(first[:same]) if same is not None else list(min(first, last, key=len))


def _nested(ends: Sequence[Sequence[int]]) -> bool:
    ordered = sorted(map(tuple, ends))
    return any(b[: len(a)] == a for a, b in zip(ordered, ordered[1:], strict=False))


def _check(
    base: LanguageModel,
    data: LanguageData,
    rows: Sequence[list[int]],
    choices: Sequence[list[list[int]]],
) -> None:
    for query, row, ends in zip(data.queries, rows, choices, strict=True):
        if not row:
            raise InputError(f"prompt of {query!r}: expected tokens, got none: add a header")
        for i, end in enumerate(ends):
            if not end or end in ends[:i]:
                other = data.choices[ends.index(end)] if end else ""
                raise InputError(
                    f"choices: expected different tokens of {base.name}, got the same for "
                    f"{data.choices[i]!r} and {other!r}: rename one, or take another base"
                )
        length = len(row) + max(map(len, ends), default=0)
        if base.window is not None and length > base.window:
            raise InputError(
                f"prompt of {query!r}: expected at most {base.window} tokens, the window of "
                f"{base.name}, got {length}: show fewer demonstrations (--sizes), or retrieve some"
            )


def ask(
    question: Question,
    *,
    params: Params | None = None,
    shown: Sequence[Sequence[TextPair]] | None = None,
    **about: Any,
) -> Answer:
    """The model's answer: of each choice the probability of its tokens behind the prompt.

    Their products over tokens are divided by their sum over the choices; nothing else is, so a
    longer choice is not favored.

    Args:
      question: data and base.
      params: instead of the base's.
      shown: as `prompts` takes them.
      about: further fields of the `Answer`.

    Raises:
      InputError: as `prompts` does, or more than memory lasts for.
    """
    base = question.base
    params = base.params if params is None else params
    spec, how = base.model.spec, base.how
    read = prompts(base, question.data, shown)
    rows, located = rows_of(read)
    batch, T = batch_of(rows), rows.tokens.shape[1]

    def cost(batch: int, tokens: int) -> int:
        wide = max((3 * layer.hidden for layer in spec.layers), default=0) + 8 * spec.width
        prefix = len(read.shared)
        heads = max((layer.heads for layer in spec.layers), default=0)
        logits = 2 * batch * rows.places.shape[1] * spec.output_size
        scores = 2 * heads * (batch * tokens * (prefix + tokens) + prefix * prefix)
        keys = cache_bytes(spec, batch=1, room=prefix + batch * tokens)
        return 4 * ((batch * tokens + prefix) * wide + logits + scores) + 3 * keys

    require(f"reading prompts by {base.name}", cost, batch=batch, tokens=T)
    ready = share(read_shared(base, params, read.shared), batch=batch, room=T)
    laws, states = laws_of(read, rows, located, partial(_read, spec, how, params, ready))
    own = float(np.mean([len(row) for row in read.rows]))
    return Answer(laws, states, shared=len(read.shared), own=own, **about)


def rows_of(read: Prompts) -> tuple[Targets, list[Located]]:
    """The rows that are read behind the shared tokens, and where each choice is in them."""
    return targets(
        (row, choice, 1.0)
        for row, choices in zip(read.rows, read.choices, strict=True)
        for choice in (choices or [[0]])  # without choices, any token: its row is what is read
    )


def batch_of(rows: Targets) -> int:
    """How many rows are read at once."""
    return min(len(rows.tokens), max(1, READ // rows.tokens.shape[1]))


def laws_of(
    read: Prompts,
    rows: Targets,
    located: Sequence[Located],
    answer: Callable[[Targets], tuple[jax.Array, jax.Array]],
) -> tuple[np.ndarray, np.ndarray]:
    """Laws of the choices, float32 [m, C], and hidden states at the prompts' ends [m, D].

    Args:
      read: the prompts.
      rows, located: of `rows_of`.
      answer: rows -> log-probabilities [E, p, k], and the stream at each row's first place [E, D].
    """
    m, E, batch = len(read.rows), len(rows.tokens), batch_of(rows)
    logs, states = [], []
    for first in range(0, E, batch):
        log, state = answer(Targets(*(_filled(x[first : first + batch], batch) for x in rows)))
        logs.append(np.asarray(log, np.float64)[: E - first])
        states.append(np.asarray(state, np.float32)[: E - first])
    log, state = np.concatenate(logs), np.concatenate(states)
    each = len(located) // m
    state = state[[where.row for where in located[::each]]]
    if not any(read.choices):
        return np.zeros((m, 0), np.float32), state
    scores = np.array([sum(log[where.row, i, j] for i, j in where.targets) for where in located])
    scores = scores.reshape(m, each)
    laws = np.exp(scores - scores.max(axis=1, keepdims=True))
    return (laws / laws.sum(axis=1, keepdims=True)).astype(np.float32), state


def _filled(x: np.ndarray, batch: int) -> np.ndarray:
    """As many rows as ``batch``, the first one again where there are fewer."""
    return np.concatenate([x, np.repeat(x[:1], batch - len(x), axis=0)])


def read_shared(base: LanguageModel, params: Params, tokens: Sequence[int]) -> KVCache:
    """The cache of one row that has read the tokens, if any."""
    spec, how = base.model.spec, base.how
    dtype = how.dtype or next(iter(params.values())).dtype
    cache = empty_cache(spec, batch=1, room=len(tokens), dtype=dtype)
    if not tokens:
        return cache
    return _extended(spec, how, params, np.array([tokens], np.int32), cache)


@partial(jax.jit, static_argnums=(0, 1))
def _extended(spec: Any, how: Arithmetic, params: Params, tokens: Any, cache: KVCache) -> KVCache:
    lengths = jnp.full(1, tokens.shape[1], jnp.int32)
    return extend_stream(spec, params, jnp.asarray(tokens), cache, lengths=lengths, how=how)[1]


@partial(jax.jit, static_argnums=(0, 1))
def _read(
    spec: Any, how: Arithmetic, params: Params, cache: KVCache, rows: Targets
) -> tuple[jax.Array, jax.Array]:
    """Log-probabilities [E, p, k], and the stream at each row's first place [E, D]."""
    tokens = jnp.asarray(rows.tokens)
    lengths = jnp.full(len(tokens), tokens.shape[1], jnp.int32)
    x, _ = extend_stream(spec, params, tokens, cache, lengths=lengths, how=how)
    x = norm(spec, x, params, "norm_out")
    first = jnp.take_along_axis(x, jnp.asarray(rows.places)[:, :1, None], axis=1)[:, 0]
    return log_probabilities(x, unembedding(spec, params), rows, how), first
