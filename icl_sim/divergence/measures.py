"""What each distance is: of rows of laws, and of rows of logits.

Of logits a and b, with e = exp(a - max a), E = sum e, and f, F the same of b, every distance is
``finish(sum over outputs of terms(first, second), E)``, where `Weights` are what terms are made of.
So there are two ways to it: `of_logits` keeps both rows in the cache, and computes each exponential
once; `online` reads them twice, part by part, where a whole row does not fit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy.special import xlog1py

from icl_sim.divergence.rows import first_of, fold, fold_logits, has_nan, row_max, row_sum


class Weights(NamedTuple):
    """Rows of one model, or a part of them.

    logits: a, `finite`.
    top: max a, of whole rows.
    weight: e = exp(a - max a).
    total: E = sum e, of whole rows.
    """

    logits: jax.Array
    top: jax.Array
    weight: jax.Array
    total: jax.Array


Terms = Callable[[Weights, Weights], jax.Array]  # of a and b -> like them
Finish = Callable[[jax.Array, jax.Array], jax.Array]  # sum of terms, E -> distance
Part = Callable[[jax.Array], tuple[jax.Array, jax.Array]]  # number -> two arrays [R, L]


@dataclass(frozen=True)
class Divergence:
    """A distance between laws.

    Args:
      laws: two folded blocks of laws -> [R].
      terms, finish: the distance of logits, as the module says.
    """

    laws: Callable[[jax.Array, jax.Array], jax.Array]
    terms: Terms
    finish: Finish

    def of_laws(self, p: jax.Array, q: jax.Array) -> jax.Array:
        """[R, V] and [R, V] -> [R]."""
        return self.laws(fold(p), fold(q))

    def of_logits(self, a: jax.Array, b: jax.Array) -> jax.Array:
        """[R, V] and [R, V] -> [R]."""
        first, second = _weights(fold_logits(a)), _weights(fold_logits(b))
        return self.finish(row_sum(self.terms(first, second)), first.total).ravel()

    def online(self, part: Part, parts: int, rows: int, dtype: jnp.dtype) -> jax.Array:
        """[R, 1] from parts of `finite` logits, each read twice.

        Between two parts, weights are relative to the greatest logit so far: when it grows from t
        to t', the sum of those before is multiplied by exp(t - t').

        Args:
          part: j -> parts of both models' logits, [R, L]; -inf marks what is no output.
          parts: how many there are.
          rows, dtype: R and the dtype of the logits.
        """

        def grow(stats: tuple[jax.Array, jax.Array], x: jax.Array) -> tuple[jax.Array, jax.Array]:
            top, total = stats
            new = jnp.maximum(top, jnp.max(x, axis=1, keepdims=True))
            here = jnp.sum(jnp.exp(x - new), axis=1, keepdims=True)
            return new, total * jnp.exp(top - new) + here

        def both(j: jax.Array, stats: tuple) -> tuple:
            a, b = part(j)
            return grow(stats[0], a), grow(stats[1], b)

        bounds = jnp.int32(0), jnp.int32(parts)
        least = jnp.full((rows, 1), float(jnp.finfo(dtype).min), dtype)
        none = jnp.zeros((rows, 1), dtype)
        (top_a, E), (top_b, F) = lax.fori_loop(*bounds, both, ((least, none), (least, none)))

        def add(j: jax.Array, total: jax.Array) -> jax.Array:
            a, b = part(j)
            first = Weights(a, top_a, jnp.exp(a - top_a), E)
            second = Weights(b, top_b, jnp.exp(b - top_b), F)
            return total + jnp.sum(self.terms(first, second), axis=1, keepdims=True)

        return self.finish(lax.fori_loop(*bounds, add, none), E)


def _weights(a: jax.Array) -> Weights:
    """Of folded logits."""
    top = row_max(a)
    e = lax.optimization_barrier(jnp.exp(a - top))  # else XLA may compute it again for each use
    return Weights(a, top, e, row_sum(e))


def _tv(p: jax.Array, q: jax.Array) -> jax.Array:
    return row_sum(jnp.abs(p - q)).ravel() / 2


def _tv_terms(p: Weights, q: Weights) -> jax.Array:
    return jnp.abs(p.weight - q.weight * (p.total / q.total))


def _tv_finish(total: jax.Array, E: jax.Array) -> jax.Array:
    return jnp.minimum(total / (2 * E), 1)


def _kl(p: jax.Array, q: jax.Array) -> jax.Array:
    # 0 * q is 0, or NaN. Between normal numbers p/q cannot overflow, for 1/tiny is finite. Without
    # mass the quotient is 1, since a derivative passes through what is not chosen too.
    none = p < jnp.finfo(p.dtype).tiny
    ratio = jnp.where(none, 1, p) / jnp.where(none, 1, q)
    terms = jnp.where(none, 0 * q, p * jnp.log(ratio))
    return _within(row_sum(terms), 0, jnp.inf).ravel()


def _kl_terms(p: Weights, q: Weights) -> jax.Array:
    d, g, none = p.logits - p.top, q.logits - q.top, p.weight == 0
    # No two ordinary logits are this far apart: the lower one was -inf.
    g = jnp.where(g < -jnp.finfo(g.dtype).max / 2, -jnp.inf, g)
    ratio = jnp.where(none, 0, d - g) + jnp.log(q.total / p.total)
    return jnp.where(none, 0, p.weight * ratio)


def _kl_finish(total: jax.Array, E: jax.Array) -> jax.Array:
    return _within(total / E, 0, jnp.inf)


def _within(x: jax.Array, low: float, high: float) -> jax.Array:
    """Clips what rounding moved out; the derivative stays 1, at the ends too."""
    clipped = jnp.where(jnp.isinf(x), x, jnp.clip(x, low, high))
    return jnp.where(clipped == x, x, clipped + (x - lax.stop_gradient(x)))


def _js(p: jax.Array, q: jax.Array) -> jax.Array:
    return _js_finish(row_sum(_js_of_laws(p, q))).ravel()


def _polynomial(function: Callable[[np.ndarray], np.ndarray], most: float) -> list[float]:
    """Coefficients, lowest first, of the function on [0, most] through 7 Chebyshev points."""
    fit = np.polynomial.chebyshev.Chebyshev.interpolate(function, 6, [0, most])
    return fit.convert(kind=np.polynomial.Polynomial).coef.tolist()


def _near(t: np.ndarray) -> np.ndarray:
    w = np.sqrt(t)
    return ((1 + w) * np.log1p(w) + (1 - w) * np.log1p(-w)) / t


# Both are analytic up to a distance of 7 half-widths from the middle of their interval, where 7
# points leave an error of 14^-7 = 1e-8.
_NEAR = _polynomial(_near, 1 / 4)
_FAR = _polynomial(lambda y: (2 - y) * np.log(2 - y), 1 / 2)


# Polynomials top, bottom in u = y^2 such that u top / bottom is h(tanh y) for u up to most, minimax
# by Lawson's iteration, rounded to float32; tests/test_distance_gradients.py has the error.
_JS_RATIO = (
    [1, 0.4769651, 0.06077101, 0.00344879, 9.3057555e-05, 2.0733282e-10],
    [1, 0.9769657, 0.32703277, 0.044300083, 0.0024811265, 6.7176334e-05],
    100.0,
)


def _horner(coefficients: list[float], x: jax.Array) -> jax.Array:
    total = jnp.full_like(x, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        total = total * x + coefficient
    return total


@jax.custom_jvp
def _js_of_laws(p: jax.Array, q: jax.Array) -> jax.Array:
    """The law's part of 4 JS: s h(r), h(r) = (1 + r) ln(1 + r) + (1 - r) ln(1 - r).

    With p = s (1 + r) / 2 and q = s (1 - r) / 2, which keeps its accuracy when the laws are close,
    where ln p - ln s cancels. In float32, h is r^2 times a polynomial in r^2 up to |r| = 1/2, and
    beyond that, with y = 1 - |r|, a polynomial in y and y ln y: one logarithm an entry.
    """
    s, r = _half_difference(p, q)
    if s.dtype != jnp.float32:
        return s * (xlog1py(1 + r, r) + xlog1py(1 - r, -r))
    w = jnp.abs(r)
    y = 1 - w
    # Laws that rounding alone tells apart are equal.
    t = jnp.where(w <= jnp.finfo(w.dtype).eps, 0, w * w)
    far = _horner(_FAR, y) + y * jnp.log(jnp.maximum(y, jnp.finfo(y.dtype).tiny))
    return s * jnp.where(y < 0.5, far, t * _horner(_NEAR, t))


@_js_of_laws.defjvp
def _js_slope(primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    return _js_of_laws(*primals), _js_slope_in(*primals, *tangents)


def _js_slope_in(p: jax.Array, q: jax.Array, dp: jax.Array, dq: jax.Array) -> jax.Array:
    # The derivative in p is 2 ln(1 + r). At p = 0 that is -inf, but a softmax multiplies it by 0,
    # and so it is the least that is finite.
    _, r = _half_difference(p, q)
    return 2 * (_log1p(r) * dp + _log1p(-r) * dq)


def _half_difference(p: jax.Array, q: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The sum s, and r = (p - q) / s, which is 0 where both are."""
    s = p + q
    none = s < jnp.finfo(s.dtype).tiny
    return s, jnp.where(none, 0, (p - q) / jnp.where(none, 1, s))


def _log1p(r: jax.Array) -> jax.Array:
    tiny = jnp.finfo(r.dtype).tiny
    return jnp.where(r < -0.5, jnp.log(jnp.maximum(1 + r, tiny)), jnp.log1p(jnp.maximum(r, -0.5)))


def _js_terms(p: Weights, q: Weights) -> jax.Array:
    f = q.weight * (p.total / q.total)  # a quotient a row, not one an entry
    if f.dtype != jnp.float32:
        return _js_of_laws(p.weight, f)
    # Halves of differences from the top do not overflow.
    d, g = (x.logits / 2 - x.top / 2 for x in (p, q))
    return _js_of_log_ratio(p.weight, f, d - g + jnp.log(q.total / p.total) / 2)


@jax.custom_jvp
def _js_of_log_ratio(p: jax.Array, q: jax.Array, y: jax.Array) -> jax.Array:
    """`_js_of_laws` where y = ln(p / q) / 2 is known: s h(tanh y), without a logarithm an entry.

    That is an even function of y, zero at zero to second order, so laws that are close keep their
    accuracy; `_JS_RATIO` is within 3e-7 of it, relatively, and so is its limit beyond the range.
    """
    top, bottom, most = _JS_RATIO
    s, u = p + q, jnp.minimum(y * y, most)
    terms = s * (u * _horner(top, u) / _horner(bottom, u))
    return jnp.where(s > 0, terms, 0 * s)  # without mass y may be NaN


@_js_of_log_ratio.defjvp
def _js_slope_of_log_ratio(primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    p, q, _ = primals
    return _js_of_log_ratio(*primals), _js_slope_in(p, q, *tangents[:2])


def _js_finish_of_logits(total: jax.Array, E: jax.Array) -> jax.Array:
    return _js_finish(total / E)


def _js_finish(total: jax.Array) -> jax.Array:
    return _within(total / 4, 0, math.log(2))


TOTAL_VARIATION = Divergence(_tv, _tv_terms, _tv_finish)
KULLBACK_LEIBLER = Divergence(_kl, _kl_terms, _kl_finish)
JENSEN_SHANNON = Divergence(_js, _js_terms, _js_finish_of_logits)


@dataclass(frozen=True)
class Top1:
    """Whether the first maxima differ, 1 or 0; NaN where a row has NaN."""

    def of_logits(self, a: jax.Array, b: jax.Array) -> jax.Array:
        """[R, V] and [R, V] -> [R]; of laws too, whose order is the same."""
        a, b = fold_logits(a), fold_logits(b)
        tops = lax.optimization_barrier((row_max(a), row_max(b)))
        differ = first_of(a, tops[0]) != first_of(b, tops[1])
        return jnp.where(has_nan(a) | has_nan(b), jnp.nan, differ.astype(a.dtype))

    def online(self, part: Part, parts: int, rows: int, dtype: jnp.dtype) -> jax.Array:
        """As `Divergence.online`, but each part is read once."""

        def better(best: tuple[jax.Array, ...], x: jax.Array, j: jax.Array) -> tuple:
            top, place, nan = best
            here = row_max(x)
            # Parts may overlap; what counts is that different outputs get different numbers.
            first = j * x.shape[1] + first_of(x, here)[:, None]
            place = jnp.where(here > top, first, place)
            return jnp.maximum(top, here), place, nan | has_nan(x)[:, None]

        def both(j: jax.Array, best: tuple) -> tuple:
            a, b = part(j)
            return better(best[0], a, j), better(best[1], b, j)

        column = (rows, 1)
        none = (
            jnp.full(column, -jnp.inf, dtype),
            jnp.zeros(column, jnp.int32),
            jnp.zeros(column, bool),
        )
        bounds = jnp.int32(0), jnp.int32(parts)
        (_, a, nan_a), (_, b, nan_b) = lax.fori_loop(*bounds, both, (none, none))
        return jnp.where(nan_a | nan_b, jnp.nan, (a != b).astype(dtype))


TOP1 = Top1()

Discrepancy = Divergence | Top1  # what is measured between two rows of logits
