"""Refuting an order by the hash-bit family: shared by C1.sequence and C2.sequence.

Two axes: the vocabulary fixed while the output grows, and the output fixed, as the abstract has
it, while the vocabulary grows to those of language models. Proofs: `icl_sim.bounds.hash_bit` and
docs/c2.md.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

from icl_sim.bounds.hash_bit import (
    empirical_sequence_floor,
    hash_bit_bayes_failure,
    hash_bit_failure,
    hash_bit_outputs,
    hash_bit_risk,
)
from icl_sim.bounds.tokens import lower
from icl_sim.claims.claim import FALSE, OPEN, Outcome, Run
from icl_sim.claims.evidence import CONSTANTS, Size

# Output tokens; k n up to which Bayes' failure is computed exactly, by occupancy.
LENGTHS = {"smoke": range(2, 21), "standard": range(2, 25), "full": range(2, 41)}
OCCUPANCIES = {"smoke": 2e6, "standard": 2e8, "full": 1e9}
VOCABULARIES = (2, 4)
# Those of Llama 2, SmolLM2 and Mistral NeMo among them; the last one shows that failure stays.
GROWING = (1024, 4096, 32_000, 49_152, 131_072, 1 << 22)
EPS, DELTA = "0.1", 0.05


def refute(
    run: Run,
    name: str,
    size: Size,
    *,
    fixed: int,
    failure: Callable[..., float] = hash_bit_failure,
) -> Outcome:
    """Is there a constant C with which C times ``size`` suffices for total variation over l tokens?

    Refuted if on both axes every C of {1, 2, 4, 8} has a point at which every estimator fails with
    probability above delta, and the last point is one with n <= k/8, whence the proof goes on to
    all others.

    Args:
      size: (vocab, length, eps, delta) -> samples of one context's sequence law.
      fixed: l, while V grows.
      failure: (vocab, length, n, eps) -> a lower bound on every estimator's failure probability.
    """
    axes = {
        "hash-bit": list(product(VOCABULARIES, CONSTANTS, LENGTHS[run.profile])),
        "vocabulary": [(V, C, fixed) for C, V in product(CONSTANTS, GROWING)],
    }
    total = sum(map(len, axes.values()))
    figures: dict[str, list[dict[str, Any]]] = {axis: [] for axis in axes}
    necessary = {(V, 1): lower(vocab=V, eps=EPS, delta=DELTA) for V in GROWING if fixed == 1}
    for axis, points in axes.items():
        for V, C, length in points:
            most = OCCUPANCIES[run.profile]
            row = _row(V, C, length, size=size, failure=failure, most=most)
            figures[axis].append(row | {"necessary": necessary.get((V, length))})
        run.progress(name, sum(map(len, figures.values())), total)
    lines = [
        [row for row in figures["hash-bit"] if (row["vocab"], row["C"]) == (V, C)]
        for V, C in product(VOCABULARIES, CONSTANTS)
    ] + [[row for row in figures["vocabulary"] if row["C"] == C] for C in CONSTANTS]
    failing = all(any(row["failure"] > DELTA for row in line) for line in lines)
    goes_on = all(8 * line[-1]["n"] <= line[-1]["outputs"] for line in lines)
    return Outcome(
        verdict=FALSE if failing and goes_on else OPEN,
        why=(
            f"hash bit, eps = {EPS}, delta = {DELTA}: every estimator fails with probability above "
            f"delta, at V = {VOCABULARIES[0]} from {_first(lines[: len(CONSTANTS)], 'length', 'l')}"
            f" on, at l = {fixed} from {_first(lines[-len(CONSTANTS) :], 'vocab', 'V')} on; "
            "n <= V^l/8 at the last point of each axis"
            + (", hence at all beyond" if goes_on else " does not hold")
        ),
        figures=figures,
    )


def _row(
    V: int, C: int, length: int, *, size: Size, failure: Callable[..., float], most: float
) -> dict[str, Any]:
    n = C * size(vocab=V, length=length, eps=EPS, delta=DELTA)
    k = hash_bit_outputs(vocab=V, length=length)
    given = {"vocab": V, "length": length, "n": n}
    known = k * n <= most or k // 2 - n > 0.1 * k
    return {
        "vocab": V,
        "C": C,
        "length": length,
        "outputs": k,
        "n": n,
        "failure": failure(**given, eps=EPS),
        "bayes_failure": hash_bit_bayes_failure(**given, eps=EPS) if known else None,
        "bayes_risk": hash_bit_risk(**given),
        "empirical_floor": empirical_sequence_floor(**given),
    }


def _first(lines: list[list[dict[str, Any]]], axis: str, letter: str) -> str:
    """Of each constant the first point that fails, and the bound there."""
    found = [next((row for row in line if row["failure"] > DELTA), None) for line in lines]
    return (
        ", ".join(
            f"{letter} = {row[axis]} ({row['failure']:.2g}, C = {row['C']})" for row in found if row
        )
        or "no point"
    )
