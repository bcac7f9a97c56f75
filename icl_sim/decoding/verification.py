"""Verification: would decoding produce this trace? One pass over all positions, in blocks.

By induction: if the network, given the prompt and the first t tokens of a trace, predicts token
t + 1 for every t, then decoding produces the trace. All tokens being known, a block of positions
is computed at once: a mean is a cumulative sum, an addressed head one visit of its table a token,
everything else is independent of the order. Memory is that of the tables and one block.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from constructions.construction import Construction, MachineIO
from constructions.programs.turing import Trace
from constructions.vocabulary import Transcript
from icl_sim.decoding import matrices, straight_line
from icl_sim.decoding.attention import Reading
from icl_sim.decoding.decoder import NATIVE, Decoder, Weights
from icl_sim.decoding.head_state import Memory
from icl_sim.decoding.native import own
from icl_sim.decoding.plan import Plan
from icl_sim.errors import InputError
from icl_sim.execution.lookahead import ahead
from icl_sim.execution.memory_guard import require
from icl_sim.execution.signatures import checked, short
from icl_sim.transformer import load

# What a trace says of the machine after its steps, besides its cells.
_STANDING = ("steps", "halted", "state", "head", "tape_start")


@dataclass(frozen=True)
class Verification:
    """How a network's predictions compare with a trace.

    Attributes:
      steps: tokens compared: the trace's steps, and its halt.
      mismatches: predictions that differ.
      first: the first token that differs, counted from 0, or None.
      lost: whether an address was out of range.
      seconds: wall time, with the compilation that a first call needs.
      stray: fields of the trace that are not what its own steps lead to: its cells, say.
    """

    steps: int
    mismatches: int
    first: int | None
    lost: bool
    seconds: float
    stray: tuple[str, ...] = ()

    @property
    def agrees(self) -> bool:
        """Decoding produces this very trace."""
        return self.mismatches == 0 and not self.lost and not self.stray


@checked
def verify_trace(
    construction: Construction,
    trace: Trace | Iterable[Trace],
    *,
    tape: Any = None,
    engine: str = "specialised",
    block: int = 1 << 16,
) -> Verification:
    """Checks that a machine construction decodes to this trace, token for token.

    Args:
      construction: ``universal`` or ``single``.
      trace: a whole trace, or its pieces in order (`TuringMachine.run_blocks`), which need not fit
        in memory.
      tape: the input; needed with pieces, and otherwise taken from what the trace read.
      engine: ``specialised``; ``native``, the same as machine code; or ``cached``: the weights as
        matrices.
      block: tokens computed at once.

    Raises:
      InputError: a trace without all its steps or beyond the certificate, or a block that memory
        does not last for.

    >>> from constructions import CONSTRUCTIONS, TuringMachine
    >>> construction = CONSTRUCTIONS["universal"](states=2, steps=1000, cells=100)
    >>> trace = TuringMachine.from_bbchallenge("1RB1LB_1LA1RZ").run("", 1000)
    >>> verify_trace(construction, trace).agrees
    True
    """
    return verified(construction, trace, tape=tape, engine=engine, block=block)[0]


def verified(
    construction: Construction,
    trace: Trace | Iterable[Trace],
    *,
    tape: Any = None,
    engine: str = "specialised",
    block: int = 1 << 16,
) -> tuple[Verification, Transcript]:
    """`verify_trace`, and where the trace's tokens lead."""
    start = time.perf_counter()
    if construction.machine is None:
        raise InputError(f"{construction.name}: expected a machine construction")
    if block < 1:
        raise InputError(f"block: expected at least 1, got {block}")
    if isinstance(trace, Trace):
        if len(trace.codes) != trace.steps:
            raise InputError(
                f"trace: expected all {trace.steps} steps recorded, got {len(trace.codes)}"
            )
        far = max(abs(trace.tape_start), abs(trace.tape_start + len(trace.cells) - 1))
        construction.certificate.check(steps=trace.steps, cells=far + 1)
        tape, trace = _tape_of(trace) if tape is None else tape, [trace]
    elif tape is None:
        raise InputError("tape: expected the input tape, which pieces of a trace do not tell")
    pieces = _checked(trace)
    head = next(pieces, None)
    if head is None:
        raise InputError("trace: expected at least one piece, got none")
    prompt = construction.encode({"machine": head.machine, "tape": tape})
    run, stray = Transcript(construction.machine.vocabulary).extend(prompt), list[str]()
    transcribe = functools.partial(_transcribe, construction.machine, run, stray)
    decoder = Decoder(*load(construction), engine=engine)
    if slow := decoder.plan.dense_heads():
        raise InputError(f"verification needs heads of known kinds, and not {', '.join(slow)}")
    require("verification", functools.partial(verification_bytes, decoder), block=block)

    state = decoder.start(prompt)
    expected = int(state.token)
    check = (_natively if decoder.engine == NATIVE else _in_blocks)(decoder, state.memories, block)
    wrong: list[int] = []
    mismatches = steps = 0
    lost = False
    for tokens in _overlapping(ahead(map(transcribe, chain([head], pieces))), block):
        if not steps:
            wrong = [0] if tokens[0] != expected else []
            steps, mismatches = 1, len(wrong)
        n = len(tokens) - 1
        count, place, astray = check(tokens, len(prompt) + steps - 1)
        if count and not wrong:
            wrong = [steps + place]
        mismatches, steps, lost = mismatches + count, steps + n, lost or astray
    first = wrong[0] if wrong else None
    seconds = time.perf_counter() - start
    found = Verification(steps, mismatches, first, lost, seconds, tuple(dict.fromkeys(stray)))
    return found, run


def _checked(trace: Iterable[Trace]) -> Iterator[Trace]:
    """The pieces of a trace; InputError if they are none."""
    for piece in trace if np.iterable(trace) else [trace]:
        if not isinstance(piece, Trace):
            raise InputError(f"trace: expected a Trace or its pieces in order, got {short(piece)}")
        yield piece


# Tokens and the position of the first -> mismatches, the first of them, whether any was lost.
Check = Callable[[np.ndarray, int], tuple[int, int, bool]]


def _natively(decoder: Decoder, memories: list[list[Memory]], block: int) -> Check:
    return functools.partial(decoder.native().check, own(memories))


def _in_blocks(decoder: Decoder, memories: list[list[Memory]], block: int) -> Check:
    run = functools.partial(_check, decoder.plan, decoder.weights, decoder.params)
    kept = [memories]

    def check(tokens: np.ndarray, position: int) -> tuple[int, int, bool]:
        # The last block is filled up; what it remembers is not used again.
        given, following = np.zeros((2, block), np.int32) + tokens[-1]
        n = len(tokens) - 1
        given[:n], following[:n] = tokens[:-1], tokens[1:]
        start, most = jnp.int32(position), jnp.int32(n)
        after, count, place, astray = run(kept.pop(), given, following, start, most)
        kept.append(after)
        return int(count), int(place), bool(astray)

    return check


def _transcribe(machine: MachineIO, run: Transcript, stray: list[str], piece: Trace) -> np.ndarray:
    """The tokens of a piece; notes what it says of the machine after them and they do not.

    Tokens tell a run's steps alone: state, head and cells of a trace could say anything.
    """
    try:
        tokens = machine.transcribe(piece)
        reached = run.extend(tokens).named(piece.machine)
    except (ValueError, IndexError, KeyError) as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"trace: expected codes of the machine's rules, got {reason}") from None
    # A run that stops before its END token says nothing of a halt; the rules do.
    read = reached["tape"][reached["head"] - reached["tape_start"]]
    reached["halted"] = (reached["state"], read) not in piece.machine.delta
    said = {name: getattr(piece, name) for name in _STANDING}
    stray += [name for name, value in said.items() if reached[name] != value]
    if not np.array_equal(piece.cells, run.span()):
        stray.append("cells")
    return tokens


def verification_bytes(decoder: Decoder, block: int) -> int:
    """Memory of a verification at its peak: what decoding takes, and the columns of a block.

    Specialised, about half of the residual stream's columns live at once. As matrices, the
    whole stream does, before and after, and the terms of the readout's runs (a line an axis) with
    their comparison, half of which the compiler saves.
    """
    columns = decoder.spec.width // 2
    if decoder.weights is None:
        lines = max((len(shape) * max(shape) for _, shape in decoder.plan.runs), default=0)
        columns = 2 * decoder.spec.width + 3 * lines // 2
    return decoder.bytes() + 4 * block * (columns + 4)


@functools.partial(jax.jit, static_argnames=("plan", "weights"), donate_argnames="memories")
def _check(
    plan: Plan,
    weights: Weights | None,
    params: matrices.Params,
    memories: list[list[Memory]],
    given: jax.Array,
    following: jax.Array,
    position: jax.Array,
    count: jax.Array,
) -> tuple[list[list[Memory]], jax.Array, jax.Array, jax.Array]:
    """Mismatches among the first ``count`` tokens, the first of them, and whether any was lost."""
    index = jnp.arange(len(given), dtype=jnp.int32)
    if weights:
        read = functools.partial(straight_line.read, plan, weights.leaves)
    else:
        read = functools.partial(matrices.read, plan, matrices.prepare(plan, params))
    memories, token = read(memories, given, position + index, Reading.BLOCK)
    wrong = (token.following != following) & (index < count)
    lost = jnp.any(token.lost & (index < count))
    return memories, jnp.sum(wrong, dtype=jnp.int32), jnp.argmax(wrong).astype(jnp.int32), lost


def _overlapping(pieces: Iterable[np.ndarray], block: int) -> Iterator[np.ndarray]:
    """Runs of up to block + 1 tokens, each starting with the last token of the one before."""
    rest = np.zeros(0, np.int32)
    fresh = True
    for piece in pieces:
        rest = np.concatenate([rest, piece])
        while len(rest) > block:
            yield rest[: block + 1]
            rest, fresh = rest[block:], False
    if (fresh and len(rest)) or len(rest) > 1:
        yield rest


def _tape_of(trace: Trace) -> list[str]:
    """The input on the cells that the trace visits: what it found on its first visits.

    Where the head stands last it may never have read: there the trace's own cells are believed.
    """
    found = np.array(trace.cells, np.intp)
    try:
        position = trace.position[::-1]
        # Of equal places the last assignment stays, which is the first visit.
        found[position - trace.tape_start] = trace.symbol_read[::-1]
        return [trace.machine.alphabet[code] for code in found[max(0, -trace.tape_start) :]]
    except IndexError:
        raise InputError(
            "trace: expected codes of the machine's rules, within its cells: pass the "
            "interpreter's trace as it is"
        ) from None
