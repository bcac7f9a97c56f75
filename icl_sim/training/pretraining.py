"""Pretraining: the same bits on any number of devices, from any checkpoint.

A batch is a pure function of (seed, step), cut into eight blocks that never change: six of three
sequences of T tokens, two of one sequence of 3 T, so that all have the same size. A device
computes the gradients of its blocks one after the other in a loop whose length is data, so that the
compiled body is the same for every number of devices. The gradients are gathered, added in the
order of the blocks and applied by a program for one device, the same for every mesh: inside the
sharded program the compiler would fuse the update differently on one device than on two.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from constructions.spec import TransformerSpec, param_shapes
from icl_sim.errors import InputError
from icl_sim.execution.hosts import on_all_devices
from icl_sim.execution.memory_guard import require, sharing
from icl_sim.execution.progress import Progress
from icl_sim.execution.seeds import checked_seed
from icl_sim.execution.trials import device_mesh
from icl_sim.training.config import TrainConfig
from icl_sim.training.fine_tuning import begin
from icl_sim.training.guarded import State, guarded_update, require_finite
from icl_sim.training.pretraining_sequences import ALPHABET, Batch, long_block, short_block
from icl_sim.transformer import Arithmetic, Params, Transformer, forward, gradient_bytes, init

if TYPE_CHECKING:  # Orbax takes a second to import
    from icl_sim.storage.checkpoints import Checkpoints

BLOCKS = 8
SHORT_BLOCKS = 6
HINT = 4.0  # in logits
HOW = Arithmetic(block=64)
SEQUENCES = 3  # in a short block; a long sequence is as long as all of them


class Pretrained(NamedTuple):
    """A pretrained network.

    params: flat dict of leaves.
    losses: float32 [steps], in nats per predicted symbol.
    """

    params: dict[str, jax.Array]
    losses: np.ndarray


def sequence_loss(spec: TransformerSpec, params: Params, batch: Batch) -> jax.Array:
    """Mean over sequences of the weighted cross-entropy of their predicted symbols, in nats."""
    logits = forward(spec, params, batch.tokens[:, :-1], how=HOW)
    each = optax.softmax_cross_entropy_with_integer_labels(logits, batch.tokens[:, 1:])
    return (each * batch.weights).sum() / jnp.float32(batch.tokens.shape[0])


def block_gradient(spec: TransformerSpec, leaves: Params, batch: Batch) -> jax.Array:
    """float32 [weights + 1]: the gradient of a block's loss, leaf after leaf, and the loss."""
    value, gradient = jax.value_and_grad(sequence_loss, argnums=1)(spec, leaves, batch)
    return jnp.append(ravel_pytree(gradient)[0], value)


def start(spec: TransformerSpec, seed: int) -> dict[str, jax.Array]:
    """Random weights, but for a hint: the first two heads of layer 0 look one and two tokens back.

    Counting in context needs such a head below the head that matches contexts, and while neither is
    there neither pays: from an even start the loss rests on the unigram plateau for hundreds of
    steps (seen at step 200: TV to Bayes 0.32; with the hint 0.09 at step 300).
    """
    root = jax.random.key(checked_seed(seed))
    params = init(Transformer(spec), jax.random.fold_in(root, 0))
    layer = spec.layers[0]
    for head in range(min(2, layer.heads, layer.window - 1)):
        params["layer_0.bias"] = params["layer_0.bias"].at[head, head + 1].set(HINT)
    return params


def pretrain(
    spec: TransformerSpec,
    *,
    seed: int,
    length: int,
    config: TrainConfig,
    chunk: int = 50,
    mesh: Mesh | None = None,
    checkpoints: Checkpoints | None = None,
    progress: Progress | None = None,
) -> Pretrained:
    """Trains a network from random weights on `icl_sim.training.pretraining_sequences`.

    Args:
      spec: tokens in, logits out, on the alphabet of `sequences`.
      seed: of the weights and of every batch, below 2^31.
      length: T, tokens in a short sequence.
      config: optimizer and schedule; all leaves are trained, ``batch`` must be None.
      chunk: steps between two returns to the host, for checkpoints and ``progress``.
      mesh: a one-axis mesh; all devices by default. It does not change the result.
      checkpoints: written after every chunk; a run that finds some goes on from the newest.
      progress: called as progress(label, steps done, steps).

    Raises:
      InputError: a config or spec that does not fit, checkpoints of another run, or sequences
        that memory does not last for.
      FloatingPointError: a step that was not finite; the message names step and leaf.
    """
    mesh = device_mesh() if mesh is None else mesh
    _check(spec, seed, config)
    require("pretraining", partial(pretraining_bytes, spec, devices=sharing(mesh)), length=length)
    initial = start(spec, seed)
    state = begin(initial, config, jax.random.key(seed))
    losses = np.zeros(config.steps, np.float32)
    shares, replicated = _shares(mesh), NamedSharding(mesh, PartitionSpec())
    done = 0
    if checkpoints is not None and (found := checkpoints.restore((state, losses))) is not None:
        done, (state, losses) = found
    while done < config.steps:
        last = min(done + chunk, config.steps)
        values = []
        for step in range(done, last):
            leaves = on_all_devices(state.leaves, replicated)
            numbers = np.array([seed, step], np.int32)
            rows = _gradients(spec, length, mesh, leaves, shares, numbers)
            rows = rows.addressable_data(0)[:BLOCKS]
            state, value = mean_update(config, state, rows, np.int32(step))
            values.append(value)
        require_finite(initial, config, state.fault, state.leaf)
        losses[done:last] = np.stack(values)
        if checkpoints is not None:
            checkpoints.save(last, (state, losses))
        if progress is not None:
            progress(f"pretraining, loss {losses[done:last].mean():.3f}", last, config.steps)
        done = last
    return Pretrained(dict(state.leaves), losses)


def pretraining_bytes(spec: TransformerSpec, length: int, devices: int = 1) -> int:
    """Memory of pretraining at its peak, on devices that share it.

    The state before and after a step, with Adam's two moments, and every block's gradient, twice
    where it is gathered; a block of one long sequence on each device.
    """
    weights = sum(map(math.prod, param_shapes(spec).values()))
    block = gradient_bytes(spec, batch=1, tokens=SEQUENCES * length, how=HOW)
    return 4 * weights * (6 + 2 * BLOCKS * (1 + devices)) + devices * block


def _check(spec: TransformerSpec, seed: int, config: TrainConfig) -> None:
    if config.adapt != "full" or config.batch is not None:
        raise InputError("pretraining trains all leaves on batches of its own: leave adapt, batch")
    checked_seed(seed, most=2**31 - 1)
    found = (spec.inputs, spec.input_size, spec.output_size, spec.readout)
    if found != ("tokens", ALPHABET, ALPHABET, "logits"):
        raise InputError(
            f"pretraining: expected tokens in and logits out on {ALPHABET} symbols, got {found}"
        )


def _shares(mesh: Mesh) -> np.ndarray:
    """int32 [D, 2]: first block and number of blocks of each device."""
    share = -(-BLOCKS // mesh.size)
    first = np.minimum(share * np.arange(mesh.size), BLOCKS)
    return np.stack([first, np.minimum(first + share, BLOCKS) - first], axis=1).astype(np.int32)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _gradients(
    spec: TransformerSpec,
    length: int,
    mesh: Mesh,
    leaves: Params,
    shares: jax.Array,
    seed_step: jax.Array,
) -> jax.Array:
    """float32 [>= BLOCKS, weights + 1], on every device: gradient and loss of each block."""
    axis = mesh.axis_names[0]
    capacity = -(-BLOCKS // mesh.size)
    size = sum(leaf.size for leaf in leaves.values())

    def on_one_device(leaves: Params, shares: jax.Array, seed_step: jax.Array) -> jax.Array:
        seed, step = seed_step
        key = jax.random.fold_in(jax.random.key(seed), step + 1)
        (first, count) = shares[0]

        graded = partial(block_gradient, spec, leaves)

        def one_block(row: jax.Array, rows: jax.Array) -> jax.Array:
            number = first + row
            own_key = jax.random.fold_in(key, number)
            new = jax.lax.cond(
                number < SHORT_BLOCKS,
                lambda: graded(short_block(own_key, number, length)),
                lambda: graded(long_block(own_key, SEQUENCES * length)),
            )
            return rows.at[row].set(new)

        rows = jnp.zeros((capacity, size + 1), jnp.float32)
        rows = jax.lax.fori_loop(jnp.int32(0), count, one_block, rows)
        gathered: jax.Array = jax.lax.all_gather(rows, axis, tiled=True)
        return gathered

    shared, split = PartitionSpec(), PartitionSpec(axis)
    return jax.shard_map(
        on_one_device,
        mesh=mesh,
        in_specs=(shared, split, shared),
        out_specs=shared,
        check_vma=False,
    )(leaves, shares, seed_step)


@partial(jax.jit, static_argnums=0, donate_argnums=1)
def mean_update(
    config: TrainConfig, state: State, rows: jax.Array, step: jax.Array
) -> tuple[State, jax.Array]:
    """The next state, and the loss, from the blocks' rows.

    On one device, so that one program serves every mesh. The state is given away.
    """
    total = rows[0]
    for number in range(1, BLOCKS):
        total = total + rows[number]
    mean = total / jnp.float32(BLOCKS)
    _, unravel = ravel_pytree(state.leaves)
    gradient, value = unravel(mean[:-1]), mean[-1]
    return guarded_update(state, value, gradient, step, config.transformation()), value
