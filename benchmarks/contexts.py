"""Two models over up to a million contexts: cost against the number of contexts.

Two transformers of random weights, one layer, V outputs; every context is four random tokens. Each
number of contexts is a run of its own with its own records, compiled code apart.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from benchmarks.measure import Row, timed
from benchmarks.roofline import Work, against_roof
from constructions.spec import Layer, TransformerSpec, param_shapes
from icl_sim.divergence import distances_over
from icl_sim.execution.progress import Progress, ProgressBar
from icl_sim.storage.store import Store
from icl_sim.transformer import Transformer, hidden, init

TOKENS = 4
NUMBERS = (2**16, 2**17, 2**18, 2**19, 10**6)


def run(*, numbers: Sequence[int] = NUMBERS, vocab: int = 1024, width: int = 64) -> list[Row]:
    """One row a number of contexts: name, median_s, contexts_per_s, mean distance; and the fit.

    The last row is the least-squares line, seconds = start_s + 1e-6 us_per_context m, with the
    largest relative distance of a point from it (worst) and the slope of log seconds against log m.
    """
    layer = Layer(heads=2, key_size=16, value_size=16, hidden=width, gate="silu")
    spec = TransformerSpec(vocab, width, vocab, (layer,), norm="rms")
    models = [init(Transformer(spec), jax.random.key(seed)) for seed in (0, 1)]
    pair = partial(_last_hidden, spec)

    def over(contexts: int, progress: Progress) -> np.ndarray:
        with tempfile.TemporaryDirectory() as directory, Store(directory, config={}) as store:
            return distances_over(
                f"V = {vocab}, {contexts:,} contexts",
                pair,
                *(params["w_out"] for params in models),
                contexts=contexts,
                key=jax.random.key(2),
                args=tuple(models),
                store=store,
                progress=progress,
            )

    rows: list[Row] = []
    work = {}
    weights = sum(math.prod(shape) for shape in param_shapes(spec).values())
    inner = weights - 2 * vocab * width
    with ProgressBar() as progress:
        over(2**13, progress)  # compiles
        for m in numbers:
            seconds, found = timed(partial(over, m, progress))
            name = f"{m:,} contexts"
            flops = 2 * m * (2 * (TOKENS * inner + vocab * width) + 6 * vocab)
            work[name] = Work(bytes=2 * 4 * weights, flops=flops)
            row = {"name": name, "median_s": seconds, "contexts_per_s": m / seconds}
            rows.append(row | {"mean": float(found.mean(dtype=np.float64))})
    taken = np.array([row["median_s"] for row in rows])
    line = np.polyfit(numbers, taken, 1)
    fit = {
        "name": "linear fit",
        "start_s": float(line[1]),
        "us_per_context": float(1e6 * line[0]),
        "worst": float(np.abs(np.polyval(line, numbers) / taken - 1).max()),
        "slope": float(np.polyfit(np.log(numbers), np.log(taken), 1)[0]),
    }
    return [*against_roof(rows, work), fit]


def _last_hidden(spec: TransformerSpec, keys: jax.Array, *models: Any) -> Any:
    """Hidden states of the models after four random tokens, [B, D] each."""
    draw = jax.vmap(lambda key: jax.random.randint(key, (TOKENS,), 0, spec.input_size))
    tokens = draw(keys)
    return tuple(hidden(spec, params, tokens)[:, -1] for params in models)
