"""Backpropagation on the prompt at hand: how far float32 may stand from exact training.

As in `descent_bound`, but the tokens carry the parameters theta = (U, W) themselves: token j holds
theta + o + A, where o is what its own updates were rounded by (bounded alike for all tokens) and A,
common to all, what the examples' wrong gradients have caused,

    V <- mu V + H A + (box)        A <- (1 - eta lambda) A - eta V,

with H the exact derivative of the mean gradient on the exact run. (A, V) is carried in an
ellipsoid; o, the rounding of each example's gradient and what is of second order enter as a box. An
entry of U x so near 0 that its sign is not certain is a kink: there the whole of what passes is put
into the box, and the bound is no longer small.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from constructions.learners import ellipsoid
from constructions.learners.descent import Recipe, softmax
from constructions.learners.descent_bound import ROOM, law_distance, law_rounding


class Pass(NamedTuple):
    """The exact forward pass of some tokens, and how far the computed one may be off.

    a, z, f: [n, h], [n, h] and [n, C].
    slope: relu'(a), [n, h]; kink: where it is not certain.
    da, dz, df: of all errors, entry by entry.
    sz, sf: of those that are not A.
    rows: [n, C, D], the derivative of f by theta.
    """

    a: np.ndarray
    z: np.ndarray
    f: np.ndarray
    slope: np.ndarray
    kink: np.ndarray
    da: np.ndarray
    dz: np.ndarray
    df: np.ndarray
    sz: np.ndarray
    sf: np.ndarray
    rows: np.ndarray


def law_error(
    recipe: Recipe, unit: float, step: float, *, features: np.ndarray, labels: np.ndarray,
    queries: np.ndarray, inner: np.ndarray, outer: np.ndarray,
) -> float:  # fmt: skip
    """Largest total variation of the computed laws from those of exact training.

    Of an update, with n examples: the mean of gradients takes (n + 3) u of their mean size; scaling
    the velocity by mu 3 u (1 - mu) |v| + u |mu v| (without momentum v - v = 0, exactly), adding
    u |v'|; the rate and the decay, converted and multiplied, 3 u eta |v'| + 4 u eta lambda |theta|,
    adding u |theta'|.

    Args:
      recipe: the run.
      unit: unit roundoff.
      step: the computed derivative is relu' but for 0 < a < step.
      features, labels, queries, inner, outer: of `network`.
    """
    n = len(features)
    h, C = inner.shape[0], outer.shape[0]
    eta, mu, decay = recipe.rates[0], recipe.momentum, recipe.weight_decay
    y = np.eye(C)[labels]
    theta = np.concatenate([inner.reshape(-1), outer.reshape(-1)])
    D = len(theta)
    eye = np.eye(D)
    v, o, p, ev = np.zeros(D), unit * np.abs(theta), np.zeros(D), np.zeros(D)
    ellipse = np.zeros((2 * D, 2 * D))
    reads = np.eye(D, 2 * D)
    scale = np.repeat([1.0, (eta / (1 - mu)) ** 2], D)
    for _ in recipe.rates:
        e = o + ellipsoid.widths(ellipse, reads)
        here = _forward(theta, e, o, features, h, unit, step)
        if not here.df.max(initial=0) < 1:
            return 1.0
        g, H, off, own_mean = _gradients(theta, e, o, here, features, y, unit)
        own = (n + 3) * unit * own_mean + unit * (mu > 0) * (
            3 * (1 - mu) * (np.abs(v) + ev) + mu * (np.abs(v) + ev)
        )
        v = mu * v + g
        ev = mu * ev + own + np.abs(H) @ e + off
        own += unit * (np.abs(v) + ev)
        p = mu * p + own
        own = unit * (3 * eta * (np.abs(v) + ev) + 4 * eta * decay * (np.abs(theta) + e))
        theta = theta - eta * (v + decay * theta)
        o = abs(1 - eta * decay) * o + eta * p + own + unit * (np.abs(theta) + e + eta * ev)
        keep = (1 - eta * decay) * eye - eta * H
        J = np.block([[keep, -eta * mu * eye], [H, mu * eye]])
        columns = np.concatenate([-eta * np.diag(off), np.diag(off)])
        ellipse = ellipsoid.total(J @ ellipse @ J.T, ellipsoid.box(columns), scale)
    e = o + ellipsoid.widths(ellipse, reads)
    here = _forward(theta, e, o, queries, h, unit, step)
    padded = np.concatenate([here.rows, np.zeros_like(here.rows)], axis=2)
    errors = here.sf + ellipsoid.widths(ellipse, padded)
    return law_distance(np.eye(C), here.f, ROOM * errors, unit)


def _forward(
    theta: np.ndarray, e: np.ndarray, o: np.ndarray, x: np.ndarray, h: int, unit: float, step: float
) -> Pass:
    """A = U x takes (d + 2) u of |U| |x| (x converted, d products), f = W z (h + 1) u of |W| z."""
    d = x.shape[1]
    split = [one[: h * d].reshape(h, d) for one in (theta, e, o)]
    (U, eU, oU), (W, eW, oW) = split, [one[h * d :].reshape(-1, h) for one in (theta, e, o)]
    size = np.abs(x)
    a = x @ U.T
    rounding = (d + 2) * unit * (size @ (np.abs(U) + eU).T)
    da = size @ eU.T + rounding
    kink = (np.abs(a) <= ROOM * da) | ((a > 0) & (a <= step + ROOM * da))
    slope = (a > 0).astype(float)
    z, dz = np.maximum(a, 0), np.where(kink, da, slope * da)
    sz = np.where(kink, da, slope * (size @ oU.T + rounding))
    f = z @ W.T
    rounding = (h + 1) * unit * ((z + dz) @ (np.abs(W) + eW).T)
    second = dz @ eW.T
    df = z @ eW.T + dz @ np.abs(W).T + second + rounding
    sf = z @ oW.T + sz @ np.abs(W).T + second + rounding
    by_inner = np.einsum("ck,ik,ij->ickj", W, slope, x).reshape(*f.shape, -1)
    by_outer = np.einsum("ce,ik->icek", np.eye(len(W)), z).reshape(*f.shape, -1)
    rows = np.concatenate([by_inner, by_outer], axis=2)
    return Pass(a, z, f, slope, kink, da, dz, df, sz, sf, rows)


def _gradients(
    theta: np.ndarray, e: np.ndarray, o: np.ndarray, here: Pass, x: np.ndarray, y: np.ndarray,
    unit: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """The mean gradient, its derivative H by theta, what it is off by besides, and its mean size.

    An example's: r = p - y, by the softmax's second order and rounding (`descent_bound`) and u |r|;
    back = W' r takes (C + 1) u of |W|' |r|; delta = relu'(a) back is exact; delta x', r z' are
    products, u each, and x is converted.
    """
    n, h = here.z.shape
    d, C, D = x.shape[1], y.shape[1], len(theta)
    W, eW, oW = (one[h * d :].reshape(C, h) for one in (theta, e, o))
    size, law = np.abs(x), softmax(here.f)
    r = law - y
    S = np.einsum("ic,ce->ice", law, np.eye(C)) - law[:, :, None] * law[:, None, :]
    m = here.df.max(axis=1, keepdims=True)
    rounding = np.exp(2 * m) * (law_rounding(here.f, unit) + (4 * unit * m + 2 * m * m) * law)
    rounding += 2 * unit * np.abs(r)
    dr, sr = (np.einsum("ice,ie->ic", np.abs(S), one) + rounding for one in (here.df, here.sf))
    back = r @ W
    rounding = (C + 1) * unit * ((np.abs(r) + dr) @ (np.abs(W) + eW))
    second = dr @ eW
    dback = np.abs(r) @ eW + dr @ np.abs(W) + second + rounding
    sback = np.abs(r) @ oW + sr @ np.abs(W) + second + rounding
    delta = here.slope * back
    sdelta = np.where(here.kink, np.abs(back) + dback, here.slope * sback)
    whole = np.where(here.kink, np.abs(back) + dback, here.slope * (np.abs(back) + dback))
    # Derivatives by theta of r, back, delta and z, [n, ., D].
    by_r = np.einsum("ice,ied->icd", S, here.rows)
    by_back = np.einsum("ck,icd->ikd", W, by_r)
    outer = np.einsum("ic,kl->ikcl", r, np.eye(h)).reshape(n, h, C * h)
    by_back[:, :, h * d :] += outer
    by_z = np.einsum("ik,kl,ij->iklj", here.slope, np.eye(h), x).reshape(n, h, h * d)
    by_delta = here.slope[:, :, None] * by_back
    H_inner = np.einsum("ikd,ij->kjd", by_delta, x).reshape(h * d, D)
    H_outer = np.einsum("icd,ik->ckd", by_r, here.z).reshape(C * h, D)
    H_outer[:, : h * d] += np.einsum("ic,ikd->ckd", r, by_z).reshape(C * h, h * d)

    def mean(by_unit: np.ndarray, by_class: np.ndarray) -> np.ndarray:
        return np.concatenate([by_unit.reshape(-1), by_class.reshape(-1)]) / n

    g = mean(delta.T @ x, r.T @ here.z)
    top_r, top_z = np.abs(r) + dr, here.z + here.dz
    sizes = mean(whole.T @ size, top_r.T @ top_z)
    off = mean(sdelta.T @ size, sr.T @ here.z + np.abs(r).T @ here.sz + dr.T @ here.dz)
    return g, np.concatenate([H_inner, H_outer]) / n, off + 2 * unit * sizes, sizes
