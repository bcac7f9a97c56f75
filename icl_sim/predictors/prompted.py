"""The pretrained base, its weights untouched: with the data in the prompt, and without."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from icl_sim.data.tasks import Demonstrations
from icl_sim.predictors.self_reading import Prompt, SelfReading
from icl_sim.training.base_model import bare_laws, in_context_laws, load_base
from icl_sim.training.pretraining_sequences import CONTEXTS, interleaved
from icl_sim.transformer import Params


def base_prompt(params: Params, m: int, V: int) -> Prompt:
    """The base with these params, without demonstrations."""
    spec, outputs = load_base().spec, CONTEXTS + jnp.arange(V, dtype=jnp.int32)
    laws, contexts = bare_laws(load_base(), params, m, V), jnp.arange(m, dtype=jnp.int32)
    return Prompt(spec, params, jnp.zeros(0, jnp.int32), contexts, outputs, outputs, laws)


def shown_prompt(params: Params, data: Demonstrations) -> Prompt:
    """The base with these params and all demonstrations in the prompt, in their order."""
    bare = base_prompt(params, *data.counts.shape)
    laws = in_context_laws(load_base(), params, data)
    return bare._replace(tokens=interleaved(data.contexts, data.outputs), laws=laws)


def _in_context(data: Demonstrations, key: jax.Array) -> Prompt:
    """The base, all demonstrations in the prompt, in their order."""
    del key
    return shown_prompt(load_base().params, data)


def _zero_shot(data: Demonstrations, key: jax.Array) -> Prompt:
    """The base, the query alone in the prompt."""
    del key
    return base_prompt(load_base().params, *data.counts.shape)


in_context = SelfReading(_in_context)
zero_shot = SelfReading(_zero_shot)
