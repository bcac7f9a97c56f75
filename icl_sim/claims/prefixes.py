"""C1.prefixes: sizes for whole sequences when every prefix is a context. Proofs: docs/c1.md."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from icl_sim.bounds.sequences import (
    absorbing_mean_divergence,
    add_one_mean_divergence,
    prefix_size,
    prefix_tail_size,
    tied_mean_divergence,
    trajectory_size,
)
from icl_sim.claims.claim import REPLICATES, SHARE, Outcome, Run
from icl_sim.claims.evidence import Size, tell, upheld
from icl_sim.claims.sequence_replicates import prefix_contexts, prefix_laws, sequence_trial
from icl_sim.statistics.cells import MeanCell, TailCell

# Symbols and tokens; laws; eps of means and of tails.
GRID = {
    "smoke": (((4, 2),), 0.1, 0.2),
    "standard": (((2, 3), (2, 6), (4, 2), (4, 3)), 0.05, 0.1),
    "full": (((2, 3), (2, 6), (4, 3), (8, 3)), 0.05, 0.1),
}
LAWS = ("uniform", "dirichlet", "skewed")
DELTA = 0.1


def prefixes_experiment(
    run: Run,
    *,
    size: Size = prefix_size,
    trajectories: Size = trajectory_size,
    tail: Size = prefix_tail_size,
    learner: str = "add-one",
) -> Outcome:
    """C1.prefixes: do l (V-1)/(2 eps^2) demonstrations of every prefix give E TV <= eps over V^l?

    The mean divergence of add-one smoothing is computed exactly and must be at most 2 eps^2, from
    which Pinsker's inequality gives eps; E TV itself and the tail are sampled.
    """
    shapes, eps, tail_eps = GRID[run.profile]
    rows, means, tails = [], [], []
    for V, length in shapes:
        M = prefix_contexts(V, length)
        each = size(vocab=V, length=length, eps=eps)
        N = trajectories(vocab=V, contexts=M, eps=eps)
        n = tail(vocab=V, length=length, contexts=M, eps=tail_eps, delta=DELTA)
        for law in LAWS:
            laws = prefix_laws(law, V, length)
            where = f"V={V}/l={length}/{law}"
            rows.append({"law": law} | _divergences(V, length, laws, each, N, eps))
            for sampling, count in (("contexts", each), ("trajectories", N)):
                trial = sequence_trial(V, length, sampling, learner)
                cell_id = f"{where}/{sampling}/{learner}/n={count}"
                means.append(MeanCell(cell_id, trial, (np.int32(count), laws), eps))
            trial = sequence_trial(V, length, "contexts", "empirical")
            tails.append(TailCell(f"{where}/n={n}", trial, (np.int32(n), laws), tail_eps, DELTA))
    mean, sampled = (
        run.sweep(f"C1.prefixes/{kind}", cells, replicates=REPLICATES[run.profile], alpha=SHARE / 2)
        for kind, cells in (("mean", means), ("tail", tails))
    )
    broken = [row for row in rows if max(row["contexts"], row["trajectories"]) > row["allowed"]]
    worst = max(max(row["contexts"], row["trajectories"]) / row["allowed"] for row in rows)
    return upheld(
        mean,
        sampled,
        broken=broken,
        why=(
            f"E KL is at most {worst:.2f} of 2 eps^2, exactly, on {len(rows)} tables of laws; "
            f"E TV <= eps: {tell(mean)}, at most {max(c.estimate for c in mean) / eps:.2f} of eps; "
            f"TV <= {tail_eps} with probability 1 - {DELTA}: {tell(sampled)}"
        ),
        figures={
            "divergence": rows,
            "mean": [asdict(cell) | {"bound": eps} for cell in mean],
            "tail": [asdict(cell) | {"delta": DELTA} for cell in sampled],
            "tied": _tied(),
        },
    )


def _divergences(
    V: int, length: int, laws: np.ndarray, each: int, N: int, eps: float
) -> dict[str, Any]:
    """E KL over l tokens of add-one smoothing, exactly, by the chain rule."""
    reached, contexts, trajectories, start = np.ones(1), 0.0, 0.0, 0
    for level in range(length):
        block = laws[start : start + V**level].astype(np.float64)
        block /= block.sum(axis=1, keepdims=True)
        for chance, law in zip(reached, block, strict=True):
            contexts += chance * add_one_mean_divergence(law=law.tolist(), n=each)
            trajectories += chance * add_one_mean_divergence(
                law=law.tolist(), n=N, visited=min(1.0, float(chance))
            )
        reached = (reached[:, None] * block).reshape(-1)
        start += V**level
    return {
        "vocab": V,
        "length": length,
        "per_context": each,
        "trajectories_drawn": N,
        "contexts": float(contexts),
        "trajectories": float(trajectories),
        "allowed": 2 * eps**2,
    }


def _tied() -> list[dict[str, Any]]:
    """Contexts reused at all positions: plain add-one beside the bound of the averaged one."""
    return [
        {
            "trajectories": 10,
            "length": length,
            "plain_add_one": absorbing_mean_divergence(
                trajectories=10, length=length, escape=1 / 11
            ),
            "bound_of_the_average": tied_mean_divergence(
                vocab=2, contexts=3, trajectories=10, length=length
            ),
        }
        for length in (10, 100, 1000)
    ]
