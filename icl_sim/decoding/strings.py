"""Strings of l tokens after a prompt: their law by enumeration, and samples from it.

For networks whose output symbol i is the input token i. Every token that is written joins the
prompt of the next one, so a lookup's own words count as evidence from then on.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from constructions.spec import TransformerSpec
from constructions.support import require_supported
from icl_sim.errors import InputError
from icl_sim.execution.memory_guard import require
from icl_sim.transformer import Transformer, forward, forward_bytes
from icl_sim.transformer.switches import KNOWN as FORWARD
from icl_sim.transformer.switches import LAWS

KNOWN = {**FORWARD, "inputs": ("tokens",), "mask": ("causal",)}
MOST = 1 << 16  # strings to enumerate


def string_law(
    model: Transformer, params: Mapping[str, Any], prompt: Any, *, length: int
) -> jax.Array:
    """The law of the next ``length`` tokens, [V^l], strings in lexicographic order.

    One teacher-forced pass over all strings; the chain rule multiplies their tokens' laws.

    Args:
      model, params: as `icl_sim.load` returns them; V outputs.
      prompt: int [T].
      length: l.

    Raises:
      InputError: more than 65,536 strings, more than memory lasts for, or outputs that are not
        tokens.

    >>> from constructions import CONSTRUCTIONS
    >>> from icl_sim import load
    >>> lookup = CONSTRUCTIONS["lookup"](vocab=2)
    >>> prompt = lookup.encode({"stream": [0, 0, 1, 0]})
    >>> np.rint(12 * string_law(*load(lookup), prompt, length=2)).tolist()
    [4.0, 2.0, 6.0, 0.0]
    """
    spec = model.spec
    tokens = _prompt(spec, prompt, length)
    V = spec.output_size
    if (V > 1 and length > MOST.bit_length()) or V**length > MOST:
        raise InputError(
            f"length: expected at most {MOST:,} strings to enumerate, got {V}^{length}: sample them"
        )
    require("the law of strings", partial(strings_bytes, spec), count=V**length, tokens=len(tokens))
    strings = jnp.asarray(np.array(list(np.ndindex(*(V,) * length)), np.int32))
    return _enumerate(spec, dict(params), tokens, strings)


def sample_strings(
    model: Transformer,
    params: Mapping[str, Any],
    prompt: Any,
    *,
    length: int,
    count: int,
    key: jax.Array,
) -> jax.Array:
    """``count`` strings drawn token by token from the network, int32 [count, l].

    Args:
      model, params, prompt, length: as for `string_law`.
      count: strings.
      key: consumed.

    Raises:
      InputError: outputs that are not tokens, or more strings than memory lasts for.
    """
    spec = model.spec
    tokens = _prompt(spec, prompt, length)
    T = len(tokens) + length
    require("a sample of strings", partial(strings_bytes, spec), count=count, tokens=T)
    return _sample(spec, dict(params), tokens, length, count, key)


def strings_bytes(spec: TransformerSpec, count: int, tokens: int) -> int:
    """Memory of a pass over a number of strings, prompt included, and of the laws of all tokens."""
    passed = forward_bytes(spec, batch=count, tokens=tokens)
    return passed + 4 * count * tokens * (spec.output_size + 1)


@partial(jax.jit, static_argnums=0)
def _enumerate(
    spec: TransformerSpec, params: Any, tokens: jax.Array, strings: jax.Array
) -> jax.Array:
    prompts = jnp.broadcast_to(tokens, (len(strings), len(tokens)))
    inputs = jnp.concatenate([prompts, strings[:, :-1]], axis=1)
    laws = _laws(spec, forward(spec, params, inputs)[:, len(tokens) - 1 :])
    return jnp.take_along_axis(laws, strings[:, :, None], axis=2)[:, :, 0].prod(axis=1)


@partial(jax.jit, static_argnums=(0, 3, 4))
def _sample(
    spec: TransformerSpec, params: Any, tokens: jax.Array, length: int, count: int, key: jax.Array
) -> jax.Array:
    T = len(tokens)
    # Tokens that are not written yet stand last: no earlier output depends on them.
    room = jnp.concatenate([tokens, jnp.zeros(length, tokens.dtype)])

    def step(i: jax.Array, state: jax.Array) -> jax.Array:
        laws = _laws(spec, forward(spec, params, state)[:, T + i - 1])
        drawn = jax.random.categorical(jax.random.fold_in(key, i), jnp.log(laws), axis=-1)
        return state.at[:, T + i].set(drawn.astype(state.dtype))

    start = jnp.broadcast_to(room, (count, T + length))
    return jax.lax.fori_loop(jnp.int32(0), jnp.int32(length), step, start)[:, T:]


def _laws(spec: TransformerSpec, outputs: jax.Array) -> jax.Array:
    return LAWS[spec.readout](outputs)


def _prompt(spec: TransformerSpec, prompt: Any, length: int) -> jax.Array:
    instead = "strings need a causal network that reads tokens"
    require_supported(spec, known=KNOWN, engine="strings", instead=instead, error=InputError)
    if spec.output_size > spec.input_size:
        raise InputError(
            "strings: expected outputs that are tokens, got "
            f"{spec.input_size} inputs and {spec.output_size} outputs"
        )
    if length < 1:
        raise InputError(f"length: expected at least 1, got {length}")
    tokens = np.asarray(prompt)
    if tokens.ndim != 1 or not len(tokens) or tokens.dtype.kind not in "iu":
        raise InputError(f"prompt: expected integers [T], got {tokens.dtype} {tokens.shape}")
    return jnp.asarray(tokens, jnp.int32)
