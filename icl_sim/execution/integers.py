"""The one door for integers: what int32 cannot hold is refused before JAX wraps it.

With x64 off, JAX's default, ``jnp.asarray`` keeps the lower 32 bits of an int64: token 2^32 + 1
becomes token 1 without a word.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from icl_sim.errors import InputError

_INT32 = np.iinfo(np.int32)


def is_traced(value: Any) -> bool:
    """Whether a value stands for one that is known only when compiled code runs."""
    return isinstance(value, jax.core.Tracer)


def int32(
    values: Any, *, name: str, least: int = _INT32.min, most: int = _INT32.max, what: str = ""
) -> Any:
    """Integers as int32, an array of NumPy, or of JAX if they were one.

    Traced values are converted; their range is the compiled code's to guard.

    Args:
      values: array-like of any shape; floats that are whole numbers are not integers.
      name: for the message.
      least, most: the range, within int32's.
      what: what the range is, for the message.

    Raises:
      InputError: no integers, or out of range.

    >>> int32([1, 2], name="tokens").tolist()
    [1, 2]
    >>> int32([2**32 + 1], name="tokens")
    Traceback (most recent call last):
    icl_sim.errors.InputError: tokens: expected -2147483648 to 2147483647, got 4294967297
    """
    try:
        array = values if isinstance(values, jax.Array) else np.asarray(values)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{name}: expected integers, got {type(values).__name__}") from None
    if array.dtype == object or not jax.numpy.issubdtype(array.dtype, np.integer):
        wide = array.dtype == object and all(type(x) is int for x in array.ravel())
        if not wide:  # integers beyond int64 make an array of objects
            raise InputError(f"{name}: expected integers, got {array.dtype} {array.shape}")
    if array.size and not is_traced(array):
        known = np.asarray(array)  # under a trace JAX's own minimum would be traced
        low, high = known.min(), known.max()
        if not least <= low <= high <= most:
            odd = low if low < least else high
            about = f", {what}," if what else ","
            raise InputError(f"{name}: expected {least} to {most}{about} got {odd}")
    return array.astype(np.int32)
