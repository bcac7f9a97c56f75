"""Routes that are transformers reading tokens, and the law of what they decode.

After its answer y_1 in context c such a transformer has (c, y_1) in its prompt like a further
demonstration, and context y_1 behind it: it reads its own output. So the law of l answers is the
product of l laws, each given the prompt as it then is. Strings share their beginnings, whose keys
and values are computed once.

Letters: m contexts, V outputs, l answers, P tokens of the prompt, S strings.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from constructions.spec import TransformerSpec
from icl_sim.data.tasks import Demonstrations
from icl_sim.decoding.kv_cache import KVCache, empty_cache, extend, rows_of, share
from icl_sim.transformer import Params


class Prompt(NamedTuple):
    """What a route decodes from.

    spec, params: the transformer.
    tokens: int32 [P] before every query, or [m, P] before each; P may be 0.
    contexts: int32 [m], the token of each context.
    outputs: int32 [V], the token of each output.
    answers: int32 [V], where its entry stands in what the transformer returns.
    laws: float32 [m, V], of the first answer.
    """

    spec: TransformerSpec
    params: Params
    tokens: jax.Array
    contexts: jax.Array
    outputs: jax.Array
    answers: jax.Array
    laws: jax.Array


@dataclass(frozen=True)
class SelfReading:
    """A predictor's function that can also say from what it would go on decoding.

    Args:
      prompt: (data, key) -> Prompt; the predictor is its laws.
    """

    prompt: Callable[[Demonstrations, jax.Array], Prompt]

    def __call__(self, data: Demonstrations, key: jax.Array) -> jax.Array:
        """The laws of the first answer, float32 [m, V]."""
        return self.prompt(data, key).laws


Route = Callable[[Demonstrations, jax.Array], jax.Array]
Change = Callable[[Demonstrations, jax.Array], tuple[Demonstrations, jax.Array]]


def on_other_data(route: Route, change: Change) -> Route:
    """``route`` of what ``change`` makes of (data, key); it reads itself if the route does."""
    if isinstance(route, SelfReading):
        prompt = route.prompt
        return SelfReading(lambda data, key: prompt(*change(data, key)))
    return lambda data, key: route(*change(data, key))


def string_laws(prompt: Prompt, length: int) -> jax.Array:
    """float32 [m, V^length]: the law of the answers decoded from each context.

    By enumeration, strings in the order of their numbers in base V.
    """
    m, V = len(prompt.contexts), len(prompt.outputs)
    numbers = jnp.arange(V ** (length - 1), dtype=jnp.int32)
    places = V ** jnp.arange(length - 2, -1, -1, dtype=jnp.int32)
    begun = numbers[:, None] // places[None] % V
    if prompt.tokens.ndim == 1 and m == V and length > 1:
        laws = _laws_of_all(prompt, begun)
    else:
        laws = _laws_along(prompt, jnp.broadcast_to(begun, (m, *begun.shape)))
    chosen = jnp.take_along_axis(laws[:, :, :-1], begun[None, ..., None], axis=-1)
    return (chosen.prod(axis=2) * laws[:, :, -1]).reshape(m, -1)


def string_scores(prompt: Prompt, strings: jax.Array) -> jax.Array:
    """float32 [m, S, l]: the probability of decoding the first 1 to l answers of each string.

    Args:
      prompt: the route.
      strings: int32 [m, S, l], numbers of outputs.
    """
    laws = _laws_along(prompt, strings[:, :, :-1])
    return jnp.take_along_axis(laws, strings[..., None], axis=-1)[..., 0].cumprod(axis=2)


def _laws_along(prompt: Prompt, said: jax.Array) -> jax.Array:
    """float32 [m, S, l, V]: laws of each answer of context c, given those said before it.

    Args:
      prompt: the route.
      said: int32 [m, S, l - 1].
    """
    S, length = said.shape[1], said.shape[2] + 1
    shared = _read(prompt, prompt.tokens, S, length) if prompt.tokens.ndim == 1 else None

    def one(inputs: tuple[Any, jax.Array, jax.Array]) -> jax.Array:
        own, context, strings = inputs
        cache = _read(prompt, own, S, length) if shared is None else shared
        turns = _turns(prompt, jnp.full(S, context), strings)
        _, laws = jax.lax.scan(partial(_step, prompt), cache, turns)
        return jnp.swapaxes(laws, 0, 1)

    own = None if shared is not None else prompt.tokens
    return jax.lax.map(one, (own, prompt.contexts, said))


def _laws_of_all(prompt: Prompt, said: jax.Array) -> jax.Array:
    """float32 [m, S, l, V]: `_laws_along` of all S = V^(l-1) strings, m = V, behind one prompt.

    All but the last answer said have m V^(l-2) = S beginnings in all contexts together, each of
    which is read once; so a batch has S rows at every step, and the last one S for each context.

    Args:
      prompt: the route.
      said: int32 [S, l - 1], in the order of their numbers.
    """
    m, S = len(prompt.contexts), len(said)
    cache = _read(prompt, prompt.tokens, S, said.shape[1] + 1)
    contexts = jnp.repeat(prompt.contexts, S // m)
    turns = _turns(prompt, contexts, jnp.tile(said[::m, :-1], (m, 1)))
    cache, early = jax.lax.scan(partial(_step, prompt), cache, turns)
    last = (_pairs(prompt, said[:, -1]), jnp.int32(2))

    def one(number: jax.Array) -> jax.Array:
        own = number * (S // m) + jnp.arange(S) // m  # the rows of its strings' beginnings
        _, law = _step(prompt, rows_of(cache, own), last)
        return jnp.concatenate([early[:, own], law[None]]).swapaxes(0, 1)

    return jax.lax.map(one, jnp.arange(m))


def _read(prompt: Prompt, tokens: jax.Array, rows: int, length: int) -> KVCache:
    """The prompt [P], read once, before ``rows`` rows with room for ``length`` turns."""
    P = len(tokens)
    dtype = next(iter(prompt.params.values())).dtype
    cache = empty_cache(prompt.spec, batch=1, room=P, dtype=dtype)
    if P:
        _, cache = extend(prompt.spec, prompt.params, tokens[None], cache)
    cache = share(cache, batch=rows, room=2 * length, length=P)
    return cache._replace(place=cache.place[:1])  # all rows go on alike


def _turns(prompt: Prompt, contexts: jax.Array, strings: jax.Array) -> tuple[jax.Array, jax.Array]:
    """What rows read turn by turn: tokens int32 [l, S, 2], and how many of the two count.

    First the context alone, what stands behind it being overwritten; then pairs of an output and
    the context that it leads to.
    """
    S, said = strings.shape
    first = jnp.broadcast_to(contexts[None, :, None], (1, S, 2))
    counts = jnp.full(said + 1, 2, jnp.int32).at[0].set(1)
    return jnp.concatenate([first, _pairs(prompt, strings.T)]), counts


def _pairs(prompt: Prompt, answers: jax.Array) -> jax.Array:
    """int32 [..., 2]: an answer's token, and that of the context that it leads to."""
    return jnp.stack([prompt.outputs[answers], prompt.contexts[answers]], axis=-1)


def _step(
    prompt: Prompt, cache: KVCache, turn: tuple[jax.Array, jax.Array]
) -> tuple[KVCache, jax.Array]:
    """The cache after a turn [S, 2], and the laws [S, V] of the next answer."""
    pair, count = turn
    found, cache = extend(prompt.spec, prompt.params, pair, cache, lengths=count[None])
    found = found[:, prompt.answers]
    if prompt.spec.readout == "simplex":
        return cache, found / found.sum(axis=-1, keepdims=True)
    return cache, jax.nn.softmax(found, axis=-1)
