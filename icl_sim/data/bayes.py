"""The exact Bayes answer to a table of counts, under the prior that the base is pretrained on.

Rows are independent Dirichlet(a, ..., a) laws; the concentration a is the same for all contexts and
log-uniform on an interval. Given a, the posterior predictive is (n_cy + a) / (n_c + a V) and the
likelihood of the counts is the Dirichlet-multinomial

    prod_c  Gamma(aV) / Gamma(aV + n_c)  prod_y  Gamma(a + n_cy) / Gamma(a);

the answer averages the former over the posterior of a, which is a one-dimensional integral of an
analytic function of ln a: Gauss-Legendre quadrature.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

CONCENTRATION = (0.1, 2.0)
NODES = 24


def posterior_predictive(
    counts: Any, *, most: int, interval: tuple[float, float] = CONCENTRATION
) -> jax.Array:
    """The law of the next output in each context, the concentration integrated out.

    Args:
      counts: int [m, V].
      most: the largest count of a context that may come; static.
      interval: of the concentration.

    Returns:
      float32 [m, V]; NaN if a context has more than ``most`` counts.

    >>> posterior_predictive(jnp.array([[0, 0]]), most=3).tolist()
    [[0.5, 0.5]]
    """
    counts = jnp.asarray(counts)
    V = counts.shape[1]
    tables = (jnp.asarray(array) for array in _tables(V, most, interval))
    nodes, log_weights, of_output, of_context = tables
    total = counts.sum(axis=1, dtype=jnp.int32)
    # Out-of-range counts would read the last entry: make them NaN instead.
    gained = of_output.at[:, counts].get(mode="fill", fill_value=jnp.nan).sum(axis=(1, 2))
    lost = of_context.at[:, total].get(mode="fill", fill_value=jnp.nan).sum(axis=1)
    posterior = jax.nn.softmax(log_weights + gained - lost)[:, None, None]
    a = nodes[:, None, None]
    n, n_all = counts.astype(jnp.float32)[None], total.astype(jnp.float32)[None, :, None]
    return (posterior * (n + a) / (n_all + a * V)).sum(axis=0)


@lru_cache(maxsize=64)
def _tables(V: int, most: int, interval: tuple[float, float]) -> tuple[np.ndarray, ...]:
    """Nodes a [G], log weights [G], ln Gamma(a + k) / Gamma(a) and ln Gamma(aV + k) / Gamma(aV).

    The last two, [G, most + 1], are sums of ln(a + i) in float64, less those of the middle node:
    the posterior needs differences between nodes only, and these stay small, so that float32 does.
    """
    x, weights = np.polynomial.legendre.leggauss(NODES)
    low, high = np.log(interval)
    a = np.exp((high + low + (high - low) * x) / 2)
    i = np.arange(most)

    def rising(b: np.ndarray) -> np.ndarray:
        sums = np.concatenate([np.zeros((NODES, 1)), np.cumsum(np.log(b[:, None] + i), 1)], axis=1)
        return sums - sums[NODES // 2]

    arrays = a, np.log(weights), rising(a), rising(a * V)
    return tuple(array.astype(np.float32) for array in arrays)
