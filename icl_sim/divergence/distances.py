"""Distances of laws, and of logits: one number per context.

The distance of logits never holds a softmax of all contexts. Both models' rows go through the
cache in blocks: a block is read from memory once, each exponential is computed once, and the
normalizers and the distance are sums over what the cache holds. On a GPU or TPU a kernel of
`icl_sim.divergence.kernel` does the same.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from icl_sim.divergence.kernel import kernels
from icl_sim.divergence.measures import (
    JENSEN_SHANNON,
    KULLBACK_LEIBLER,
    TOP1,
    TOTAL_VARIATION,
    Discrepancy,
    Divergence,
)
from icl_sim.divergence.real_inputs import check_laws, precision, real_inputs
from icl_sim.divergence.rows import BLOCK, DEVICE_BLOCK, Measure, blockwise
from icl_sim.errors import InputError
from icl_sim.execution.memory_guard import require


def total_variation(p: Any, q: Any) -> jax.Array:
    """Total variation between the laws of each context.

    TV(p, q) = 1/2 sum_y |p(y) - q(y)| = max over events A of |p(A) - q(A)|, in [0, 1].

    Args:
      p, q: laws, float [..., m, V], the last axis summing to one. The axes before it broadcast.

    Returns:
      [..., m], float64 if an argument is float64, else float32.

    Raises:
      InputError: the shapes do not fit, V is 0, or a row is no law (one with NaN has distance NaN).

    >>> total_variation([[0.5, 0.5], [1.0, 0.0]], [[0.5, 0.5], [0.0, 1.0]]).tolist()
    [0.0, 1.0]
    """
    return _distances(TOTAL_VARIATION.of_laws, p, q, laws=True)


def total_variation_from_logits(a: Any, b: Any) -> jax.Array:
    """Total variation between softmax(a) and softmax(b) in each context.

    With unnormalized weights e = exp(a - max a), f = exp(b - max b) and their sums E, F, it is
    sum_y |e(y) - f(y) E/F| / (2 E). Equal rows give exactly 0.

    Args:
      a, b: logits, float [..., m, V], the axes before the last broadcast; integers up to 2^24.
        Infinities are read as the module says.

    Returns:
      [..., m], float64 if an argument is float64, else float32 (absolute error below 1e-6).

    >>> inf = float("inf")
    >>> total_variation_from_logits([[0.0, 0.0], [-inf, -inf]], [[0.0, -inf], [7.0, 7.0]]).tolist()
    [0.5, 0.0]
    """
    return _distances(TOTAL_VARIATION, a, b)


def kl_divergence(p: Any, q: Any) -> jax.Array:
    """Kullback-Leibler divergence of each context's laws, in nats.

    KL(p || q) = sum_y p(y) ln(p(y) / q(y)), with 0 ln 0 = 0; inf where q misses an output of p.

    Args:
      p, q: laws, float [..., m, V].

    Returns:
      [..., m], non-negative.

    >>> kl = kl_divergence([[0.5, 0.5], [1.0, 0.0]], [[0.5, 0.5], [0.5, 0.5]])
    >>> [round(x, 4) for x in kl.tolist()]
    [0.0, 0.6931]
    """
    return _distances(KULLBACK_LEIBLER.of_laws, p, q, laws=True)


def kl_from_logits(a: Any, b: Any) -> jax.Array:
    """Kullback-Leibler divergence KL(softmax(a) || softmax(b)) of each context, in nats.

    Log-probabilities are compared before any exponential, so an output that b all but excludes
    (its probability underflows) still has its finite price; only a logit of -inf costs inf.

    Args:
      a, b: logits, float [..., m, V].

    Returns:
      [..., m], non-negative.

    >>> kl_from_logits([[0.0, -1e4]], [[-1e4, 0.0]]).tolist()
    [10000.0]
    """
    return _distances(KULLBACK_LEIBLER, a, b)


def jensen_shannon(p: Any, q: Any) -> jax.Array:
    """Jensen-Shannon divergence of each context's laws, in nats: symmetric, at most ln 2.

    JS(p, q) = (KL(p || s) + KL(q || s)) / 2 with s = (p + q) / 2.

    Args:
      p, q: laws, float [..., m, V].

    Returns:
      [..., m], in [0, ln 2].

    >>> js = jensen_shannon([[0.5, 0.5], [1.0, 0.0]], [[0.5, 0.5], [0.0, 1.0]])
    >>> [round(x, 4) for x in js.tolist()]
    [0.0, 0.6931]

    Source: J. Lin, Divergence measures based on the Shannon entropy, IEEE Trans. Inf. Theory 1991.
    """
    return _distances(JENSEN_SHANNON.of_laws, p, q, laws=True)


def jensen_shannon_from_logits(a: Any, b: Any) -> jax.Array:
    """Jensen-Shannon divergence between softmax(a) and softmax(b) in each context, in nats.

    Args:
      a, b: logits, float [..., m, V].

    Returns:
      [..., m], in [0, ln 2].

    >>> round(float(jensen_shannon_from_logits([0.0, -1e4], [-1e4, 0.0])), 4)
    0.6931
    """
    return _distances(JENSEN_SHANNON, a, b)


def top1_disagreement(p: Any, q: Any) -> jax.Array:
    """Whether the two models' most likely outputs differ: 1 or 0 for each context.

    Softmax keeps the order, so laws and logits give the same answer. The first of equals counts.

    Args:
      p, q: laws or logits, float [..., m, V].

    Returns:
      [..., m], 0 or 1, of the same float type as the other distances.

    >>> top1_disagreement([[0.6, 0.4], [0.6, 0.4]], [[0.9, 0.1], [0.2, 0.8]]).tolist()
    [0.0, 1.0]
    """
    return _distances(TOP1, p, q)


def _distances(measure: Discrepancy | Measure, p: Any, q: Any, *, laws: bool = False) -> Any:
    """The measure of each pair of rows, after a look at shapes and memory.

    Args:
      measure: of logits; or a function of rows of laws.
      laws: whether the rows must be laws.
    """
    p, q = real_inputs(p, q)
    first, second = np.shape(p), np.shape(q)
    try:
        if first[-1] != second[-1] or first[-1] == 0:
            raise ValueError
        np.broadcast_shapes(first[:-1], second[:-1])
    except (IndexError, ValueError):
        raise InputError(
            f"expected two arrays [..., m, V] with the same V >= 1, got {first} and {second}"
        ) from None
    on_cpu = jax.default_backend() == "cpu"
    require_memory(p, q, block=8 * BLOCK if on_cpu else 16 * DEVICE_BLOCK)
    with precision(p, q):
        p, q = jnp.asarray(p), jnp.asarray(q)
        if laws:
            check_laws(p, q)
        return of_rows(measure, p, q)


def require_memory(*arrays: Any, block: int) -> None:
    """Raises InputError if distances of these rows do not fit into memory.

    Arrays [..., m, n] that are not on the device are copied there, one of them twice (see
    `icl_sim.execution.memory_guard.placed`), those with fewer rows than others are filled up; then
    there is a block, of ``block`` bytes, and a number for each context.
    """
    shapes = [np.shape(x) for x in arrays]
    rows = math.prod(np.broadcast_shapes(*(shape[:-1] for shape in shapes)))
    row, most = 8, 0
    for x, (*lead, width) in zip(arrays, shapes, strict=True):
        size = x.dtype.itemsize if hasattr(x, "dtype") else 8
        moved = width * size * (math.prod(lead) < rows or not isinstance(x, jax.Array))
        row, most = row + moved, max(most, moved * (not isinstance(x, jax.Array)))
    require("the distances", lambda contexts: block + (row + most) * contexts, contexts=rows)


@partial(jax.jit, static_argnums=0)
def of_rows(measure: Discrepancy | Measure, p: jax.Array, q: jax.Array) -> jax.Array:
    """Block after block; by the kernel for logits on a GPU or TPU."""
    p, q = jnp.broadcast_arrays(p, q)
    *lead, V = p.shape
    p, q = (x.reshape(-1, V) for x in (p, q))
    dtype = jnp.promote_types(jnp.result_type(p, q), jnp.float32)
    of_block = measure.of_logits if isinstance(measure, Discrepancy) else measure

    def piece(p: jax.Array, q: jax.Array) -> jax.Array:
        return of_block(p.astype(dtype), q.astype(dtype))

    ways: dict[str, Measure] = {
        "cpu": partial(blockwise, piece, dtype, max(1, BLOCK // V)),
        "default": partial(blockwise, piece, dtype, max(1, DEVICE_BLOCK // V)),
    }
    if isinstance(measure, Divergence):
        ways |= kernels(measure, p.shape, dtype)
    return lax.platform_dependent(p, q, **ways).reshape(lead)
