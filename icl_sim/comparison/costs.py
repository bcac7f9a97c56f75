"""What fine-tuning and prompting cost: once for the data, and then for each query.

Fine-tuning pays before the first query and reads short prompts from then on; prompting pays for the
whole prompt at every query. From the break-even number of queries on, fine-tuning is cheaper.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from constructions.spec import TransformerSpec
from icl_sim.data.tasks import random_table, sample_demonstrations
from icl_sim.execution.signatures import checked
from icl_sim.predictors.tuned import tuned_base
from icl_sim.training.base_model import CONFIGS, load_base, output_laws, table_prompts

REPEATS = 5


@dataclass(frozen=True)
class Cost:
    """What one route costs at one size.

    Attributes:
      route: "fine-tuned" or "in-context".
      N: demonstrations.
      tokens_once, flops_once, seconds_once: before the first query; a backward pass counts as two
        forward passes.
      tokens_per_query, flops_per_query, seconds_per_query: of one query. Seconds are medians on
        the device at hand, compiled.
      break_even: the number of queries from which on fine-tuning takes fewer operations than
        prompting; None of prompting itself.
    """

    route: str
    N: int
    tokens_once: int
    flops_once: int
    seconds_once: float
    tokens_per_query: int
    flops_per_query: int
    seconds_per_query: float
    break_even: int | None


def forward_flops(spec: TransformerSpec, length: int) -> int:
    """Floating-point operations of one forward pass over ``length`` tokens, in matrix products.

    A multiplication and an addition count as two; norms, softmax and gates are left out; scores are
    counted for all pairs of tokens, as the dense pass computes them.

    >>> forward_flops(TransformerSpec(input_size=3, width=4, output_size=3, layers=()), 10)
    240
    """
    D, T = spec.width, length
    total = T * D * spec.output_size
    if spec.inputs == "vectors":
        total += T * spec.input_size * D
    for layer in spec.layers * spec.loops:
        sizes = layer.heads * (layer.key_size + layer.value_size)
        total += 2 * T * D * sizes + T * T * sizes + 3 * T * D * layer.hidden
    return 2 * total


@checked
def costs(sizes: Sequence[int] = (16, 64, 256), *, contexts: int = 8) -> list[Cost]:
    """One row for each route and size, and one query: the base in context against fine-tuned.

    Args:
      sizes: N, demonstrations in all.
      contexts: of the table.
    """
    base, config = load_base(), CONFIGS["full"]
    law = random_table(0, contexts=contexts).law
    bare = forward_flops(base.spec, 1)
    tune = jax.jit(lambda data, key: tuned_base(data, key, config))
    answer = jax.jit(lambda params, prompts: output_laws(base.spec, params, prompts, law.shape[1]))
    query = jnp.zeros((1, 1), jnp.int32)
    once = 3 * contexts * config.steps * bare
    draw = jax.jit(partial(sample_demonstrations, total=max(sizes, default=0)))
    every = draw(jax.random.key(0), jnp.asarray(law, jnp.float32))
    # Equal examples are one row with counts, so the time does not depend on N; nor does a query's.
    counts_only = every._replace(contexts=None, outputs=None)
    tuning = _seconds(tune, counts_only, jax.random.key(0))
    asking = _seconds(answer, base.params, query)
    rows = []
    for N in sizes:
        data = every._replace(contexts=every.contexts[:N], outputs=every.outputs[:N])
        prompted = forward_flops(base.spec, 2 * N + 1)
        rows.append(
            Cost(
                route="fine-tuned",
                N=N,
                tokens_once=contexts * config.steps,
                flops_once=once,
                seconds_once=tuning,
                tokens_per_query=1,
                flops_per_query=bare,
                seconds_per_query=asking,
                break_even=math.ceil(once / (prompted - bare)),
            )
        )
        rows.append(
            Cost(
                route="in-context",
                N=N,
                tokens_once=0,
                flops_once=0,
                seconds_once=0.0,
                tokens_per_query=2 * N + 1,
                flops_per_query=prompted,
                seconds_per_query=_seconds(answer, base.params, table_prompts(base, data)[:1]),
                break_even=None,
            )
        )
    return rows


def _seconds(function: Callable[..., Any], *arguments: Any) -> float:
    jax.block_until_ready(function(*arguments))
    times = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        jax.block_until_ready(function(*arguments))
        times.append(time.perf_counter() - begun)
    return float(np.median(times))
