"""Linear classification: laws on two classes for held-out inputs, one-hot or what a softmax says.

Letters: n examples, d features, m held-out inputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from constructions import CONSTRUCTIONS
from constructions.construction import Construction
from icl_sim.data.vectors import GRID, LabeledVectors
from icl_sim.errors import InputError
from icl_sim.transformer import forward

# Of the softmax head: full-batch SGD on features of norm at most 1.
STEPS, RATE = 100, 4.0
# Of the perceptron and of Frank-Wolfe in weights.
LOOPS = 512

Classifier = Callable[[LabeledVectors, jax.Array], np.ndarray]


def logistic(data: LabeledVectors, key: jax.Array) -> np.ndarray:
    """A softmax head on the features, trained by Optax: SGD on all examples, from zero."""
    del key
    z, labels, queries = _scaled(data)
    return np.asarray(_train_head(z, labels, queries))


@jax.jit
def _train_head(z: jax.Array, labels: jax.Array, queries: jax.Array) -> jax.Array:
    transformation = optax.sgd(RATE)

    def objective(head: jax.Array) -> jax.Array:
        logits = jnp.matmul(z, head, precision=jax.lax.Precision.HIGHEST)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    def step(carry: Any, _: None) -> Any:
        head, state = carry
        updates, state = transformation.update(jax.grad(objective)(head), state)
        return (optax.apply_updates(head, updates), state), None

    start = jnp.zeros((z.shape[1], 2), jnp.float32)
    (head, _), _ = jax.lax.scan(step, (start, transformation.init(start)), None, length=STEPS)
    logits = jnp.matmul(queries, head, precision=jax.lax.Precision.HIGHEST)
    return jax.nn.softmax(logits, axis=-1)


def logistic_in_context(data: LabeledVectors, key: jax.Array) -> np.ndarray:
    """The same training inside the forward pass of hand-written weights, from the prompt."""
    del key
    z, labels, queries = _scaled(data)
    n, d = z.shape
    built = _built(
        "softmax-head", classes=2, features=d, steps=STEPS, learning_rate=RATE,
        queries=len(queries), length=n + len(queries) + 2,
    )  # fmt: skip
    problem = {"features": z, "labels": labels, "queries": queries}
    return np.asarray(built.decode(_run(built, built.encode(problem))), np.float32)


def _scaled(data: LabeledVectors) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features of norm at most 1 as float32, and labels 0 for +1, 1 for -1."""
    z, queries = (np.asarray(x / data.norm, np.float32) for x in (data.inputs, data.queries))
    return z, ((1 - data.labels) // 2).astype(np.int32), queries


def svm_in_context(data: LabeledVectors, key: jax.Array) -> np.ndarray:
    """The SVM, by Frank-Wolfe in hand-written weights."""
    del key
    n, d = data.inputs.shape
    radius = float(np.ceil(data.norm))
    return _through(_built("svm", dim=d, radius=radius, loops=LOOPS, length=n + 1), data, 1)


def perceptron_in_context(data: LabeledVectors, key: jax.Array) -> np.ndarray:
    """The perceptron, in integers, by hand-written weights.

    Many examples of a large norm have sums beyond the integers that float32 holds: it then sees
    them on the finest grid of 2, 4, ... times the step whose sums are certified.
    """
    del key
    n, d = data.inputs.shape
    built, step = _perceptron(d, data.norm, n + 1)
    return _through(built, data, step)


@lru_cache(maxsize=64)
def _perceptron(d: int, norm: float, length: int) -> tuple[Construction, int]:
    """The weights, and the step of their grid in units of the data's."""
    step = 1
    while True:
        rounding = math.sqrt(d) / 2 if step > 1 else 0.0
        options = {"dim": d, "radius": math.ceil(norm / step + rounding), "loops": LOOPS}
        try:
            return CONSTRUCTIONS["perceptron"](**options, length=length), step
        except ValueError as error:  # its certificate's
            if step > norm:
                raise InputError(f"{error}, which is as coarse as it can be") from error
            step *= 2


def _through(built: Construction, data: LabeledVectors, step: int) -> np.ndarray:
    """The law of the weights' halfspace, of examples rounded to multiples of ``step``."""
    inputs, query = (np.rint(values / step) for values in (data.inputs, data.queries[0]))
    problem = {"inputs": inputs, "labels": data.labels, "query": query}
    return _one_hot(built.decode(_run(built, built.encode(problem)))["weights"], data.queries)


def halfspace(solver: Callable[..., Any]) -> Classifier:
    """The law of the halfspace that a solver of `icl_sim.halfspaces` finds.

    Args:
      solver: jittable, (inputs float32 [n, d], labels float32 [n] of +-1) -> weights [d], or a
        result with such a field.
    """
    solve = jax.jit(solver)

    def predict(data: LabeledVectors, key: jax.Array) -> np.ndarray:
        del key
        inputs = jnp.asarray(data.inputs / GRID, jnp.float32)
        found = solve(inputs, jnp.asarray(data.labels, jnp.float32))
        return _one_hot(getattr(found, "weights", found), data.queries)

    return predict


def _one_hot(weights: Any, queries: np.ndarray) -> np.ndarray:
    """The law of sign(<w, x>), class +1 first; an even one on the boundary."""
    score = queries @ np.asarray(weights, np.float64)
    return np.stack([(1 + np.sign(score)) / 2, (1 - np.sign(score)) / 2], axis=1, dtype=np.float32)


@lru_cache(maxsize=64)
def _built(name: str, **options: Any) -> Construction:
    try:
        return CONSTRUCTIONS[name](**options)
    except ValueError as error:  # beyond what is certified
        raise InputError(str(error)) from error


def _run(built: Construction, prompt: np.ndarray) -> np.ndarray:
    params = {name: jnp.asarray(leaf) for name, leaf in built.params.items()}
    inputs = jnp.asarray(prompt, jnp.float32)
    return np.asarray(_forward(built.spec, params, inputs))


@partial(jax.jit, static_argnums=0)
def _forward(spec: Any, params: dict[str, jax.Array], inputs: jax.Array) -> jax.Array:
    return forward(spec, params, inputs, prefix=inputs.shape[0])
