"""Runs a SUBLEQ program through the looped transformer, loop by loop, beside the interpreter."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from constructions.construction import Construction
from constructions.machines.looped import looped
from constructions.programs.subleq import SUBLEQ, Computer, run
from constructions.programs.subleq_ports import Ports
from constructions.spec import TransformerSpec
from icl_sim.decoding.decoder import check_arithmetic
from icl_sim.emulation.subleq_files import find_program, port_inputs, read_inputs, read_program
from icl_sim.errors import InputError, same_name
from icl_sim.execution.memory_guard import require
from icl_sim.execution.progress import Progress, quiet
from icl_sim.execution.signatures import checked
from icl_sim.transformer import embed, forward_bytes, load, loop, readout

LOOPED_ENGINES = ("dense", "verify")
BITS = 16  # of a word
MOST_WORDS = 1024  # attention costs the square of the memory
MOST_STEPS = 2**63 - 1  # no certificate ends: this is where a counter of 64 bits does
BLOCK = 1 << 19  # outputs kept between two looks at progress
BATCH = 64  # states verified at once, or fewer, so that they take at most
BATCH_BYTES = 2**28


@dataclass(frozen=True)
class LoopedEmulation:
    """A SUBLEQ program's run, looped through a transformer's weights.

    Attributes:
      machine, construction, engine: names of what was run, and how.
      inputs: the words of the input.
      steps: instructions, a loop each.
      halted: whether the program has halted.
      counter: address of the next instruction.
      memory: all words, padded to the transformer's size.
      answer: what the program leaves as its answer; None unless halted, and for a file's program.
      output: words that a file's program has put out.
      device_steps: instructions that read or wrote: the host's work, between two loops.
      certified_steps: all that can be counted: no certificate ends.
      agrees: whether memory, counter and halt are the interpreter's after every step.
      steps_per_second: without compilation.
    """

    machine: str
    construction: str
    engine: str
    inputs: list[int]
    steps: int
    halted: bool
    counter: int
    memory: list[int]
    answer: list[int] | None
    output: list[int]
    device_steps: int
    certified_steps: int
    agrees: bool
    steps_per_second: float


class States(NamedTuple):
    """The computer after each of k steps: memory int64 [k, n], counter [k], halted bool [k]."""

    memory: np.ndarray
    counter: np.ndarray
    halted: np.ndarray

    def equal(self, other: States) -> bool:
        """Whether all words, counters and flags are the same."""
        return all(np.array_equal(a, b) for a, b in zip(self, other, strict=True))


@checked
def emulate_looped(
    name: str,
    tape: str = "",
    *,
    engine: str = "dense",
    max_steps: int | None = None,
    progress: Progress = quiet,
) -> LoopedEmulation:
    """A SUBLEQ program's run, looped through a transformer's weights and compared.

    Args:
      name: of a program in `SUBLEQ`, or a file of words or assembly with input and output at -1
        (`constructions.programs.subleq_ports`).
      tape: its input words (`read_inputs`); for a file's program, text is its characters' codes.
      engine: ``dense``: every loop is a whole forward pass, fed back until the program has halted.
        ``verify``: the interpreter's states, one loop each, many at once, which proves by induction
        that looping yields them.
      max_steps: where to stop; by default when the program halts.
      progress: called as progress(label, steps done, max_steps).

    Raises:
      InputError: an unknown program or engine, inputs out of its domain, or too many of them.
    """
    if engine not in LOOPED_ENGINES:
        raise InputError(
            f"engine: expected one of {', '.join(LOOPED_ENGINES)} with the looped construction, "
            f"whose every loop is a whole forward pass, got {engine!r}"
        )
    if max_steps is not None and not 1 <= max_steps <= MOST_STEPS:
        raise InputError(f"--max-steps: expected 1 to {MOST_STEPS:,}, got {max_steps:,}")
    name = same_name(name, SUBLEQ)
    own = name not in SUBLEQ and os.path.isfile(name)
    if own:
        program, inputs = None, port_inputs(tape)
        memory = read_program(name, bits=BITS)
    else:
        program = find_program(name)
        inputs = read_inputs(program, tape)
        try:
            memory = program.memory(inputs, bits=BITS)
        except ValueError as error:
            raise InputError(f"--tape: {error}") from None
    if len(memory) > MOST_WORDS:
        raise InputError(
            f"program: expected at most {MOST_WORDS:,} words with its inputs, got "
            f"{len(memory):,}: give fewer inputs"
        )
    check_arithmetic()
    words = max(16, 1 << (len(memory) - 1).bit_length())
    built = looped(words=words, bits=BITS)
    require("looped emulation", functools.partial(looped_bytes, built.spec), words=words)
    memory = np.pad(memory, (0, words - len(memory)))
    steps = MOST_STEPS if max_steps is None else max_steps
    engine_of = _loops if engine == "dense" else _verified
    ports = Ports(inputs)
    if own:
        states = _served(engine_of, built, memory, steps, ports)
    else:
        states = engine_of(built, memory, steps, 0)
    agrees, done, spent = True, 0, 0.0
    for right, last, seconds in states:
        agrees, done, spent = agrees and right, done + len(last.halted), spent + seconds
        progress(f"{name}, steps", done, done if max_steps is None else max_steps)
    halted = bool(last.halted[-1])
    final = last.memory[-1].tolist()
    return LoopedEmulation(
        machine=name,
        construction="looped",
        engine=engine,
        inputs=inputs,
        steps=done,
        halted=halted,
        counter=int(last.counter[-1]),
        memory=final,
        answer=program.answer(final, inputs) if program and halted else None,
        output=ports.output,
        device_steps=ports.served,
        certified_steps=MOST_STEPS,
        agrees=agrees,
        steps_per_second=done / max(spent, 1e-9),
    )


def looped_bytes(spec: TransformerSpec, words: int) -> int:
    """Memory of one loop at its peak, and of a block's outputs.

    These are floats on the device, and floats, integers and words of 8 bytes on the host.
    """
    outputs = max(BLOCK, 64 * spec.output_size * (words + 2))
    return forward_bytes(spec, batch=1, tokens=words + 2) + 28 * outputs


def loop_until(
    spec: TransformerSpec,
    params: Any,
    x: jax.Array,
    steps: jax.Array,
    width: int,
    place: tuple[int, int],
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Loops the layers up to ``steps`` times, or until output ``place`` is 1.

    Args:
      spec, params: of a transformer whose loops end in the form that they begin with.
      x: its residual stream, [T, D].
      steps: at most ``width``.
      place: (row, column) of the outputs [T, V].

    Returns:
      x after the last loop, the outputs after each [width, T, V], and the number of loops.
    """

    def more(carry: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        _, outputs, count = carry
        last = lax.dynamic_index_in_dim(
            outputs, jnp.maximum(count - 1, np.int32(0)), keepdims=False
        )
        return (count < steps) & (last[place] < 0.5)

    def body(carry: tuple[jax.Array, jax.Array, jax.Array]) -> Any:
        x, outputs, count = carry
        x = loop(spec, params, x)
        row = readout(spec, params, x)
        return x, lax.dynamic_update_index_in_dim(outputs, row, count, 0), count + np.int32(1)

    outputs = jnp.zeros((width, x.shape[0], spec.output_size), x.dtype)
    return lax.while_loop(more, body, (x, outputs, jnp.int32(0)))


_loop_until = jax.jit(loop_until, static_argnames=("spec", "width", "place"))


def _served(
    engine: Callable[..., Iterator[tuple[bool, States, float]]],
    built: Construction,
    memory: np.ndarray,
    steps: int,
    ports: Ports,
) -> Iterator[tuple[bool, States, float]]:
    """As an engine, the device serving between its loops: states are the network's own."""
    computer, done = Computer(memory.copy(), BITS), 0
    while not computer.halted and done < steps:
        ahead, count = Computer(computer.memory.copy(), BITS, computer.counter), 0
        while not ahead.halted and count < steps - done and not ports.wanted(ahead):
            ahead.step()
            count += 1
        if count:
            for right, last, seconds in engine(built, computer.memory, count, computer.counter):
                yield right, last, seconds
                if not right:
                    return
            computer.memory, computer.counter = last.memory[-1].copy(), int(last.counter[-1])
            computer.halted = bool(last.halted[-1])
            done += count
        elif ports.serve(computer):
            done += 1
            one = computer.memory.copy()[None], np.array([computer.counter]), np.zeros(1, bool)
            yield True, States(*one), 0.0


def _loops(
    built: Construction, memory: np.ndarray, steps: int, counter: int
) -> Iterator[tuple[bool, States, float]]:
    """Blocks of loops: whether all of them agree, the states after each, and the time it took."""
    spec, (_, params) = built.spec, load(built)
    n = len(memory)
    x = embed(spec, params, built.encode({"memory": memory, "counter": counter}))
    expected = _interpreted(memory, steps, counter)
    # A block grows from small ones, so that short programs cost little.
    width, most = 64, max(64, BLOCK // (n * spec.output_size))
    jax.block_until_ready(_loop_until(spec, params, x, jnp.int32(0), width, (n, 2)))
    done, halted = 0, False
    while not halted and done < steps:
        start = time.monotonic()
        x, outputs, count = _loop_until(
            spec, params, x, jnp.int32(min(width, steps - done)), width, (n, 2)
        )
        found = _states(np.asarray(outputs)[: int(count)])
        seconds = time.monotonic() - start
        right = found.equal(_gathered(expected, width, n))
        yield right, found, seconds
        if not right:
            return
        done, halted = done + int(count), bool(found.halted[-1])
        if done == 64 and width < most:
            width = most
            jax.block_until_ready(_loop_until(spec, params, x, jnp.int32(0), width, (n, 2)))


def _verified(
    built: Construction, memory: np.ndarray, steps: int, counter: int
) -> Iterator[tuple[bool, States, float]]:
    """As `_loops`, from the interpreter's states: each must lead to the next one."""
    spec, (_, params) = built.spec, load(built)
    n = len(memory)
    batch = min(BATCH, max(1, BATCH_BYTES // forward_bytes(spec, batch=1, tokens=n + 2)))
    before = States(memory[None], np.array([counter], np.int64), np.zeros(1, bool))
    _once(spec, params, np.zeros((batch, n + 2, spec.input_size), np.float32))
    expected = _interpreted(memory, steps, counter)
    while len((after := _gathered(expected, batch, n)).halted):
        count = len(after.halted)
        given = [np.concatenate([a[-1:], b[:-1]]) for a, b in zip(before, after, strict=True)]
        start = time.monotonic()
        x = np.zeros((batch, n + 2, spec.input_size), np.float32)
        for row, words, counter in zip(x, *given[:2], strict=False):
            row[:] = built.fill(memory=words, counter=int(counter))
        found = _states(np.asarray(_once(spec, params, x))[:count])
        yield found.equal(after), after, time.monotonic() - start
        before = after


@functools.partial(jax.jit, static_argnames="spec")
def _once(spec: TransformerSpec, params: Any, inputs: jax.Array) -> jax.Array:
    return readout(spec, params, loop(spec, params, embed(spec, params, inputs)))


def _states(outputs: np.ndarray) -> States:
    """The states that outputs [k, n + 2, 3] describe: word, counter and halted, as numbers."""
    numbers = np.rint(outputs).astype(np.int64)
    return States(numbers[:, :-2, 0], numbers[:, -2, 1], numbers[:, -2, 2] == 1)


def _interpreted(
    memory: np.ndarray, steps: int, counter: int
) -> Iterator[tuple[np.ndarray, int, bool]]:
    for computer in run(memory, bits=BITS, steps=steps, counter=counter):
        yield computer.memory.copy(), computer.counter, computer.halted


def _gathered(states: Iterator[tuple[np.ndarray, int, bool]], count: int, n: int) -> States:
    """The next ``count`` states, or as many as there are."""
    found: Sequence[tuple[np.ndarray, int, bool]] = list(islice(states, count))
    return States(
        np.array([memory for memory, _, _ in found], np.int64).reshape(-1, n),
        np.array([counter for _, counter, _ in found], np.int64),
        np.array([halted for _, _, halted in found], bool),
    )
