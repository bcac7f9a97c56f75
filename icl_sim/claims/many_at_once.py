"""C2.contexts and C4.finite: one size for m contexts, and for K classifiers, at once.

Proofs: docs/c2.md and docs/c4.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
from scipy.stats import binom

from icl_sim.bounds.arguments import over_contexts
from icl_sim.bounds.classification import abstract_fixed_context_size
from icl_sim.bounds.sequences import abstract_sequence_size, events_size
from icl_sim.bounds.suprema import independent_events_failure
from icl_sim.bounds.tokens import hidden_coin, two_coins
from icl_sim.claims.claim import FALSE, HOLDS, OPEN, Outcome, Run, Statement
from icl_sim.claims.evidence import CONSTANTS, Size

EPS, DELTA = "0.1", 0.05
CONTEXTS = (1, 100, 10**4, 10**8)


def union_size(*, events: int, contexts: int, eps: str, delta: float) -> int:
    """`events_size` of the events of all contexts."""
    return events_size(events=events * contexts, eps=eps, delta=delta)


def contexts_experiment(
    run: Run,
    *,
    size: Size = abstract_sequence_size,
    better: Size = union_size,
    failure: Callable[[int, float], Any] = hidden_coin,
) -> Outcome:
    """C2.contexts: does the size without m serve m contexts at once, in the distance of C2.events?

    Two coins in each context: every estimator fails in one with a probability f > 0, so in one of m
    with 1 - (1 - f)^m, which passes delta at some m. Refuted if it does for C = 1, 2, 4, 8 and the
    size with ln m keeps delta exactly.
    """
    rows: list[dict[str, Any]] = []
    kept: list[dict[str, Any]] = []
    for C in CONSTANTS:
        n = C * size(vocab=2, length=1, eps=EPS, delta=DELTA)
        f = float(failure(n, float(EPS)))
        m = math.floor(math.log1p(-DELTA) / math.log1p(-f)) + 1 if f > 0 else None
        rows.append(
            {
                "C": C,
                "n": n,
                "one_context": f,
                "contexts": m,
                "failure": over_contexts(f, m) if m else 0.0,
            }
        )
    for m in CONTEXTS:
        n = better(events=2, contexts=m, eps=EPS, delta=DELTA)
        # Of two outputs one event is the other's complement: one independent event a context.
        kept.append(
            {
                "contexts": m,
                "n": n,
                "failure": independent_events_failure(events=m, n=n, eps=EPS),
            }
        )
    run.progress("C2.contexts", 1, 1)
    shown = [f"m = {row['contexts']:.3g} (C = {row['C']})" for row in rows if row["contexts"]]
    fails = all(row["failure"] > DELTA for row in rows)
    holds = all(row["failure"] <= DELTA for row in kept)
    return Outcome(
        verdict=FALSE if fails and holds else OPEN,
        why=(
            f"two outputs, eps = {EPS}, delta = {DELTA}: every estimator fails somewhere with "
            f"probability above delta from {', '.join(shown) or 'no m'} on; with ln m in the size "
            f"failure is at most {max(row['failure'] for row in kept):.2g} up to m = "
            f"{CONTEXTS[-1]:.0e}, exactly"
        ),
        figures={"contexts": rows, "with ln m": kept},
    )


CLASSIFIERS = (2, 10, 1000)
GRID = (("0.2", "0.1"), (0.5, 0.1, 1e-3, 1e-6))


def finite_size(*, classifiers: int, eps: str, delta: float) -> int:
    """ceil(C ln(1/delta)/eps^2), C = 2 (1 + ln(2K)/ln 2): enough at eps/2, for delta <= 1/2."""
    C = 2 * (1 + math.log(2 * classifiers) / math.log(2))
    return math.ceil(C * -math.log(delta) / float(eps) ** 2)


def finite_experiment(run: Run, *, size: Size = finite_size) -> Outcome:
    """C4.finite: do C(K) ln(1/delta)/eps^2 examples find the best of K classifiers within eps?

    Exactly for independent errors: refuted where the best of K is missed too often, and upheld
    where all K errors are known within eps/2 often enough, as the proof has it.
    """
    rows: list[dict[str, Any]] = []
    for K, eps, delta in product(CLASSIFIERS, *GRID):
        n = size(classifiers=K, eps=eps, delta=delta)
        half = str(float(eps) / 2)
        rows.append(
            {
                "classifiers": K,
                "eps": eps,
                "delta": delta,
                "n": n,
                "abstract": abstract_fixed_context_size(eps=eps, delta=delta),
                "necessary": two_coins(eps=half, delta=delta),
                "missed": missed_best(classifiers=K, n=n, gap=1.01 * float(eps)),
                "failure": independent_events_failure(events=K, n=n, eps=half),
            }
        )
        run.progress("C4.finite", len(rows), len(CLASSIFIERS) * math.prod(map(len, GRID)))
    missed = [row for row in rows if row["missed"] > row["delta"]]
    kept = [row for row in rows if row["failure"] <= row["delta"]]
    return Outcome(
        verdict=FALSE if missed else HOLDS if len(kept) == len(rows) else OPEN,
        why=(
            f"all K errors are within eps/2 in {len(kept)} of {len(rows)} exact cells, but for at "
            f"most {max(row['failure'] / row['delta'] for row in rows):.2g} of delta; one worse by "
            f"eps is chosen with at most {max(row['missed'] / row['delta'] for row in rows):.2g} "
            "of delta"
        ),
        figures={"finite": rows},
    )


def missed_best(*, classifiers: int, n: int, gap: float) -> float:
    """P(one of K-1 that err with chance 1/2 has no more training errors than the best).

    The best errs with chance 1/2 - gap, all independently; a tie counts as a miss.

    >>> missed_best(classifiers=2, n=1, gap=0.5), missed_best(classifiers=1, n=100, gap=0.5)
    (0.5, 0.0)
    """
    if classifiers == 1:
        return 0.0
    errors = np.arange(n + 1)
    with np.errstate(divide="ignore"):  # ln 0 where all others have no more errors than n
        none = (classifiers - 1) * np.log1p(-binom.cdf(errors[:-1], n, 0.5))
    chance = binom.pmf(errors, n, 0.5 - gap)
    return float(chance[:-1] @ -np.expm1(none) + chance[-1])


CONTEXTS_STATEMENT = Statement(
    id="C2.contexts",
    statement="A constant times (l ln V/eps^2) ln(1/delta) samples of each of m contexts serve all "
    "m contexts at once.",
    reading="The size is the abstract's, which speaks of m contexts and has no m in it. The "
    "distance is that of C2.events, in which the size is right for one context.",
    premises="n independent outputs of each of m contexts; any estimator.",
    formula="P(some context fails) = 1 - (1 - f)^m, f > 0 the failure of two coins in one.",
    lower="n with 1 - (1 - I(k, k; 1/2 - eps))^m <= delta, k = ceil(n/2): it grows with ln m.",
    basis="PROOF, EXACT",
    derived=FALSE,
    corrected="(l ln V + ln m + ln(2/delta))/(2 eps^2) samples of each context.",
    sources="Hoeffding 1963; docs/c2.md",
    experiment=contexts_experiment,
)
FINITE_STATEMENT = Statement(
    id="C4.finite",
    statement="For K given classifiers, C(K) ln(1/delta)/eps^2 examples find one within eps of the "
    "best with probability 1 - delta, delta <= 1/2.",
    reading="The size is the abstract's. Here what is fixed is the set of classifiers, such as "
    "those that K prompts give.",
    premises="n examples drawn independently from any law, noisy labels too; the classifier of "
    "least training error.",
    formula="n = ceil(C ln(1/delta)/eps^2), C = 2 (1 + ln(2K)/ln 2).",
    lower="K = 2, a classifier and its opposite: n with I(k, k; (1 - eps)/2) <= delta, k = "
    "ceil(n/2), of order ln(1/delta)/eps^2 (two coins).",
    basis="PROOF, EXACT",
    derived=HOLDS,
    sources="Hoeffding 1963; docs/c4.md",
    experiment=finite_experiment,
)
