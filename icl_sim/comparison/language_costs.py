"""What each route through a language model costs: tokens, operations, memory, seconds.

A multiplication and an addition count as two operations; norms, softmax and gates are left out. The
readout is counted at one token a prompt, where the answer is read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from constructions.spec import TransformerSpec
from icl_sim.comparison.language_result import RouteCost
from icl_sim.decoding.kv_cache import cache_bytes
from icl_sim.predictors.language_model import Answer


def read_flops(spec: TransformerSpec, tokens: float, past: float = 0.0) -> int:
    """Operations of reading ``tokens`` behind ``past`` ones in a cache.

    >>> read_flops(TransformerSpec(input_size=3, width=4, output_size=3, layers=()), 10)
    24
    """
    D, T = spec.width, tokens
    total = float(D * spec.output_size)
    for layer in spec.layers * spec.loops:
        K, U, H, G = layer.key_size, layer.value_size, layer.heads, layer.groups
        matrices = D * (H * (K + U) + G * (K + U)) if H else 0
        matrices += (3 if layer.mlp == "gated" else 2) * D * layer.hidden
        total += T * matrices + T * (T + past) * H * (K + U)
    return round(2 * total)


def route_costs(
    spec: TransformerSpec,
    size: int,
    answers: Mapping[str, Answer],
    seconds: Mapping[str, float | None],
    adapters: Mapping[str, int],
    reference: str | None,
) -> list[RouteCost]:
    """One row a route that asks the model, at one size.

    Args:
      spec: of the base.
      size: N.
      answers: of each route, with the tokens that it read.
      seconds: of each.
      adapters: numbers that each trains; 0 if it trains none.
      reference: the fine-tuned route whose break-even is asked for.
    """
    asked = {name: a for name, a in answers.items() if a.own}
    # Training reads rows that are as short as a query: there is no attention between them.
    once = {
        n: round(3 * a.trained / a.own * read_flops(spec, a.own)) if a.trained else 0
        for n, a in asked.items()
    }
    cached = {n: read_flops(spec, a.own, a.shared) for n, a in asked.items()}
    whole = {n: read_flops(spec, a.own + a.shared) for n, a in asked.items()}
    rows = []
    for name, answer in asked.items():
        prefix = read_flops(spec, answer.shared) if answer.shared else 0
        even: tuple[int | None, int | None] = (None, None)
        if reference in asked and name != reference and not answer.trained:
            first = once[reference]
            even = (
                _break_even(first, whole[name] - whole[reference]),
                _break_even(first - prefix, cached[name] - cached[reference]),
            )
        kept = cache_bytes(spec, batch=1, room=answer.shared)
        rows.append(
            RouteCost(
                route=name,
                N=size,
                tokens_once=answer.trained + answer.shared,
                flops_once=once[name] + prefix,
                tokens_per_query=answer.own,
                flops_per_query=cached[name],
                tokens_whole=answer.own + answer.shared,
                bytes_kept=kept + 4 * adapters[name],
                bytes_trained=16 * adapters[name],
                seconds=seconds[name],
                break_even=even[0],
                break_even_cached=even[1],
            )
        )
    return rows


def _break_even(once: int, saved: int) -> int | None:
    """Queries from which ``saved`` a query makes up for ``once``."""
    return max(0, math.ceil(once / saved)) if saved > 0 else None
