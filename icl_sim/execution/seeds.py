"""Seeds: a random key is made of 32 bits of one, so a larger one would be another's twin."""

from __future__ import annotations

from numbers import Integral

from icl_sim.errors import InputError

LARGEST = 2**32 - 1


def checked_seed(seed: int, *, most: int = LARGEST) -> int:
    """The seed, if it is an integer whose bits a key holds.

    Raises:
      InputError: anything else.

    >>> checked_seed(2**32 - 1)
    4294967295
    """
    if isinstance(seed, bool) or not isinstance(seed, Integral) or not 0 <= seed <= most:
        got = repr(seed) if len(repr(seed)) <= 40 else f"{repr(seed)[:40]}..."
        raise InputError(f"seed: expected an integer from 0 to {most}, got {got}: choose another")
    return int(seed)
