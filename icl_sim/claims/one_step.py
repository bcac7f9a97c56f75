"""C3.one-step: one step of linear attention needs more than O(d/eps). Proof: docs/c3.md."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import numpy as np

from icl_sim.bounds.angles import one_step_mean_error
from icl_sim.claims.claim import FALSE, HOLDS, OPEN, SHARE, Outcome, Run
from icl_sim.claims.evidence import CONSTANTS, Bound, trials
from icl_sim.claims.halfspace_curves import gaussian_curves
from icl_sim.halfspaces import SOLVERS, error_trial, gaussian
from icl_sim.statistics.cells import MeanCell
from icl_sim.statistics.intervals import CERTIFIED, REFUTED

# Of a mean, at the first look; up to eight times as many follow.
MEAN_REPLICATES = {"smoke": 1000, "standard": 2000, "full": 10_000}


def one_step_experiment(
    run: Run, *, learner: str = "one-step", exact: Bound | None = one_step_mean_error
) -> Outcome:
    """C3.one-step: does one step of linear attention reach E err <= eps with C d/eps examples?

    At eps = 1/(16 pi C): exactly for C in {1, 2, 4, 8} where the mean error is known in closed
    form, by sampling for C = 1, and by the exponent of the error in n, which the size needs to be
    -1 and which is -1/2. False if all three say so; HOLDS if sampling and exponent say the reverse
    of a learner without a closed form.
    """
    rows = [] if exact is None else [_one_step_row(C, d, exact) for C in CONSTANTS for d in (2, 20)]
    eps = 1 / (16 * math.pi)
    n = math.ceil(2 / eps)
    trial = error_trial(gaussian(2), SOLVERS[learner], n)
    cells = [MeanCell(f"gaussian(d=2)/{learner}/n={n}", trial, (np.int32(n),), eps)]
    replicates = MEAN_REPLICATES[run.profile]
    sampled = run.sweep("C3.one-step", cells, replicates=replicates, alpha=SHARE / 2)
    curves, slopes = gaussian_curves(run, learner, alpha=SHARE / 2)
    slope = slopes[0]
    slow, fast = slope["low"] > -0.75, slope["high"] < -0.75
    above = all(row["mean"] > row["eps"] for row in rows)
    if rows and above and sampled[0].verdict == REFUTED and slow:
        verdict = FALSE
    elif not rows and sampled[0].verdict == CERTIFIED and fast:
        verdict = HOLDS
    else:
        verdict = OPEN
    exactly = ", ".join(f"{r['mean'] / r['eps']:.2f} (C = {r['C']})" for r in rows[::2])
    exponents = ", ".join(
        f"{s['exponent']:.3f} [{s['low']:.3f}, {s['high']:.3f}] {s['learner']}" for s in slopes
    )
    return Outcome(
        verdict=verdict,
        replicates=trials(sampled) + slope["trials"],
        why=(
            f"E err/eps at n = C d/eps, d = 2, exactly: {exactly or 'not known'}; sampled "
            f"{sampled[0].estimate / eps:.2f} (C = 1); exponents in n: {exponents}"
        ),
        figures={
            "exact": rows,
            "sampled": [asdict(cell) for cell in sampled],
            "slopes": slopes,
            "curves": curves,
        },
    )


def _one_step_row(C: int, dim: int, exact: Bound) -> dict[str, Any]:
    eps = 1 / (16 * math.pi * C)
    n = math.ceil(C * dim / eps)
    return {"C": C, "dim": dim, "eps": eps, "n": n, "mean": exact(dim=dim, n=n)}
