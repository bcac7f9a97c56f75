"""Refuting an order by the hash-bit family: shared by C1.sequence and C2.sequence.

Proofs: `icl_sim.bounds.hash_bit` and docs/c2.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from icl_sim.bounds.hash_bit import (
    empirical_sequence_floor,
    hash_bit_bayes_failure,
    hash_bit_failure,
    hash_bit_outputs,
    hash_bit_risk,
)
from icl_sim.claims.claim import FALSE, OPEN, Outcome, Run
from icl_sim.claims.evidence import CONSTANTS, Size

# Output tokens; k n up to which Bayes' failure is computed exactly, by occupancy.
LENGTHS = {"smoke": range(2, 21), "standard": range(2, 25), "full": range(2, 41)}
OCCUPANCIES = {"smoke": 2e6, "standard": 2e8, "full": 1e9}
VOCABULARIES = (2, 4)
EPS, DELTA = "0.1", 0.05


def refute(
    run: Run, name: str, size: Size, *, failure: Callable[..., float] = hash_bit_failure
) -> Outcome:
    """Is there a constant C with which C times ``size`` suffices for total variation over l tokens?

    Refuted if every C of {1, 2, 4, 8} has a length at which every estimator fails with probability
    above delta, and the last length is one with n <= k/8, whence the proof goes on to all others.

    Args:
      size: (vocab, length, eps, delta) -> samples of one context's sequence law.
      failure: (vocab, length, n, eps) -> a lower bound on every estimator's failure probability.
    """
    lengths = LENGTHS[run.profile]
    rows: list[dict[str, Any]] = []
    for V in VOCABULARIES:
        for C in CONSTANTS:
            for length in lengths:
                n = C * size(vocab=V, length=length, eps=EPS, delta=DELTA)
                k = hash_bit_outputs(vocab=V, length=length)
                affordable = k * n <= OCCUPANCIES[run.profile]
                rows.append(
                    {
                        "vocab": V,
                        "C": C,
                        "length": length,
                        "outputs": k,
                        "n": n,
                        "failure": failure(vocab=V, length=length, n=n, eps=EPS),
                        "bayes_failure": hash_bit_bayes_failure(
                            vocab=V, length=length, n=n, eps=EPS
                        )
                        if affordable or k // 2 - n > 0.1 * k
                        else None,
                        "bayes_risk": hash_bit_risk(vocab=V, length=length, n=n),
                        "empirical_floor": empirical_sequence_floor(vocab=V, length=length, n=n),
                    }
                )
            run.progress(name, len(rows), len(VOCABULARIES) * len(CONSTANTS) * len(lengths))
    groups = {
        (V, C): [row for row in rows if (row["vocab"], row["C"]) == (V, C)]
        for V in VOCABULARIES
        for C in CONSTANTS
    }
    failing = {
        group: [row for row in mine if row["failure"] > DELTA] for group, mine in groups.items()
    }
    goes_on = all(8 * mine[-1]["n"] <= mine[-1]["outputs"] for mine in groups.values())
    first = ", ".join(
        f"C = {C}: l = {found[0]['length']} ({found[0]['failure']:.2g})"
        for (V, C), found in failing.items()
        if found and VOCABULARIES[0] == V
    )
    return Outcome(
        verdict=FALSE if all(failing.values()) and goes_on else OPEN,
        why=(
            f"hash bit, V = {VOCABULARIES[0]}, eps = {EPS}, delta = {DELTA}: every estimator fails "
            f"with probability above delta from {first or 'no length'} on; n <= V^l/8 at the "
            + ("last length, hence at all longer ones" if goes_on else "last length does not hold")
        ),
        figures={"hash-bit": rows},
    )
