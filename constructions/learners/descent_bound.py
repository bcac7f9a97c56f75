"""Gradient descent in function space on the prompt at hand: how far float32 may stand from it.

The exact run is computed in float64, and every operation of the weights is asked how much it may be
rounded, in any order of summation, on these very numbers. Write the errors of a token's logits and
velocity as

    f^_j - f_j = o_j + Phi_j A        v^_j - v_j = p_j + Phi_j U

with Phi_j the derivative of the logits by the head (z_j' for each class, or a Jacobian). o_j and
p_j are what the token's own operations were rounded by; A and U are the change of the head that
the examples' wrong residuals have caused, the same for all tokens:

    p <- mu p + c o + (own rounding of the velocity)         U <- mu U + c A + sum_i w_i Phi_i' dr_i
    o <- (1 - eta lambda) o - eta p + (own of the logits)    A <- (1 - eta lambda) A - eta U

with c the coupled and lambda the decoupled decay. The residual of example i errs by
dr_i = S_i (o_i + Phi_i A) + a_i, S_i the softmax's Jacobian on the exact run and a_i the rounding
of the law and what is of second order. o and p are added up entry by entry. (A, U) is carried in
an ellipsoid by its own exact linear map, H = sum_i w_i Phi_i' S_i Phi_i, so that what training
contracts is contracted here, with momentum too; S_i o_i + a_i enters as a box. That gives every
token's error at every step, which terms of second order need. What is certified in the end is
sharper: a query's logit is followed backwards through the same linear run, and every rounding
counts times what it weighs there (`_traced_back`).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from constructions.learners import ellipsoid
from constructions.learners.descent import Recipe, softmax

# Relative room for products of roundings with each other, (1 + u)^k for small k.
ROOM = 1.01


def law_rounding(scores: np.ndarray, unit: float) -> np.ndarray:
    """How far a computed softmax may be off, entry by entry: [..., k] for scores [..., k].

    s_c - max is rounded by u |s_c - max|, the exponential by 4 u, the sum of k terms by k - 1 and
    the division by u: relative to p_c at most (D_c + sum p D + k + 9) u, D_c = max s - s_c.
    """
    p, below = softmax(scores), scores.max(axis=-1, keepdims=True) - scores
    mean = (p * below).sum(axis=-1, keepdims=True)
    return np.asarray(p * unit * (below + mean + scores.shape[-1] + 9))


def law_distance(free: np.ndarray, f: np.ndarray, e: np.ndarray, unit: float) -> float:
    """Largest total variation of softmax(f^ free') from softmax(f free') where |f^ - f| <= e.

    Between f and f^ the law moves at p_c (x_c - mean x), where |x_c - mean x| is at most
    (1 - p_c) |x_c| + sum_c' p_c' |x_c'| over the others: half the sum is sum_c p_c (1 - p_c) |x_c|
    at most, and p_c (1 - p_c) grows by a factor e^(4 max |x|) at most.

    Args:
      free: [k, O].
      f, e: [m, O].
      unit: of the softmax that reads the law off.
    """
    if not np.isfinite(e).all():
        return 1.0
    scores, errors = f @ free.T, e @ np.abs(free).T
    most = errors.max(axis=1, initial=0)
    if not most.max(initial=0) < 1:
        return 1.0
    law = softmax(scores)
    off = np.exp(4 * most) * (law * (1 - law) * errors).sum(axis=1)
    return float(min(1.0, (off + law_rounding(scores, unit).sum(axis=1) / 2).max(initial=0)))


def logit_errors(
    recipe: Recipe, free: np.ndarray | None, unit: float, *, features: np.ndarray,
    queries: np.ndarray, labels: np.ndarray, weights: np.ndarray, logits: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """The exact logits of the queries and how far the computed ones may be off, both [m, O].

    Args:
      recipe: the run.
      free: [k, O], of the classes, as in `descent.train`; None for least squares, where a token
        answers with its logit itself.
      unit: unit roundoff.
      features, queries, labels, weights, logits: as in `descent.train`.

    Returns:
      The second is infinite where errors leave the region in which the run is nearly linear, or
      the run diverges.

    An operation at a time, with m_i >= |r^_i|, n examples and d features, u = ``unit``:

    - Inner products of d terms, d u; times a value, u; sums of n terms (zeros add nothing), n u;
      features of both tokens and weights converted to float32, 3 u: (n + d + 4) u of
      sum_i |z_j|.|z_i| w_i m_i, entry by entry. Jacobians: O heads add up, O u.
      Least squares sums predictions and targets apart, so m_i = |f^_i| + |y_i| there.
    - velocity: (mu - 1) v and c f are converted, multiplied and added, then added to v: 3 u each
      and u of the sum; nothing without momentum, where v - v = 0. The pull is added: u |v'|.
    - logits: rate and decay are converted and multiplied (3 u eta |v'|, 4 u eta lambda |f|), the
      sum is added: u |f'|. Nesterov's part eta mu v is converted, multiplied and added before.
    """
    n, (tokens, outputs) = len(labels), logits.shape
    z = np.concatenate([features, queries])
    size = np.abs(_derivatives(z, outputs)).reshape(tokens * outputs, -1)
    size_shown = size[: n * outputs]
    reflected = None if recipe.temperature is None else _reflected(z, n, recipe.temperature)
    if z.ndim == 2 and 0 < n < z.shape[1]:
        z = z @ np.linalg.qr(features.T)[0]  # the head's other directions are never written to
    phi = _derivatives(z, outputs)
    head = phi[:n]
    D = phi.shape[2]
    mu, ahead, back = recipe.momentum, recipe.ahead, recipe.back
    before, after = _decays(recipe)
    terms = (n + features.shape[-1] + 4 + (outputs if z.ndim == 3 else 0)) * unit
    gamma = terms / (1 - terms)

    def summed(m: np.ndarray) -> np.ndarray:
        """sum_i |z_j|.|z_i| m_i, [tokens, O]."""
        return np.asarray(size @ (size_shown.T @ m.reshape(-1))).reshape(tokens, outputs)

    # U is a part of the state only where momentum keeps it.
    parts = 2 if mu else 1
    C = np.zeros((parts * D, parts * D))
    reads = np.concatenate([phi, np.zeros((tokens, outputs, (parts - 1) * D))], axis=2)
    f, v = logits.copy(), np.zeros_like(logits)
    o, p, ev = unit * np.abs(f), np.zeros_like(f), np.zeros_like(f)  # ev >= |v^ - v|
    start, steps = o[:n], list[_Step]()
    for t, eta in enumerate(recipe.rates):
        w = weights[t % len(weights)][:, None]
        e = o + ellipsoid.widths(C, reads)
        if not e.max(initial=0) < 1e9:
            return f[n:], np.full_like(f[n:], math.inf)
        r, S, a = _residuals(free, f[:n], labels, e[:n], unit)
        if not np.isfinite(a).all():
            return f[n:], np.full_like(f[n:], math.inf)
        apart = np.einsum("ice,ie->ic", np.abs(S), o[:n]) + a  # of r, without the head's share
        most = np.einsum("ice,ie->ic", np.abs(S), e[:n]) + a
        size_of_r = np.abs(r) if free is not None else np.abs(f[:n]) + np.abs(labels)
        if reflected is None:
            own = gamma * summed(w * (size_of_r + most))
        else:
            gap, spread, above, below = reflected
            own = np.abs(gap @ (w * r)) + np.abs(gap) @ (w * most)
            own += unit * above * (spread @ (w * (size_of_r + most)))
            own += unit * below * summed(w * (size_of_r + most))
        turned = mu * v + before * f
        if mu or before:
            own += unit * (np.abs(turned) + mu * ev + before * e)
            own += 3 * unit * ((1 - mu) * (np.abs(v) + ev) + before * (np.abs(f) + e))
        last_v, last_p, last = v, p, np.abs(v) + ev
        v = turned + np.einsum("jcd,d->jc", phi, np.einsum("icd,ic->d", head, w * r))
        ev = mu * ev + before * e + summed(w * most) + own
        own_v = own + unit * (np.abs(v) + ev)
        p = mu * p + before * o + own_v
        own_f = 3 * unit * eta * (ahead * (np.abs(v) + ev) + back * last)
        own_f += unit * (4 * eta * after + (back > 0)) * (np.abs(f) + e)
        f = f - eta * (ahead * v - back * last_v + after * f)
        own_f += unit * (np.abs(f) + e + 2 * eta * (ahead * ev + back * last))
        moved = abs(ahead * mu - back) * last_p + ahead * (before * o + own_v)
        o = abs(1 - eta * after) * o + eta * moved + own_f
        steps.append(_Step(eta, w, S, a, own_v[:n], own_f[:n]))

        flat = (head * w[..., None]).reshape(-1, D)
        H = flat.T @ np.matmul(np.broadcast_to(S, (n, outputs, outputs)), head).reshape(-1, D)
        written = (head * (w * apart)[..., None]).reshape(-1, D).T
        pull, keep, eye = H + before * np.eye(D), 1 - eta * after, np.eye(D)
        J, columns = keep * eye - eta * ahead * pull, -eta * ahead * written
        scale = np.ones(D)
        if parts == 2:
            J = np.block([[J, -eta * (ahead * mu - back) * eye], [pull, mu * eye]])
            columns = np.concatenate([columns, written])
            scale = np.concatenate([scale, (eta / (1 - mu)) ** 2 * scale])
        C = ellipsoid.total(J @ C @ J.T, ellipsoid.box(columns), scale)
    traced = _traced_back(steps, phi, start, recipe)
    return f[n:], ROOM * (o[n:] + np.minimum(ellipsoid.widths(C, reads)[n:], traced))


class _Step(NamedTuple):
    """A step: its rate, weights [n, 1] and S; boxes of the examples' residuals and what follows."""

    eta: float
    w: np.ndarray
    S: np.ndarray
    residual: np.ndarray
    velocity: np.ndarray
    logits: np.ndarray


def _traced_back(
    steps: list[_Step], phi: np.ndarray, start: np.ndarray, recipe: Recipe
) -> np.ndarray:
    """What the examples' roundings can add up to at each logit of each query: [m, O].

    The linear run maps a rounding to the logit by a number, its adjoint, and the worst case is the
    sum of |adjoint| times the box. Backwards, with F = m O logits followed at once: lf and lv are
    those of the examples' logits and velocities, [F, n, O], and (alpha, beta) of the query's own.

    Args:
      steps: in order.
      phi: [n + m, O, D].
      start: boxes of the examples' logits before the first step.
      recipe: the run.
    """
    mu, ahead, back = recipe.momentum, recipe.ahead, recipe.back
    before, after = _decays(recipe)
    n, (m, outputs) = len(start), phi[len(start) :].shape[:2]
    head, asked = phi[:n].reshape(n * outputs, -1), phi[n:].reshape(m * outputs, -1)
    lf = np.zeros((m * outputs, n, outputs))
    lv, found = lf, np.zeros(m * outputs)
    alpha, beta = 1.0, 0.0
    for step in reversed(steps):
        found += np.einsum("fic,ic->f", np.abs(lf), step.logits)
        last = step.eta * back * lf, step.eta * back * alpha
        lv, beta = lv - step.eta * ahead * lf, beta - step.eta * ahead * alpha
        found += np.einsum("fic,ic->f", np.abs(lv), step.velocity)
        by_head = lv.reshape(len(lv), -1) @ head + beta * asked
        by_residual = step.w * (by_head @ head.T).reshape(lv.shape)
        found += np.einsum("fic,ic->f", np.abs(by_residual), step.residual)
        keep = 1 - step.eta * after
        by_logits = np.einsum("fic,ice->fie", by_residual, step.S)
        lf, alpha = keep * lf + before * lv + by_logits, keep * alpha + before * beta
        lv, beta = mu * lv + last[0], mu * beta + last[1]
    found += np.einsum("fic,ic->f", np.abs(lf), start)
    return found.reshape(m, outputs)


def _decays(recipe: Recipe) -> tuple[float, float]:
    """The coupled and the decoupled decay."""
    decay = recipe.weight_decay
    return (0.0, decay) if recipe.decoupled else (decay, 0.0)


def _derivatives(z: np.ndarray, outputs: int) -> np.ndarray:
    """[tokens, O, D]: of a token's logits by the head, or the Jacobians themselves."""
    if z.ndim == 3:
        return z
    each = np.einsum("jk,ce->jcke", z, np.eye(outputs))
    return each.reshape(len(z), outputs, z.shape[1] * outputs)


def _residuals(
    free: np.ndarray | None, f: np.ndarray, y: np.ndarray, e: np.ndarray, unit: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Residuals r [n, O], their derivative S by the logits [n, O, O], and what else r is off by.

    The computed law is that of logits off by x, |x| <= e: S x up to half of p_c |(x_c - mean x)^2 -
    var x| on the way, at most p_c max((e_c + sum p e)^2, sum p e^2) / 2 there, where p grows by
    e^(2 m) at most, m the largest |x|; and its rounding. w p - w y: 2 u p + 2 u |y| + 2 u |r|.
    Infinite where m >= 1.
    """
    if free is None:
        return f - y, np.ones((len(f), 1, 1)), unit * np.abs(y)
    scores = f @ free.T
    law, x = softmax(scores), e @ np.abs(free).T
    m = x.max(axis=1, keepdims=True, initial=0)
    if not m.max(initial=0) < 1:
        return f - y, np.zeros((*f.shape, f.shape[1])), np.full_like(f, math.inf)
    p = law @ free
    S = np.einsum("kc,ik,ke->ice", free, law, free) - p[:, :, None] * p[:, None, :]
    mean, square = ((law * one).sum(axis=1, keepdims=True) for one in (x, x * x))
    second = np.exp(6 * m) * law * np.maximum((x + mean) ** 2, square) / 2
    off = np.exp(2 * m) * (law_rounding(scores, unit) + 4 * unit * m * law) + second
    r = p - y
    a = off @ np.abs(free) + 2 * unit * (np.exp(2 * m) * np.abs(p) + np.abs(y) + np.abs(r))
    return r, S, a


def _reflected(
    z: np.ndarray, n: int, temperature: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Reflected tokens: R - K and cosh weights [tokens, n]; roundings above and below, [tokens, 1].

    They compute R q, R_ji = n sinh(s_ji) / (eps sum_i cosh s_ji), s = eps <z_j, z_i>. With
    L = max eps |z_j|.|z_i| an exponential is off by ((d + 6) L + 4) u: score, maximum, exp. So the
    numerator errs by (2 n + (d + 6) L + 8) u of sum n cosh(s) w m (value, weight, division and eps
    converted), the denominator by (2 n + (d + 6) L + 4) u of itself, that is of
    |R q| <= sum |z_j|.|z_i| w m (sinh s <= s cosh s). The two images of an example are the same
    numbers but for signs, and are taken to be rounded alike.
    """
    s = temperature * z @ z[:n].T
    spread = n * np.cosh(s) / (temperature * np.cosh(s).sum(axis=1, keepdims=True))
    R = spread * np.tanh(s)
    L = temperature * (np.abs(z) @ np.abs(z[:n]).T).max(axis=1, initial=0)[:, None]
    above = 2 * n + (z.shape[1] + 6) * L + 8
    # n cosh s_ji / sum_i cosh s_ji is the weight of an example, at most cosh(L).
    return R - s / temperature, spread, above, (above - 4) * np.cosh(L)
