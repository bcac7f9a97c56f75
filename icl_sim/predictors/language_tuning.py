"""Routes of kind ``language`` that train something on the demonstrations.

LoRA, all leaves, or the readout alone (a tied one is untied first); and what stands between
prompting and fine-tuning: keys and values of a prefix (Li and Liang, arXiv:2101.00190), embeddings
of virtual tokens (Lester et al., arXiv:2104.08691), and LoRA that is fitted to the law of the same
model with the demonstrations in its prompt (context distillation, arXiv:2209.15189).

A step fits whole sequences of (prompt, completion) without demonstrations around them; the loss is
on the completion.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from icl_sim.decoding.kv_cache import KVCache, empty_cache, extend_stream
from icl_sim.predictors.language_asking import ask, laws_of, read_shared, rows_of
from icl_sim.predictors.language_model import Answer, Question
from icl_sim.predictors.language_prompts import Prompts, common, prompt_text, prompts
from icl_sim.training.adapters import trainable
from icl_sim.training.targets import Stream, Targets, log_probabilities, targets, tune_targets
from icl_sim.transformer import Arithmetic, Params, embed, hidden, loop, norm, unembedding

VIRTUAL = 16  # tokens of a tuned prefix or soft prompt
# Learning rates as multiples of LoRA's: where all leaves move the usual ones are far lower;
# embeddings and keys of few tokens need larger steps (Lester et al.).
FULL_RATE, SOFT_RATE = 0.02, 10.0

Route = Callable[[Question, jax.Array], Answer]
Item = tuple[list[int], list[int], float]


def adapted(adapt: str, rank: int = 1, *, in_context: bool = False) -> Route:
    """The route that fine-tunes the base.

    Args:
      adapt: as in `TrainConfig`: ``lora``, ``full`` or ``head``.
      rank: of LoRA.
      in_context: the demonstrations stand in the prompt as well when it is asked.
    """

    def predict(question: Question, key: jax.Array) -> Answer:
        config = replace(question.tuning, adapt=adapt, rank=rank)
        if adapt == "full":
            config = replace(config, learning_rate=FULL_RATE * config.learning_rate)
        return _adapted(question, key, config, examples(question), in_context)

    leaves = f"LoRA of rank {rank}" if adapt == "lora" else adapt
    shown = "; they stand in the prompt as well" if in_context else ""
    predict.__doc__ = f"Fine-tuned on the demonstrations: {leaves}{shown}."
    return predict


def distilled(rank: int) -> Route:
    """The route that fits LoRA to the in-context laws at the demonstrations' prompts."""

    def predict(question: Question, key: jax.Array) -> Answer:
        data = question.data
        seen = Counter(pair.prompt for pair in data.demonstrations)
        of_seen = data._replace(queries=tuple(seen))
        if not seen or not data.choices:
            return _bare(question)
        teacher = np.asarray(ask(question._replace(data=of_seen)))
        read = prompts(question.base, of_seen._replace(demonstrations=()))
        items = [
            ([*read.shared, *row], choice, float(share) * count)
            for row, choices, law, count in zip(
                read.rows, read.choices, teacher, seen.values(), strict=True
            )
            for choice, share in zip(choices, law, strict=True)
        ]
        config = replace(question.tuning, adapt="lora", rank=rank)
        return _adapted(question, key, config, items, False)

    predict.__doc__ = f"LoRA of rank {rank}, fitted to what `in_context` answers."
    return predict


def examples(question: Question) -> list[Item]:
    """(prompt, completion, weight): each distinct demonstration alone, weighted by its count."""
    base, data = question.base, question.data
    counts = Counter(data.demonstrations)
    if counts and {pair.completion for pair in counts} <= set(data.choices):
        seen = tuple(dict.fromkeys(pair.prompt for pair in counts))
        bare = data._replace(demonstrations=(), queries=seen)
        read = prompts(base, bare)
        of = {query: i for i, query in enumerate(seen)}
        place = {choice: j for j, choice in enumerate(data.choices)}
        return [
            (
                [*read.shared, *read.rows[of[prompt]]],
                read.choices[of[prompt]][place[completion]],
                float(count),
            )
            for (prompt, completion), count in counts.items()
        ]
    items = []
    for (prompt, completion), count in counts.items():
        # Free completions are fitted with their end, so that the model learns to stop.
        ended = completion + data.template.end
        one = data._replace(demonstrations=(), queries=(prompt,), choices=(ended,))
        read = prompts(base, one)
        items.append(([*read.shared, *read.rows[0]], read.choices[0][0], float(count)))
    return items


def _bare(question: Question) -> Answer:
    return ask(question._replace(data=question.data._replace(demonstrations=())))


def _adapted(
    question: Question, key: jax.Array, config: Any, items: list[Item], in_context: bool
) -> Answer:
    base = question.base
    spec, how, params = base.model.spec, base.how, dict(base.params)
    if not items:
        return ask(question) if in_context else _bare(question)
    start_key, order_key = jax.random.split(key)
    whole = _bare_prompts(question)
    ahead = common([*(prompt for prompt, _, _ in items), *whole.rows], keep=1)
    shared, frozen = tuple(ahead), params
    if config.adapt == "head":
        leaves = {"w_out": unembedding(spec, params)}
        stream = _by_head(spec, how, shared)
    else:
        leaves = trainable(params, config, start_key)
        frozen = {} if config.adapt == "full" else params
        stream = _by_leaves(spec, how, shared)
    rows, _ = targets((prompt[len(ahead) :], end, weight) for prompt, end, weight in items)
    tuned = tune_targets(stream, leaves, frozen, rows, config=config, key=order_key, how=how)
    about: dict[str, Any] = {
        "trained": _tokens(rows, config) + config.steps * len(ahead),
        "adapted": _size(tuned),
    }
    if in_context:
        return ask(question, params={**params, **tuned}, **about)
    found = _ask_stream(question, whole, stream, tuned, frozen, ahead=len(ahead))
    own = None if config.adapt == "lora" else _readout(spec, tuned)
    return replace(found, readout=own, **about)


def prefix(question: Question, key: jax.Array) -> Answer:
    """Keys and values of ``VIRTUAL`` tokens, tuned; they start as those of the demonstrations.

    Without demonstrations it is the base.
    """
    start = _first_tokens(question)
    if not start:
        return _bare(question)
    base = question.base
    cache = read_shared(base, base.params, start)
    leaves = {
        f"{name}_{i}": getattr(run, name)[:, 0]
        for i, run in enumerate(cache.runs)
        if run is not None
        for name in ("k", "v")
    }
    return _virtual(question, key, _by_prefix(base.model.spec, base.how), leaves)


def soft_prompt(question: Question, key: jax.Array) -> Answer:
    """Embeddings of ``VIRTUAL`` tokens, tuned; they start as those of the demonstrations.

    Without demonstrations it is the base.
    """
    start = _first_tokens(question)
    if not start:
        return _bare(question)
    base = question.base
    leaves = {"soft": base.params["embed"][np.array(start)]}
    return _virtual(question, key, _by_soft_prompt(base.model.spec, base.how), leaves)


def _first_tokens(question: Question) -> list[int]:
    """The first ``VIRTUAL`` tokens of a prompt with demonstrations."""
    data = question.data
    if not data.demonstrations:
        return []
    text = prompt_text(data, data.demonstrations[:VIRTUAL], data.queries[0])
    return question.base.tokenizer.encode(text)[:VIRTUAL]


def _virtual(question: Question, key: jax.Array, stream: Stream, leaves: Params) -> Answer:
    config = replace(question.tuning, learning_rate=SOFT_RATE * question.tuning.learning_rate)
    rows, _ = targets(examples(question))
    how, frozen = question.base.how, dict(question.base.params)
    tuned = tune_targets(stream, leaves, frozen, rows, config=config, key=key, how=how)
    found = _ask_stream(question, _bare_prompts(question), stream, tuned, frozen)
    about: dict[str, Any] = {"trained": _tokens(rows, config), "adapted": _size(tuned)}
    return replace(found, own=found.own + VIRTUAL, **about)


def _size(leaves: Params) -> int:
    return sum(leaf.size for leaf in leaves.values())


def _tokens(rows: Targets, config: Any) -> int:
    """Tokens that training reads, filled up ones included."""
    E, T = rows.tokens.shape
    return int(config.steps * min(config.batch or E, E) * T)


def _bare_prompts(question: Question) -> Prompts:
    """The queries without demonstrations, nothing shared."""
    read = prompts(question.base, question.data._replace(demonstrations=()))
    return Prompts([], [[*read.shared, *row] for row in read.rows], read.choices)


def _ask_stream(
    question: Question,
    whole: Prompts,
    stream: Stream,
    leaves: Params,
    frozen: Any,
    *,
    ahead: int = 0,
) -> Answer:
    """The answer of a stream that reads rows whole, but for the tokens that it has ahead."""
    read = whole._replace(rows=[row[ahead:] for row in whole.rows])
    answer = partial(_through, stream, question.base.how, leaves, frozen)
    laws, states = laws_of(read, *rows_of(read), answer)
    own = float(np.mean([len(row) for row in read.rows]))
    return Answer(laws, states, shared=ahead, own=own)


@partial(jax.jit, static_argnums=(0, 1))
def _through(
    stream: Stream, how: Arithmetic, leaves: Params, frozen: Any, rows: Targets
) -> tuple[jax.Array, jax.Array]:
    x, readout = stream(leaves, frozen, jnp.asarray(rows.tokens))
    first = jnp.take_along_axis(x, jnp.asarray(rows.places)[:, :1, None], axis=1)[:, 0]
    return log_probabilities(x, readout, rows, how), first


def _readout(spec: Any, tuned: Params) -> jax.Array:
    """[D, V], of all leaves or of the readout alone."""
    return tuned["w_out"] if "w_out" in tuned else unembedding(spec, tuned)


def _behind(
    spec: Any, how: Arithmetic, params: Params, ahead: tuple[int, ...], tokens: jax.Array
) -> jax.Array:
    """The normalized stream at tokens [E, T] of rows that all begin with ``ahead``, read once."""
    E, T = tokens.shape
    if not ahead:
        return hidden(spec, params, tokens, how=how)
    P, dtype = len(ahead), how.dtype or next(iter(params.values())).dtype
    one = empty_cache(spec, batch=1, room=P, dtype=dtype)
    row, length = jnp.array([ahead], jnp.int32), jnp.full(1, P, jnp.int32)
    _, one = extend_stream(spec, params, row, one, lengths=length, how=how)
    empty = empty_cache(spec, batch=E, room=T, dtype=dtype)
    runs = tuple(
        None
        if new is None or run is None
        else new._replace(shared_k=run.k[:, 0], shared_v=run.v[:, 0])
        for new, run in zip(empty.runs, one.runs, strict=True)
    )
    x, _ = extend_stream(
        spec, params, tokens, KVCache(runs, empty.place), lengths=jnp.full(E, T, jnp.int32), how=how
    )
    return norm(spec, x, params, "norm_out")


# One object for each model and beginning, since a stream is what is compiled for.


@lru_cache(maxsize=32)
def _by_leaves(spec: Any, how: Arithmetic, ahead: tuple[int, ...]) -> Stream:
    def stream(leaves: Params, frozen: Any, tokens: jax.Array) -> tuple[jax.Array, jax.Array]:
        params = {**frozen, **leaves}
        return _behind(spec, how, params, ahead, tokens), unembedding(spec, params)

    return stream


@lru_cache(maxsize=32)
def _by_head(spec: Any, how: Arithmetic, ahead: tuple[int, ...]) -> Stream:
    def stream(leaves: Params, frozen: Any, tokens: jax.Array) -> tuple[jax.Array, jax.Array]:
        return _behind(spec, how, frozen, ahead, tokens), leaves["w_out"]

    return stream


@lru_cache(maxsize=8)
def _by_prefix(spec: Any, how: Arithmetic) -> Stream:
    def stream(leaves: Params, frozen: Any, tokens: jax.Array) -> tuple[jax.Array, jax.Array]:
        E, T = tokens.shape
        empty = empty_cache(spec, batch=E, room=T, dtype=leaves["k_0"].dtype)
        runs = tuple(
            run and run._replace(shared_k=leaves[f"k_{i}"], shared_v=leaves[f"v_{i}"])
            for i, run in enumerate(empty.runs)
        )
        lengths = jnp.full(E, T, jnp.int32)
        cache = KVCache(runs, empty.place)
        x, _ = extend_stream(spec, frozen, tokens, cache, lengths=lengths, how=how)
        return norm(spec, x, frozen, "norm_out"), unembedding(spec, frozen)

    return stream


@lru_cache(maxsize=8)
def _by_soft_prompt(spec: Any, how: Arithmetic) -> Stream:
    def stream(leaves: Params, frozen: Any, tokens: jax.Array) -> tuple[jax.Array, jax.Array]:
        E, T = tokens.shape
        soft = leaves["soft"]
        P = soft.shape[0]
        virtual = jnp.broadcast_to(jnp.arange(P, dtype=jnp.int32), (E, P))
        ahead = embed(spec, {**frozen, "embed": soft}, virtual, how=how)
        x = embed(spec, frozen, tokens, index=P + jnp.arange(T, dtype=jnp.int32), how=how)
        x = jnp.concatenate([ahead, x], axis=1)
        for _ in range(spec.loops):
            x = loop(spec, frozen, x, how=how)
        return norm(spec, x, frozen, "norm_out")[:, P:], unembedding(spec, frozen)

    return stream
