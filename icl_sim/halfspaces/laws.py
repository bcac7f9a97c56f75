"""Laws of inputs that a halfspace labels, each with the risk of any weights in closed form.

The risk is P(y w.x <= 0) over a fresh input, a tie (w.x = 0) counted as an error unless said: a
replicate's error is computed exactly, never by a second sampling.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from icl_sim.errors import InputError
from icl_sim.halfspaces.solvers import Solver


class Examples(NamedTuple):
    """Labeled inputs, and the halfspace that labeled them.

    inputs: float32 [n, d].
    labels: float32 [n] of +-1; 0 marks padding.
    target: float32 [d], drawn afresh for each sample; what the risk is measured against.
    """

    inputs: jax.Array
    labels: jax.Array
    target: jax.Array


@dataclass(frozen=True)
class Law:
    """A law of examples.

    name: for records and figures.
    dim: d.
    sample: sample(key, n) -> Examples, n static; the key is consumed.
    risk: risk(weights, target) -> float32 scalar, exact; float32 weights [d] of any scale.
    """

    name: str
    dim: int
    sample: Callable[[jax.Array, int], Examples]
    risk: Callable[[jax.Array, jax.Array], jax.Array]


@lru_cache(maxsize=256)
def error_trial(law: Law, learner: Solver, rows: int) -> Callable[..., jax.Array]:
    """The trial (key, n) -> risk of the learner after n <= rows examples of the law, n traced.

    The same function object comes back for the same arguments, so its compiled code is reused.

    >>> from icl_sim.halfspaces.solvers import one_step
    >>> trial = error_trial(gaussian(3), one_step, 50)
    >>> bool(trial(jax.random.key(0), 50) < 0.5)
    True
    """

    def trial(key: jax.Array, n: jax.Array) -> jax.Array:
        with jax.default_matmul_precision("highest"):
            examples = law.sample(key, rows)
            labels = jnp.where(jnp.arange(rows) < n, examples.labels, 0)
            return law.risk(learner(examples.inputs, labels), examples.target)

    return trial


@lru_cache
def gaussian(dim: int) -> Law:
    """Standard normal inputs, a teacher uniform on the sphere; the risk is the angle over pi.

    >>> w, t = jnp.array([1.0, 1.0]), jnp.array([1.0, 0.0])
    >>> round(float(gaussian(2).risk(w, t)), 6)
    0.25
    """
    _check_dim(dim, 2)

    def sample(key: jax.Array, n: int) -> Examples:
        input_key, target_key = jax.random.split(key)
        inputs = jax.random.normal(input_key, (n, dim), jnp.float32)
        target = _unit(jax.random.normal(target_key, (dim,), jnp.float32))
        return Examples(inputs, _sign(inputs @ target), target)

    def risk(weights: jax.Array, target: jax.Array) -> jax.Array:
        # The half angle by its tangent: arccos would lose the small angles.
        w, t = _unit(weights), _unit(target)
        angle = 2 * jnp.arctan2(jnp.linalg.norm(w - t), jnp.linalg.norm(w + t)) / math.pi
        return jnp.where(jnp.any(weights != 0), angle, 1.0).astype(jnp.float32)

    return Law(f"gaussian(d={dim})", dim, sample, risk)


@lru_cache
def basis(masses: tuple[float, ...], *, tie: float = 1.0) -> Law:
    """Unit vectors e_i with the given masses and fair random labels: whatever is unseen is unknown.

    Args:
      masses: d >= 2 probabilities.
      tie: risk of an input with w.x = 0: 1 for the worst tie rule, 1/2 for a fair coin.

    >>> law = basis((0.9, 0.1))
    >>> float(law.risk(jnp.array([2.0, 0.0]), jnp.array([1.0, 1.0])))
    0.10000000149011612
    """
    _check_dim(len(masses), 2)
    if min(masses) < 0 or abs(sum(masses) - 1) > 1e-6 or not 0 <= tie <= 1:
        raise InputError(f"masses: expected probabilities with sum 1, got {masses}, and tie {tie}")
    p = np.asarray(masses, np.float32)
    dim = len(masses)

    def sample(key: jax.Array, n: int) -> Examples:
        input_key, target_key = jax.random.split(key)
        with np.errstate(divide="ignore"):
            atoms = jax.random.categorical(input_key, np.log(p), shape=(n,))
        target = jax.random.rademacher(target_key, (dim,), jnp.float32)
        return Examples(jax.nn.one_hot(atoms, dim, dtype=jnp.float32), target[atoms], target)

    def risk(weights: jax.Array, target: jax.Array) -> jax.Array:
        agreement = weights * target
        wrong = jnp.where(agreement < 0, 1.0, jnp.where(agreement == 0, tie, 0.0))
        return wrong.astype(jnp.float32) @ p

    return Law(f"basis(d={dim})", dim, sample, risk)


def uniform_basis(dim: int, *, tie: float = 1.0) -> Law:
    """`basis` with equal masses 1/d."""
    return basis((1 / dim,) * dim, tie=tie)


def heavy_light(dim: int, light_mass: float, *, tie: float = 1.0) -> Law:
    """`basis` with one heavy atom and d - 1 light ones that share `light_mass` equally.

    The hard case of claim C3 at light_mass near (d-1)/n; d = 2 is the two-point law.
    """
    return basis((1 - light_mass, *(light_mass / (dim - 1),) * (dim - 1)), tie=tie)


@lru_cache
def margin(dim: int, gap: float) -> Law:
    """Inputs of norm 1 at distance exactly `gap` from the teacher's hyperplane, else uniform.

    x = y gap t + sqrt(1 - gap^2) u, u uniform on the sphere across the teacher t, y fair. The risk
    is a tail of one coordinate of u, an incomplete beta function: P(U < -a) = I_{1-a^2}((d-2)/2,
    1/2)/2.

    Args:
      dim: d >= 3.
      gap: margin in (0, 1).

    >>> law = margin(3, 0.6)  # one coordinate of a circle
    >>> round(float(law.risk(jnp.array([0.0, 1.0, 0.0]), jnp.array([1.0, 0.0, 0.0]))), 6)
    0.5
    """
    _check_dim(dim, 3)
    if not 0 < gap < 1:
        raise InputError(f"gap: expected a margin in (0, 1), got {gap}")
    across = math.sqrt(1 - gap**2)

    def sample(key: jax.Array, n: int) -> Examples:
        input_key, label_key, target_key = jax.random.split(key, 3)
        target = _unit(jax.random.normal(target_key, (dim,), jnp.float32))
        noise = jax.random.normal(input_key, (n, dim), jnp.float32)
        noise = noise - jnp.outer(noise @ target, target)
        noise = noise / jnp.linalg.norm(noise, axis=1, keepdims=True)
        labels = jax.random.rademacher(label_key, (n,), jnp.float32)
        return Examples(gap * jnp.outer(labels, target) + across * noise, labels, target)

    def risk(weights: jax.Array, target: jax.Array) -> jax.Array:
        along = gap * (weights @ target)
        rest = across * jnp.linalg.norm(weights - (weights @ target) * target)
        a = jnp.abs(along) / jnp.maximum(rest, jnp.abs(along))
        tail = jax.scipy.special.betainc(jnp.float32((dim - 2) / 2), jnp.float32(0.5), 1 - a**2) / 2
        risk = jnp.where(along > 0, tail, 1 - tail)
        return jnp.where(jnp.any(weights != 0), risk, 1.0).astype(jnp.float32)

    return Law(f"margin(d={dim}, {gap:g})", dim, sample, risk)


def pool(name: str, inputs: np.ndarray, labels: np.ndarray) -> Law:
    """The uniform law on a finite pool of labeled inputs; the risk is the pool's error.

    Args:
      name: for records and figures.
      inputs: float [N, d].
      labels: [N] of +-1.

    >>> law = pool("xor", np.array([[1, 1], [1, -1]]), np.array([1, -1]))
    >>> float(law.risk(jnp.array([1.0, 0.0]), jnp.zeros(2)))
    0.5
    """
    x, y = np.asarray(inputs, np.float32), np.asarray(labels, np.float32)
    if x.ndim != 2 or y.shape != x.shape[:1] or not np.all(np.abs(y) == 1):
        raise InputError(f"expected inputs [N, d] and labels [N] of +-1, got {x.shape}, {y.shape}")
    dim = x.shape[1]

    def sample(key: jax.Array, n: int) -> Examples:
        rows = jax.random.randint(key, (n,), 0, len(x), jnp.int32)
        return Examples(jnp.asarray(x)[rows], jnp.asarray(y)[rows], jnp.zeros(dim, jnp.float32))

    def risk(weights: jax.Array, target: jax.Array) -> jax.Array:
        del target
        return jnp.mean((y * (x @ weights) <= 0).astype(jnp.float32))

    return Law(name, dim, sample, risk)


def _sign(values: jax.Array) -> jax.Array:
    return jnp.where(values > 0, 1.0, -1.0).astype(jnp.float32)


def _unit(vector: jax.Array) -> jax.Array:
    return vector / jnp.maximum(jnp.linalg.norm(vector), jnp.finfo(vector.dtype).tiny)


def _check_dim(dim: int, least: int) -> None:
    if dim < least:
        raise InputError(f"dim: expected at least {least} dimensions, got {dim}")
