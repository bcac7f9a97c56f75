"""The decoder: a prompt is read, then every token is fed back until the stop token."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Integral
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from constructions.certificate import digest
from constructions.support import require_supported
from icl_sim.decoding import matrices, straight_line
from icl_sim.decoding.attention import Reading
from icl_sim.decoding.head_state import Memory, empty, memory_bytes, settle
from icl_sim.decoding.native import Program, require_llvm
from icl_sim.decoding.plan import Plan, make_plan
from icl_sim.decoding.prompt_tokens import prompt_tokens
from icl_sim.errors import InputError
from icl_sim.transformer import Transformer
from icl_sim.transformer.leaves import check_leaves

ENGINES = ("dense", "cached", "specialised")
NATIVE = "native"  # the last one's arithmetic without JAX, where the extra is installed

OUT_OF_RANGE = (
    "an address left the range of its codes: use a construction with more cells, or fewer steps"
)


class State(NamedTuple):
    """Where decoding stands; arrays only, so that it can be stored and taken up again.

    With lanes, all but the memories have a leading axis [B].

    Attributes:
      memories: what each head remembers (`icl_sim.decoding.head_state`).
      token: int32, the token that comes next.
      position: int32, its index.
      done: bool, the stop token has been given out.
      lost: bool, an address was out of range: what came since then is void.
    """

    memories: list[list[Memory]]
    token: jax.Array
    position: jax.Array
    done: jax.Array
    lost: jax.Array


class Decoder:
    """One transformer, ready to decode.

    Args:
      model, params: as `icl_sim.load` returns them.
      engine: ``dense`` keeps all keys and attends to all of them, as attention is defined.
        ``cached`` gives each head of a known kind a memory of constant size, and the others the
        dense one, with a warning. ``specialised`` also evaluates the weights partially; where
        that is not possible it warns and is ``cached``. ``native`` is the same, compiled without
        XLA for the processor at hand.
      stop: a token after which nothing is given out.
      lanes: the number of sequences decoded at once.

    Raises:
      InputError: an unknown engine, switches that it does not compute, outputs that are no inputs,
        weights that are not finite, a stop that is no token, or lanes for heads of no known kind.
    """

    def __init__(
        self,
        model: Transformer,
        params: Mapping[str, Any],
        *,
        engine: str = "cached",
        stop: int | None = None,
        lanes: int | None = None,
    ) -> None:
        if engine not in (*ENGINES, NATIVE):
            known = ", ".join((*ENGINES, NATIVE))
            raise InputError(f"engine: expected one of {known}, got {engine!r}")
        if engine == NATIVE:
            require_llvm()
            if lanes is not None:
                raise InputError("lanes: expected one sequence with the engine native")
        spec, size = model.spec, model.spec.input_size
        require_supported(
            spec,
            known=matrices.KNOWN,
            engine=f"{engine} decoding",
            instead="icl_sim.forward reads whole sequences",
            error=InputError,
        )
        if spec.input_size < spec.output_size:
            raise InputError(
                f"decoding feeds outputs back: expected input_size >= output_size, got "
                f"{spec.input_size} and {spec.output_size}"
            )
        if stop is not None and (
            isinstance(stop, bool) or not isinstance(stop, Integral) or not 0 <= stop < size
        ):
            raise InputError(f"stop: expected a token from 0 to {size - 1}, got {stop!r}")
        check_leaves(spec, params)
        for name, leaf in params.items():
            if not np.isfinite(np.asarray(leaf)).all():
                raise InputError(f"{name}: expected finite weights, got NaN or infinity")
        check_arithmetic()
        self.spec, self.stop, self.lanes = spec, stop, lanes
        self.plan = make_plan(spec, params, model.certificate, dense=engine == "dense")
        slow = self.plan.dense_heads()
        if lanes is not None and slow:
            raise InputError(f"lanes need heads of known kinds, and not {', '.join(slow)}")
        if engine in ("specialised", NATIVE) and (reasons := straight_line.obstacles(self.plan)):
            warnings.warn(f"not {engine} but cached: {'; '.join(reasons)}", stacklevel=2)
            engine = "cached"
        elif engine == "cached" and slow:
            text = f"{', '.join(slow)}: of no known kind, decoded at a cost of O(t) a token"
            warnings.warn(text, stacklevel=2)
        self.engine = engine
        self.params = jax.device_put(dict(params))
        constant = engine in ("specialised", NATIVE)
        self.weights = Weights.of(self.plan, params) if constant else None
        self._compiled: set[int] = set()  # numbers of steps, see `compile`

    def bytes(self, *, lanes: int = 1, room: int = 0, tokens: int = 0) -> int:
        """Memory of decoding at its peak.

        The state that is given and the one that comes of it (or the tables and their averages), the
        parts of the weights that heads read, and tokens.

        Args:
          lanes: sequences at once.
          room: as for `start`.
          tokens: decoded in one call of `advance`.
        """
        weights = sum(leaf.nbytes for leaf in self.params.values())
        padded = 1 << max(tokens - 1, 0).bit_length()
        return 2 * memory_bytes(self.plan, lanes=lanes, room=room) + weights + 8 * lanes * padded

    def start(self, prompts: Any, *, room: int = 0) -> State:
        """Reads a prompt, or one prompt a lane.

        Args:
          prompts: int [T], or with lanes B sequences of them.
          room: for dense heads, the most tokens to come, prompt included.
        """
        rows = [
            prompt_tokens(p, self.spec.input_size) for p in (prompts if self.lanes else [prompts])
        ]
        if self.lanes not in (None, len(rows)):
            raise InputError(f"prompts: expected {self.lanes}, one a lane, got {len(rows)}")
        width = 1 << max(len(row) - 1 for row in rows).bit_length()
        padded = np.zeros((len(rows), width), np.int32)
        for row, tokens in zip(padded, rows, strict=True):
            row[: len(tokens)] = tokens
        lengths = np.array([len(row) for row in rows], np.int32)
        if self.lanes is None:
            return _start(self.plan, self.params, padded[0], lengths[0], room=room)
        return _start_lanes(self.plan, self.params, padded, lengths)

    def advance(self, state: State, steps: int) -> tuple[State, np.ndarray]:
        """Decodes up to ``steps`` further tokens, until the stop token (in all lanes).

        Returns:
          The new state, and int32 [steps or fewer], or with lanes [steps or fewer, B]; a lane that
          has stopped repeats the stop token.

        Raises:
          InputError: an address left the range of its codes.
        """
        self._check_room(state, steps)
        if self.engine == NATIVE:
            return self._advance_natively(state, steps)
        state, tokens, count = self._advance(state, steps, steps)
        if np.asarray(state.lost).any():
            raise InputError(OUT_OF_RANGE)
        return state, np.asarray(tokens)[: int(count)]  # a slice on the device would be compiled

    def compile(self, state: State, steps: int) -> None:
        """Compiles, once, what `advance` runs for so many steps, so that a clock leaves it out."""
        if steps in self._compiled:
            return
        self._compiled.add(steps)
        if self.engine == NATIVE:
            self.native().compile("decode")
        else:
            jax.block_until_ready(self._advance(state, steps, 0))

    def _advance(self, state: State, steps: int, most: int) -> tuple[State, jax.Array, jax.Array]:
        """The program for ``steps`` tokens, stopped after ``most``."""
        stop = -1 if self.stop is None else self.stop
        width = 1 << max(steps - 1, 0).bit_length()
        params = None if self.weights else self.params
        limits = jnp.int32(most), jnp.int32(stop)
        return _advance(self.plan, params, self.weights, self.lanes, width, state, *limits)

    def _advance_natively(self, state: State, steps: int) -> tuple[State, np.ndarray]:
        stop = -1 if self.stop is None else self.stop
        if state.done:
            return state, np.zeros(0, np.int32)
        place = int(state.token), int(state.position)
        memories, tokens, status = self.native().decode(
            state.memories, *place, steps=steps, stop=stop
        )
        if status[3]:
            raise InputError(OUT_OF_RANGE)
        token, position, done, lost = status
        return State(memories, token, position, done != 0, lost != 0), tokens

    def native(self) -> Program:
        """The native program of these weights, compiled once."""
        if self.weights is None:
            raise InputError("engine native: expected weights that can be partially evaluated")
        return _native(self.plan, self.weights)

    def _check_room(self, state: State, steps: int) -> None:
        keys = [memory["keys"] for row in state.memories for memory in row if "keys" in memory]
        if keys and int(state.position) + steps > len(keys[0]):
            raise InputError(
                f"steps: expected at most {len(keys[0]) - int(state.position)}, for which dense "
                f"heads have room, got {steps}"
            )


@dataclass(frozen=True, eq=False)
class Weights:
    """Weights as constants of compiled functions, which are told apart by their digest."""

    name: str
    leaves: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, plan: Plan, params: Mapping[str, Any]) -> Weights:
        """The weights, named by their digest."""
        leaves = {name: np.asarray(leaf) for name, leaf in params.items()}
        return cls(digest(plan.spec, leaves), leaves)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Weights) and self.name == other.name

    def __hash__(self) -> int:
        return hash(self.name)


@functools.lru_cache(maxsize=8)
def _native(plan: Plan, weights: Weights) -> Program:
    return Program(plan, weights.leaves)


@functools.partial(jax.jit, static_argnames=("plan", "room"))
def _start(plan: Plan, params: Any, prompt: jax.Array, length: jax.Array, *, room: int) -> State:
    ready = matrices.prepare(plan, params)

    def feed(i: jax.Array, carry: tuple[Any, jax.Array]) -> tuple[Any, jax.Array]:
        memories, token = matrices.read(plan, ready, carry[0], prompt[i], i, Reading.ONE)
        return memories, token.following

    carry = (empty(plan, room=room), jnp.int32(0))
    memories, token = lax.fori_loop(jnp.int32(0), length, feed, carry)
    return State(settle(plan, memories), token, length, jnp.array(False), jnp.array(False))


@functools.partial(jax.jit, static_argnames=("plan",))
def _start_lanes(plan: Plan, params: Any, prompts: jax.Array, lengths: jax.Array) -> State:
    lanes = len(prompts)
    ready = matrices.prepare(plan, params)

    def feed(i: jax.Array, carry: tuple[Any, jax.Array]) -> tuple[Any, jax.Array]:
        valid, position = i < lengths, jnp.full(lanes, i, jnp.int32)
        memories, token = matrices.read(
            plan, ready, carry[0], prompts[:, i], position, Reading.LANES, valid
        )
        return memories, jnp.where(valid, token.following, carry[1])

    carry = (empty(plan, lanes=lanes), jnp.zeros(lanes, jnp.int32))
    memories, token = lax.fori_loop(jnp.int32(0), lengths.max(), feed, carry)
    no = jnp.zeros(lanes, bool)
    return State(settle(plan, memories), token, lengths, no, no)


def _loop(
    read: Callable[..., Any], width: int, state: State, steps: jax.Array, stop: jax.Array
) -> tuple[State, jax.Array, jax.Array]:
    """Gives out the token that comes next and reads it, again and again."""
    start = (np.int32(0),) * state.token.ndim

    def more(carry: tuple[State, jax.Array, jax.Array]) -> jax.Array:
        return (carry[2] < steps) & ~jnp.all(carry[0].done)

    def body(carry: tuple[State, jax.Array, jax.Array]) -> tuple[State, jax.Array, jax.Array]:
        state, out, n = carry
        out = lax.dynamic_update_slice(out, state.token[None], (n, *start))
        memories, token = read(state.memories, state.token, state.position)
        lost = state.lost | (token.lost & ~state.done)
        done = state.done | (state.token == stop)
        # What follows a stop token is the stop token.
        following = jnp.where(done, stop, token.following)
        return State(memories, following, state.position + 1, done, lost), out, n + 1

    out = jnp.zeros((width, *state.token.shape), jnp.int32)
    return lax.while_loop(more, body, (state, out, jnp.int32(0)))


@functools.partial(jax.jit, static_argnames=("plan", "known", "lanes", "width"))
def _advance(
    plan: Plan,
    params: Any,
    known: Weights | None,
    lanes: int | None,
    width: int,
    state: State,
    steps: jax.Array,
    stop: jax.Array,
) -> tuple[State, jax.Array, jax.Array]:
    """Decodes on, with weights that are the program's arguments, or known when it is compiled."""
    reading = Reading.ONE if lanes is None else Reading.LANES
    read: Callable[..., Any]
    if known is None:
        read = functools.partial(matrices.read, plan, matrices.prepare(plan, params))
    else:
        read = functools.partial(straight_line.read, plan, known.leaves)
    return _loop(functools.partial(read, reading=reading), width, state, steps, stop)


@functools.cache
def check_arithmetic() -> None:
    """Raises InputError where matrix products are not those of float32."""
    # 2049 needs 12 bits, its square 23: TF32 keeps 11 bits of a factor, bfloat16 8.
    factor = 2049 * np.eye(8, dtype=np.float32)
    product = jax.jit(lambda a: jnp.dot(a, a, precision=lax.Precision.HIGHEST))(factor)
    if np.asarray(product)[0, 0] != 2049**2:
        raise InputError(
            "matrix products are rounded to fewer bits than float32 has (TF32 or bfloat16): "
            "constructions are certified for float32 only; unset the precision override"
        )
