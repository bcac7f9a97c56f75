"""C3.fixed-delta and C4.fixed-dimension: the abstract's orders where the other parameter is fixed.

An O(.) may hide what is held fixed. Proofs: docs/c3.md and docs/c4.md.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from itertools import product
from typing import Any

import numpy as np

from icl_sim.bounds.classification import basis_failure
from icl_sim.claims.claim import HOLDS, Outcome, Run, Statement
from icl_sim.claims.evidence import Size, tell, upheld
from icl_sim.halfspaces import SOLVERS, error_trial, gaussian
from icl_sim.statistics.cells import TailCell

# Dimensions and eps of the exact part: the second size has eps^2, and is long.
FIXED_DELTA_GRID = (2, 5, 20), (0.15, 0.05)
FIXED_DIMENSION_GRID = (2, 5), (0.3, 0.15)
DELTAS = (0.5, 0.1, 1e-3, 1e-6)
# Dimension and eps of the sampled cell; its replicates at the first look.
SAMPLED = {"smoke": (2, 0.3), "standard": (3, 0.15), "full": (5, 0.1)}
REPLICATES = {"smoke": 200, "standard": 400, "full": 4000}
DELTA = 0.1


def fixed_delta_size(*, dim: int, eps: float, delta: float) -> int:
    """ceil(C d/eps), C = 2 + 2 ln 4 + 2 ln(1/delta): at least C3.tail-corrected's size."""
    return math.ceil((2 + 2 * math.log(4) - 2 * math.log(delta)) * dim / eps)


def fixed_dimension_size(*, dim: int, eps: float, delta: float) -> int:
    """ceil(C ln(1/delta)/eps^2), C = 2 + 2 d (1 + ln 4)/ln 2, for delta <= 1/2."""
    return math.ceil((2 + 2 * dim * (1 + math.log(4)) / math.log(2)) * -math.log(delta) / eps**2)


def fixed_delta_experiment(run: Run, *, size: Size = fixed_delta_size) -> Outcome:
    """C3.fixed-delta: does C(delta) d/eps give err <= eps w.p. 1 - delta?"""
    return _upheld(run, "C3.fixed-delta", size, *FIXED_DELTA_GRID)


def fixed_dimension_experiment(run: Run, *, size: Size = fixed_dimension_size) -> Outcome:
    """C4.fixed-dimension: does C(d) ln(1/delta)/eps^2 give err <= eps w.p. 1 - delta?"""
    return _upheld(run, "C4.fixed-dimension", size, *FIXED_DIMENSION_GRID)


def _upheld(
    run: Run, name: str, size: Size, dimensions: tuple[int, ...], epsilons: tuple[float, ...]
) -> Outcome:
    """Exactly on basis laws, a tie counted as an error, and by sampling on Gaussian inputs."""
    rows: list[dict[str, Any]] = []
    for d, eps, delta in product(dimensions, epsilons, DELTAS):
        n = size(dim=d, eps=eps, delta=delta)
        for light in (1.01 * eps, 1.0):
            atoms = d if light == 1 else d - 1
            failure = basis_failure(light=atoms, light_mass=light, n=n, eps=eps, miss=1.0)
            rows.append(
                {
                    "dim": d,
                    "eps": eps,
                    "delta": delta,
                    "light_mass": light,
                    "n": n,
                    "failure": failure,
                }
            )
        run.progress(name, len(rows), 2 * len(dimensions) * len(epsilons) * len(DELTAS))
    d, eps = SAMPLED[run.profile]
    n = size(dim=d, eps=eps, delta=DELTA)
    cell = TailCell(
        id=f"gaussian(d={d})/svm/eps={eps}/n={n}",
        trial=error_trial(gaussian(d), SOLVERS["svm"], n),
        args=(np.int32(n),),
        eps=eps,
        delta=DELTA,
    )
    sampled = run.sweep(name, [cell], replicates=REPLICATES[run.profile])
    broken = [row for row in rows if row["failure"] > row["delta"]]
    return upheld(
        sampled,
        broken=broken,
        why=(
            f"{len(rows) - len(broken)} of {len(rows)} basis laws keep delta exactly, at most "
            f"{max(row['failure'] / row['delta'] for row in rows):.2g} of it; {tell(sampled)}"
        ),
        figures={"basis": rows, "sampled": [asdict(found) for found in sampled]},
    )


FIXED_DELTA = Statement(
    id="C3.fixed-delta",
    statement="At fixed delta, C(delta) d/eps examples give err <= eps with probability 1 - delta: "
    "the hard-margin SVM.",
    reading="The size is the abstract's, and delta may enter the constant that O(.) hides, as is "
    "usual where no delta is named.",
    premises="n examples drawn independently from one law, labeled by a homogeneous halfspace of "
    "R^d; the hard-margin SVM.",
    formula="n = ceil(C d/eps), C = 2 + 2 ln 4 + 2 ln(1/delta).",
    lower="max{ (d-1)/(2 e eps) - 1, ln(1/(2 delta))/-ln(1 - eps) } examples.",
    basis="PROOF, EXACT, TEST",
    derived=HOLDS,
    sources="Bousquet, Hanneke, Moran and Zhivotovskiy 2020; docs/c3.md",
    experiment=fixed_delta_experiment,
)
FIXED_DIMENSION = Statement(
    id="C4.fixed-dimension",
    statement="At fixed dimension, C(d) ln(1/delta)/eps^2 examples give err <= eps with "
    "probability 1 - delta, delta <= 1/2: the hard-margin SVM.",
    reading="The size is the abstract's, and the dimension may enter the constant that O(.) hides, "
    "if it is what is fixed.",
    premises="n examples drawn independently from one law, labeled by a homogeneous halfspace of "
    "R^d; the hard-margin SVM; delta <= 1/2.",
    formula="n = ceil(C ln(1/delta)/eps^2), C = 2 + 2 d (1 + ln 4)/ln 2.",
    lower="of order d/eps (C3): at fixed d the size asks for a factor 1/eps too much.",
    basis="PROOF, EXACT, TEST",
    derived=HOLDS,
    sources="Bousquet, Hanneke, Moran and Zhivotovskiy 2020; docs/c4.md",
    experiment=fixed_dimension_experiment,
)
