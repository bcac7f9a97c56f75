"""What the certificates of all stock machines share: norms, scores, means, and runs.

All is for the arithmetic of stock implementations, see `stored_arithmetic`: sums in any order,
attention weights normalized before the sum (eager) or behind it (fused). The lemmas in brackets
are those of proofs/exact.v, which Coq checks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from constructions.certificate import Certificate, Record, issue, losing_mass
from constructions.machines.certify import largest
from constructions.machines.stock_weights import HEAD, THETA, TapeNumbers, still_entries
from constructions.machines.stored_arithmetic import (
    FLOAT32,
    SUMS,
    Arithmetic,
    arithmetic_of,
    gamma,
    power_of_two,
)
from constructions.residual import Residual
from constructions.rotary import Rotary
from constructions.spec import Params, TransformerSpec, check_params

MOST_TOKENS = 2**23  # so that counts of tokens, and twice their number, are exact
MOST_VISITS = 2**20  # times the unit roundoff: much less than 1


@dataclass(frozen=True)
class Run:
    """How much is asked of the weights: steps, visits to the cell visited most, arithmetic."""

    steps: int
    visits: int
    arithmetic: Arithmetic = FLOAT32


def longest(fault: Callable[[Run], str | None], visits: int, *, most: Run) -> Run:
    """The most steps at that many visits, and the most visits at those steps, without a fault.

    Args:
      fault: of a run.
      visits: what must be reached.
      most: where to stop.

    Raises:
      ValueError: visits that are not certain, with the fault.
    """
    if reason := fault(replace(most, steps=0, visits=visits)):
        raise ValueError(
            f"stock: {most.arithmetic.dtype} does not certify {visits:,} visits to a cell: {reason}"
        )
    steps = largest(most.steps, lambda n: fault(replace(most, steps=n, visits=visits)))
    most_visits = largest(most.visits, lambda n: fault(replace(most, steps=steps, visits=n)))
    return replace(most, steps=steps, visits=most_visits)


def certified(
    spec: TransformerSpec,
    params: Params,
    *,
    fault: Callable[[Run], str | None],
    records: Callable[[Run], tuple[Record, ...]],
    visits: int,
    most: int,
    cells: int,
    dtype: str,
) -> Certificate:
    """The certificate of these weights for the longest run without a fault, on that many cells.

    Args:
      spec, params: the weights.
      fault, visits: as in `longest`.
      records: of a run.
      most: the steps that are tried.
      cells: C.
      dtype: a key of `ARITHMETIC`.

    Raises:
      ValueError: no such dtype, visits that are not certain, with the fault, or weights that would
        be rounded.
    """
    arithmetic = arithmetic_of("stock", dtype)
    run = longest(fault, visits, most=Run(most, MOST_VISITS, arithmetic))
    arithmetic.check("stock", params)
    limits = {"steps": run.steps, "cells": cells, "visits": run.visits}
    certificate = Certificate(
        dtype=run.arithmetic.dtype,
        limits=limits,
        records=records(run),
        error=lambda steps, cells, visits: 0.0,
    )
    return issue(certificate, spec, params)


def check_type(spec: TransformerSpec, params: Params, expected: TransformerSpec) -> None:
    """Raises ValueError if the weights are not float32 leaves of that spec."""
    if spec != expected:
        raise ValueError("stock: the spec is not that of the construction")
    check_params(spec, params)
    # Most weights are powers of two, that would be the same in other types.
    if params["embed"].dtype != np.float32:
        raise ValueError(f"stock: expected float32 weights, got {params['embed'].dtype}")


def check_weights(params: Params, numbers: TapeNumbers, rebuild: Callable[[], Params]) -> None:
    """Raises ValueError for the first weight that differs from those written for the numbers."""
    for name, value in vars(numbers).items():
        if not 0 < value < math.inf:
            raise ValueError(f"stock: {name}: expected a number above 0, got {value:g}")
    for leaf, values in rebuild().items():
        wrong = np.argwhere(params[leaf] != values)
        if len(wrong):
            place = tuple(wrong[0].tolist())
            raise ValueError(
                f"stock: {leaf}{list(place)}: expected {values[place]:g}, got "
                f"{params[leaf][place]:g}"
            )


def mean_errors(numbers: TapeNumbers, tokens: int, run: Run) -> tuple[float, float]:
    """The least slope times mean where a symbol stands, and the largest where none does.

    Eight roundings that are stored, relative: the weight, the head's output, what it adds, norms.
    Sums that come to 0 have those of their additions alone, which grow with the visits.
    """
    v, beta, slope = run.visits, numbers.beta, numbers.slope
    others = 2 * losing_mass(tokens, beta)
    stored, sums = 8 * run.arithmetic.unit, v * v / 2 * SUMS / (1 - v * SUMS)
    on = slope / v * (1 - others - 2 * math.exp(-beta / 2) - stored / (1 - v * SUMS) - sums)
    off = slope * max(sums / v + others, 2 * losing_mass(tokens, beta / 2)) * (1 + stored)
    return on, off


def still(tokens: int, head: int = HEAD) -> float:
    """The largest angle, in radians, by which an entry of the content turns."""
    pairs = np.unique(still_entries(head) % (head // 2))
    return float(tokens * Rotary(theta=THETA).frequencies(head)[pairs].max())


def form_fault(
    numbers: TapeNumbers,
    residual: Residual,
    tokens: int,
    run: Run,
    squares: float,
    *,
    head: int = HEAD,
) -> str | None:
    """Why norms and scores are not exact, or None if they are.

    Args:
      numbers, residual: of the weights.
      tokens, run: how long.
      squares: the most that those of the channels beside the ballast add up to.
      head: its size.
    """
    if not 1 <= run.visits <= MOST_VISITS:
        return f"expected 1 to {MOST_VISITS:,} visits"
    if reason := norm_fault(numbers, residual, squares, run.arithmetic):
        return reason
    for name in ("beta", "steep", "slope"):
        value = getattr(numbers, name, 1.0)
        if not power_of_two(value):
            return f"{name} {value:g} is no power of two, so that scores would be rounded"
    if still(tokens, head) >= SUMS / 2:
        return f"an address turns by {still(tokens, head):.2g} rad at index {tokens:,}"
    return None


def norm_fault(
    numbers: TapeNumbers, residual: Residual, squares: float, arithmetic: Arithmetic
) -> str | None:
    """Why the norm is not the identity, or None if it is.

    The ballast absorbs the squares of all else [ballast_absorbs], and the norm divides all tokens
    by one power of two; root and quotient of such are exact in every implementation that rounds
    correctly.
    """
    rest = squares * (1 + gamma(residual.width))
    if numbers.ballast > arithmetic.most:
        return (
            f"the ballast of {numbers.ballast:,.0f} is beyond the largest {arithmetic.dtype}, "
            f"{arithmetic.most:,.0f}, and one of {arithmetic.most / 2:,.0f} or less absorbs "
            f"squares below {(arithmetic.most / 2) ** 2 * SUMS:.0f}, not {rest:.0f}"
        )
    if rest >= numbers.ballast**2 * SUMS:
        return f"squares of {rest:g} beside a ballast of {numbers.ballast:g} change the norm"
    mean = numbers.ballast**2 * residual.sizes["ballast"] / residual.width
    mantissa, exponent = math.frexp(mean)
    if mantissa != 0.5 or exponent % 2 == 0:
        return f"the mean of squares, {mean:g}, is no power of four, so that its root is rounded"
    return None
