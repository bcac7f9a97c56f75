"""Checks of the arguments that every bound shares: one line for what is wrong with one."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from numbers import Integral

from icl_sim.errors import InputError
from icl_sim.execution.memory_guard import require

# Numbers are parsed only if they are short, with exponents that no fraction grows huge by.
_LONGEST, _EXPONENT = 400, 400
LEAST = Fraction(1, 10**100)  # of a probability; its square is still a float
MOST = 2**63 - 1  # of a size

Exact = float | str | Fraction | Decimal


def exact_fraction(value: Exact, *, name: str) -> Fraction:
    """The number that was written: a float stands for its shortest decimal form.

    The binary float 0.15 lies just below 3/20, and "TV > 0.15" has a tie at 3/20, so the float
    itself would decide ties at random.

    >>> exact_fraction(0.15, name="eps")
    Fraction(3, 20)
    """
    try:
        text = str(value)  # of an integer beyond 4,300 digits a ValueError
        exponent = re.search(r"[eE]([+-]?[0-9_]+)", text)
        if len(text) > _LONGEST or (exponent and abs(int(exponent[1])) > _EXPONENT):
            raise ValueError
        return Fraction(value if isinstance(value, Fraction | Decimal | str) else str(value))
    except (ValueError, OverflowError, ZeroDivisionError):
        raise InputError(
            f"{name}: expected a finite number such as 0.1 or '1/3', got {_shown(value)}"
        ) from None


def probability(value: Exact, *, name: str) -> Fraction:
    """A number strictly between 0 and 1, as a fraction."""
    number = exact_fraction(value, name=name)
    if not 0 < number < 1:
        raise InputError(f"{name}: expected a number strictly between 0 and 1, got {value}")
    if number < LEAST:
        raise InputError(f"{name}: expected at least 1e-100, got {_shown(value)}: raise it")
    return number


def whole(value: int, *, name: str, least: int) -> int:
    """An integer that is at least `least`."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise InputError(f"{name}: expected an integer of at least {least}, got {_shown(value)}")
    if value > MOST:
        raise InputError(f"{name}: expected at most 2^63 - 1, got {_shown(value)}: lower it")
    return int(value)


def symbols_and_tokens(vocab: int, length: int) -> tuple[int, int]:
    """V, at least 2, and the length l of an output, at least 1."""
    return whole(vocab, name="vocab", least=2), whole(length, name="length", least=1)


def _shown(value: object) -> str:
    """The value, cut where it is long: an integer may have more digits than Python prints."""
    try:
        text = repr(value)
    except ValueError:
        return "an integer of thousands of digits"
    return text if len(text) <= 40 else f"{text[:40]}..."


def require_table(what: str, n: int) -> None:
    """Raises InputError unless memory lasts for a computation on arrays of a number for each 0..n.

    Eight of them: the values, three logarithms of factorials, two products, a sum and its
    exponential.
    """
    require(what, lambda n: 64 * (n + 1), host=True, n=n)


def exact_law(law: Sequence[Exact], *, vocab: int | None = None) -> tuple[Fraction, ...]:
    """A probability vector as fractions that sum to exactly one.

    Floats are read as `exact_fraction` reads them; a vector that sums to one within 1e-6 is divided
    by its sum.

    >>> exact_law([0.1, 0.9])
    (Fraction(1, 10), Fraction(9, 10))
    """
    masses = [exact_fraction(p, name="law") for p in law]
    if vocab is not None and len(masses) != vocab:
        raise InputError(f"law: expected vocab = {vocab} probabilities, got {len(masses)}")
    if len(masses) < 2:
        raise InputError(f"law: expected at least 2 probabilities, got {len(masses)}")
    if any(p < 0 or 0 < p < Fraction(1, 10**300) for p in masses):
        raise InputError("law: expected probabilities that are 0 or between 1e-300 and 1")
    total = sum(masses, Fraction(0))
    if abs(total - 1) > Fraction(1, 10**6):
        raise InputError(f"law: expected probabilities that sum to 1, got {float(total)}")
    return tuple(p / total for p in masses)


def over_contexts(failure: float, contexts: int) -> float:
    """1 - (1 - f)^m: some of m independent contexts fails, each with probability f.

    >>> over_contexts(0.5, 2)
    0.75
    """
    return 1.0 if failure >= 1 else -math.expm1(contexts * math.log1p(-failure))


def per_context(delta: float, contexts: int) -> float:
    """The f with 1 - (1 - f)^m = delta."""
    return -math.expm1(math.log1p(-delta) / contexts)


def radius_over_margin(radius: float, margin: float) -> float:
    """R/g of data of norm at most R and margin at least g."""
    if not 0 < margin <= radius < math.inf:
        raise InputError(f"expected 0 < margin <= radius, got margin {margin}, radius {radius}")
    return radius / margin
