"""Genuine fine-tuning: Optax on the leaves of the one Transformer class, all copies in one jit.

The objective is the weighted cross-entropy of separate (prompt, next symbol) examples, with the
loss on the symbol alone, so its optimum is the empirical conditional table that claim C1 speaks of.
A table has at most m V distinct examples; they are weighted by their counts, which leaves every
full-batch gradient unchanged and makes the cost independent of the number of demonstrations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from constructions.spec import TransformerSpec
from icl_sim.errors import InputError
from icl_sim.transformer import Params, Transformer, forward

OPTIMIZERS = ("adam", "sgd")
SCHEDULES = ("constant", "cosine")


class Examples(NamedTuple):
    """Training examples; E of them, of T tokens each.

    inputs: int32 [E, T], prompts.
    outputs: int32 [E], the symbol that follows the last token.
    weights: float32 [E], how often the example occurs; zero leaves it out.
    """

    inputs: Any
    outputs: Any
    weights: Any


def table_examples(counts: Any) -> Examples:
    """A table's demonstrations as weighted examples: prompt [c], output y, weight counts[c, y].

    Args:
      counts: [m, V], how often context c was followed by y.

    >>> table_examples(np.array([[2, 0], [1, 5]])).weights.tolist()
    [2.0, 0.0, 1.0, 5.0]
    """
    m, V = counts.shape
    contexts, outputs = np.divmod(np.arange(m * V, dtype=np.int32), np.int32(V))
    return Examples(contexts[:, None], outputs, counts.reshape(-1).astype(jnp.float32))


@dataclass(frozen=True)
class TrainConfig:
    """How to fine-tune.

    Args:
      optimizer: ``adam`` (AdamW if ``weight_decay``) or ``sgd``.
      learning_rate: the peak of the schedule.
      steps: optimizer steps.
      schedule: ``constant`` or ``cosine`` (to zero at the last step).
      momentum: of SGD.
      weight_decay: decoupled, added to the update as weight_decay * leaf.
      batch: examples drawn each step with probability proportional to their weights; None takes
        all of them, weighted.
    """

    optimizer: str = "adam"
    learning_rate: float = 2e-2
    steps: int = 300
    schedule: str = "cosine"
    momentum: float = 0.0
    weight_decay: float = 0.0
    batch: int | None = None

    def __post_init__(self) -> None:
        if self.optimizer not in OPTIMIZERS:
            raise InputError(f"optimizer: expected one of {OPTIMIZERS}, got {self.optimizer!r}")
        if self.schedule not in SCHEDULES:
            raise InputError(f"schedule: expected one of {SCHEDULES}, got {self.schedule!r}")
        if self.steps < 0 or not self.learning_rate > 0:
            raise InputError(
                "expected steps >= 0 and learning_rate > 0, "
                f"got {self.steps} and {self.learning_rate}"
            )

    def transformation(self) -> optax.GradientTransformation:
        """The Optax transformation that this configuration names."""
        rate: Any = self.learning_rate
        if self.schedule == "cosine":
            rate = optax.cosine_decay_schedule(self.learning_rate, max(self.steps, 1))
        if self.optimizer == "adam":
            direction = optax.scale_by_adam()
        else:
            direction = optax.trace(self.momentum) if self.momentum else optax.identity()
        decay = optax.add_decayed_weights(self.weight_decay)
        return optax.chain(direction, decay, optax.scale_by_learning_rate(rate))


class Trained(NamedTuple):
    """What training leaves: the params, the loss before each step, and the first fault.

    params: flat dict of leaves.
    losses: float [steps], in nats.
    fault: int32, the first step whose update was not finite (training stopped there, the params are
      those before it), or -1.
    leaf: int32, index among the sorted leaf names of the first that was not finite.
    """

    params: dict[str, jax.Array]
    losses: jax.Array
    fault: jax.Array
    leaf: jax.Array


def loss(spec: TransformerSpec, params: Params, examples: Examples) -> jax.Array:
    """Weighted mean cross-entropy of the examples' outputs, in nats; 0 without any weight."""
    logits = forward(spec, params, examples.inputs)[..., -1, :]
    each = optax.softmax_cross_entropy_with_integer_labels(logits, examples.outputs)
    weights = jnp.asarray(examples.weights, each.dtype)
    return (each * weights).sum() / jnp.maximum(weights.sum(), 1)


def train(
    spec: TransformerSpec,
    params: Params,
    examples: Examples,
    config: TrainConfig,
    key: jax.Array,
) -> Trained:
    """Pure training loop: one `lax.scan`, to be jitted and vmapped over copies.

    A step whose loss, gradient or update is not finite is not taken, nor is any later one
    (`optax.apply_if_finite` lets NaN through after its limit).
    """
    transformation = config.transformation()
    names = sorted(params)
    no_data = jnp.sum(jnp.asarray(examples.weights)) == 0

    def draw(step: jax.Array) -> Examples:
        if config.batch is None:
            return examples
        weights = jnp.asarray(examples.weights, jnp.float32)
        logits = jnp.where(no_data, 0.0, jnp.log(weights))
        rows = jax.random.categorical(jax.random.fold_in(key, step), logits, shape=(config.batch,))
        taken = jnp.where(no_data, 0.0, jnp.ones(config.batch, jnp.float32))
        return Examples(
            jnp.asarray(examples.inputs)[rows], jnp.asarray(examples.outputs)[rows], taken
        )

    def step(carry: Any, i: jax.Array) -> tuple[Any, jax.Array]:
        params, state, fault, leaf = carry
        value, gradient = jax.value_and_grad(loss, argnums=1)(spec, params, draw(i))
        updates, new_state = transformation.update(gradient, state, params)
        new = optax.apply_updates(params, updates)
        finite = jnp.stack([jnp.isfinite(new[name]).all() for name in names])
        fine = finite.all() & jnp.isfinite(value) & (fault < 0)
        first_fault = (fault < 0) & ~fine
        kept = jax.tree.map(lambda a, b: jnp.where(fine, a, b), (new, new_state), (params, state))
        fault = jnp.where(first_fault, i, fault)
        leaf = jnp.where(first_fault, jnp.argmin(finite).astype(jnp.int32), leaf)
        return (*kept, fault, leaf), value

    # Without data there is nothing to fit: weight decay must not move the base either.
    start = (dict(params), transformation.init(dict(params)), jnp.int32(-1), jnp.int32(0))
    steps = jnp.arange(config.steps, dtype=jnp.int32)
    (trained, _, fault, leaf), losses = jax.lax.scan(step, start, steps)
    trained = jax.tree.map(lambda a, b: jnp.where(no_data, b, a), trained, dict(params))
    return Trained(trained, losses, fault, leaf)


_train_jit = jax.jit(train, static_argnums=(0, 3))


def fine_tune(
    model: Transformer,
    params: Params,
    examples: Examples,
    *,
    config: TrainConfig | None = None,
    key: jax.Array,
) -> dict[str, jax.Array]:
    """The model's params after fine-tuning on ``examples``.

    Args:
      model, params: the base; its readout must be logits.
      examples: inputs int32 [E, T], outputs int32 [E], weights [E].  Without any weight the base
        comes back unchanged.
      config: how; by default 300 full-batch steps of Adam, cosine schedule.
      key: consumed; it draws the mini-batches.

    Returns:
      A flat dict of leaves, like ``params``.

    Raises:
      InputError: examples that do not fit the model.
      FloatingPointError: a step that was not finite; the message names step and leaf.

    >>> from constructions.spec import Layer
    >>> model = Transformer(TransformerSpec(2, 8, 2, (Layer(hidden=8, gate="silu"),)))
    >>> base = model.init(jax.random.key(0), np.zeros(1, np.int32))["params"]
    >>> examples = table_examples(np.array([[9, 1], [0, 5]]))
    >>> tuned = fine_tune(model, base, examples, key=jax.random.key(1))
    >>> jax.nn.softmax(forward(model.spec, tuned, np.array([0]))).round(2).tolist()
    [[0.8999999761581543, 0.10000000149011612]]
    """
    _check(model, examples)
    config = TrainConfig() if config is None else config
    params = {name: jnp.asarray(leaf) for name, leaf in params.items()}
    result = _train_jit(model.spec, params, examples, config, key)
    fault = int(result.fault)
    if fault >= 0:
        raise FloatingPointError(
            f"fine-tuning stopped at step {fault}: {sorted(params)[int(result.leaf)]} or the loss "
            "is not finite; lower the learning rate"
        )
    return result.params


def context_laws(spec: TransformerSpec, params: Params, contexts: int) -> jax.Array:
    """[m, V]: the model's law after each one-token prompt [c], c = 0..m-1."""
    prompts = jnp.arange(contexts, dtype=jnp.int32)[:, None]
    return jax.nn.softmax(forward(spec, params, prompts)[:, -1, :], axis=-1)


def _check(model: Transformer, examples: Examples) -> None:
    spec = model.spec
    if spec.readout != "logits":
        raise InputError(f"fine-tuning needs a readout of logits, got {spec.readout}")
    inputs, outputs, weights = (np.asarray(field) for field in examples)
    if inputs.ndim != 2 or outputs.shape != inputs.shape[:1] or weights.shape != outputs.shape:
        raise InputError(
            "examples: expected inputs [E, T], outputs [E], weights [E], "
            f"got {inputs.shape}, {outputs.shape}, {weights.shape}"
        )
    for name, values, limit in (
        ("inputs", inputs, spec.input_size),
        ("outputs", outputs, spec.output_size),
    ):
        if values.size and not 0 <= values.min() <= values.max() < limit:
            raise InputError(
                f"{name} of the examples: expected 0 to {limit - 1}, the vocabulary of the model, "
                f"got {values.min()} to {values.max()}"
            )
    if weights.size and not (np.isfinite(weights).all() and weights.min() >= 0):
        raise InputError("weights of the examples: expected finite numbers >= 0")
