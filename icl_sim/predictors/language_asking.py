"""How a language model is asked: what all prompts begin with is read once, into a cache.

Letters: m queries, C choices, D width, V tokens of the vocabulary, E rows of T tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from icl_sim.data.text_pairs import TextPair
from icl_sim.decoding.kv_cache import KVCache, cache_bytes, empty_cache, extend_stream, share
from icl_sim.execution.memory_guard import require
from icl_sim.predictors.language_model import Answer, LanguageModel, Question
from icl_sim.predictors.language_prompts import Prompts, prompts
from icl_sim.training.targets import Located, Targets, log_probabilities, targets
from icl_sim.transformer import Arithmetic, Params, norm, unembedding

READ = 4096  # tokens read at once, behind the shared ones


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
    logs: list[np.ndarray] = []
    states: list[np.ndarray] = []
    for first in range(0, E, batch):
        found, state = answer(Targets(*(_filled(x[first : first + batch], batch) for x in rows)))
        logs.append(np.asarray(found, np.float64)[: E - first])
        states.append(np.asarray(state, np.float32)[: E - first])
    log, each = np.concatenate(logs), len(located) // m
    ends: np.ndarray = np.concatenate(states)[[where.row for where in located[::each]]]
    if not any(read.choices):
        return np.zeros((m, 0), np.float32), ends
    scores = np.array([sum(log[where.row, i, j] for i, j in where.targets) for where in located])
    scores = scores.reshape(m, each)
    laws = np.exp(scores - scores.max(axis=1, keepdims=True))
    return (laws / laws.sum(axis=1, keepdims=True)).astype(np.float32), ends


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
