"""Cases of the next token, and of prefixes (claim C1)."""

from __future__ import annotations

import math
from typing import Any

from icl_sim.bounds import sequences, tokens
from icl_sim.bounds.exact import exact_failure_probability
from icl_sim.bounds.sizes import exact_sample_size
from icl_sim.bounds.tightness.case import COIN, TINIEST, TINY, Case
from icl_sim.bounds.tightness.witnesses import (
    add_one_error,
    allotted_size,
    average_divergence,
    coin_size,
    least_mean_size,
    told_apart_size,
)

_TWO: dict[str, Any] = {"vocab": 2, "eps": "0.1"}

CASES: dict[str, Case] = {
    "mcdiarmid": (
        "sufficient",
        f"{COIN}, delta = {TINIEST}",
        lambda: (tokens.mcdiarmid(**_TWO, delta=TINIEST), coin_size(TINIEST)),
    ),
    "weissman": (
        "sufficient",
        f"{COIN}, delta = {TINY}",
        lambda: (tokens.weissman(**_TWO, delta=TINY), coin_size(TINY)),
    ),
    "abstract": (
        "sufficient",
        f"{COIN}, delta = {TINY}",
        lambda: (tokens.abstract(**_TWO, delta=TINY), coin_size(TINY)),
    ),
    "de_moivre": (
        "sufficient",
        "uniform on 256 symbols, eps = .1, delta = .5",
        lambda: (
            tokens.de_moivre(law=[1 / 256] * 256, eps="0.1", delta="0.5"),
            exact_sample_size(vocab=256, eps="0.1", delta="0.5") or math.nan,
        ),
    ),
    "two_coins": (
        "necessary",
        "majority of tosses, eps = .1, delta = .01",
        lambda: (tokens.two_coins(eps="0.1", delta="0.01"), told_apart_size(0.1, "0.01")),
    ),
    "lower": (
        "necessary",
        "majority of tosses, V = 2, eps = .1, delta = .01",
        lambda: (tokens.lower(**_TWO, delta="0.01"), told_apart_size(0.1, "0.01")),
    ),
    "assouad": (
        "necessary",
        "the least proved size, V = 1024, eps = .1, delta = .1",
        lambda: (
            tokens.assouad(vocab=1024, eps="0.1", delta="0.1"),
            tokens.mcdiarmid(vocab=1024, eps="0.1", delta="0.1"),
        ),
    ),
    "assouad_failure": (
        "lower",
        "the empirical law, uniform, V = 256, eps = .1, n = 30",
        lambda: (
            tokens.assouad_failure(vocab=256, eps="0.1", n=30),
            exact_failure_probability(vocab=256, eps="0.1", n=30),
        ),
    ),
    "random_allotment": (
        "sufficient",
        "two contexts, n0 = 304, delta = .1",
        lambda: (
            tokens.random_allotment(per_context_size=304, delta="0.1", contexts=2),
            allotted_size(304, 0.05),
        ),
    ),
    "prefix_mean_error": (
        "upper",
        "one token, a fair coin, n = 1000",
        lambda: (sequences.prefix_mean_error(vocab=2, length=1, n=1000), add_one_error(1000)),
    ),
    "prefix_size": (
        "sufficient",
        COIN,
        lambda: (sequences.prefix_size(**_TWO, length=1), least_mean_size(add_one_error, 0.1)),
    ),
    "prefix_tail_size": (
        "sufficient",
        f"one token, {COIN}, delta = {TINIEST}",
        lambda: (
            sequences.prefix_tail_size(**_TWO, length=1, contexts=1, delta=TINIEST),
            coin_size(TINIEST),
        ),
    ),
    "trajectory_size": (
        "sufficient",
        f"one token, {COIN}",
        lambda: (
            sequences.trajectory_size(**_TWO, contexts=1),
            least_mean_size(add_one_error, 0.1),
        ),
    ),
    "tied_mean_divergence": (
        "upper",
        "one token, a sure symbol out of two, N = 10^6",
        lambda: (
            sequences.tied_mean_divergence(vocab=2, contexts=1, trajectories=10**6, length=1),
            average_divergence(10**6),
        ),
    ),
}
