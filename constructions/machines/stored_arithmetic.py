"""The arithmetic of stock implementations: what is stored, and how products are summed.

Every tensor that is written is rounded to the type of the weights: activations, cosines, scores,
attention weights, logits. A sum within a matrix product is added in float32, in any order, and
rounded when it is stored; norms and softmax are computed in float32.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from constructions.certificate import UNIT
from constructions.spec import Params

SUMS = UNIT["float32"]


@dataclass(frozen=True)
class Arithmetic:
    """A type that weights and activations are stored in.

    Args:
      dtype: its name.
      unit: unit roundoff.
      most: the largest number.
      least: the smallest number above 0.

    >>> ARITHMETIC["bfloat16"].holds(257.0), ARITHMETIC["bfloat16"].holds(2.0**100)
    (False, True)
    """

    dtype: str
    unit: float
    most: float
    least: float

    def holds(self, values: np.ndarray | float) -> bool:
        """Whether all are numbers of this type."""
        mantissa, exponent = np.frexp(np.asarray(values, np.float64))
        # A multiple of the unit in the last place, and of the smallest number.
        place = np.maximum(np.ldexp(2 * self.unit, exponent - 1), self.least)
        scaled = np.ldexp(mantissa, exponent) / place
        return bool((np.abs(values) <= self.most).all() and (scaled == np.rint(scaled)).all())

    def rounding(self, terms: int) -> float:
        """Relative error of a stored sum of ``terms`` products, in any order."""
        return gamma(terms) + (self.unit if self.unit > SUMS else 0)

    def check(self, name: str, params: Params) -> None:
        """Raises ValueError for a leaf with a weight that is no number of this type."""
        for leaf, values in params.items():
            if not self.holds(values):
                raise ValueError(f"{name}: {leaf} has weights that {self.dtype} cannot hold")


def gamma(terms: int) -> float:
    """Relative error of a float32 sum of ``terms`` terms, gamma_n = n u/(1 - n u)."""
    share = terms * SUMS
    return share / (1 - share)


ARITHMETIC = {
    one.dtype: one
    for one in (
        Arithmetic("float32", SUMS, (2 - 2.0**-23) * 2.0**127, 2.0**-149),
        Arithmetic("bfloat16", UNIT["bfloat16"], (2 - 2.0**-7) * 2.0**127, 2.0**-133),
        Arithmetic("float16", 2.0**-11, 65504.0, 2.0**-24),
    )
}
FLOAT32 = ARITHMETIC["float32"]


def arithmetic_of(name: str, dtype: str) -> Arithmetic:
    """The arithmetic of that name.

    Raises:
      ValueError: nothing is proved of it.
    """
    if dtype not in ARITHMETIC:
        known = ", ".join(ARITHMETIC)
        raise ValueError(f"{name}: dtype: expected one of {known}, got {dtype}")
    return ARITHMETIC[dtype]


def power_of_two(value: float) -> bool:
    """Whether products with it are exact."""
    return math.frexp(value)[0] == 0.5
