"""Cases of prompts, partial data, retrieval and rounded weights (claims C0, C5 and C6)."""

from __future__ import annotations

from icl_sim.bounds import coins, partial, prompts, retrieval
from icl_sim.bounds.tightness.case import TINY, Case
from icl_sim.bounds.tightness.witnesses import (
    leaked_weight,
    least_eps,
    rounded_distance,
    subset_needed,
    subset_tail,
)

_HALVES = "a pool of two equal halves"


def _tail(bound: str) -> Case:
    given = {"vocab": 2, "pool": 40_000, "n": 8000, "eps": "0.1"}
    return (
        "tail",
        f"{_HALVES}, 8000 of 40,000, eps = .1",
        lambda: (getattr(partial, bound)(**given), subset_tail(40_000, 8000, 0.1)),
    )


CASES: dict[str, Case] = {
    "prompt_length_necessary": (
        "necessary",
        "a table with two outputs a token: 6 contexts, 2 outputs, 4 kinds of token",
        lambda: (prompts.prompt_length_necessary(contexts=6, vocab=2, alphabet=4), 3),
    ),
    "subset_mean_error": (
        "upper",
        "one of a pool of two different symbols",
        lambda: (
            partial.subset_mean_error(vocab=2, pool=2, n=1),
            partial.subset_expected_total_variation(pool=[1, 1], n=1),
        ),
    ),
    "subset_failure_mcdiarmid": _tail("subset_failure_mcdiarmid"),
    "subset_failure_serfling": _tail("subset_failure_serfling"),
    "subset_size": (
        "sufficient",
        f"{_HALVES} of 5000, eps = .1, delta = {TINY}",
        lambda: (
            partial.subset_size(vocab=2, pool=5000, eps="0.1", delta=TINY),
            subset_needed(5000, 0.1, float(TINY)),
        ),
    ),
    "missing_error": (
        "upper",
        "all of one symbol is missing, a tenth",
        lambda: (partial.missing_error(vocab=2, missing=0.1), (abs(0.9 - 1) + 0.1) / 2),
    ),
    "certified_error": (
        "upper",
        f"a fair coin, n = 3489, delta = {TINY}: the least eps that n certifies",
        lambda: (
            retrieval.certified_error(vocab=2, n=3489, delta=TINY),
            least_eps(3489, float(TINY)),
        ),
    ),
    "retrieval_error": (
        "upper",
        "half of the prompt belongs to a context with other symbols, the rest exact",
        lambda: (
            retrieval.retrieval_error(vocab=2, retrieved=10**6, delta="0.1", contaminated=0.5),
            0.5,
        ),
    ),
    "missed_error": (
        "upper",
        "a fair coin, the half that shows heads is retrieved, n = 10^6",
        lambda: (retrieval.missed_error(vocab=2, stored=10**6, delta="0.1", recall=0.5), 0.5),
    ),
    "softmax_leak": (
        "upper",
        "all others score exactly the gap below",
        lambda: (
            retrieval.softmax_leak(gap=5.0, total=400, matching=50),
            leaked_weight(5.0, 400, 50),
        ),
    ),
    "window_error": (
        "upper",
        f"a fair coin, 3489 demonstrations fit, delta = {TINY}",
        lambda: (
            retrieval.window_error(vocab=2, window=3489, overhead=0, tokens=1, delta=TINY),
            least_eps(3489, float(TINY)),
        ),
    ),
    "rounding_error": (
        "upper",
        "one token of 16, every inner step moved by nearly half a unit, b = 12",
        lambda: (coins.rounding_error(vocab=16, length=1, coins=12), rounded_distance(16, 12)),
    ),
}
