"""The pretrained base, its weights untouched: with the data in the prompt, and without."""

from __future__ import annotations

import jax

from icl_sim.data.tasks import Demonstrations
from icl_sim.training.base_model import bare_laws, in_context_laws, load_base


def in_context(data: Demonstrations, key: jax.Array) -> jax.Array:
    """The base with all demonstrations in the prompt, in their order."""
    del key
    base = load_base()
    return in_context_laws(base, base.params, data)


def zero_shot(data: Demonstrations, key: jax.Array) -> jax.Array:
    """The base without any demonstration."""
    del key
    base = load_base()
    return bare_laws(base, base.params, *data.counts.shape)
