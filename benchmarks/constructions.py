"""Constructions: how soon they are built and loaded, and two tasks beside tracr, in one process.

The tasks are those that both can state: the previous symbol, and how many symbols of the sequence
equal the present one.  tracr (extra `peers`) compiles RASP programs to transformers; ours are
blueprints.  Both are run on the same random sequences, and every position is checked.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from constructions import CONSTRUCTIONS
from constructions.blueprint import Block, Blueprint, Head, offset_head
from constructions.residual import Residual
from icl_sim.transformer import forward, load, load_params

SYMBOLS = "abcd"
LENGTHS = (10, 100, 1000)
TRACR_LENGTHS = LENGTHS[:2]  # its weights grow with the square of the length

Run = Callable[[list[str]], Sequence[Any]]


def run(*, repeats: int = 5, peers: bool = False) -> list[dict[str, Any]]:
    """Rows of two kinds.

    Of each catalog entry: name, build_s and load_s (into JAX), medians after the imports.
    Of each task, library and length: task, compile_s (weights and first call), apply_s (median)
    and right, how many of the positions are.
    """
    for build in CONSTRUCTIONS.values():
        load(build())  # imports
    rows: list[dict[str, Any]] = []
    for name, build in CONSTRUCTIONS.items():
        built = build()
        rows.append(
            {
                "name": name,
                "build_s": _median(build, repeats),
                "load_s": _median(partial(load, built), repeats),
            }
        )
    for task, expected in (("previous symbol", _previous), ("equal symbols", _equal)):
        for length in LENGTHS:
            rows.append(_measure("icl_sim", task, length, _ours, expected, repeats))
        for length in TRACR_LENGTHS:
            rows.append(_peer(task, length, expected, repeats, asked=peers))
    return rows


def _measure(
    name: str, task: str, length: int, build: Callable[[str, int], Run],
    expected: Callable[[list[str]], list[Any]], repeats: int,
) -> dict[str, Any]:  # fmt: skip
    rng = np.random.default_rng(length)
    sequences = [rng.choice(list(SYMBOLS), length).tolist() for _ in range(repeats)]
    start = time.perf_counter()
    apply = build(task, length)
    apply(sequences[0])
    compile_s = time.perf_counter() - start
    times, right = [], []
    for sequence in sequences:
        start = time.perf_counter()
        found = apply(sequence)
        times.append(time.perf_counter() - start)
        # The first symbol has no predecessor.
        pairs = list(zip(found, expected(sequence), strict=True))[task == "previous symbol" :]
        right.append(sum(a == b for a, b in pairs) / len(pairs))
    return {
        "name": name,
        "task": task,
        "length": length,
        "compile_s": compile_s,
        "apply_s": statistics.median(times),
        "right": f"{statistics.mean(right):.0%}",
    }


def _peer(
    task: str, length: int, expected: Callable[[list[str]], list[Any]], repeats: int, *, asked: bool
) -> dict[str, Any]:
    if not asked:
        return {"name": "tracr", "task": task, "length": length, "right": "not run: --peers"}
    try:
        return _measure("tracr", task, length, _tracr, expected, repeats)
    except ImportError as error:
        reason = f"not run: {error.name} is not installed (pip install tracr-pypi)"
        return {"name": "tracr", "task": task, "length": length, "right": reason}


def _ours(task: str, length: int) -> Run:
    """Two small blueprints, run by the ordinary forward pass; any length, ``length`` is unused."""
    n = len(SYMBOLS)
    r = Residual(one=1, symbol=n, answer=n if task == "previous symbol" else 1)
    if task == "previous symbol":
        block = Block(heads=(offset_head(1, {("symbol", "answer"): 1.0}),))
    else:
        # A linear head with score 1 for an equal symbol counts them: integers, hence exact.
        count = Head(score={("symbol", "symbol"): 1.0}, value={("one", "answer"): 1.0})
        block = Block(heads=(count,), attend="linear", mask="prefix")
    plan = Blueprint(
        residual=r,
        embed={"one": np.ones((n, 1)), "symbol": np.eye(n)},
        layers=(block,),
        out={"answer": np.eye(r.sizes["answer"])},
    )
    spec, params = plan.spec, load_params(plan.spec, plan.build())
    apply = jax.jit(lambda tokens: forward(spec, params, tokens))

    def call(sequence: list[str]) -> list[Any]:
        outputs = np.asarray(apply(np.array([SYMBOLS.index(s) for s in sequence], np.int32)))
        if task == "previous symbol":
            return [SYMBOLS[i] for i in outputs.argmax(axis=1)]
        return outputs[:, 0].tolist()

    return call


def _tracr(task: str, length: int) -> Run:
    from tracr.compiler import compiling
    from tracr.rasp import rasp

    if task == "previous symbol":
        back = rasp.Select(rasp.indices, rasp.indices, lambda key, query: key == query - 1)
        program = rasp.Aggregate(back, rasp.tokens)
    else:
        equal = rasp.Select(rasp.tokens, rasp.tokens, rasp.Comparison.EQ)
        program = rasp.SelectorWidth(equal)
    model = compiling.compile_rasp_to_model(
        program, vocab=set(SYMBOLS), max_seq_len=length, compiler_bos="BOS"
    )
    return lambda sequence: model.apply(["BOS", *sequence]).decoded[1:]


def _previous(sequence: list[str]) -> list[Any]:
    return ["", *sequence[:-1]]


def _equal(sequence: list[str]) -> list[Any]:
    return [sequence.count(symbol) for symbol in sequence]


def _median(function: Callable[[], Any], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(jax.tree.leaves(function()))
        times.append(time.perf_counter() - start)
    return statistics.median(times)
