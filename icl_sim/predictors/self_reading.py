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
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from constructions.spec import TransformerSpec
from icl_sim.data.tasks import Demonstrations
from icl_sim.decoding.kv_cache import KVCache, empty_cache, extend, share
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
    spec, params, tokens = prompt.spec, prompt.params, prompt.tokens
    dtype = next(iter(params.values())).dtype

    def read(tokens: jax.Array) -> KVCache:
        P = len(tokens)
        cache = empty_cache(spec, batch=1, room=P, dtype=dtype)
        if P:
            _, cache = extend(spec, params, tokens[None], cache)
        return share(cache, batch=S, room=2 * length, length=P)

    def step(cache: KVCache, inputs: tuple[jax.Array, jax.Array]) -> tuple[KVCache, jax.Array]:
        pair, count = inputs
        found, cache = extend(spec, params, pair, cache, lengths=jnp.full(S, count))
        found = found[:, prompt.answers]
        if spec.readout == "simplex":
            return cache, found / found.sum(axis=-1, keepdims=True)
        return cache, jax.nn.softmax(found, axis=-1)

    def one(inputs: tuple[Any, jax.Array, jax.Array]) -> jax.Array:
        own, context, strings = inputs
        cache = read(own) if shared is None else shared
        # First the context alone, what stands behind it being overwritten; then pairs of an output
        # and the context that it leads to.
        pairs = jnp.stack([prompt.outputs[strings.T], prompt.contexts[strings.T]], axis=-1)
        pairs = jnp.concatenate([jnp.full((1, S, 2), context), pairs])
        counts = jnp.full(length, 2, jnp.int32).at[0].set(1)
        _, laws = jax.lax.scan(step, cache, (pairs, counts))
        return jnp.swapaxes(laws, 0, 1)

    shared = read(tokens) if tokens.ndim == 1 else None
    return jax.lax.map(one, (None if shared is not None else tokens, prompt.contexts, said))
