"""Exact multinomial counts, in integers from the first random bit to the last count.

`jax.random.multinomial` is not used: in float32 its binomials are biased from n = 1e6 on, and its
stream is free to change from one version to the next. Here a sample is one 31-bit integer compared
with integer thresholds, so that the same key gives the same counts on every platform.

Letters: V categories, n samples.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

_CHUNK = 256  # samples drawn at a time; part of the stream, so never to be tuned per call
_SCALE = 2**31


def integer_thresholds(law: jax.Array) -> jax.Array:
    """Cumulative integer weights uint32 [V] of a law, the last of them 2^31.

    Each probability is cut to a multiple of 2^-31 and the remainder goes to the likeliest category.
    Integer sums are exact in any order, so an empty category keeps exactly no weight, which a
    floating-point cumulative sum does not promise.
    """
    weights = (law * float(_SCALE)).astype(jnp.uint32)
    remainder = jnp.uint32(_SCALE) - jnp.sum(weights, dtype=jnp.uint32)  # modulo 2^32, rightly so
    weights = weights.at[jnp.argmax(law)].add(remainder)
    return jnp.cumsum(weights, dtype=jnp.uint32)


def multinomial_counts(key: jax.Array, n: jax.Array | int, law: jax.Array) -> jax.Array:
    """Counts of n independent samples of a law: Multinomial(n, law).

    The law sampled is `law` with each probability cut to a multiple of 2^-31 (the likeliest
    category takes the rest): within V / 2^31 in total variation, and exact for dyadic laws.
    The cost is about n log V. Use `jax.vmap` over keys for several draws.

    Args:
      key: one typed key, consumed.
      n: number of samples, below 2^31; may be traced, so that changing it compiles nothing.
      law: probabilities, float [V], non-negative, summing to one.

    Returns:
      int32 [V] summing to n; zero wherever the law is zero.

    >>> counts = multinomial_counts(jax.random.key(0), 10, jnp.array([0.5, 0.0, 0.5]))
    >>> int(counts.sum()), int(counts[1]), counts.dtype.name
    (10, 0, 'int32')
    """
    law = jnp.asarray(law)
    if law.ndim != 1 or not jnp.issubdtype(law.dtype, jnp.floating):
        raise ValueError(f"law must be a float vector [V], got {law.dtype} {list(law.shape)}")
    if not isinstance(law, jax.core.Tracer):
        known = np.asarray(law)
        if not (known.min() >= 0 and abs(known.sum() - 1) < 1e-3):
            raise ValueError(f"law must be non-negative with sum one, got {known}")
    thresholds = integer_thresholds(law)
    n = jnp.asarray(n, dtype=jnp.int32)
    position = jnp.arange(_CHUNK, dtype=jnp.int32)

    def add_chunk(chunk: jax.Array, counts: jax.Array) -> jax.Array:
        uniform = jax.random.bits(jax.random.fold_in(key, chunk), (_CHUNK,), jnp.uint32) >> 1
        # The first threshold above the integer; 2^31 lies above none, and index V is dropped.
        uniform = jnp.where(position < n - chunk * _CHUNK, uniform, jnp.uint32(_SCALE))
        category = jnp.searchsorted(thresholds, uniform, side="right")
        return counts.at[category].add(1, mode="drop")

    chunks = (n - 1) // _CHUNK + 1
    return jax.lax.fori_loop(jnp.int32(0), chunks, add_chunk, jnp.zeros(law.shape, jnp.int32))


def scaled_total_variation(counts: jax.Array, weights: jax.Array) -> jax.Array:
    """Total variation of an empirical law from a rational law, as an exact integer.

    sum_i |Q c_i - n w_i| = 2 Q n TV(c / n, w / Q), with n = sum c and Q = sum w. The event
    TV > eps is then the exact comparison of this integer with 2 Q n eps, ties included: at
    V = 32, n = 320 the tie TV = .15 alone has probability .02.

    Args:
      counts: int [V], as from `multinomial_counts`.
      weights: int [V], the law's numerators over their sum; all ones is the uniform law.

    Returns:
      int32 scalar. 2 Q n must stay below 2^31.

    >>> int(scaled_total_variation(jnp.array([3, 1]), jnp.array([1, 1])))  # 2 * 2 * 4 * (1/4)
    4
    """
    counts = jnp.asarray(counts, dtype=jnp.int32)
    weights = jnp.asarray(weights, dtype=jnp.int32)
    n, q = jnp.sum(counts, dtype=jnp.int32), jnp.sum(weights, dtype=jnp.int32)
    return jnp.sum(jnp.abs(q * counts - n * weights), dtype=jnp.int32)
