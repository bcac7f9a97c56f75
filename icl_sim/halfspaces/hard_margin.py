"""The hard-margin support vector machine, batched by vmap, with a certificate.

    minimize ||w||^2 / 2   subject to   z_i . w >= 1,   z_i = y_i x_i, i = 1..n

Goldfarb and Idnani's dual active-set method (Math. Programming 27, 1983) with the identity as its
Hessian. It starts at w = 0 and takes in the most violated constraint at a time, always holding the
exact optimum of the constraints in its active set A, so the objective rises and no set comes twice:
it ends after a few times d steps of O(n d + d^2), at the solution, not near it.

Two small matrices carry the active set; both change by one outer product a step:

    inverse    row of slot j: the vector of span{z_i : i in A} with product 1 with z_j, 0 with the
               other active constraints (rows of the pseudo-inverse); zero for an empty slot
    projector  onto the orthogonal complement of the span

Letters: n examples, d dimensions, d slots (active constraints are linearly independent).
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

_ROUNDS = 2  # the second one, from matrices freed of drift, rarely has a step left to take


class Svm(NamedTuple):
    """A hard-margin solution with its certificate.

    weights: [d], scaled so that the smallest z_i . w is 1; zero if none was found. gap: relative
    duality gap, 1 - D(u)/(||w||^2/2) for the multipliers u >= 0 found: the distance to
        the true solution is at most sqrt(gap) ||w||. Infinite where weights is zero.
    support: bool [n], the active constraints, at most d.
    steps: int32, active-set steps taken.
    """

    weights: jax.Array
    gap: jax.Array
    support: jax.Array
    steps: jax.Array


class _State(NamedTuple):
    weights: jax.Array  # [d]
    inverse: jax.Array  # [d, d]
    projector: jax.Array  # [d, d]
    members: jax.Array  # int32 [d], the constraint in each slot, n if empty
    duals: jax.Array  # [d]
    entering: jax.Array  # int32, the constraint being taken in, n if none
    entering_dual: jax.Array
    steps: jax.Array
    done: jax.Array


@jax.default_matmul_precision("highest")
def hard_margin_svm(inputs: jax.Array, labels: jax.Array, *, max_steps: int | None = None) -> Svm:
    """The separating halfspace of largest margin, through the origin.

    Args:
      inputs: float [n, d]; append a constant coordinate for an affine halfspace.
      labels: float [n] of +-1; 0 for a row that is padding, not an example.
      max_steps: gives up after this many, 20 d + 100 by default (a few times d are needed).

    Returns:
      `Svm` in the dtype of inputs. Its weights are zero if the data are not separable, or
      separable by less than the dtype resolves.

    >>> svm = hard_margin_svm(jnp.array([[2.0, 0.0], [0.0, 1.0]]), jnp.array([1.0, -1.0]))
    >>> [round(float(w), 5) for w in svm.weights], float(svm.gap) < 1e-5
    ([0.5, -1.0], True)

    Source: Goldfarb and Idnani 1983; Boser, Guyon and Vapnik 1992.
    """
    n, d = inputs.shape
    dtype = inputs.dtype
    max_steps = 20 * d + 100 if max_steps is None else max_steps
    scale = jnp.sqrt(jnp.max(jnp.sum(inputs**2, axis=1) * labels**2))
    scale = jnp.where(scale > 0, scale, 1)
    z = inputs * (labels / scale)[:, None]  # rows of norm at most 1
    tiny = jnp.asarray(jnp.finfo(dtype).eps, dtype)

    def step(s: _State) -> _State:
        violations = jnp.where(labels != 0, 1 - z @ s.weights, -jnp.inf)
        worst = jnp.argmax(violations).astype(jnp.int32)
        fresh = s.entering == n
        p = jnp.where(fresh, worst, s.entering)
        # Rounding alone violates an active constraint by about eps ||w||.
        tolerance = 4 * tiny * (1 + jnp.linalg.norm(s.weights))
        finished = fresh & (violations[worst] <= tolerance)
        dual = jnp.where(fresh, jnp.zeros((), dtype), s.entering_dual)

        direction = s.projector @ (s.projector @ z[p])  # twice: keeps it orthogonal in rounding
        rates = s.inverse @ z[p]
        curvature = direction @ direction
        independent = curvature > (64 * d * tiny) ** 2 * (z[p] @ z[p])
        full = jnp.where(independent, violations[p] / curvature, jnp.inf)
        limits = jnp.where((s.members < n) & (rates > 0), s.duals / rates, jnp.inf)
        slot = jnp.argmin(limits)
        length = jnp.minimum(full, limits[slot])
        stuck = jnp.isinf(length)  # a combination of constraints says 0 >= 1

        weights = s.weights + jnp.where(independent, length, 0) * direction
        duals = jnp.maximum(s.duals - length * rates, 0)
        dual = dual + length

        # Full step: p joins. Partial step: the constraint whose multiplier reached 0 leaves.
        joins = full <= limits[slot]
        empty = jnp.argmax(s.members == n)
        unit = direction / curvature
        joined_inverse = (s.inverse - jnp.outer(rates, unit)).at[empty].set(unit)
        joined_projector = s.projector - jnp.outer(direction, unit)
        row = s.inverse[slot]
        left = row / (row @ row)
        left_inverse = (s.inverse - jnp.outer(s.inverse @ left, row)).at[slot].set(0)
        left_projector = s.projector + jnp.outer(left, row)
        moved = _State(
            weights=weights,
            inverse=jnp.where(joins, joined_inverse, left_inverse),
            projector=jnp.where(joins, joined_projector, left_projector),
            members=jnp.where(joins, s.members.at[empty].set(p), s.members.at[slot].set(n)),
            duals=jnp.where(joins, duals.at[empty].set(dual), duals.at[slot].set(0)),
            entering=jnp.where(joins, n, p).astype(jnp.int32),
            entering_dual=dual,
            steps=s.steps + 1,
            done=s.steps + 1 >= max_steps,
        )
        stop = finished | stuck
        kept = jax.tree.map(lambda old, new: jnp.where(stop, old, new), s, moved)
        return kept._replace(done=kept.done | stop)

    def round_(_: jax.Array, s: _State) -> _State:
        s = jax.lax.while_loop(lambda s: ~s.done, step, s._replace(done=jnp.zeros((), bool)))
        return _polished(z, s)

    start = _State(
        weights=jnp.zeros(d, dtype),
        inverse=jnp.zeros((d, d), dtype),
        projector=jnp.eye(d, dtype=dtype),
        members=jnp.full(d, n, jnp.int32),
        duals=jnp.zeros(d, dtype),
        entering=jnp.int32(n),
        entering_dual=jnp.zeros((), dtype),
        steps=jnp.int32(0),
        done=jnp.zeros((), bool),
    )
    final = jax.lax.fori_loop(jnp.int32(0), jnp.int32(_ROUNDS), round_, start)
    return _certified(z, labels, final, scale)


def _active(z: jax.Array, members: jax.Array) -> jax.Array:
    """The active constraints' rows, zero for empty slots: [d, d]."""
    n = len(z)
    return jnp.where((members < n)[:, None], z[jnp.minimum(members, n - 1)], 0)


def _polished(z: jax.Array, s: _State) -> _State:
    """The same active set with the drift of its matrices removed (Newton's inverse iteration)."""
    active = _active(z, s.members)
    inverse = s.inverse
    for _ in range(2):
        inverse = 2 * inverse - (inverse @ active.T) @ inverse
    weights = inverse.sum(axis=0)  # product 1 with every active constraint
    projector = jnp.eye(len(weights), dtype=z.dtype) - active.T @ inverse
    duals = jnp.maximum(inverse @ weights, 0)
    return s._replace(weights=weights, inverse=inverse, projector=projector, duals=duals)


def _certified(z: jax.Array, labels: jax.Array, s: _State, scale: jax.Array) -> Svm:
    """Scales to margin 1 and measures what was reached."""
    n = len(z)
    margin = jnp.min(jnp.where(labels != 0, z @ s.weights, jnp.inf))
    separates = (margin > 0) & jnp.any(labels != 0)
    margin = jnp.where(separates, margin, 1)
    weights = jnp.where(separates, s.weights / margin, 0)
    # The best multiple of the multipliers: max_t t sum u - t^2 ||sum u z||^2 / 2.
    dual = jnp.sum(s.duals) ** 2 / (2 * jnp.sum((s.duals @ _active(z, s.members)) ** 2))
    gap = jnp.where(separates, 1 - 2 * dual / (weights @ weights), jnp.inf)
    support = jnp.zeros(n + 1, bool).at[s.members].set(True)[:n]
    # One quotient: of two in a row the compiler makes one, or not, and the last bits would differ.
    return Svm(jnp.where(separates, s.weights / (margin * scale), 0), gap, support, s.steps)
