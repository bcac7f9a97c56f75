"""Distances of models given by hidden states and unembeddings; their logits are never held whole.

Letters: m contexts, V outputs; D the width of a model's hidden states; R contexts and U outputs in
a block.

A block of R contexts has its logits computed, measured and dropped before the next one's. While
the logits of enough contexts for fast matrix products fit in the budget, a block has all V outputs
and each logit is computed once. Beyond that the outputs are cut too, and their logits computed
twice: for the normalizers and for the distance. So the memory depends neither on m nor on V, but
for unembeddings of half precision, of which float32 copies are made.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from icl_sim.divergence.distances import of_rows, require_memory
from icl_sim.divergence.measures import (
    JENSEN_SHANNON,
    KULLBACK_LEIBLER,
    TOP1,
    TOTAL_VARIATION,
    Discrepancy,
)
from icl_sim.divergence.real_inputs import precision, real_inputs
from icl_sim.divergence.rows import blockwise, finite
from icl_sim.errors import InputError
from icl_sim.execution.memory_guard import placed

# Logits of one model in a block, 16 MiB in float32, and the fewest contexts with all outputs.
LOGITS = 2**22
_FEWEST = 32
# With the outputs cut: contexts in a block, and entries of logits or of the cut of an unembedding.
_ROWS = 256
_CUT = 2**21


def total_variation_from_hidden(a: Any, w_a: Any, b: Any, w_b: Any) -> jax.Array:
    """Total variation between softmax(a w_a) and softmax(b w_b) in each context.

    Args:
      a, b: hidden states, float [..., m, D] and [..., m, D'], the axes before the last broadcast.
        `icl_sim.transformer.hidden` gives a model's.
      w_a, w_b: unembeddings, float [D, V] and [D', V], such as the leaf ``w_out``.

    Returns:
      [..., m], float64 if an argument is float64, else float32. Products are of full precision.

    Raises:
      InputError: shapes that do not fit.

    >>> import numpy as np
    >>> a, b = np.eye(2, dtype="f4"), np.eye(2, dtype="f4")[::-1]
    >>> w = np.array([[0.0, -np.inf], [7.0, 7.0]], "f4").clip(-1e30)
    >>> total_variation_from_hidden(a, w, b, w).tolist()
    [0.5, 0.5]
    """
    return _distances(TOTAL_VARIATION, a, w_a, b, w_b)


def kl_from_hidden(a: Any, w_a: Any, b: Any, w_b: Any) -> jax.Array:
    """KL(softmax(a w_a) || softmax(b w_b)) of each context, in nats.

    Arguments, shapes and errors are those of `total_variation_from_hidden`.
    """
    return _distances(KULLBACK_LEIBLER, a, w_a, b, w_b)


def jensen_shannon_from_hidden(a: Any, w_a: Any, b: Any, w_b: Any) -> jax.Array:
    """Jensen-Shannon divergence of softmax(a w_a) and softmax(b w_b) in each context, in nats.

    Arguments, shapes and errors are those of `total_variation_from_hidden`.
    """
    return _distances(JENSEN_SHANNON, a, w_a, b, w_b)


def top1_from_hidden(a: Any, w_a: Any, b: Any, w_b: Any) -> jax.Array:
    """1 where the largest entries of a w_a and b w_b have different numbers, else 0.

    Arguments, shapes and errors are those of `total_variation_from_hidden`.
    """
    return _distances(TOP1, a, w_a, b, w_b)


def _distances(measure: Discrepancy, a: Any, w_a: Any, b: Any, w_b: Any) -> jax.Array:
    a, w_a, b, w_b = real_inputs(a, w_a, b, w_b)
    first, w_first, second, w_second = (np.shape(x) for x in (a, w_a, b, w_b))
    try:
        for shape, w in ((first, w_first), (second, w_second)):
            if len(w) != 2 or shape[-1] != w[0] or 0 in w:
                raise ValueError
        if w_first[1] != w_second[1]:
            raise ValueError
        np.broadcast_shapes(first[:-1], second[:-1])
    except (IndexError, ValueError):
        raise InputError(
            "expected hidden states [..., m, D] and unembeddings [D, V] of two models with D >= 1 "
            f"and the same V >= 1, got {first}, {w_first} and {second}, {w_second}"
        ) from None
    # Both models' logits of a block, once more where they are made finite; and float32 copies.
    wide = sum(4 * math.prod(np.shape(w)) for w in (w_a, w_b) if _is_short(w))
    require_memory(a, b, block=placed(w_a, w_b) + wide + 16 * LOGITS)
    with precision(a, w_a, b, w_b):
        return _blockwise(measure, *(jnp.asarray(x) for x in (a, w_a, b, w_b)))


def _is_short(array: Any) -> bool:
    return hasattr(array, "dtype") and array.dtype.itemsize < 4


@partial(jax.jit, static_argnums=0)
def _blockwise(
    measure: Discrepancy, a: jax.Array, w_a: jax.Array, b: jax.Array, w_b: jax.Array
) -> jax.Array:
    dtype = jnp.promote_types(jnp.result_type(a, w_a, b, w_b), jnp.float32)
    lead = jnp.broadcast_shapes(a.shape[:-1], b.shape[:-1])
    a, b = (jnp.broadcast_to(x, (*lead, x.shape[-1])).reshape(-1, x.shape[-1]) for x in (a, b))
    w_a, w_b = w_a.astype(dtype), w_b.astype(dtype)
    V = w_a.shape[1]
    whole = V * _FEWEST <= LOGITS
    of_block = partial(_whole if whole else _cut, measure, w_a=w_a, w_b=w_b)

    def piece(x: jax.Array, y: jax.Array) -> jax.Array:
        return of_block(x.astype(dtype), y.astype(dtype))

    return blockwise(piece, dtype, LOGITS // V if whole else _ROWS, a, b).reshape(lead)


def _whole(
    measure: Discrepancy, x: jax.Array, y: jax.Array, *, w_a: jax.Array, w_b: jax.Array
) -> jax.Array:
    """[R] from hidden states [R, D] and [R, D'], all V outputs at once."""
    # Behind the barrier the products are not computed again by every block of the measure.
    a, b = lax.optimization_barrier((_product(x, w_a), _product(y, w_b)))
    return of_rows(measure, a, b)


def _cut(
    measure: Discrepancy, x: jax.Array, y: jax.Array, *, w_a: jax.Array, w_b: jax.Array
) -> jax.Array:
    """[R] from hidden states [R, D] and [R, D'], U outputs at a time."""
    rows, V = x.shape[0], w_a.shape[1]
    U = min(V, max(128, _CUT // max(rows, *x.shape[1:], *y.shape[1:])))

    def part(j: jax.Array) -> tuple[jax.Array, jax.Array]:
        # The last cut is moved back, and the outputs that it repeats are masked.
        start = jnp.minimum(j * U, V - U)
        new = start + jnp.arange(U, dtype=jnp.int32) >= j * U

        def logits(h: jax.Array, w: jax.Array) -> jax.Array:
            return jnp.where(
                new[None, :],
                finite(_product(h, lax.dynamic_slice_in_dim(w, start, U, 1))),
                -jnp.inf,
            )

        return logits(x, w_a), logits(y, w_b)

    return measure.online(part, -(-V // U), rows, x.dtype).ravel()


def _product(x: jax.Array, w: jax.Array) -> jax.Array:
    return jnp.dot(x, w, precision=lax.Precision.HIGHEST)
