"""The door of all distances: real numbers, kept as exactly as they came, and laws that are laws."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from icl_sim.errors import InputError
from icl_sim.execution.integers import is_traced

# How far from 1 a law may sum: roundings of a softmax over many outputs; coarser in half precision.
SUM_TOLERANCE = 1e-3
SHORT_SUM_TOLERANCE = 5e-2
_EXACT = 2**24  # float32 holds all integers up to it


def real_inputs(*arrays: Any) -> list[Any]:
    """Arrays of real numbers, of NumPy or JAX, none of which float32 would round unseen.

    Lists are of float64, as Python's numbers are.

    Raises:
      InputError: no rectangular array of real numbers, or integers beyond 2^24.
    """
    found = []
    for given in arrays:
        try:
            x = given if hasattr(given, "dtype") else np.asarray(given)
        except (TypeError, ValueError, OverflowError) as error:
            reason = " ".join(str(error).split())[:80]
            raise InputError(f"expected an array of real numbers, got {reason}") from None
        kinds = (np.floating, np.integer, np.bool_)
        known = any(jnp.issubdtype(x.dtype, kind) for kind in kinds)
        if not known or x.dtype.itemsize > 8:
            raise InputError(f"expected an array of real numbers, got {x.dtype} {x.shape}")
        if jnp.issubdtype(x.dtype, np.integer) and not is_traced(x):
            if x.size and not -_EXACT <= int(x.min()) <= int(x.max()) <= _EXACT:
                raise InputError(
                    f"expected integers that float32 holds, up to {_EXACT}, got "
                    f"{int(x.min())} to {int(x.max())}: make them float64"
                )
            x = x.astype(np.float32)
        found.append(x)
    return found


def precision(*arrays: Any) -> contextlib.AbstractContextManager[None]:
    """Computes in float64 within, if an array is float64 and none is traced."""
    wide = any(x.dtype == np.float64 for x in arrays)
    if not wide or jax.config.read("jax_enable_x64") or any(map(is_traced, arrays)):
        return contextlib.nullcontext()
    return jax.enable_x64(True)


def check_laws(*laws: jax.Array) -> None:
    """Raises InputError for a row that is no law; traced ones, and rows with NaN, pass."""
    for law in laws:
        if is_traced(law) or not law.size:
            continue
        short = law.dtype.itemsize <= 2
        bad, first = _unlawful(law, SHORT_SUM_TOLERANCE if short else SUM_TOLERANCE)
        if not is_traced(bad) and bad:  # a constant of a trace is computed with when it runs
            row = np.asarray(law.reshape(-1, law.shape[-1])[int(first)], np.float64)
            with np.errstate(invalid="ignore"):
                total = row.sum()
            raise InputError(
                "expected laws, numbers >= 0 that sum to 1, got a row whose least is "
                f"{row.min():g} and whose sum is {total:g}: divide each row by its sum, or use "
                "the distance of logits"
            )


@partial(jax.jit, static_argnums=1)
def _unlawful(law: jax.Array, tolerance: float) -> tuple[jax.Array, jax.Array]:
    """Whether a row is no law, and the first that is none."""
    least = law.min(axis=-1)
    total = law.sum(axis=-1, dtype=jnp.promote_types(law.dtype, jnp.float32))
    bad = ~(jnp.isnan(least) | ((least >= 0) & (jnp.abs(total - 1) <= tolerance)))
    return bad.any(), bad.ravel().argmax()
