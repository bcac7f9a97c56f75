"""C2.elicitation: choosing among the V^l prompts of one model. Proofs: docs/c2.md."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from icl_sim.bounds.elicitation import (
    elicitation_failure,
    elicitation_necessary,
    elicitation_size,
    misspecified_size,
)
from icl_sim.claims.claim import REPLICATES, SHARE, Outcome, Run
from icl_sim.claims.evidence import Size, tell, upheld
from icl_sim.claims.prompt_families import (
    PromptFamily,
    base_family,
    choice_trial,
    hadamard_family,
    hardest,
    lookup_family,
    misleading,
)
from icl_sim.statistics.cells import TailCell

DELTA = 0.05


def exact_families(profile: str) -> list[tuple[PromptFamily, float]]:
    """Families and the eps at which they are judged; the target is in the family."""
    found = [(hadamard_family(256, 0.1), 0.1), (lookup_family(), 0.1), (base_family(), 0.1)]
    if profile != "smoke":
        found += [(hadamard_family(K, 0.05), 0.05) for K in (16, 1024)]
        found += [
            (lookup_family(smoothing=0.02), 0.1),
            (lookup_family(length=5, outputs=1), 0.05),
            (lookup_family(vocab=3, length=5), 0.05),
        ]
    return found


def outside_families(profile: str) -> list[tuple[PromptFamily, float]]:
    """Families and eps for targets that no prompt gives."""
    found = [(lookup_family(length=3, smoothing=1e-6), 0.1), (base_family(pairs=True), 0.1)]
    if profile != "smoke":
        found += [(lookup_family(length=3), 0.1), (hadamard_family(64, 0.1), 0.1)]
    return found


def elicitation_experiment(
    run: Run,
    *,
    size: Size = elicitation_size,
    rule: str = "likeliest",
    misspecified: Size = misspecified_size,
    robust_rule: str = "minimum-distance",
) -> Outcome:
    """C2.elicitation: do 2 (l ln V + ln(1/delta))/eps^2 samples find a prompt within eps?

    By sampling, on families whose laws come from the weights of a model under every prompt, and on
    equidistant laws; then with targets that no prompt gives, within 3 tau + eps.
    """
    exact, outside, rows, misses = [], [], [], []
    for found, eps in exact_families(run.profile):
        K = len(found.laws)
        n = size(prompts=K, eps=eps, delta=DELTA)
        for label, z in (("hardest", hardest(found, n=n, eps=eps)), ("last", K - 1)):
            cell_id = f"{found.name}/{label} target/{rule}/n={n}"
            exact.append(_cell(cell_id, rule, n, found, found.laws[z], eps))
        rows.append(
            {
                "family": found.name,
                "prompts": K,
                "eps": eps,
                "n": n,
                "bound_at_n": elicitation_failure(prompts=K, n=n, eps=eps),
                "necessary": elicitation_necessary(prompts=K, eps=eps, delta=DELTA),
                "nearest_beyond_eps": float(found.distance[found.distance > eps].min()),
            }
        )
    for found, eps in outside_families(run.profile):
        K = len(found.laws)
        n = misspecified(prompts=K, eps=eps, delta=DELTA)
        for label, target in _outside(found).items():
            tau = float(np.abs(found.laws - target).sum(axis=1).min() / 2)
            cell_id = f"{found.name}/{label}/{robust_rule}/n={n}"
            outside.append(_cell(cell_id, robust_rule, n, found, target, 3 * tau + eps))
            row = {"family": found.name, "target": label, "tau": tau, "allowed": 3 * tau + eps}
            misses.append(row | {"n": n})
    replicates = REPLICATES[run.profile]
    within, beyond = (
        run.sweep(f"C2.elicitation/{kind}", cells, replicates=replicates, alpha=SHARE / 2)
        for kind, cells in (("exact", exact), ("outside", outside))
    )
    return upheld(
        within,
        beyond,
        why=(
            f"target in the family: {tell(within)}, failures at most "
            f"{max(cell.estimate for cell in within):.3g} at delta = {DELTA}; target outside, "
            f"within 3 tau + eps: {tell(beyond)}"
        ),
        figures={
            "families": rows,
            "within": [asdict(cell) for cell in within],
            "outside": [
                row | {"verdict": cell.verdict, "trials": cell.trials, "failures": cell.estimate}
                for row, cell in zip(misses, beyond, strict=True)
            ],
        },
    )


def _cell(
    cell_id: str, rule: str, n: int, found: PromptFamily, target: np.ndarray, allowed: float
) -> TailCell:
    distance = np.abs(found.laws - target).sum(axis=1) / 2
    args: tuple[Any, ...] = (
        np.int32(n),
        target.astype(np.float32),
        found.laws.astype(np.float32),
        # Exact in float64, then compared by the chosen index alone.
        np.where(distance > allowed, 1.0, 0.0).astype(np.float32),
    )
    return TailCell(cell_id, choice_trial(rule), args, 0.5, DELTA)


def _outside(found: PromptFamily) -> dict[str, np.ndarray]:
    """Targets near a prompt's law: noise on all pairs, and what misleads the likelihood most."""
    law = found.laws[len(found.laws) // 3]
    return {
        "5 % noise": 0.95 * law + 0.05 / len(law),
        "5 % on a pair that misleads": misleading(found, weight=0.05),
    }
