"""C1.sum: sizes grow with m as a sum, V + ln(m/delta), at the uniform law and at others.

The uniform law's n* is known exactly, the others' lie between two sizes. Proofs: docs/c1.md.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np

from icl_sim.bounds.arguments import per_context, probability
from icl_sim.bounds.enclosures import lasting_failure
from icl_sim.bounds.exact import binomial_tail
from icl_sim.bounds.sizes import sample_size
from icl_sim.bounds.tokens import de_moivre
from icl_sim.claims.claim import FALSE, HOLDS, OPEN, Outcome, Run, Statement
from icl_sim.claims.evidence import Size
from icl_sim.claims.scaling import scaling, uniform_size
from icl_sim.execution.streams import Fixed

Settings = tuple[tuple[str, float], ...]  # of eps and delta

# Vocabularies, contexts, and settings in which the growth with m is judged at the uniform law.
_SETTINGS: Settings = (("0.15", 0.1), ("0.3", 1e-3), ("0.2", 0.01))
UNIFORM: dict[str, tuple[tuple[int, ...], tuple[int, ...], Settings]] = {
    "smoke": ((2, 8, 32, 64), (1, 10, 100, 1000), _SETTINGS),
    "standard": ((2, 8, 32, 128), (1, 10, 100, 1000), (*_SETTINGS, ("0.1", 0.1), ("0.1", 1e-6))),
}
UNIFORM["full"] = UNIFORM["standard"]
# At the other laws: vocabularies of each setting.
OTHERS: dict[str, tuple[tuple[tuple[int, ...], str, float], ...]] = {
    "smoke": (((2, 8, 24), "0.3", 0.1),),
    "standard": (
        ((2, 8, 32, 64), "0.3", 0.1),
        ((2, 8, 32), "0.3", 0.01),
        ((2, 8, 32), "0.2", 0.01),
        ((2, 8, 32), "0.15", 0.1),
    ),
}
OTHERS["full"] = OTHERS["standard"]
CONTEXTS = (1, 1000)  # at the other laws
STEPS = 8  # a sample, of the grid on which a law is followed: more tell a size more closely
DENOMINATOR = 10**4  # of the probabilities of a law, about

Law = Sequence[Fraction]
# (law, eps, delta, contexts) -> a size that fails, or 0, and one from which on every size succeeds.
Bracket = Callable[..., tuple[int, int]]


def laws(vocab: int) -> dict[str, Law]:
    """Laws on V symbols: in proportion to 1/i and e^(-3i/V), half on one symbol, and one drawn.

    >>> [(name, round(float(law[0] / law[-1]), 1)) for name, law in laws(8).items()]
    [('zipf', 8.0), ('geometric', 13.8), ('half on one', 7.0), ('dirichlet(4)', 2.0)]
    """
    place = np.arange(vocab)
    weights = {
        "zipf": 1 / (place + 1),
        "geometric": np.exp(-3 * place / vocab),
        "half on one": np.where(place == 0, vocab - 1, 1),
        "dirichlet(4)": Fixed.SKEWED_LAWS.stream(vocab, 1).dirichlet(np.full(vocab, 4.0)),
    }
    return {name: _fractions(w) for name, w in weights.items()}


def _fractions(weights: np.ndarray) -> Law:
    numerators = np.ceil(DENOMINATOR * weights / weights.sum()).astype(int).tolist()
    return tuple(Fraction(n, sum(numerators)) for n in numerators)


def bracket(*, law: Law, eps: str, delta: float, contexts: int) -> tuple[int, int]:
    """Two sizes: n* of a law is above the first and at most the second.

    n* is the least size from which on every size keeps all contexts within eps with probability
    1 - delta. The second is found by bisection on `lasting_failure`, the first on P(TV > eps); at
    two symbols, where that is a binomial sum, every size below the second is tried, down to n*.

    Args:
      law: probabilities, all contexts' law.
      eps, delta, contexts: as of `sample_size`.

    Returns:
      A size that fails, or 0, and one from which on every size succeeds.

    >>> bracket(law=[Fraction(1, 2)] * 2, eps="0.3", delta=0.1, contexts=1)
    (7, 8)
    """
    law, level = tuple(law), probability(eps, name="eps")
    allowed = per_context(float(probability(delta, name="delta")), contexts)
    proved = de_moivre(law=law, eps=eps, delta=delta, contexts=contexts)

    def lasts(n: int) -> bool:
        return _bounds(law, n, eps)[1] <= allowed

    def succeeds(n: int) -> bool:
        return _bounds(law, n, eps)[0] <= allowed

    high = 1 + bisect_left(range(1, proved), True, key=lasts)
    if len(law) == 2:
        while high > 1 and binomial_tail(high - 1, level, law[0]) <= allowed:
            high -= 1
        return high - 1, high
    return bisect_left(range(1, high), True, key=succeeds), high


@lru_cache(4096)
def _bounds(law: Law, n: int, eps: str) -> tuple[float, float]:
    return lasting_failure(law=law, n=n, eps=eps, steps=STEPS)


def sum_experiment(run: Run, *, size: Size = uniform_size, needed: Bracket = bracket) -> Outcome:
    """C1.sum: does n* grow with m as a sum V + ln(m/delta), or as their product?

    n*(m) - n*(1) is (ln m)/(2 eps^2) plus a cross term of order sqrt(V L)/eps^2 under the sum, and
    proportional to n*(1), hence to V, under the product. From the least to the greatest V the
    increment may then grow by the factor of the sum (McDiarmid's formula has it) or of the product.
    Where it lies is a number, 0 at the sum and 1 at the product on a log scale: above 2/3 anywhere,
    the sum is refuted; all below 1/3, it holds; else neither.
    """
    vocabularies, contexts, settings = UNIFORM[run.profile]
    rows: list[dict[str, Any]] = []
    for (eps, delta), V, m in product(settings, vocabularies, contexts):
        options: dict[str, Any] = {"vocab": V, "eps": eps, "delta": delta, "contexts": m}
        known = sample_size(**options)
        rows.append(
            options
            | {
                "log_term": math.log(m / delta),
                "abstract": known.abstract,
                "mcdiarmid": known.mcdiarmid,
                "weissman": known.weissman,
                "exact": size(**options),
                "lower": known.lower,
            }
        )
        run.progress("C1.sum", len(rows), len(settings) * len(vocabularies) * len(contexts))
    grown = [_growth([r for r in rows if (r["eps"], r["delta"]) == s]) for s in settings]
    others, skewed = _other_laws(run, needed)
    places = [row["place"] for row in grown]
    highest = [*places, *(row["place_at_most"] for row in skewed)]
    lowest = [*places, *(row["place_at_least"] for row in skewed)]
    first = rows[: len(vocabularies) * len(contexts)]
    increments = ", ".join(f"{_increment(first, V, 'exact')} (V = {V})" for V in vocabularies)
    return Outcome(
        verdict=FALSE if max(lowest) > 2 / 3 else HOLDS if max(highest) < 1 / 3 else OPEN,
        why=(
            f"eps = {settings[0][0]}, delta = {settings[0][1]}: n*(m = 1000) - n*(m = 1) = "
            f"{increments}: it grows by {grown[0]['growth']:.1f} where a sum predicts "
            f"{grown[0]['under_sum']:.1f} and a product {grown[0]['under_product']:.0f}; in "
            f"{len(settings)} settings, at {min(places):.2f} to {max(places):.2f} of the way from "
            f"the sum to the product; at {len(laws(2))} other laws, at "
            f"{max(row['place_at_most'] for row in skewed):.2f} at most"
        ),
        figures={
            "sizes": first,
            "settings": grown,
            "cells": rows,
            "scaling": scaling(run),
            "other laws": skewed,
            "their sizes": others,
        },
    )


def _increment(rows: list[dict[str, Any]], V: int, column: str) -> int:
    """What the most contexts need beyond what the fewest do."""
    mine = [row[column] for row in rows if row["vocab"] == V]
    return int(mine[-1] - mine[0])


def _growth(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """A row: the increment's growth from the least V to the greatest, and where it lies."""
    first, last = rows[0]["vocab"], rows[-1]["vocab"]
    growth, under_sum, under_product = (
        _increment(rows, last, column) / _increment(rows, first, column)
        for column in ("exact", "mcdiarmid", "abstract")
    )
    return {
        "eps": rows[0]["eps"],
        "delta": rows[0]["delta"],
        "growth": growth,
        "under_sum": under_sum,
        "under_product": under_product,
        "place": _place(growth, under_sum, under_product),
    }


def _place(growth: float, under_sum: float, under_product: float) -> float:
    """Where the growth lies on a log scale: 0 at the sum, 1 at the product."""
    return math.log(growth / under_sum) / math.log(under_product / under_sum)


def _other_laws(run: Run, needed: Bracket) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of the sizes at other laws, and of their growth with what is not known of it."""
    settings = OTHERS[run.profile]
    cases: list[tuple[int, str, Law, dict[str, Any]]] = [
        (V, name, law, {"eps": eps, "delta": delta, "contexts": m})
        for vocabularies, eps, delta in settings
        for V, m in product(vocabularies, CONTEXTS)
        for name, law in laws(V).items()
    ]
    rows: list[dict[str, Any]] = []
    for V, name, law, options in cases:
        fails, suffices = needed(law=law, **options)
        sizes = {"fails": fails, "suffices": suffices, "mcdiarmid": de_moivre(law=law, **options)}
        rows.append({"law": name, "vocab": V} | options | sizes)
        run.progress("C1.sum other laws", len(rows), len(cases))
    grown = [
        _growth_between([r for r in rows if (r["law"], r["eps"], r["delta"]) == (name, eps, delta)])
        for _, eps, delta in settings
        for name in laws(2)
    ]
    return rows, grown


def _growth_between(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """A row of one law: the growth of the increment, and where it lies, at least and at most.

    Under a product n* is in proportion to ln(m/delta) at every law, so that the increment grows
    with V as n*(1) does; the law's own sum is McDiarmid's inequality around its exact mean.
    """
    (one, many), (one_last, many_last) = rows[:2], rows[-2:]
    base, last = _increments(one, many), _increments(one_last, many_last)
    growth = last[0] / base[1], last[1] / base[0]
    under_sum = (many_last["mcdiarmid"] - one_last["mcdiarmid"]) / (
        many["mcdiarmid"] - one["mcdiarmid"]
    )
    under_product = (
        (one_last["fails"] + 1) / one["suffices"],
        one_last["suffices"] / (one["fails"] + 1),
    )
    return {name: rows[0][name] for name in ("law", "eps", "delta")} | {
        "growth_at_least": growth[0],
        "growth_at_most": growth[1],
        "under_sum": under_sum,
        "under_product_at_least": under_product[0],
        "place_at_least": _place(growth[0], under_sum, under_product[1]),
        "place_at_most": _place(growth[1], under_sum, under_product[0]),
    }


def _increments(one: dict[str, Any], many: dict[str, Any]) -> tuple[int, int]:
    """What many contexts need beyond what one does, at least and at most."""
    return many["fails"] + 1 - one["suffices"], many["suffices"] - one["fails"] - 1


STATEMENT = Statement(
    id="C1.sum",
    statement="The size needed grows as V + ln(m/delta), not as their product.",
    reading="The abstract multiplies V and log(m/delta). We compare the exact n* at the uniform "
    "law, and bounds of it at four others, with both laws of growth.",
    premises="One law on V symbols in each of m independent contexts; n* is the least size from "
    "which on every size succeeds; the empirical law answers.",
    formula="n*(m) - n*(1) against n*(1) ln(m)/ln(1/delta) (product) and McDiarmid's growth (sum); "
    "at every law n* <= (s^2/2 + L)/eps^2, s = sum sqrt(p(1-p)).",
    lower="Two coins: n* grows with ln m; Assouad: with V.",
    basis="PROOF, EXACT",
    derived=HOLDS,
    sources="docs/c1.md; exact convolutions",
    experiment=sum_experiment,
)
