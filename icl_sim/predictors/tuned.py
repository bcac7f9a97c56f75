"""Predictors that are trained on the data: genuine fine-tuning of the one Transformer class."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from constructions.spec import Layer, TransformerSpec
from icl_sim.data.tasks import Demonstrations
from icl_sim.predictors.prompted import base_prompt, shown_prompt
from icl_sim.predictors.self_reading import Prompt, SelfReading
from icl_sim.training import (
    TrainConfig,
    context_laws,
    table_examples,
    train,
    train_validated,
)
from icl_sim.training.base_model import CONFIGS, load_base
from icl_sim.training.base_model import table_examples as base_examples
from icl_sim.transformer import Transformer, init

CONVERGED = TrainConfig(optimizer="adam", learning_rate=2e-2, steps=300, schedule="cosine")
RANKS = (1, 4, 16)
HELD_OUT = 4  # one demonstration in four
EVERY = 20  # steps between two looks at the held-out loss


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


def tuned_base(data: Demonstrations, key: jax.Array, config: TrainConfig) -> dict[str, jax.Array]:
    """The base's params after fine-tuning on the data, one example a demonstration.

    All NaN if a step was not finite, so that a run cut short cannot pass for a converged one.
    """
    base = load_base()
    result = train(base.spec, base.params, base_examples(data.counts), config, key)
    return {n: jnp.where(result.fault < 0, leaf, jnp.nan) for n, leaf in result.params.items()}


def tuned(config: TrainConfig) -> SelfReading:
    """The predictor that fine-tunes the base by ``config``, on the counts alone."""

    def prompt(data: Demonstrations, key: jax.Array) -> Prompt:
        return base_prompt(tuned_base(data, key, config), *data.counts.shape)

    return SelfReading(prompt)


def _validated(data: Demonstrations, key: jax.Array) -> Prompt:
    """The base, all leaves fine-tuned for the steps that a held-out quarter of the data chooses.

    The last quarter is held out; then all data are fitted for that many steps.
    """
    base = load_base()
    kept = data.contexts.shape[0] - data.contexts.shape[0] // HELD_OUT
    counts = jnp.zeros(data.counts.shape, jnp.int32)
    shown = counts.at[data.contexts[:kept], data.outputs[:kept]].add(1)
    stopped = train_validated(
        base.spec,
        base.params,
        base_examples(shown),
        base_examples(data.counts - shown),
        CONFIGS["full"],
        key,
        every=EVERY,
    )
    return base_prompt(stopped.params, *data.counts.shape)


def _tuned_in_context(data: Demonstrations, key: jax.Array) -> Prompt:
    """The base fine-tuned on the data (all leaves), and the data in the prompt as well."""
    return shown_prompt(tuned_base(data, key, CONFIGS["full"]), data)


validated = SelfReading(_validated)
tuned_in_context = SelfReading(_tuned_in_context)
