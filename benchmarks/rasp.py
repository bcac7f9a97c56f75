"""Programs of RASP: ours beside tracr's, the same programs on the same inputs.

tracr's are those of its own library, compiled with its default options. torchwright's transformers
are causal, which leaves it one of the tasks. Every position of every input is checked against plain
Python.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from benchmarks.measure import Row, measure, peer, timed
from constructions.rasp.named_programs import LIBRARY, rasp
from icl_sim.transformer import forward, load_params

Run = Callable[[list[Any]], Sequence[Any]]
Library = Callable[[str, int, list[Any]], Run]  # program, length and letters to weights

LENGTHS = (5, 20, 100)
ALPHABETS = (3, 26)
INPUTS = 50
# tracr's weights grow with the square of the length and of the keys: what takes it longer than a
# minute or so to compile is left out.
LONG = ("length", "histogram", "fraction-before")
MANY = (*LONG, "reverse", "pair-balance")


def run(*, rounds: int = 5, peers: bool = False) -> list[Row]:
    """A row of `measure` for each program, length, alphabet and library.

    The times are of one input, from text to text; build_s is how long writing the weights took, and
    right how many of all positions of ``INPUTS`` inputs are.
    """
    found = {**peer("tracr", _tracr, asked=peers), **peer("torchwright", _torchwright, asked=peers)}
    missing = {name: note for name, note in found.items() if isinstance(note, str)}
    libraries = {name: build for name, build in found.items() if not isinstance(build, str)}
    rows: list[Row] = []
    for program, length, alphabet in itertools.product(MEANINGS, LENGTHS, ALPHABETS):
        letters = list(LIBRARY[program].alphabet(max(alphabet, 4 * program.endswith("-2"))))
        tracr_too = (length < 100 or program in LONG) and (alphabet == 3 or program in MANY)
        has = {"tracr": tracr_too, "torchwright": program == "fraction-before"}
        fit = {"icl_sim": _ours, **{name: libraries[name] for name in libraries if has[name]}}
        rows += _compared(program, length, letters, fit, rounds)
    return [*rows, *measure(missing)]


def _compared(
    program: str, length: int, letters: list[Any], libraries: Mapping[str, Library], rounds: int
) -> list[Row]:
    rng = np.random.default_rng(length)
    inputs = [[letters[i] for i in rng.integers(0, len(letters), length)] for _ in range(INPUTS)]
    built = {
        name: timed(partial(library, program, length, letters))
        for name, library in libraries.items()
    }
    rows = measure(
        {
            name: partial(lambda apply, xs: apply(next(xs)), apply, itertools.cycle(inputs))
            for name, (_, apply) in built.items()
        },
        rounds=rounds,
    )
    for row in rows:
        seconds, apply = built[row["name"]]
        right = [
            abs(float(a) - float(b)) < 1e-3 if isinstance(b, float) else a == b
            for xs in inputs
            for a, b in zip(apply(xs), MEANINGS[program](xs), strict=True)
        ]
        row["name"] = f"{program} of {length}, {len(letters)} letters: {row['name']}"
        row["build_s"] = seconds
        row["right"] = f"{np.mean(right):.1%}"
    return rows


def _balances(xs: list[Any], pair: str) -> list[float]:
    steps = itertools.accumulate((x == pair[0]) - (x == pair[1]) for x in xs)
    return [total / (i + 1) for i, total in enumerate(steps)]


def _shuffled(xs: list[Any], pairs: Sequence[str]) -> list[bool]:
    each = [_balances(xs, pair) for pair in pairs]
    return [all(min(b) >= 0 and b[-1] == 0 for b in each)] * len(xs)


MEANINGS: dict[str, Callable[[list[Any]], list[Any]]] = {
    "length": lambda xs: [len(xs)] * len(xs),
    "reverse": lambda xs: xs[::-1],
    "histogram": lambda xs: [Counter(xs)[x] for x in xs],
    "sort": sorted,
    "sort-by-frequency": lambda xs: sorted(xs, key=lambda x: -xs.count(x)),
    "fraction-before": lambda xs: [
        total / (i + 1) for i, total in enumerate(itertools.accumulate(x == "a" for x in xs))
    ],
    "pair-balance": lambda xs: _balances(xs, "()"),
    "shuffle-dyck-1": lambda xs: _shuffled(xs, ["()"]),
    "shuffle-dyck-2": lambda xs: _shuffled(xs, ["()", "[]"]),
}


def _ours(program: str, length: int, letters: list[Any]) -> Run:
    built = rasp(program=program, length=length, alphabet=len(letters))
    spec, params = built.spec, load_params(built.spec, built.params)
    apply = jax.jit(lambda prompt: forward(spec, params, prompt))
    return lambda xs: built.decode(apply(built.fill(**built.parse(xs))))


def _tracr() -> dict[str, Library]:
    from tracr.compiler import compiling, lib
    from tracr.rasp import rasp as language

    tokens = language.tokens

    def build(program: str, length: int, letters: list[Any]) -> Run:
        programs = {
            "length": lib.make_length,
            "reverse": partial(lib.make_reverse, tokens),
            "histogram": lib.make_hist,
            "sort": partial(lib.make_sort, tokens, tokens, max_seq_len=length, min_key=1),
            "sort-by-frequency": partial(lib.make_sort_freq, length),
            "fraction-before": lambda: lib.make_frac_prevs(language.numerical(tokens == "a")),
            "pair-balance": partial(lib.make_pair_balance, tokens, "(", ")"),
            "shuffle-dyck-1": partial(lib.make_shuffle_dyck, ["()"]),
            "shuffle-dyck-2": partial(lib.make_shuffle_dyck, ["()", "[]"]),
        }
        model = compiling.compile_rasp_to_model(
            programs[program](), vocab=set(letters), max_seq_len=length, compiler_bos="BOS"
        )
        return lambda xs: model.apply(["BOS", *xs]).decoded[1:]

    return {"tracr": build}


def _torchwright() -> dict[str, Library]:
    import torch
    from torchwright import compile_headless
    from torchwright.ops.attention_ops import attend_causal_mean
    from torchwright.ops.inout_nodes import create_input, create_rope_config

    def build(program: str, length: int, letters: list[Any]) -> Run:
        flag = create_input("flag", 1, value_range=(0.0, 1.0))
        rope = create_rope_config(d_head=16, max_positions=length)
        model = compile_headless(attend_causal_mean(rope, flag), d=32, d_head=16)

        @torch.no_grad()
        def apply(xs: list[Any]) -> list[float]:
            outputs: list[float] = model(torch.tensor([[float(x == "a")] for x in xs]))[
                :, 0
            ].tolist()
            return outputs

        return apply

    return {"torchwright": build}
