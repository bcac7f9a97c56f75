"""C4, linear classification in a fixed context: O((1/eps^2) log(1/delta)). Proofs: docs/c4.md."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np

from icl_sim.bounds.classification import (
    abstract_fixed_context_size,
    basis_failure,
    basis_mean_error,
    halfspace_necessary_mean,
    margin_mean_bound,
    margin_size,
    statistic_size,
)
from icl_sim.bounds.exact import exact_failure_probability
from icl_sim.bounds.tokens import two_coins
from icl_sim.claims import fixed_constants, many_at_once
from icl_sim.claims.claim import (
    FALSE,
    HOLDS,
    LOOSE,
    OPEN,
    SHARE,
    Claim,
    Outcome,
    Run,
    Statement,
)
from icl_sim.claims.evidence import CONSTANTS, Size, tell, trials, upheld, uphold
from icl_sim.halfspaces import SOLVERS, error_trial, margin
from icl_sim.statistics.cells import MeanCell, TailCell

ABSTRACT = (
    "For linear classification, datasets of size O(d/eps) or, with fixed context, "
    "O( (1/eps^2) log(1/delta) ) are sufficient, where d is the input dimension."
)

# eps of the exact parts; their delta are DELTAS.
EPSILONS = {
    "smoke": ("0.2", "0.1"),
    "standard": ("0.2", "0.1", "0.05"),
    "full": ("0.2", "0.1", "0.05", "0.02"),
}
DELTAS = (0.5, 0.1, 0.01, 1e-6)
MEANS = ("0.5", "0.49", "0.3", "0.1", "0.01")
# The margin statement at norm 1: atoms of the exact laws; dimensions of the sampled ones.
ATOMS = {"smoke": (4, 25), "standard": (4, 25, 100), "full": (4, 25, 100, 400)}
DIMENSIONS = {"smoke": (100,), "standard": (10, 100, 200), "full": (10, 100, 1000)}
MARGIN = 0.2
TAIL_EPS = "0.3"  # well below chance, so that a learner can miss it
# First looks at the tail and at the mean; up to eight times as many follow.
TAIL_REPLICATES = {"smoke": 100, "standard": 128, "full": 1000}
MEAN_REPLICATES = {"smoke": 256, "standard": 256, "full": 4000}


def free_dimension_experiment(
    run: Run,
    *,
    size: Size = abstract_fixed_context_size,
    dimension: Callable[[int], int] = lambda n: 4 * n,
) -> Outcome:
    """C4.free-dimension: is there a constant C with which C ln(1/delta)/eps^2 examples suffice?

    The size names no dimension, so nature may choose d after it: here d = 4 n equal atoms with
    random labels, on which no learner does better than to guess what it has not seen. Refuted if
    every C of {1, 2, 4, 8} has P(err > eps) > delta, exactly.
    """
    rows: list[dict[str, Any]] = []
    for eps, delta in product(EPSILONS[run.profile][:2], (0.1, 0.01)):
        for C in CONSTANTS:
            n = C * size(eps=eps, delta=delta)
            d = dimension(n)
            necessary = halfspace_necessary_mean(dim=d, eps=eps) if float(eps) < 0.18 else None
            rows.append(
                {
                    "C": C,
                    "eps": eps,
                    "delta": delta,
                    "n": n,
                    "dim": d,
                    "mean": basis_mean_error(masses=[1 / d] * d, n=n),
                    "failure": basis_failure(light=d, light_mass=1, n=n, eps=eps),
                    "necessary": necessary,
                }
            )
            run.progress("C4.free-dimension", len(rows), 4 * len(CONSTANTS))
    failing = {C: [r for r in rows if r["C"] == C and r["failure"] > r["delta"]] for C in CONSTANTS}
    least = min(row["mean"] for row in rows)
    return Outcome(
        verdict=FALSE if all(failing.values()) else OPEN,
        why=(
            f"uniform on d atoms, d from {min(r['dim'] for r in rows)} to "
            f"{max(r['dim'] for r in rows)}: E err >= {least:.3f} for every learner; "
            + "; ".join(
                f"C = {C}: P(err > eps) > delta in {len(found)} of {len(rows) // len(CONSTANTS)}"
                for C, found in failing.items()
            )
        ),
        figures={"uniform": rows},
    )


def statistic_experiment(
    run: Run, *, size: Size = abstract_fixed_context_size, better: Size = statistic_size
) -> Outcome:
    """C4.statistic: do ln(1/delta)/eps^2 samples fix one mean within eps, w.p. 1 - delta <= 1/2?

    Exactly, by binomial tails over a grid of means; loose if a smaller size does too, everywhere.
    """
    rows: list[dict[str, Any]] = []
    for eps, delta in product(EPSILONS[run.profile], DELTAS):
        sizes = {"size": size(eps=eps, delta=delta), "better": better(eps=eps, delta=delta)}
        failures = {
            f"{name}_failure": max(_deviates(n, p, eps) for p in MEANS) for name, n in sizes.items()
        }
        necessary = two_coins(eps=eps, delta=delta)
        rows.append({"eps": eps, "delta": delta, "necessary": necessary} | sizes | failures)
    broken = [row for row in rows if row["size_failure"] > row["delta"]]
    kept = all(row["better_failure"] <= row["delta"] for row in rows)
    loose = kept and all(row["better"] < row["size"] for row in rows if row["delta"] < 0.5)
    worst = max(row["size_failure"] / row["delta"] for row in rows)
    return upheld(
        broken=broken,
        loose=loose,
        why=(
            f"{len(rows) - len(broken)} of {len(rows)} cells keep delta exactly, at most "
            f"{worst:.2g} of it; ln(2/delta)/(2 eps^2) keeps it too with "
            f"{min(r['better'] / r['size'] for r in rows):.2f} of the samples or more"
        ),
        figures={"binomial": rows},
    )


def _deviates(n: int, p: str, eps: str) -> float:
    """P(|mean - p| > eps) of n coins, exactly."""
    return exact_failure_probability(vocab=2, n=n, eps=eps, law=[p, str(1 - Fraction(p))])


def margin_experiment(
    run: Run,
    *,
    size: Size = margin_size,
    better: Callable[..., float] = margin_mean_bound,
    learner: str = "svm",
) -> Outcome:
    """C4.margin: at fixed margin, does a size without d keep err <= eps in every dimension?

    Exactly on k equal atoms e_1..e_k with any labels, whose margin is 1/sqrt(k) in every dimension
    d >= k, a tie counted as an error; by sampling on spheres. Loose if E err <= min(d, (R/g)^2)/
    (n+1) holds on both too, whose size by Markov's inequality is smaller wherever eps <= delta.
    """
    tails, means = [], []
    for k in ATOMS[run.profile]:
        given = {"radius": 1, "margin": k**-0.5}
        tails += [
            _tail_row(k, eps, delta, size(**given, eps=eps, delta=delta))
            for eps, delta in product(("0.4", "0.2"), (0.1, 1e-6))
        ]
        means += [_mean_row(k, n, better(**given, dim=10**6, n=n)) for n in (k // 4, k, 4 * k)]
    delta = 0.1
    n = size(radius=1, margin=MARGIN, eps=TAIL_EPS, delta=delta)
    few = (30, 60)
    rows = max(n, *few, margin_size(radius=1, margin=MARGIN, eps=TAIL_EPS, delta=delta))
    laws = [margin(d, MARGIN) for d in DIMENSIONS[run.profile]]
    tail_cells = [
        TailCell(
            id=f"{law.name}/{learner}/n={n}",
            trial=error_trial(law, SOLVERS[learner], rows),
            args=(np.int32(n),),
            eps=float(TAIL_EPS),
            delta=delta,
        )
        for law in laws
    ]
    mean_cells = [
        MeanCell(
            id=f"{law.name}/{learner}/n={some}",
            trial=error_trial(law, SOLVERS[learner], rows),
            args=(np.int32(some),),
            bound=better(dim=law.dim, radius=1, margin=MARGIN, n=some),
        )
        for law in laws
        for some in few
    ]
    tail, mean = (
        run.sweep(f"C4.margin/{kind}", cells, replicates=replicates[run.profile], alpha=SHARE / 2)
        for kind, cells, replicates in (
            ("tail", tail_cells, TAIL_REPLICATES),
            ("mean", mean_cells, MEAN_REPLICATES),
        )
    )
    sizes = [
        _size_row({"radius": 1, "margin": g, "eps": eps, "delta": delta}, size, better)
        for g, eps, delta in product((0.5, 0.1), (0.1, 0.01), (0.1, 0.05))
        if eps <= delta
    ]
    broken = [row for row in tails if row["failure"] > row["delta"]]
    above = [row for row in means if row["mean"] > row["bound"]]
    loose = uphold(broken=above, sampled=mean) == HOLDS and all(
        row["markov"] < row["size"] for row in sizes
    )
    return Outcome(
        verdict=uphold(broken=broken, sampled=tail, loose=loose),
        replicates=trials(tail, mean),
        why=(
            f"err <= eps: {len(tails) - len(broken)} of {len(tails)} atomic laws keep delta "
            f"exactly, {tell(tail)}; E err <= min(d, (R/g)^2)/(n+1): {len(means) - len(above)} of "
            f"{len(means)} exactly, {tell(mean)}; its size is at most "
            f"{max(row['markov'] / row['size'] for row in sizes):.2g} of this at eps <= delta"
        ),
        figures={
            "atoms, tail": tails,
            "atoms, mean": means,
            "sampled": [asdict(cell) for cell in tail],
            "mean": [
                asdict(cell) | {"bound": c.bound} for cell, c in zip(mean, mean_cells, strict=True)
            ],
            "sizes by margin": sizes,
        },
    )


def _tail_row(k: int, eps: str, delta: float, n: int) -> dict[str, Any]:
    failure = basis_failure(light=k, light_mass=1, n=n, eps=eps, miss=1.0)
    return {"atoms": k, "eps": eps, "delta": delta, "n": n, "failure": failure}


def _mean_row(k: int, n: int, bound: float) -> dict[str, Any]:
    mean = basis_mean_error(masses=[Fraction(1, k)] * k, n=n, miss=1.0)
    return {"atoms": k, "n": n, "mean": mean, "bound": bound}


def _size_row(given: dict[str, Any], size: Size, better: Callable[..., float]) -> dict[str, Any]:
    """The size beside Markov's, ceil((n+1) bound / (eps delta)), and the abstract's."""
    eps, delta = given["eps"], given["delta"]
    mean = better(dim=10**6, radius=given["radius"], margin=given["margin"], n=0)
    return given | {
        "size": size(**given),
        "markov": math.ceil(mean / (eps * delta)),
        "abstract": abstract_fixed_context_size(eps=eps, delta=delta),
    }


READING = "The size is the abstract's; it names no dimension, and does not say what is fixed. "

CLAIM = Claim(
    id="C4",
    title="linear classification in a fixed context",
    abstract=ABSTRACT,
    statements=(
        Statement(
            id="C4.free-dimension",
            statement="A constant times ln(1/delta)/eps^2 examples suffice to learn any halfspace.",
            reading=READING + "Here the dimension is free, as the words have it.",
            premises="Independent examples labeled by a halfspace of R^d, d chosen after n; any "
            "learner.",
            formula="n = C ln(1/delta)/eps^2; with d = 4 n equal atoms E err >= (1 - 1/d)^n / 2 >= "
            ".389, n >= 31.",
            lower="(d-1)/(2 e eps) - 1 examples for E err <= eps, for every learner.",
            basis="PROOF, EXACT",
            derived=FALSE,
            corrected="d enters: C3 has sufficient sizes. For d > 1 + 2 e (ln(1/delta)/eps + eps), "
            "C4's size is below what C3 needs: they cannot speak of one task.",
            sources="docs/c4.md",
            experiment=free_dimension_experiment,
        ),
        Statement(
            id="C4.statistic",
            statement="ln(1/delta)/eps^2 samples bring the mean of one bounded statistic within "
            "eps with probability 1 - delta, delta <= 1/2.",
            reading=READING + "Here one number is estimated, such as P(label = 1) in one context "
            "or the agreement with the fine-tuned model.",
            premises="Independent values in [0, 1] of one statistic; their average answers.",
            formula="n = ceil(ln(1/delta)/eps^2).",
            lower="n with I(k, k; 1/2 - eps) <= delta, k = ceil(n/2) (two coins).",
            basis="PROOF, EXACT",
            derived=LOOSE,
            corrected="ln(2/delta)/(2 eps^2) samples suffice.",
            sources="Hoeffding 1963; docs/c4.md",
            experiment=statistic_experiment,
        ),
        Statement(
            id="C4.margin",
            statement="At margin g on inputs of norm R, (2 R/g + sqrt(ln(1/delta)/2))^2/eps^2 "
            "examples give err <= eps with probability 1 - delta in any dimension.",
            reading=READING + "Here the margin is fixed; constants ours.",
            premises="Independent examples of norm <= R at distance >= g from a hyperplane through "
            "the origin that labels them; a halfspace with that margin on all, such as the "
            "hard-margin SVM.",
            formula="n = ceil((2 R/g + sqrt(ln(1/delta)/2))^2/eps^2).",
            lower="((R/g)^2 - 1)/(2 e eps) - 1 examples for E err <= eps: (R/g)^2 orthogonal atoms "
            "have margin g.",
            basis="PROOF, EXACT, TEST",
            derived=LOOSE,
            corrected="E err <= min(d, (R/g)^2)/(n+1), hence order 1/eps.",
            sources="Bartlett and Mendelson 2002; Vapnik 1998; docs/c4.md",
            experiment=margin_experiment,
        ),
        fixed_constants.FIXED_DIMENSION,
        many_at_once.FINITE_STATEMENT,
    ),
)
