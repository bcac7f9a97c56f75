"""Constructions: how soon they are built and loaded, and two tasks beside compilers of weights.

The tasks: the previous symbol, and how many symbols of the sequence equal the present one. Ours
are blueprints; tracr compiles RASP programs, and torchwright computation graphs to causal
transformers, which leave the second task out. All are run on the same random sequences, and every
position is checked.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from benchmarks.measure import Row, measure, peer, timed
from constructions import CONSTRUCTIONS, Construction
from constructions.blueprint import Blueprint, Head, LayerBlueprint
from constructions.gadgets import offset_head
from constructions.residual import Residual
from icl_sim.transformer import forward, load, load_params

SYMBOLS = "abcd"
LENGTHS = (10, 100, 1000)
TRACR_LENGTHS = LENGTHS[:2]  # its weights grow with the square of the length

PREVIOUS, EQUAL = "previous symbol", "equal symbols"

Run = Callable[[list[str]], Sequence[Any]]
Library = Callable[[str, int], Run]  # task and length to weights that run it


def run(*, rounds: int = 5, peers: bool = False) -> list[Row]:
    """The rows of `measure`, of two kinds.

    Of each catalog entry: building it and loading it into JAX; compile_s has the imports too.
    Of each task, length and library: running the weights on new sequences, from text to text, with
    build_s, how long writing them took, and right, how many of the positions are.
    """
    builds = {f"build and load {name}": build for name, build in CONSTRUCTIONS.items()}
    rows = measure({name: partial(_load, build) for name, build in builds.items()}, rounds=rounds)
    found = {**peer("tracr", _tracr, asked=peers), **peer("torchwright", _torchwright, asked=peers)}
    missing = {name: note for name, note in found.items() if isinstance(note, str)}
    libraries = {name: build for name, build in found.items() if not isinstance(build, str)}
    for task in (PREVIOUS, EQUAL):
        for length in LENGTHS:
            fit = {
                name: build
                for name, build in libraries.items()
                if not (name == "tracr" and length not in TRACR_LENGTHS)
                and not (name == "torchwright" and task == EQUAL)
            }
            rows += _compared(task, length, {"icl_sim": _ours, **fit}, rounds)
    return [*rows, *measure(missing)]


def _load(build: Callable[[], Construction]) -> Any:
    return load(build())[1]


def _compared(task: str, length: int, libraries: dict[str, Library], rounds: int) -> list[Row]:
    rng = np.random.default_rng(length)
    sequences = [rng.choice(list(SYMBOLS), length).tolist() for _ in range(1 + rounds)]
    built = {name: timed(partial(library, task, length)) for name, library in libraries.items()}
    right: dict[str, list[bool]] = {name: [] for name in libraries}
    rows = measure(
        {
            name: partial(_check, task, run, itertools.cycle(sequences), right[name])
            for name, (_, run) in built.items()
        },
        rounds=rounds,
    )
    for row in rows:
        name = row["name"]
        row["name"] = f"{task} of {length:,}: {name}"
        row["build_s"] = built[name][0]
        row["right"] = f"{np.mean(right[name]):.0%}"
    return rows


def _check(task: str, apply: Run, sequences: Any, right: list[bool]) -> None:
    sequence = next(sequences)
    found = apply(sequence)
    if task == PREVIOUS:  # the first symbol has none
        right += [a == b for a, b in zip(found[1:], sequence, strict=False)]
    else:
        counts = {symbol: sequence.count(symbol) for symbol in SYMBOLS}
        right += [a == counts[b] for a, b in zip(found, sequence, strict=True)]


def _ours(task: str, length: int) -> Run:
    """Two small blueprints, run by the ordinary forward pass; any length, ``length`` is unused."""
    n = len(SYMBOLS)
    r = Residual(one=1, symbol=n, answer=n if task == PREVIOUS else 1)
    if task == PREVIOUS:
        layer = LayerBlueprint(heads=(offset_head(1, {("symbol", "answer"): 1.0}),))
    else:
        # A linear head with score 1 for an equal symbol counts them: integers, hence exact.
        count = Head(score={("symbol", "symbol"): 1.0}, value={("one", "answer"): 1.0})
        layer = LayerBlueprint(heads=(count,), attend="linear", mask="prefix")
    plan = Blueprint(
        residual=r,
        embed={"one": np.ones((n, 1)), "symbol": np.eye(n)},
        layers=(layer,),
        out={"answer": np.eye(r.sizes["answer"])},
    )
    spec, params = plan.spec, load_params(plan.spec, plan.build())
    apply = jax.jit(lambda tokens: forward(spec, params, tokens))

    def call(sequence: list[str]) -> list[Any]:
        outputs = np.asarray(apply(np.array([SYMBOLS.index(s) for s in sequence], np.int32)))
        if task == PREVIOUS:
            return [SYMBOLS[i] for i in outputs.argmax(axis=1)]
        return outputs[:, 0].tolist()

    return call


def _tracr() -> dict[str, Library]:
    from tracr.compiler import compiling
    from tracr.rasp import rasp

    def build(task: str, length: int) -> Run:
        if task == PREVIOUS:
            back = rasp.Select(rasp.indices, rasp.indices, lambda key, query: key == query - 1)
            program = rasp.Aggregate(back, rasp.tokens)
        else:
            equal = rasp.Select(rasp.tokens, rasp.tokens, rasp.Comparison.EQ)
            program = rasp.SelectorWidth(equal)
        model = compiling.compile_rasp_to_model(
            program, vocab=set(SYMBOLS), max_seq_len=length, compiler_bos="BOS"
        )
        return lambda sequence: model.apply(["BOS", *sequence]).decoded[1:]

    return {"tracr": build}


def _torchwright() -> dict[str, Library]:
    import torch
    from torchwright import compile_headless
    from torchwright.ops.attention_ops import attend_to_offset
    from torchwright.ops.inout_nodes import create_input, create_rope_config

    def build(task: str, length: int) -> Run:
        symbol = create_input("symbol", len(SYMBOLS), value_range=(0.0, 1.0))
        rope = create_rope_config(d_head=16, max_positions=length)
        model = compile_headless(attend_to_offset(rope, symbol, -1), d=32, d_head=16)
        symbols = torch.eye(len(SYMBOLS))

        @torch.no_grad()
        def apply(sequence: list[str]) -> list[str]:
            outputs = model(symbols[[SYMBOLS.index(s) for s in sequence]])
            return [SYMBOLS[i] for i in outputs.argmax(1)]

        return apply

    return {"torchwright": build}
