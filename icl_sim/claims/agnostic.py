"""C3.agnostic: d/eps with noisy labels. Proof: docs/c3.md."""

from __future__ import annotations

import math
from typing import Any

from icl_sim.bounds.agnostic import agnostic_mean_bound, noisy_basis_excess
from icl_sim.bounds.classification import halfspace_mean_size
from icl_sim.claims.claim import FALSE, OPEN, Outcome, Run, Statement
from icl_sim.claims.evidence import CONSTANTS, Bound, Size

DIMENSIONS = {"smoke": (2, 20), "standard": (2, 20, 100), "full": (2, 20, 100, 1000)}


def agnostic_experiment(
    run: Run, *, size: Size = halfspace_mean_size, excess: Bound = noisy_basis_excess
) -> Outcome:
    """C3.agnostic: do C d/eps examples with noisy labels give a mean excess of at most eps?

    At eps = 1/(64 C) and the bias of `_bias`, exactly, for the best learner. Refuted if every C of
    {1, 2, 4, 8} fails in every dimension; and the excess must stay within the bound of order
    sqrt(d/n) that proves the corrected order.
    """
    rows: list[dict[str, Any]] = []
    for d in DIMENSIONS[run.profile]:
        for C in CONSTANTS:
            eps = 1 / (64 * C)
            n = C * size(dim=d, eps=eps)
            bias = _bias(d, n)
            rows.append(
                {
                    "dim": d,
                    "C": C,
                    "eps": eps,
                    "n": n,
                    "bias": bias,
                    "excess": excess(dim=d, n=n, bias=bias),
                    "bound": agnostic_mean_bound(dim=d, n=n),
                    "n eps^2 / d": n * eps**2 / d,
                }
            )
            run.progress("C3.agnostic", len(rows), len(DIMENSIONS[run.profile]) * len(CONSTANTS))
    above = all(row["excess"] > row["eps"] for row in rows)
    within = all(row["excess"] <= row["bound"] for row in rows)
    least = min(row["excess"] * math.sqrt(row["n"] / row["dim"]) for row in rows)
    return Outcome(
        verdict=FALSE if above and within else OPEN,
        why=(
            "d noisy atoms: E excess/eps at n = C d/eps is "
            + ", ".join(
                f"{row['excess'] / row['eps']:.2f} (C = {row['C']})"
                for row in rows
                if row["dim"] == rows[0]["dim"]
            )
            + f" for the best learner, exactly; it is {least:.2f} sqrt(d/n) or more, and at most "
            f"{max(row['excess'] / row['bound'] for row in rows):.2f} of sqrt(2 ln Pi(n)/n)"
        ),
        figures={"noisy atoms": rows},
    )


def _bias(d: int, n: int) -> float:
    """Near the hardest: c Phi(-2 c) is greatest at about c = .375, with b = c/sqrt(visits)."""
    return min(0.5, 0.375 / math.sqrt(max(1.0, n / d)))


STATEMENT = Statement(
    id="C3.agnostic",
    statement="d/eps examples, times a constant, give E err <= err* + eps with noisy labels, err* "
    "the least error of a halfspace.",
    reading="The size is the abstract's; it does not say that a halfspace labels the data. Here no "
    "halfspace labels all of it, and the excess over the best one counts.",
    premises="n examples drawn independently from one law on R^d and two labels; any learner.",
    formula="2 b E P(majority of N tosses errs), N ~ Binomial(n, 1/d): above eps at n = C d/eps.",
    lower="of order d/eps^2 for every learner, by the same law.",
    basis="PROOF, EXACT",
    derived=FALSE,
    corrected="Least training error has a mean excess of at most sqrt(2 ln Pi(n)/n), Pi(n) = "
    "2 sum_(k<d) C(n-1, k), and sqrt(2 ln(1/delta)/n) more with probability 1 - delta: order "
    "(d + ln(1/delta))/eps^2, up to a logarithm.",
    sources="Cover 1965; Assouad 1983; docs/c3.md",
    experiment=agnostic_experiment,
)
