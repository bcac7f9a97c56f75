"""All copies of a fine-tuning run - tasks, sizes, seeds - in blocks, over all devices.

Copies lie in blocks that never change. A device takes a block through all the steps of a chunk
before it begins the next, so that what the steps read and write stays in the cache: weights and
optimizer state of all copies at once would come from memory at every step.

Letters: R copies, E prompts, V symbols, K measures.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from constructions.spec import TransformerSpec
from icl_sim.errors import InputError
from icl_sim.execution.hosts import on_all_devices
from icl_sim.execution.memory_guard import require, sharing
from icl_sim.execution.progress import Progress
from icl_sim.execution.row_blocks import RowBlocks, join_rows, map_rows, split_rows
from icl_sim.execution.trials import device_mesh
from icl_sim.training.config import TrainConfig
from icl_sim.training.examples import Examples, check_examples
from icl_sim.training.fine_tuning import advance, begin, finish, training_bytes
from icl_sim.training.guarded import State, require_finite
from icl_sim.transformer import Params, Transformer

if TYPE_CHECKING:  # Orbax takes a second to import
    from icl_sim.storage.checkpoints import Checkpoints

BLOCK = 4  # copies in a block; part of the result's last bits, so never tuned per call
# (params of one copy, its targets) -> float32 [K]
Measure = Callable[[dict[str, jax.Array], Any], jax.Array]


class Copies(NamedTuple):
    """R fine-tuned copies, on the host.

    params: flat dict of leaves [R, ...].
    losses: float32 [R, steps], in nats, before each step.
    looks: float32 [R, chunks + 1, K], what was measured before the first and after each chunk.
    """

    params: dict[str, np.ndarray]
    losses: np.ndarray
    looks: np.ndarray


def _nothing(params: dict[str, jax.Array], targets: Any) -> jax.Array:
    del params, targets
    return jnp.zeros(0, jnp.float32)


def fine_tune_copies(
    model: Transformer,
    params: Params,
    examples: Examples,
    *,
    config: TrainConfig | None = None,
    keys: jax.Array,
    chunk: int = 50,
    measure: Measure = _nothing,
    targets: Any = None,
    mesh: Mesh | None = None,
    checkpoints: Checkpoints | None = None,
    progress: Progress | None = None,
) -> Copies:
    """Fine-tunes R copies of one base, each on its own examples, block by block.

    Args:
      model, params: the base, shared by all copies.
      examples: inputs int32 [R, E, T] and counts [R, E, V].
      config: how, the same for all.
      keys: [R] typed keys, consumed; copy r does what `fine_tune` does with keys[r].
      chunk: steps between two returns to the host, for checkpoints, measures and progress.
      measure: a function of one copy's params and targets; pass the same object again to reuse
        its compiled code.
      targets: a pytree with a leading axis R, given to ``measure``.
      mesh: a one-axis mesh; all devices by default. It does not change the result.
      checkpoints: written after every chunk; a run that finds some goes on from the newest.
      progress: called as progress(label, steps done, steps) after each chunk.

    Raises:
      InputError, FloatingPointError: as `fine_tune`; the latter also names the copy.
    """
    config = TrainConfig() if config is None else config
    check_examples(model.spec, examples, drawn=config.batch is not None)
    inputs, counts = (np.shape(field) for field in examples)
    copies = counts[0]
    if len(counts) != 3 or keys.shape != (copies,):
        raise InputError(
            "copies: expected inputs [R, E, T], counts [R, E, V] and R keys, got "
            f"{list(inputs)}, {list(counts)}, {list(keys.shape)}"
        )
    if chunk < 1:
        raise InputError(f"chunk: expected at least one step, got {chunk}")
    mesh = device_mesh() if mesh is None else mesh
    cost = partial(training_bytes, model.spec, config, at_once=BLOCK * sharing(mesh))
    require("fine-tuning", cost, copies=copies, examples=inputs[1], tokens=inputs[2])

    split = partial(split_rows, block=min(BLOCK, copies), mesh=mesh)
    join = partial(join_rows, n=copies)
    program = _Program(model.spec, config, str(jax.random.key_impl(keys)), measure)
    base = {name: jnp.asarray(leaf) for name, leaf in params.items()}
    base = on_all_devices(base, NamedSharding(mesh, PartitionSpec()))
    parts = split((examples, jax.random.key_data(keys), targets))

    def each(function: Callable[..., Any], states: list[Any], *rest: Any) -> list[Any]:
        found = []
        for part, state in zip(parts, states, strict=True):
            rows = RowBlocks(part.active, (part.values, state))
            found.append(map_rows(partial(function, program), base, rows, *rest, mesh=mesh))
            jax.block_until_ready(found[-1])  # which lets Ctrl-C in
        return found

    states = each(_begin, [None] * len(parts))
    losses = np.zeros((copies, config.steps), np.float32)
    first = join(each(_look, states))
    looks = np.zeros((copies, -(-config.steps // chunk) + 1, first.shape[1]), np.float32)
    looks[:, 0] = first
    done = 0
    if checkpoints is not None:
        found = checkpoints.restore((join(states), losses, looks))
        if found is not None:
            done, (whole, losses, looks) = found
            states = [part.values for part in split(whole)]
    while done < config.steps:
        last = min(done + chunk, config.steps)
        taken = each(partial(_advance, chunk), states, np.int32(done))
        states, values = map(list, zip(*taken, strict=True))
        faults, leaves = join([(state.fault, state.leaf) for state in states])
        require_finite(params, config, faults, leaves)
        losses[:, done:last] = join(values)[:, : last - done]
        looks[:, -(-last // chunk)] = join(each(_look, states))
        if checkpoints is not None:
            checkpoints.save(last, (join(states), losses, looks))
        if progress is not None:
            progress(f"fine-tuning, loss {losses[:, done:last].mean():.3f}", last, config.steps)
        done = last
    return Copies(join(each(_finish, states)), losses, looks)


class _Program(NamedTuple):
    """What is compiled into the functions below. They run a block, one copy a row, on a device.

    A row is ((examples, key data, targets), state).
    """

    spec: TransformerSpec
    config: TrainConfig
    key_impl: str
    measure: Measure

    def key(self, data: jax.Array) -> jax.Array:
        return jax.random.wrap_key_data(data, impl=self.key_impl)


@partial(jax.jit, static_argnums=0)
def _begin(program: _Program, params: Params, rows: Any) -> State:
    (_, keys, _), _ = rows
    return jax.vmap(lambda key: begin(params, program.config, program.key(key)))(keys)


@partial(jax.jit, static_argnums=(0, 1))
def _advance(
    steps: int, program: _Program, params: Params, rows: Any, first: Any
) -> tuple[State, jax.Array]:
    # The last chunk may be cut short: the limit does it without compiling another length.
    def one(row: Any) -> tuple[State, jax.Array]:
        (examples, key, _), state = row
        arguments = (program.spec, params, examples, program.config, program.key(key), state)
        return advance(*arguments, first, steps, limit=program.config.steps)

    return jax.vmap(one)(rows)


@partial(jax.jit, static_argnums=0)
def _finish(program: _Program, params: Params, rows: Any) -> dict[str, jax.Array]:
    def one(row: Any) -> dict[str, jax.Array]:
        (examples, _, _), state = row
        return finish(params, examples, program.config, state)

    return jax.vmap(one)(rows)


@partial(jax.jit, static_argnums=0)
def _look(program: _Program, params: Params, rows: Any) -> jax.Array:
    def one(row: Any) -> jax.Array:
        (examples, _, target), state = row
        return program.measure(finish(params, examples, program.config, state), target)

    return jax.vmap(one)(rows)
