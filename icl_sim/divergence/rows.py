"""Rows of laws and of logits, folded so that their sums are accurate, and taken block by block.

Letters: m rows of V outputs; R rows in a block, each folded into C parts of L, C L >= V. A folded
block is [R, C, L], or [R, L] if C = 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

# Entries of one model's block, 2 MiB in float32. Smaller blocks pay more for starting kernels
# than they save, larger ones leave the cache.
BLOCK = 2**19
# On other devices, where a block needs only to keep all processors busy.
DEVICE_BLOCK = 2**25
# A row is summed in parts of at most this many neighbors, then the parts are. In XLA's own order a
# single flat row of V = 32,768 to 1,048,576 was seen to lose 1.5e-5; in parts it loses 4e-7.
PART = 512

Measure = Callable[[jax.Array, jax.Array], jax.Array]  # two blocks of rows [R, n] -> [R]


def blockwise(
    measure: Measure, dtype: jnp.dtype, block: int, p: jax.Array, q: jax.Array
) -> jax.Array:
    """The measure of each pair of rows, [m, n] and [m, n'] -> ``dtype`` [m].

    Args:
      measure: of blocks of rows.
      dtype: of its values.
      block: rows in a block.
      p, q: the rows.
    """
    m = len(p)
    rows = min(m, block)

    def step(i: jax.Array, out: jax.Array) -> jax.Array:
        # Slices that would pass the end are moved back, in reading and in writing alike: a short
        # last block repeats rows that have their value already.
        x, y = (lax.dynamic_slice_in_dim(z, i * rows, rows) for z in (p, q))
        return lax.dynamic_update_slice_in_dim(out, measure(x, y), i * rows, 0)

    if rows == m:
        return measure(p, q)
    return lax.fori_loop(0, -(-m // rows), step, jnp.zeros(m, dtype))


def fold(p: jax.Array, fill: float = 0.0) -> jax.Array:
    """[R, V] to a folded block, with impossible outputs behind the last one."""
    R, V = p.shape
    C = -(-V // PART)
    if C == 1:
        return p
    L = -(-V // C)
    return jnp.pad(p, ((0, 0), (0, C * L - V)), constant_values=fill).reshape(R, C, L)


def fold_logits(a: jax.Array) -> jax.Array:
    """`fold` of `finite` logits. Only the padding is -inf, and never a row's maximum."""
    return fold(finite(a), fill=-math.inf)


def finite(a: jax.Array) -> jax.Array:
    """Logits with infinities moved to the largest float.

    Then -inf beside anything ordinary still weighs exp(-3e38) = 0 exactly, and a row of one
    infinity is a row of equal numbers.
    """
    largest = float(jnp.finfo(a.dtype).max)
    return jnp.clip(a, -largest, largest)


def row_sum(x: jax.Array) -> jax.Array:
    """Sum of each folded row, with axes of length 1 kept."""
    x = jnp.sum(x, axis=-1, keepdims=True)
    if x.ndim == 3:
        x = lax.optimization_barrier(x)  # else XLA may make one sum of both
        x = jnp.sum(x, axis=1, keepdims=True)
    return x


def row_max(x: jax.Array) -> jax.Array:
    """Maximum of each folded row, with axes of length 1 kept.

    If the row has NaN, that or the maximum of the others: XLA's reductions do not agree on it.
    """
    return jnp.max(x, axis=tuple(range(1, x.ndim)), keepdims=True)


def has_nan(x: jax.Array) -> jax.Array:
    """Bool [R]: whether a folded row has NaN."""
    return jnp.any(jnp.isnan(x), axis=tuple(range(1, x.ndim)))


def first_of(x: jax.Array, top: jax.Array) -> jax.Array:
    """int32 [R]: number of the first entry of each folded row that equals ``top``, V if none does.

    Two plain reductions find the maximum and its place; XLA's argmax, one reduction of pairs, is
    many times slower on a CPU.
    """
    V = math.prod(x.shape[1:])
    numbers = jnp.arange(V, dtype=jnp.int32).reshape(1, *x.shape[1:])
    return jnp.min(jnp.where(x == top, numbers, V), axis=tuple(range(1, x.ndim)))
