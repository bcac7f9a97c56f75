"""Xie et al. 2022: in-context learning as Bayesian inference, and how fast it finds its concept."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np

from constructions.learners.mixture import mixture
from constructions.reference import forward
from icl_sim.claims.claim import FALSE, HOLDS, Claim, Outcome, Run, Statement

# Tables [K, m, V] of the concepts, the first of them the true one, and their prior.
FAR = [[[0.999, 0.001]], [[0.001, 0.999]]]
NEAR = [[[0.6, 0.4]], [[0.5, 0.5]], [[0.3, 0.7]]]
TWO = [[[0.9, 0.1], [0.2, 0.8]], [[0.5, 0.5], [0.5, 0.5]]]
SETTINGS = (
    ("far apart", FAR, (0.5, 0.5)),
    ("far apart, rare", FAR, (0.05, 0.95)),
    ("near", NEAR, (0.2, 0.5, 0.3)),
    ("two contexts", TWO, (0.5, 0.5)),
)
LENGTH = 5
ROUNDING = 1e-7


def budget(prior: float) -> float:
    """What the prediction errors may sum to: ln(1/prior).

    >>> round(budget(0.5), 4)
    0.6931
    """
    return -math.log(prior)


def bayes_experiment(run: Run, *, bound: Callable[[float], float] = budget) -> Outcome:
    """Xie.bayes: do the mean divergences of all answers sum to at most ln(1/prior of the concept)?

    Over all demonstrations of the true concept, the law of each next one by the weights.
    """
    rows = [_row(name, tables, prior, bound) for name, tables, prior in SETTINGS]
    broken = [row for row in rows if row["sum"] > row["bound"] + ROUNDING]
    closest = max(rows, key=lambda row: row["sum"] / row["bound"])
    return Outcome(
        verdict=FALSE if broken else HOLDS,
        why=f"{len(rows) - len(broken)} of {len(rows)} families of concepts keep it, at most "
        f"{closest['sum'] / closest['bound']:.3f} of it ({closest['concepts']})",
        figures={"sums": rows},
    )


def _row(
    name: str, tables: Any, prior: tuple[float, ...], bound: Callable[[float], float]
) -> dict[str, Any]:
    laws = np.array(tables)
    _, m, V = laws.shape
    built = mixture(tables=laws, prior=prior)
    terms = []
    for t in range(LENGTH):
        term = 0.0
        for outputs in product(range(V), repeat=t):
            pairs = [(i % m, y) for i, y in enumerate(outputs)]
            chance = math.prod(laws[0, c, y] for c, y in pairs)
            tokens = built.encode({"pairs": pairs, "query": t % m})
            found = np.asarray(built.decode(forward(built.spec, built.params, tokens)))
            truth = laws[0, t % m]
            term += float(chance) * float(truth @ np.log(truth / found))
        terms.append(term)
    return {
        "concepts": name,
        "prior": prior[0],
        "first": terms[0],
        "last": terms[-1],
        "sum": math.fsum(terms),
        "bound": bound(prior[0]),
    }


CLAIM = Claim(
    id="Xie",
    title="in-context learning as implicit Bayesian inference",
    abstract="In-context learning can emerge when pretraining documents have long-range coherence: "
    "the model must infer a latent concept to generate coherent next tokens. (arXiv:2111.02080)",
    statements=(
        Statement(
            id="Xie.bayes",
            statement="In context, the divergences from the concept's laws sum to at most "
            "ln(1/prior), however many demonstrations there are.",
            reading="There the prediction tends to the concept's as demonstrations grow, where it "
            "can be told apart. Ours is the rate without that premise, for demonstrations drawn "
            "from the concept itself; the model is `mixture`, exact Bayes in weights.",
            premises="Finitely many concepts with positive laws; outputs drawn from one of them, "
            "contexts given.",
            formula="sum_t E KL(P(. | c_t) || answer_t) <= ln(1/prior), so the mean over n answers "
            "is at most ln(1/prior)/n.",
            lower="Attained in the limit of concepts that one output tells apart.",
            basis="PROOF, EXACT",
            derived=HOLDS,
            sources="Xie, Raghunathan, Liang and Ma 2022 (arXiv:2111.02080); docs/atlas.md",
            experiment=bayes_experiment,
        ),
    ),
)
