"""What is fitted: counts of the symbols that follow given prompts.

The objective is the cross-entropy of separate (prompt, next symbol) examples with the loss on the
symbol alone, so its optimum is the empirical conditional law of each prompt, which is what claim C1
speaks of. Equal prompts are one row with counts: no full-batch gradient changes, and the cost does
not depend on the number of demonstrations.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from constructions.spec import TransformerSpec
from icl_sim.errors import InputError
from icl_sim.transformer import Params, forward

# The counts that float32 holds exactly, and the least weight that its sums do not lose.
MOST, LEAST = 2**24, 1e-20
DRAWN = 2**24  # of a float32 sum of whole counts


class Examples(NamedTuple):
    """E prompts of T tokens and what followed each of them.

    Attributes:
      inputs: int32 [E, T].
      counts: float or int [E, V], how often symbol v came after prompt e; zero leaves it out, any
        other number is from 1e-20 to 2^24.
    """

    inputs: Any
    counts: Any


def table_examples(counts: Any) -> Examples:
    """A table's demonstrations as examples: the prompts are [0], [1], ..., [m-1].

    Args:
      counts: [m, V], how often context c was followed by symbol y.

    >>> table_examples(np.array([[2, 0], [1, 5]])).inputs.tolist()
    [[0], [1]]
    """
    return Examples(np.arange(counts.shape[0], dtype=np.int32)[:, None], counts)


def loss(spec: TransformerSpec, params: Params, examples: Examples) -> jax.Array:
    """Mean cross-entropy of the symbols that followed, in nats; 0 without any."""
    logits = forward(spec, params, examples.inputs)[..., -1, :]
    counts = jnp.asarray(examples.counts).astype(logits.dtype)
    return -(counts * jax.nn.log_softmax(logits, axis=-1)).sum() / jnp.maximum(counts.sum(), 1e-30)


def draw(key: jax.Array, examples: Examples, size: int) -> Examples:
    """``size`` examples drawn with replacement in proportion to their counts; key consumed.

    >>> examples = table_examples(np.array([[0, 3], [0, 0]]))
    >>> draw(jax.random.key(0), examples, 2).counts.tolist()
    [[0.0, 1.0], [0.0, 1.0]]
    """
    counts = jnp.asarray(examples.counts).astype(jnp.float32)
    V = counts.shape[1]
    cumulative = jnp.cumsum(counts.reshape(-1))
    # u total < total: uniform() is at most 1 - 2^-23. Cells without counts are never hit.
    u = jax.random.uniform(key, (size,), jnp.float32) * cumulative[-1]
    cell = jnp.searchsorted(cumulative, u, side="right")
    # Without any count the cell is out of range: the row is then the last, its counts all zero.
    row, symbol = jnp.minimum(cell // V, counts.shape[0] - 1), cell % V
    drawn = jax.nn.one_hot(symbol, V, dtype=jnp.float32) * (cumulative[-1] > 0)
    return Examples(jnp.asarray(examples.inputs)[row], drawn)


def context_laws(spec: TransformerSpec, params: Params, contexts: int) -> jax.Array:
    """[m, V]: the model's law after each one-token prompt [c], c = 0..m-1."""
    prompts = jnp.arange(contexts, dtype=jnp.int32)[:, None]
    return jax.nn.softmax(forward(spec, params, prompts)[:, -1, :], axis=-1)


def check_examples(spec: TransformerSpec, examples: Examples, *, drawn: bool) -> None:
    """Raises InputError unless the examples fit a model of this spec.

    Leading axes (one entry for each copy that is trained) may precede [E, T] and [E, V].

    Args:
      spec: of the model.
      examples: inputs and counts.
      drawn: whether batches are drawn by `draw`, whose cumulative sum in float32 holds whole counts
        up to 2^24 in all; beyond, their shares would silently be rounded.
    """
    if spec.readout != "logits":
        raise InputError(f"fine-tuning needs a readout of logits, got {spec.readout}")
    inputs, counts = (np.asarray(field) for field in examples)
    shapes = f"got {inputs.dtype} {list(inputs.shape)} and {list(counts.shape)}"
    if inputs.ndim < 2 or counts.shape[:-1] != inputs.shape[:-1]:
        raise InputError(f"examples: expected inputs [E, T] and counts [E, V], {shapes}")
    if inputs.dtype.kind not in "iu" or inputs.shape[-1] == 0:
        raise InputError(f"examples: expected integer inputs of at least one token, {shapes}")
    if counts.shape[-1] != spec.output_size:
        raise InputError(
            f"examples: expected counts of the model's {spec.output_size} symbols, {shapes}"
        )
    if inputs.size and not 0 <= inputs.min() <= inputs.max() < spec.input_size:
        raise InputError(
            f"inputs of the examples: expected 0 to {spec.input_size - 1}, the vocabulary of the "
            f"model, got {inputs.min()} to {inputs.max()}"
        )
    if counts.dtype.kind not in "biuf" and counts.dtype != jnp.bfloat16:
        raise InputError(f"counts of the examples: expected real numbers, {shapes}")
    fine = (counts == 0) | ((counts >= LEAST) & (counts <= MOST))
    if not fine.all():
        raise InputError(
            f"counts of the examples: expected finite numbers >= 0, of 0 or {LEAST:g} to {MOST}, "
            f"got {counts[~fine][0]}: divide all by one number"
        )
    total = counts.astype(np.float64).sum(axis=(-2, -1)).max(initial=0)
    if drawn and total > DRAWN:
        raise InputError(
            f"counts of the examples: expected at most 2^24 in all to draw batches from, got "
            f"{total:g}: train without batch, or on fewer demonstrations"
        )
