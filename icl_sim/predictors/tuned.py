"""Predictors that are trained on the data: genuine fine-tuning of the one Transformer class."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from constructions.spec import Layer, TransformerSpec
from icl_sim.tasks import Demonstrations
from icl_sim.training import TrainConfig, context_laws, table_examples, train
from icl_sim.transformer import Transformer, init

CONVERGED = TrainConfig(optimizer="adam", learning_rate=2e-2, steps=300, schedule="cosine")


def small_spec(contexts: int, vocab: int) -> TransformerSpec:
    """One layer of width 32: enough to hold any table of this size."""
    return TransformerSpec(
        input_size=contexts,
        width=32,
        output_size=vocab,
        norm="rms",
        layers=(Layer(heads=2, key_size=16, value_size=16, hidden=64, gate="silu", scale=0.25),),
    )


def fine_tuned(data: Demonstrations, key: jax.Array) -> jax.Array:
    """A small transformer with random weights, fine-tuned on the data until converged.

    Without data it is left as it started.
    """
    m, V = data.counts.shape
    spec = small_spec(m, V)
    init_key, batch_key = jax.random.split(key)
    base = init(Transformer(spec), init_key)
    examples = table_examples(jnp.asarray(data.counts))
    tuned = train(spec, base, examples, CONVERGED, batch_key)
    return context_laws(spec, tuned.params, m)
