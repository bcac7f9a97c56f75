"""The certificate of a machine simulator: how long, and on how much tape, it is certain."""

from __future__ import annotations

from collections.abc import Callable

from constructions.certificate import UNIT, Certificate, losing_mass
from constructions.machines.reader import Reading


def certify(
    name: str, reading: Reading, *, steps: int, cells: int, dtype: str = "float32"
) -> Certificate:
    """Largest steps and cells for which the weights are certain to carry out a machine.

    A run "on n cells" may visit any cells less than n away from the first, on either side.

    Args:
      name: the construction's, for what is raised.
      reading: what its weights are, read back from them.
      steps, cells: what must be reached. The limits are the most steps on that many cells, and the
        most cells in that many steps.
      dtype: the arithmetic, a key of `UNIT`.

    Raises:
      ValueError: limits out of reach, with the reason.
    """
    reason = fault(reading, dtype, steps, cells)
    if reason:
        raise ValueError(
            f"{name}: {dtype} does not certify {steps:,} steps on {cells:,} cells: {reason}"
        )
    return Certificate(
        dtype=dtype,
        limits={
            "steps": largest(2**31, lambda n: fault(reading, dtype, n, cells)),
            "cells": largest(reading.size, lambda n: fault(reading, dtype, steps, n)),
        },
        records=reading.records,
        error=lambda steps, cells: 0.0,
    )


def fault(reading: Reading, dtype: str, steps: int, cells: int) -> str | None:
    """Why this number of steps on this number of cells is not certain, or None if it is.

    Proof that they are certain without a fault; u is the unit roundoff.

    The head's position. Sums of moves are integers, exact. Their mean is rounded once, the
    product with the count once more; from 1/u tokens on so are the two forms of the count, its
    increment and the index. So the position has a relative error of 2 u or 5 u, and its sum with
    the offset is rounded once. Within the tolerance the digits are exact integers, and so are
    their squares and all scores, whose terms add up to less than 1/u units.

    The symbol. Matches weigh 1 each, so that their changes add up to 0 or 1 exactly, and their
    mean is 0 or at least 1/tokens, up to four roundings and the leak: the mass of the sink and of
    fewer than ``tokens`` mismatches. Where no token matches, the sink answers 0.

    The rule. Table position q S + a + 1 is read up to the leak. A logit is the sum of four
    entries, and the right token's exceeds all others' by 1. QED
    """
    u = UNIT[dtype]
    tokens = reading.prompt + cells + steps
    if tokens >= 2**31:
        return f"{tokens:,} tokens need indices of more than 32 bits"
    if cells > min(reading.offset, reading.size - reading.offset):
        return f"there are {reading.size:,} addresses, the first one's is {reading.offset:,}"
    roundings = 2 if tokens * u < 1 else 5
    error = cells * roundings * u / (1 - roundings * u) + (reading.offset + cells) * u
    if error > reading.tolerance:
        return f"addresses are off by up to {error:.2g} cells (tolerance {reading.tolerance:g})"
    if reading.magnitude * u >= 1:
        return f"sums reach {reading.magnitude:g} units, exact only below {1 / u:g}"
    mismatches = losing_mass(tokens, reading.match_gap)
    leak = losing_mass(1, reading.sink_gap) + mismatches
    if reading.on * tokens > 1 - leak - 4 * u:
        return f"the mean of one symbol over {tokens:,} tokens reads as none"
    if losing_mass(tokens, reading.sink_gap) > reading.off:
        return f"the leak from {tokens:,} tokens reads as a symbol"
    if 8 * mismatches >= 1:
        return f"the leak from {tokens:,} tokens reaches the readout's margin"
    return None


def largest(most: int, fault: Callable[[int], str | None]) -> int:
    """The largest n <= most without a fault; faults stay as n grows, and n = 0 has none."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (low, middle - 1) if fault(middle) else (middle, high)
    return low
