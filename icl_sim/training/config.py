"""What a training run is: optimizer, schedule, steps, and which leaves may move."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import jax
import jax.numpy as jnp
import optax

from icl_sim.errors import InputError

OPTIMIZERS = ("adam", "sgd")
SCHEDULES = ("constant", "cosine", "linear")
ADAPTERS = ("full", "lora", "head")
DECAYS = ("all", "matrices")
_WHOLE = ("steps", "warmup", "batch", "rank")


@dataclass(frozen=True)
class TrainConfig:
    """How to train.

    Args:
      optimizer: ``adam`` (AdamW if ``weight_decay``) or ``sgd``.
      learning_rate: the peak of the schedule.
      steps: optimizer steps.
      schedule: ``constant``, or ``cosine`` or ``linear``, which would be zero at step ``steps``,
        one after the last.
      warmup: steps over which the rate first rises linearly to its peak.
      momentum: of SGD, in [0, 1).
      beta2: decay of Adam's second moment (its first moment decays by 0.9).
      weight_decay: decoupled, added to the update as weight_decay * leaf.
      clip: largest Euclidean norm of the whole gradient; None leaves it alone.
      batch: examples drawn each step with replacement, with probability proportional to their
        counts; None takes all of them, weighted.
      adapt: ``full`` trains every leaf; ``lora`` adds a product of rank ``rank`` to every weight
        matrix and trains the factors; ``head`` trains w_out alone.
      rank: of the LoRA factors.
      leaves: kinds of matrices that LoRA corrects, such as ``w_q``; all of them by default.
      decay: what ``weight_decay`` shrinks: ``all`` trained leaves, or the ``matrices`` among them,
        so that norms, biases and tables of positions are left alone.

    >>> TrainConfig(optimizer="sgd", learning_rate=0.5, momentum=0.9).batch is None
    True
    """

    optimizer: str = "adam"
    learning_rate: float = 2e-2
    steps: int = 300
    schedule: str = "cosine"
    warmup: int = 0
    momentum: float = 0.0
    beta2: float = 0.999
    weight_decay: float = 0.0
    clip: float | None = None
    batch: int | None = None
    adapt: str = "full"
    rank: int = 4
    leaves: tuple[str, ...] = ()
    decay: str = "all"

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("optimizer", self.optimizer, OPTIMIZERS),
            ("schedule", self.schedule, SCHEDULES),
            ("adapt", self.adapt, ADAPTERS),
            ("decay", self.decay, DECAYS),
        ):
            if value not in allowed:
                raise InputError(f"{name}: expected one of {', '.join(allowed)}, got {value!r}")
        for name, number, low, high in (
            ("learning_rate", self.learning_rate, 1e-12, 1e6),
            ("steps", self.steps, 0, 2**31 - 1),
            ("warmup", self.warmup, 0, self.steps),
            ("momentum", self.momentum, 0, 1 - 1e-9),
            ("beta2", self.beta2, 0, 1 - 1e-9),
            ("weight_decay", self.weight_decay, 0, 1e6),
            ("clip", 1 if self.clip is None else self.clip, 1e-12, math.inf),
            ("batch", 1 if self.batch is None else self.batch, 1, 2**31 - 1),
            ("rank", self.rank, 1, 2**31 - 1),
        ):
            kind, words = (Integral, "an integer, ") if name in _WHOLE else (Real, "")
            real = isinstance(number, kind) and not isinstance(number, bool)
            if not real or not low <= number <= high:
                got = repr(number)[:40]
                raise InputError(f"{name}: expected {words}{low:g} to {high:g}, got {got}")

    def rate(self, step: jax.Array) -> jax.Array:
        """float32: the learning rate of step 0, 1, ..."""
        s = jnp.asarray(step).astype(jnp.float32)
        peak = jnp.float32(self.learning_rate)
        length = max(self.steps - self.warmup, 1)
        done = jnp.clip((s - self.warmup) / jnp.float32(length), 0, 1)
        if self.schedule == "cosine":
            peak = peak * (1 + jnp.cos(jnp.float32(math.pi) * done)) / 2
        elif self.schedule == "linear":
            peak = peak * (1 - done)
        if self.warmup:
            peak = peak * jnp.minimum(1, (s + 1) / jnp.float32(self.warmup))
        return peak

    def transformation(self, *, sharded: bool = False) -> optax.GradientTransformation:
        """The Optax transformation that this configuration names.

        ``sharded``: to be compiled for several devices and have the bits of one.
        """
        parts = [] if self.clip is None else [optax.clip_by_global_norm(self.clip)]
        if self.optimizer == "adam":
            adam = _scale_by_adam if sharded else optax.scale_by_adam
            parts.append(adam(b2=self.beta2))
        elif self.momentum:
            parts.append(optax.trace(self.momentum))
        if self.weight_decay:
            mask = None if self.decay == "all" else _matrices
            parts.append(optax.add_decayed_weights(self.weight_decay, mask))
        return optax.chain(*parts, optax.scale_by_learning_rate(self.rate))


def _matrices(leaves: dict[str, Any]) -> dict[str, bool]:
    """Which leaves are matrices or the embedding: by their names, LoRA's factors included."""
    kinds = {name: name.removesuffix(".a").removesuffix(".b").rpartition(".")[2] for name in leaves}
    return {name: kind.startswith("w_") or kind == "embed" for name, kind in kinds.items()}


def _scale_by_adam(b2: float, b1: float = 0.9, eps: float = 1e-8) -> optax.GradientTransformation:
    """`optax.scale_by_adam` with its bias corrections as products with reciprocals.

    That is what XLA makes of the divisions in a vmapped loop for one device, but not for several.
    """

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        del params
        mu = optax.tree.update_moment(updates, state.mu, b1, 1)
        nu = optax.tree.update_moment_per_elem_norm(updates, state.nu, b2, 2)
        count = optax.safe_increment(state.count)
        first, second = (
            jax.lax.optimization_barrier(1 / (1 - decay**count).astype(jnp.float32))
            for decay in (b1, b2)
        )
        updates = jax.tree.map(lambda m, v: (m * first) / (jnp.sqrt(v * second) + eps), mu, nu)
        return updates, optax.ScaleByAdamState(count, mu, nu)

    return optax.GradientTransformation(optax.scale_by_adam(b2=b2).init, update)
