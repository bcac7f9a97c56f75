"""How tight each formula is: a known case beside it, and whether a change by 20 % would show there.

Every formula of `icl_sim.bounds` that claims a direction has a row: its value, the exact value in a
case where it is as tight as is known, and their ratio, at least 1 if the formula is true there.

    sufficient  a size; beside it the least size that suffices in the case. 0.8 of it is caught if
    upper       a bound on an error, its exact value beside it.              the ratio is below 1.25
    necessary   a size; beside it a size that suffices.                      1.2 of it is caught if
    lower       a bound on an error, an attained value beside it.            the ratio is below 1.2
    tail        a bound on a tiny probability; the ratio is of logarithms, and the change one of
                the exponent's constant.                                     Caught below 1.2
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from icl_sim.bounds.tightness import access_cases, halfspace_cases, output_cases, token_cases
from icl_sim.bounds.tightness.case import Case

CASES: dict[str, Case] = (
    token_cases.CASES | output_cases.CASES | access_cases.CASES | halfspace_cases.CASES
)

LIMITS = {"sufficient": 1.25, "upper": 1.25, "necessary": 1.2, "lower": 1.2, "tail": 1.2}


@dataclass(frozen=True)
class Tightness:
    """A formula beside the tightest case known.

    Args:
      formula: its name.
      kind: sufficient, upper, necessary, lower or tail; see the module.
      case: what the case is.
      stated: the formula's value.
      exact: the exact value in the case.
      ratio: how far they are apart, at least 1 if the formula holds.
      caught: whether a change of the formula's constant by 20 % in the unsafe direction is false.
    """

    formula: str
    kind: str
    case: str
    stated: float
    exact: float
    ratio: float
    caught: bool


def tightness(*formulas: str) -> list[Tightness]:
    """A row for each of the formulas named, for all if none is.

    >>> [row.caught for row in tightness("weissman", "abstract")]
    [True, False]
    """
    rows = []
    for formula in formulas or CASES:
        kind, case, evaluate = CASES[formula]
        stated, exact = (float(value) for value in evaluate())
        if kind == "tail":
            ratio = math.log(exact) / math.log(stated)
        else:
            ratio = stated / exact if kind in ("sufficient", "upper") else exact / stated
        rows.append(
            Tightness(formula, kind, case, stated, exact, ratio, caught=ratio < LIMITS[kind])
        )
    return rows
