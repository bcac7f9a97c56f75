"""How far two models' laws are apart, one number per context; and summaries over contexts.

Letters: m contexts, V outputs; R rows in a block, each folded into C parts of L, C L >= V.

Every distance comes in two forms: of laws, arrays whose last axis is a probability vector, and of
logits, whose softmax is the law.  The second never holds a softmax of all contexts.  Both models'
rows go through the cache in blocks: a block is read from memory once, each exponential is computed
once, and the normalizers and the distance are sums over what the cache holds.

Rows at the edge have one reading: a law is a limit of laws of finite logits.  So a logit of -inf is
an impossible output, +inf shares all the mass with the other +inf, and a row of -inf alone (equal
logits) is the uniform law; log-counts of a context without data then give what counting gives it
by convention.  NaN in a row makes that context's distance NaN, never a neighbor's.  Subnormal
probabilities count as zero: XLA flushes them on a CPU.

Divergences are in nats.  All distances refuse shapes that do not fit with InputError, and are
float64 if an argument is, else float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy.special import xlog1py

from icl_sim.blocks import exact_sum
from icl_sim.errors import InputError

# Entries of one model's block, 2 MiB in float32.  Smaller blocks pay more for starting kernels
# than they save, larger ones leave the cache.
_BLOCK = 2**19
# A row is summed in parts of at most this many neighbors, then the parts are.  In XLA's own order a
# single flat row of V = 32,768 to 1,048,576 was seen to lose 1.5e-5; in parts it loses 4e-7.
_PART = 512

Measure = Callable[[jax.Array, jax.Array], jax.Array]  # two folded arrays [R, C, L] -> [R]


def total_variation(p: Any, q: Any) -> jax.Array:
    """Total variation between the laws of each context.

    TV(p, q) = 1/2 sum_y |p(y) - q(y)| = max over events A of |p(A) - q(A)|, in [0, 1].

    Args:
        p, q: laws, float [..., m, V], the last axis summing to one.  The axes before it broadcast.

    Returns:
        [..., m], float64 if an argument is float64, else float32.

    Raises:
        InputError: the shapes do not fit, or V is 0.

    >>> total_variation([[0.5, 0.5], [1.0, 0.0]], [[0.5, 0.5], [0.0, 1.0]]).tolist()
    [0.0, 1.0]
    """
    return _distances(_tv, _fold_laws, p, q)


def total_variation_from_logits(a: Any, b: Any) -> jax.Array:
    """Total variation between softmax(a) and softmax(b) in each context.

    With unnormalized weights e = exp(a - max a), f = exp(b - max b) and their sums E, F, it is
    sum_y |e(y) - f(y) E/F| / (2 E).  Equal rows give exactly 0.

    Args:
        a, b: logits, float [..., m, V], the axes before the last broadcast.  Infinities are read
            as the module says.

    Returns:
        [..., m], float64 if an argument is float64, else float32 (absolute error below 1e-6).

    >>> inf = float("inf")
    >>> total_variation_from_logits([[0.0, 0.0], [-inf, -inf]], [[0.0, -inf], [7.0, 7.0]]).tolist()
    [0.5, 0.0]
    """
    return _distances(_tv_of_logits, _fold_logits, a, b)


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
    return _distances(_kl, _fold_laws, p, q)


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
    return _distances(_kl_of_logits, _fold_logits, a, b)


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
    return _distances(_js, _fold_laws, p, q)


def jensen_shannon_from_logits(a: Any, b: Any) -> jax.Array:
    """Jensen-Shannon divergence between softmax(a) and softmax(b) in each context, in nats.

    Args:
        a, b: logits, float [..., m, V].

    Returns:
        [..., m], in [0, ln 2].

    >>> round(float(jensen_shannon_from_logits([0.0, -1e4], [-1e4, 0.0])), 4)
    0.6931
    """
    return _distances(_js_of_logits, _fold_logits, a, b)


def top1_disagreement(p: Any, q: Any) -> jax.Array:
    """Whether the two models' most likely outputs differ: 1 or 0 for each context.

    Softmax keeps the order, so laws and logits give the same answer.  The first of equals counts.

    Args:
        p, q: laws or logits, float [..., m, V].

    Returns:
        [..., m], 0 or 1, of the same float type as the other distances.

    >>> top1_disagreement([[0.6, 0.4], [0.6, 0.4]], [[0.9, 0.1], [0.2, 0.8]]).tolist()
    [0.0, 1.0]
    """
    return _distances(_top1, _fold_logits, p, q)


@dataclass(frozen=True)
class Summary:
    """Distances over contexts (or trials) in few numbers.

    contexts: how many there were.  mean, max: float.  quantiles: level -> value, each value one of
    the distances.  failures: how many exceed the bound, None without a bound.
    """

    contexts: int
    mean: float
    max: float
    quantiles: dict[float, float]
    failures: int | None


def summarize(
    distances: Any, *, bound: float | None = None, quantiles: Sequence[float] = (0.5, 0.9, 0.99)
) -> Summary:
    """Mean, maximum, quantiles and failures of distances, independent of their order.

    The mean is the correctly rounded sum over the number, and quantiles are order statistics, so
    neither the blocks nor the devices that computed the distances can show in the result.

    Args:
        distances: real array of any shape, without NaN.
        bound: a distance above it (not equal to it) is a failure.
        quantiles: levels in [0, 1]; level t gives the least distance with at least a fraction t of
            the distances at or below it.

    Raises:
        InputError: no distances, a NaN among them, or a level outside [0, 1].

    >>> s = summarize([0.1, 0.4, 0.2, 0.3], bound=0.3, quantiles=[0.5])
    >>> s.mean, s.max, s.quantiles, s.failures
    (0.25, 0.4, {0.5: 0.2}, 1)
    """
    flat = np.sort(np.asarray(distances, dtype=np.float64), axis=None)
    if not flat.size:
        raise InputError("expected at least one distance to summarize, got none")
    if np.isnan(flat[-1]):  # sorting puts NaN last
        raise InputError(
            f"expected distances, got NaN in {np.isnan(flat).sum()} of {flat.size}: "
            "look for NaN in the logits"
        )
    if not all(0 <= level <= 1 for level in quantiles):
        raise InputError(f"expected quantile levels in [0, 1], got {list(quantiles)}")
    return Summary(
        contexts=flat.size,
        mean=float(exact_sum(flat)) / flat.size,
        max=float(flat[-1]),
        quantiles={t: float(np.quantile(flat, t, method="inverted_cdf")) for t in quantiles},
        failures=None if bound is None else int((flat > bound).sum()),
    )


def _distances(measure: Measure, fold: Callable[[jax.Array], jax.Array], p: Any, q: Any) -> Any:
    """The measure of each pair of rows, after a look at the shapes."""
    p, q = jnp.asarray(p), jnp.asarray(q)
    try:
        if p.shape[-1] != q.shape[-1] or p.shape[-1] == 0:
            raise ValueError
        jnp.broadcast_shapes(p.shape[:-1], q.shape[:-1])
    except (IndexError, ValueError):
        raise InputError(
            f"expected two arrays [..., m, V] with the same V >= 1, got {p.shape} and {q.shape}"
        ) from None
    return _blockwise(measure, fold, p, q)


@partial(jax.jit, static_argnums=(0, 1))
def _blockwise(measure: Measure, fold: Callable, p: jax.Array, q: jax.Array) -> jax.Array:
    """The measure block after block on a CPU, in one piece on other devices."""
    dtype = jnp.promote_types(jnp.result_type(p, q), jnp.float32)
    lead = jnp.broadcast_shapes(p.shape[:-1], q.shape[:-1])
    V = p.shape[-1]
    p, q = (jnp.broadcast_to(x, (*lead, V)).reshape(-1, V) for x in (p, q))
    m = len(p)
    rows = min(m, max(1, _BLOCK // V))

    def piece(p: jax.Array, q: jax.Array) -> jax.Array:
        return measure(fold(p.astype(dtype)), fold(q.astype(dtype)))

    def blocks(p: jax.Array, q: jax.Array) -> jax.Array:
        def step(i: jax.Array, out: jax.Array) -> jax.Array:
            # Slices that would pass the end are moved back, in reading and in writing alike: a
            # short last block repeats rows that have their value already.
            x, y = (lax.dynamic_slice_in_dim(z, i * rows, rows) for z in (p, q))
            return lax.dynamic_update_slice_in_dim(out, piece(x, y), i * rows, 0)

        return lax.fori_loop(0, -(-m // rows), step, jnp.zeros(m, dtype))

    if rows == m:
        return piece(p, q).reshape(lead)
    return lax.platform_dependent(p, q, cpu=blocks, default=piece).reshape(lead)


def _fold_laws(p: jax.Array, fill: float = 0.0) -> jax.Array:
    """[R, V] to [R, C, L], with impossible outputs behind the last one; as it is if C = 1."""
    R, V = p.shape
    C = -(-V // _PART)
    if C == 1:
        return p
    L = -(-V // C)
    return jnp.pad(p, ((0, 0), (0, C * L - V)), constant_values=fill).reshape(R, C, L)


def _fold_logits(a: jax.Array) -> jax.Array:
    """`_fold_laws` of logits, infinities moved to the largest float.

    Then -inf beside anything ordinary still weighs exp(-3e38) = 0 exactly, and a row of one
    infinity is a row of equal numbers.  Only the padding is -inf, and never the maximum.
    """
    largest = float(jnp.finfo(a.dtype).max)
    return _fold_laws(jnp.clip(a, -largest, largest), fill=-math.inf)


def _row_sum(x: jax.Array) -> jax.Array:
    """Sum of each row, [R, C, L] to [R, 1, 1]."""
    x = jnp.sum(x, axis=-1, keepdims=True)
    if x.ndim == 3:
        x = lax.optimization_barrier(x)  # else XLA may make one sum of both
        x = jnp.sum(x, axis=1, keepdims=True)
    return x


def _row_max(x: jax.Array) -> jax.Array:
    """Maximum of each row, [R, C, L] to [R, 1, 1]."""
    return jnp.max(x, axis=tuple(range(1, x.ndim)), keepdims=True)


def _weights(a: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Folded logits below their maximum, d <= 0, the weights e = exp d, and the sums E of e."""
    d = a - _row_max(a)
    e = lax.optimization_barrier(jnp.exp(d))  # else XLA may compute it again for each use
    return d, e, _row_sum(e)


def _tv(p: jax.Array, q: jax.Array) -> jax.Array:
    return _row_sum(jnp.abs(p - q)).ravel() / 2


def _tv_of_logits(a: jax.Array, b: jax.Array) -> jax.Array:
    (_, e, E), (_, f, F) = _weights(a), _weights(b)
    return jnp.minimum(_row_sum(jnp.abs(e - f * (E / F))) / (2 * E), 1).ravel()


def _kl(p: jax.Array, q: jax.Array) -> jax.Array:
    # 0 * q is 0, or NaN.  Between normal numbers p/q cannot overflow, for 1/tiny is finite.
    terms = jnp.where(p < jnp.finfo(p.dtype).tiny, 0 * q, p * jnp.log(p / q))
    return jnp.maximum(_row_sum(terms), 0).ravel()


def _kl_of_logits(a: jax.Array, b: jax.Array) -> jax.Array:
    (d, e, E), (g, _, F) = _weights(a), _weights(b)
    # No two ordinary logits are this far apart: the lower one was -inf.
    g = jnp.where(g < -jnp.finfo(g.dtype).max / 2, -jnp.inf, g)
    terms = jnp.where(e == 0, 0, e * ((d - g) + jnp.log(F / E)))
    return jnp.maximum(_row_sum(terms) / E, 0).ravel()


def _js(p: jax.Array, q: jax.Array) -> jax.Array:
    # p = s (1 + r) / 2 and q = s (1 - r) / 2: the logarithms of 1 + r and 1 - r keep their accuracy
    # when the laws are close, where ln p - ln s cancels.
    s = p + q
    r = jnp.where(s < jnp.finfo(s.dtype).tiny, 0, (p - q) / s)
    terms = s * (xlog1py(1 + r, r) + xlog1py(1 - r, -r))
    return jnp.clip(_row_sum(terms) / 4, 0, math.log(2)).ravel()


def _js_of_logits(a: jax.Array, b: jax.Array) -> jax.Array:
    (_, e, E), (_, f, F) = _weights(a), _weights(b)
    return _js(e / E, f / F)


def _top1(a: jax.Array, b: jax.Array) -> jax.Array:
    V = math.prod(a.shape[1:])
    numbers = jnp.arange(V, dtype=jnp.int32).reshape(1, *a.shape[1:])

    def first(x: jax.Array, top: jax.Array) -> jax.Array:
        # Two plain reductions; XLA's argmax, one of pairs, is many times slower on a CPU.
        return jnp.min(jnp.where(x == top, numbers, V), axis=tuple(range(1, x.ndim)))

    top_a, top_b = lax.optimization_barrier((_row_max(a), _row_max(b)))
    known = ~jnp.isnan(top_a + top_b).ravel()
    return jnp.where(known, (first(a, top_a) != first(b, top_b)).astype(a.dtype), jnp.nan)
