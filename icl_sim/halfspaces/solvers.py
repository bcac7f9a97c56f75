"""Solvers of halfspaces: jittable functions (inputs, labels) -> weights, batched by vmap.

Weights, not laws: the risk of a halfspace over all inputs is known in closed form from its weights,
and laws on some queries would not tell them. `icl_sim.predictors.classifiers.halfspace` turns any
of these into a predictor.

All share one signature: inputs float [n, d]; labels float [n] of +-1, or 0 for a row that is
padding and not an example, so that one compiled function serves every n up to its number of rows;
weights [d] in the dtype of inputs, of which only the direction matters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from icl_sim.halfspaces.hard_margin import hard_margin_svm

Solver = Callable[[jax.Array, jax.Array], jax.Array]


class Perceptron(NamedTuple):
    """Where the perceptron ended.

    weights: [d], the sum of y_i x_i over its updates.
    updates: int32, at most (R/margin)^2.
    consistent: bool, whether it ended because a whole pass made no mistake.
    """

    weights: jax.Array
    updates: jax.Array
    consistent: jax.Array


@jax.default_matmul_precision("highest")
def perceptron(inputs: jax.Array, labels: jax.Array, *, max_passes: int = 10_000) -> Perceptron:
    """Rosenblatt's perceptron: w <- w + y x at each mistake, in passes until one is clean.

    Args:
      inputs: float [n, d].
      labels: float [n] of +-1, 0 for padding.
      max_passes: gives up after this many.

    >>> found = perceptron(jnp.array([[1.0, 1.0], [1.0, -0.5]]), jnp.array([1.0, -1.0]))
    >>> found.weights.tolist(), int(found.updates), bool(found.consistent)
    ([0.0, 1.5], 2, True)

    Source: Rosenblatt 1958; Novikoff 1962 for the number of updates.
    """
    z = inputs * labels[:, None]
    real = labels != 0

    def visit(state: tuple[Any, Any], example: tuple[Any, Any]) -> tuple[tuple[Any, Any], None]:
        weights, updates = state
        row, counts = example
        wrong = counts & (row @ weights <= 0)
        return (jnp.where(wrong, weights + row, weights), updates + wrong.astype(jnp.int32)), None

    def one_pass(state: tuple[Any, ...]) -> tuple[Any, ...]:
        weights, updates, _, passes = state
        (weights, now), _ = jax.lax.scan(visit, (weights, updates), (z, real))
        return weights, now, now == updates, passes + 1

    def goes_on(state: tuple[Any, ...]) -> jax.Array:
        return ~state[2] & (state[3] < max_passes)

    start = (jnp.zeros(z.shape[1], z.dtype), jnp.int32(0), jnp.zeros((), bool), jnp.int32(0))
    return Perceptron(*jax.lax.while_loop(goes_on, one_pass, start)[:3])


@jax.default_matmul_precision("highest")
def one_step(inputs: jax.Array, labels: jax.Array) -> jax.Array:
    """One linear-attention step from zero: w = sum y_i x_i, up to scale.

    What one head of linear attention computes in context (von Oswald et al. 2023), for any learning
    rate: a gradient step of the squared or of the logistic loss.

    >>> one_step(jnp.array([[1.0, 0.0], [0.0, 2.0]]), jnp.array([1.0, -1.0])).tolist()
    [1.0, -2.0]
    """
    return labels @ inputs


@jax.default_matmul_precision("highest")
def least_squares(inputs: jax.Array, labels: jax.Array) -> jax.Array:
    """Least squares on the labels, of least norm: w = X^+ y.

    Conjugate gradients on the normal equations (CGLS), which end after rank(X) steps in exact
    arithmetic and, started at zero, never leave the row space of X. Products only: a LAPACK call
    inside the blocks of several CPU devices can wait for itself.

    >>> w = least_squares(jnp.array([[1.0, 0.0], [1.0, 2.0]]), jnp.array([1.0, -1.0]))
    >>> [round(float(x), 5) for x in w]
    [1.0, -1.0]

    Source: Hestenes and Stiefel 1952; Bjorck 1996, section 7.4.
    """
    x = inputs * (labels != 0)[:, None].astype(inputs.dtype)
    pull = labels @ x
    size = pull @ pull
    enough = size * jnp.finfo(x.dtype).eps ** 2

    def step(_: jax.Array, state: tuple[Any, ...]) -> tuple[Any, ...]:
        weights, residual, direction, size = state
        image = x @ direction
        going = size > enough
        length = jnp.where(going, size / jnp.where(going, image @ image, 1), 0)
        residual = residual - length * image
        pull = residual @ x
        new_size = pull @ pull
        direction = jnp.where(going, pull + new_size / jnp.where(going, size, 1) * direction, 0)
        return weights + length * state[2], residual, direction, jnp.where(going, new_size, size)

    start = (jnp.zeros_like(pull), labels, pull, size)
    return jax.lax.fori_loop(jnp.int32(0), jnp.int32(3 * len(pull) + 10), step, start)[0]


@jax.default_matmul_precision("highest")
def logistic(inputs: jax.Array, labels: jax.Array, *, steps: int = 1000) -> jax.Array:
    """Normalized gradient descent on the logistic loss: w <- w - grad/loss, steps of size 1/R^2.

    On separable data the direction tends to the hard-margin one, at the rate 1/steps where plain
    gradient descent has 1/ln(steps).

    Args:
      inputs: float [n, d].
      labels: float [n] of +-1, 0 for padding.
      steps: gradient steps.

    >>> w = logistic(jnp.array([[2.0, 0.0], [0.0, 1.0]]), jnp.array([1.0, -1.0]))
    >>> bool(w[0] > 0 > w[1])
    True

    Source: Nacson et al. 2019; Ji and Telgarsky 2021.
    """
    z = inputs * labels[:, None]
    real = labels != 0
    rate = 1 / jnp.max(jnp.sum(z**2, axis=1))

    def step(_: jax.Array, weights: jax.Array) -> jax.Array:
        margins = z @ weights
        pull = jnp.where(real, jax.nn.sigmoid(-margins), 0)
        loss = jnp.sum(jnp.where(real, jax.nn.softplus(-margins), 0))
        return weights + rate * (pull @ z) / jnp.maximum(loss, jnp.finfo(z.dtype).tiny)

    start = jnp.zeros(z.shape[1], z.dtype)
    return jax.lax.fori_loop(jnp.int32(0), jnp.int32(steps), step, start)


def _svm_weights(inputs: jax.Array, labels: jax.Array) -> jax.Array:
    return hard_margin_svm(inputs, labels).weights


def _perceptron_weights(inputs: jax.Array, labels: jax.Array) -> jax.Array:
    return perceptron(inputs, labels).weights


SOLVERS: dict[str, Solver] = {
    "least-squares": least_squares,
    "logistic": logistic,
    "one-step": one_step,
    "perceptron": _perceptron_weights,
    "svm": _svm_weights,
}
