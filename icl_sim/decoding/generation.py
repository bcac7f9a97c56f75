"""Greedy generation, for one prompt or for many at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from icl_sim.decoding.decoder import Decoder, State
from icl_sim.decoding.prompt_tokens import prompt_tokens
from icl_sim.errors import InputError
from icl_sim.execution.memory_guard import require
from icl_sim.execution.signatures import checked
from icl_sim.transformer import Transformer

_BLOCK = 1 << 20


@checked
def generate(
    model: Transformer,
    params: Mapping[str, Any],
    prompt: Any,
    *,
    steps: int,
    engine: str = "cached",
    stop: int | None = None,
) -> np.ndarray:
    """Continues a prompt greedily.

    Args:
      model, params: as `icl_sim.load` returns them.
      prompt: int [T].
      steps: the most tokens to produce.
      engine: ``dense``, ``cached`` or ``specialised`` (see `Decoder`): the same tokens, sooner.
      stop: ends the output, itself included (a construction's ``stop``).

    Returns:
      int32 [steps or fewer], the tokens after the prompt.

    Raises:
      InputError: a prompt out of the vocabulary, an unknown engine, an address out of range, or
        more steps than memory lasts for.

    >>> from constructions import CONSTRUCTIONS, TuringMachine
    >>> from icl_sim import load
    >>> construction = CONSTRUCTIONS["universal"](states=2, steps=1000, cells=100)
    >>> model, params = load(construction)
    >>> machine = TuringMachine.from_bbchallenge("1RB1LB_1LA1RZ")
    >>> prompt = construction.encode({"machine": machine, "tape": ""})
    >>> tokens = generate(model, params, prompt, steps=1000, stop=construction.machine.stop)
    >>> construction.decode(tokens)["tape"]
    [1, 1, 1, 1]
    """
    _check_steps(steps)
    decoder = Decoder(model, params, engine=engine, stop=stop)
    prompt = prompt_tokens(prompt, model.spec.input_size)

    def room(steps: int) -> int:
        return 1 << (len(prompt) + steps - 1).bit_length()

    def cost(steps: int) -> int:
        # Tokens are kept twice when they are put together; with a stop token they may be few.
        kept = 8 * steps if stop is None else 0
        return kept + decoder.bytes(room=room(steps), tokens=min(steps, _BLOCK))

    require(f"{engine} decoding", cost, steps=steps)
    state = decoder.start(prompt, room=room(steps))
    return np.concatenate([*_blocks(decoder, state, steps)])


@checked
def generate_batch(
    model: Transformer,
    params: Mapping[str, Any],
    prompts: Sequence[Any],
    *,
    steps: int,
    engine: str = "specialised",
    stop: int | None = None,
) -> list[np.ndarray]:
    """`generate` for many prompts at once, each until its own stop token.

    Every address table is kept once a lane: choose a construction with few cells.
    """
    _check_steps(steps)
    decoder = Decoder(model, params, engine=engine, stop=stop, lanes=len(prompts))

    def cost(lanes: int, steps: int) -> int:
        # Tokens are put together, and each lane's own are copied from there.
        block = decoder.bytes(lanes=lanes, tokens=min(steps, _BLOCK // len(prompts)))
        return block + 8 * lanes * steps * (stop is None)

    require(f"{engine} decoding", cost, lanes=len(prompts), steps=steps)
    tokens = np.concatenate([*_blocks(decoder, decoder.start(prompts), steps)])
    ends = [np.flatnonzero(lane == stop)[:1] for lane in tokens.T]
    return [
        lane[: end[0] + 1] if end.size else lane for lane, end in zip(tokens.T, ends, strict=True)
    ]


def _check_steps(steps: int) -> None:
    if steps < 0:
        raise InputError(f"steps: expected an integer of at least 0, got {steps!r}")


def _blocks(decoder: Decoder, state: State, steps: int) -> Iterator[np.ndarray]:
    yield np.zeros((0, *state.token.shape), np.int32)
    block = _BLOCK // (decoder.lanes or 1)
    while steps > 0 and not np.asarray(state.done).all():
        state, tokens = decoder.advance(state, min(steps, block))
        steps -= len(tokens)
        yield tokens
