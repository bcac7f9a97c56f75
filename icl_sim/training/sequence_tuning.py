"""Fine-tuning on sequences: every leaf that the loss depends on can move, on one device or many.

A step takes ``batch`` rows, cut into parts of equal size whose gradients are computed by a program
for one device each and added in their order, so that the result has the same bits on any number of
devices. Row order, parts and rates are functions of (key, step): a run taken up from a checkpoint
repeats what an unbroken one does.

Letters: E rows of data, B rows of a step, D devices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from constructions.spec import TransformerSpec
from icl_sim.errors import InputError, require_type
from icl_sim.execution.progress import Progress, quiet
from icl_sim.execution.signatures import checked
from icl_sim.training.adapters import merge, trainable
from icl_sim.training.completions import (
    Completions,
    check_completions,
    completion_loss,
    completion_scores,
)
from icl_sim.training.config import TrainConfig
from icl_sim.training.guarded import State, finite_after, require_finite, update_in_place
from icl_sim.transformer import Arithmetic, Params, Transformer, stack_layers, unstack_layers
from icl_sim.transformer.arithmetic import CERTIFIED

if TYPE_CHECKING:  # Orbax takes a second to import
    from icl_sim.storage.checkpoints import Checkpoints

Place: TypeAlias = Any  # a jax.Device, or a Mesh


@dataclass(frozen=True)
class Tuned:
    """What fine-tuning on sequences leaves.

    Args:
      params: flat dict of leaves, the adapters merged; those of the best look with held-out rows.
      losses: float32 [steps taken], nats a completion token, before each step.
      looks: steps at which the held-out rows were looked at.
      held_out: their losses, nats a completion token.
      best: the step of the params.
    """

    params: dict[str, jax.Array]
    losses: np.ndarray
    looks: tuple[int, ...]
    held_out: tuple[float, ...]
    best: int


@checked
def tune_sequences(
    model: Transformer,
    params: Params,
    examples: Completions,
    *,
    config: TrainConfig,
    key: jax.Array,
    held_out: Completions | None = None,
    every: int = 50,
    patience: int | None = None,
    parts: int = 1,
    devices: Sequence[jax.Device] | None = None,
    mesh: Mesh | None = None,
    checkpoints: Checkpoints | None = None,
    how: Arithmetic = CERTIFIED,
    progress: Progress = quiet,
) -> Tuned:
    """The model fine-tuned on prompts and completions.

    Args:
      model, params: a causal decoder with logits.
      examples: what to fit.
      config: how. ``batch`` is B, the rows of a step in an order that is shuffled every epoch; all
        rows by default. ``leaves`` chooses what LoRA corrects.
      key: consumed; it draws the order and LoRA's start.
      held_out: rows whose loss is looked at every ``every`` steps; the params of the best look are
        returned.
      every: steps between two looks, and between two checkpoints.
      patience: stop after this many looks without a new best.
      parts: pieces of a step whose gradients are added, to save memory; it divides B.
      devices: where the pieces are computed, in turn; all of this process by default.
      mesh: of one axis, instead of ``devices``: leaves, moments and rows are shared out over it,
        not copied, for models that one device cannot hold. Sums are then XLA's, and last bits may
        depend on its size.
      checkpoints: the run is taken up from the newest.
      how: the arithmetic.
      progress: called as progress(label, steps done, steps).

    Raises:
      InputError: rows that do not fit the model, sizes that do not fit each other.
      FloatingPointError: a step that was not finite; the message names step and leaf.
    """
    spec = model.spec
    for rows in filter(None, (examples, held_out)):
        check_completions(spec, rows)
    E = len(examples.tokens)
    B = min(config.batch or E, E)
    if parts < 1 or B % parts:
        raise InputError(f"parts: expected a divisor of the {B} rows of a step, got {parts}")
    for name, value in (("every", every), ("patience", 1 if patience is None else patience)):
        if value < 1:
            raise InputError(f"{name}: expected at least 1, got {value}")
    if checkpoints is not None:
        from icl_sim.storage.checkpoints import Checkpoints

        require_type(checkpoints, Checkpoints, name="checkpoints")
    if devices is not None and not len(devices):
        raise InputError("devices: expected one or more, got none")
    if patience is not None and held_out is None:
        raise InputError("patience: expected held-out rows to look at, got none")
    base = {name: jnp.asarray(leaf) for name, leaf in params.items()}
    base = stack_layers(spec, base) if how.scan else base
    if mesh is not None and devices is not None:
        raise InputError("tune_sequences: expected devices or a mesh, got both")
    places: Sequence[Place] = jax.local_devices() if devices is None else devices
    places = places if mesh is None else [mesh]
    run = _Run(spec, config, how, places, parts, {} if config.adapt == "full" else base)
    order_key, start_key = jax.random.split(key)
    # A copy: the state is given away at every step, the base is not.
    leaves = _put(jax.tree.map(jnp.copy, trainable(base, config, start_key)), places[0])
    state = State(leaves, config.transformation().init(leaves), jnp.int32(-1), jnp.int32(0))
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), base)
    del base  # what the run needs of it, it holds
    best = {} if held_out is None else jax.tree.map(jnp.copy, leaves)
    losses, looks = np.zeros(config.steps, np.float32), np.full(config.steps // every + 2, np.nan)
    # counters: steps done, the best look's step, looks taken
    counters = np.zeros(3, np.int64)
    tree = (state, best, losses, looks, counters)
    if checkpoints is not None and (found := checkpoints.restore(tree)) is not None:
        state, best, losses, looks, counters = found[1]
        losses, looks, counters = (np.array(x) for x in (losses, looks, counters))
    order = RowOrder(order_key, E, B)
    while counters[0] < config.steps and not _out_of_patience(looks, counters, every, patience):
        step = int(counters[0])
        last = min(step + every, config.steps)
        for s in range(step, last):
            rows = jax.tree.map(lambda x, s=s: np.asarray(x)[order.rows(s)], examples)
            state, losses[s] = run.step(state, rows, s)
            progress("fine-tuning", s + 1, config.steps)
        require_finite(shapes, config, state.fault, state.leaf)
        counters[0] = last
        if held_out is not None:
            looks[counters[2]] = run.look(state.leaves, held_out)
            if looks[counters[2]] == np.nanmin(looks):
                best, counters[1] = jax.tree.map(jnp.copy, state.leaves), last
            counters[2] += 1
        else:
            counters[1] = last
        if checkpoints is not None:
            checkpoints.save(last, (state, best, losses, looks, counters))
    taken = int(counters[2])
    steps = (*range(every, config.steps, every), config.steps)[:taken]
    # The frozen leaves go before the merged ones come.
    own = unstack_layers(spec, best or state.leaves)
    del run, state, leaves
    return Tuned(
        merge({name: jnp.asarray(leaf) for name, leaf in params.items()}, own, config),
        losses[: counters[0]],
        steps,
        tuple(looks[:taken].tolist()),
        int(counters[1]),
    )


def score(
    model: Transformer,
    params: Params,
    rows: Completions,
    *,
    batch: int = 8,
    how: Arithmetic = CERTIFIED,
) -> tuple[np.ndarray, np.ndarray]:
    """Log-probability of each row's completion, in nats, and whether greedy decoding gives it.

    Args:
      model, params: the model.
      rows: one sequence each.
      batch: rows at once.

    Returns:
      float32 [E] and bool [E].
    """
    check_completions(model.spec, rows)
    logs, right = [], []
    for i in range(0, len(rows.tokens), batch):
        here = jax.tree.map(lambda x, i=i: np.asarray(x)[i : i + batch], rows)
        found = _score(model.spec, params, here, how)
        logs.append(np.asarray(found[0]))
        right.append(np.asarray(found[1]))
    return np.concatenate(logs), np.concatenate(right)


def _out_of_patience(
    looks: np.ndarray, counters: np.ndarray, every: int, patience: int | None
) -> bool:
    taken = int(counters[2])
    return patience is not None and taken > 0 and taken - 1 - int(np.nanargmin(looks)) >= patience


class RowOrder:
    """Which rows each step takes: one shuffle of all rows after another."""

    def __init__(self, key: jax.Array, rows: int, batch: int) -> None:
        self._key, self._rows, self._batch = key, rows, batch
        self._epochs: dict[int, np.ndarray] = {}

    def rows(self, step: int) -> np.ndarray:
        """Int [B]."""
        places = np.arange(step * self._batch, (step + 1) * self._batch)
        return np.array([self._epoch(int(p // self._rows))[p % self._rows] for p in places])

    def _epoch(self, number: int) -> np.ndarray:
        if number not in self._epochs:
            if self._batch == self._rows:
                self._epochs[number] = np.arange(self._rows)
            else:
                key = jax.random.fold_in(self._key, number)
                self._epochs[number] = np.asarray(jax.random.permutation(key, self._rows))
            self._epochs.pop(number - 2, None)
        return self._epochs[number]


class _Run:
    """The compiled parts of one run, and the frozen leaves on every device."""

    def __init__(
        self,
        spec: TransformerSpec,
        config: TrainConfig,
        how: Arithmetic,
        places: Sequence[Place],
        parts: int,
        frozen: Params,
    ) -> None:
        self._spec, self._config, self._how = spec, config, how
        self._places, self._parts = places, parts
        self._frozen = [_put(dict(frozen), place) for place in places]

    def step(self, state: State, rows: Completions, s: int) -> tuple[State, float]:
        """The next state, and the loss before it."""
        total = jnp.float32(np.asarray(rows.weights).sum())
        size, home = len(rows.tokens) // self._parts, self._places[0]
        found = []
        for part in range(self._parts):
            d = part % len(self._places)
            here = jax.tree.map(lambda x, p=part: x[p * size : (p + 1) * size], rows)
            leaves, here = (
                _put(state.leaves, self._places[d]),
                _put(here, self._places[d], rows=True),
            )
            found.append(_gradient(self._spec, self._how, leaves, self._frozen[d], here))
        loss, gradient = _put(found[0], home)
        for more in found[1:]:
            loss, gradient = _add((loss, gradient), _put(more, home))
        finite = _finite_after(self._config, state, gradient, total)
        state, value = _update(self._config, state, loss, gradient, total, jnp.int32(s), finite)
        return state, float(value)

    def look(self, leaves: Params, rows: Completions, batch: int = 8) -> float:
        """Loss in nats a weighted token."""
        total = 0.0
        for i in range(0, len(rows.tokens), batch):
            here = jax.tree.map(lambda x, i=i: np.asarray(x)[i : i + batch], rows)
            total += float(_loss(self._spec, self._how, leaves, self._frozen[0], here))
        return total / float(np.asarray(rows.weights).sum())


def _put(tree: Any, place: Place, *, rows: bool = False) -> Any:
    """The arrays on a device, or shared out over a mesh: rows by number, leaves by an axis."""
    if not isinstance(place, Mesh):
        return jax.device_put(tree, place)
    (axis,) = place.axis_names

    def sharding(x: Any) -> NamedSharding:
        shape = np.shape(x)
        fits = [i for i, n in enumerate(shape) if n % place.size == 0 and n]
        if not fits or (rows and fits[0] != 0):
            return NamedSharding(place, PartitionSpec())
        i = 0 if rows else max(fits, key=lambda i: shape[i])
        return NamedSharding(place, PartitionSpec(*[None] * i, axis))

    return jax.tree.map(lambda x: jax.device_put(x, sharding(x)), tree)


def _loss_of(
    spec: TransformerSpec, how: Arithmetic, leaves: Params, frozen: Params, rows: Completions
) -> jax.Array:
    return completion_loss(spec, {**frozen, **leaves}, rows, how=how)[0]


_loss = jax.jit(_loss_of, static_argnums=(0, 1))
_gradient = jax.jit(jax.value_and_grad(_loss_of, argnums=2), static_argnums=(0, 1))


@partial(jax.jit, static_argnums=(0, 3))
def _score(
    spec: TransformerSpec, params: Params, rows: Completions, how: Arithmetic
) -> tuple[jax.Array, jax.Array]:
    return completion_scores(spec, params, rows, how=how)


@partial(jax.jit, donate_argnums=0)
def _add(a: Any, b: Any) -> Any:
    return jax.tree.map(jnp.add, a, b)


@partial(jax.jit, static_argnums=0)
def _finite_after(
    config: TrainConfig, state: State, gradient: Params, total: jax.Array
) -> jax.Array:
    return finite_after(state, _scaled(gradient, total), config.transformation())


# In a program of its own, after the other one: so old and new state share their memory.
@partial(jax.jit, static_argnums=0, donate_argnums=1)
def _update(
    config: TrainConfig,
    state: State,
    loss: jax.Array,
    gradient: Params,
    total: jax.Array,
    step: jax.Array,
    finite: jax.Array,
) -> tuple[State, jax.Array]:
    value = _scaled(loss, total)
    gradient = _scaled(gradient, total)
    transformation = config.transformation()
    return update_in_place(state, value, gradient, step, transformation, finite), value


def _scaled(tree: Any, total: jax.Array) -> Any:
    scale = 1 / jnp.maximum(total, 1e-30)
    return jax.tree.map(lambda x: x * scale.astype(x.dtype), tree)
