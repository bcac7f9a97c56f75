"""Cells: what a statement says of a random error at one setting, exactly.

A replicate draws fresh data and returns its error, computed from that data by enumeration or in
closed form, never by a second sampling inside. A cell bounds the tail or the mean of that error:

    TailCell    P(error > eps) <= delta
    MeanCell    E error <= bound, where 0 <= error <= top

Of each look at its errors a cell keeps a tally, a JSON object that a record can hold.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate
from typing import Any

import numpy as np

from icl_sim.errors import InputError
from icl_sim.statistics.intervals import lower_limit, mean_limits, upper_limit

Trial = Callable[..., Any]
Tally = dict[str, Any]


@dataclass(frozen=True, eq=False)
class TailCell:
    """P(error > eps) <= delta.

    Args:
      id: unique in its sweep; names its records and fixes its random stream. Let it tell every
        setting that the errors depend on.
      trial: trial(key, *args) -> scalar error; jittable. Cells that share the function object, and
        the shapes and dtypes of their args, share its compiled code.
      args: arrays and NumPy scalars, traced.
      eps: threshold, on the error's own scale: an int, a float or a Fraction.
      delta: failure probability allowed, in (0, 1).
    """

    id: str
    trial: Trial
    args: tuple[Any, ...]
    eps: int | float | Fraction
    delta: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.eps):
            raise InputError(f"cell {self.id}: expected a finite eps, got {self.eps}")
        if not 0 < self.delta < 1:
            raise InputError(f"cell {self.id}: expected delta in (0, 1), got {self.delta}")

    def tally(self, errors: np.ndarray) -> Tally:
        """Counts of errors [R]."""
        return {"trials": len(errors), "failures": int(exceeds(errors, self.eps).sum())}

    def looks(self, tallies: Sequence[Tally]) -> list[tuple[int, int]]:
        """(failures, trials) after each look, cumulative."""
        failures = accumulate(tally["failures"] for tally in tallies)
        return list(zip(failures, accumulate(tally["trials"] for tally in tallies), strict=True))

    def interval(self, tallies: Sequence[Tally], *, alpha: float) -> tuple[float, float, float]:
        """Failure frequency and its lower and upper limits, each one-sided at alpha."""
        failures, trials = self.looks(tallies)[-1]
        low = lower_limit(failures, trials, alpha=alpha)
        return failures / trials, float(low), float(upper_limit(failures, trials, alpha=alpha))


@dataclass(frozen=True, eq=False)
class MeanCell:
    """E error <= bound, for errors in [0, top].

    Args:
      id, trial, args: as of a `TailCell`.
      bound: bound on the mean, below top.
      top: largest possible error.
    """

    id: str
    trial: Trial
    args: tuple[Any, ...]
    bound: float
    top: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.bound < self.top < math.inf:
            raise InputError(
                f"cell {self.id}: expected 0 <= bound < top, got bound={self.bound}, top={self.top}"
            )

    def tally(self, errors: np.ndarray) -> Tally:
        """The errors [R] themselves: the limits of a mean depend on their variance too."""
        return {"trials": len(errors), "errors": errors.astype(np.float64).tolist()}

    def interval(self, tallies: Sequence[Tally], *, alpha: float) -> tuple[float, float, float]:
        """Mean error and its lower and upper limits, each one-sided at alpha."""
        errors = [error for tally in tallies for error in tally["errors"]]
        low, high = mean_limits(errors, top=self.top, alpha=alpha)
        return math.fsum(errors) / len(errors), low, high


def exceeds(errors: np.ndarray, eps: int | float | Fraction) -> np.ndarray:
    """Errors > eps, decided on the numbers themselves: nothing is rounded to compare.

    An integer exceeds eps iff it exceeds floor(eps). A float exceeds eps iff it exceeds the
    largest double that does not. A float error carries its own rounding, so where the error
    equals eps with positive probability, let the trial return an integer (see
    `icl_sim.data.sampling.scaled_total_variation`).

    >>> exceeds(np.array([44, 45, 46]), Fraction(45)).tolist()
    [False, False, True]
    >>> exceeds(np.array([0.1, 0.3]), Fraction(1, 10)).tolist()  # 0.1 is a little over 1/10
    [True, True]
    """
    if errors.dtype.kind in "biu":
        return errors.astype(np.int64) > math.floor(eps)
    threshold = float(eps)
    if Fraction(threshold) > eps:
        threshold = math.nextafter(threshold, -math.inf)
    return errors.astype(np.float64) > threshold
