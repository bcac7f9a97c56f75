"""Linear classification in the frame of the tables: the same data for every learner, side by side.

Contexts are held-out inputs, outputs the two classes; a learner's law there is one-hot, or what its
softmax says. Features are standardized and rounded to multiples of 1/4, so that the algorithms
that need integers see the very data that the others see.

Letters: n examples, d features, m held-out inputs.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from constructions import CONSTRUCTIONS
from constructions.construction import Construction
from icl_sim.errors import InputError
from icl_sim.execution.streams import Fixed
from icl_sim.halfspaces import hard_margin_svm, least_squares, perceptron, real_data
from icl_sim.transformer import forward

GRID = 4
HELD_OUT = 64
GAUSSIAN_DIM = 8
# Of the softmax head: full-batch SGD on features of norm at most 1.
STEPS, RATE = 100, 4.0
# Of the perceptron and of Frank-Wolfe in weights.
LOOPS = 512


class Split(NamedTuple):
    """One data set.

    inputs: int64 [n, d], in units of 1/GRID; labels: int64 [n] of +-1.
    queries: int64 [m, d]; truth: int64 [m] of +-1.
    norm: the largest Euclidean norm of all inputs there are, in the same units.
    """

    inputs: np.ndarray
    labels: np.ndarray
    queries: np.ndarray
    truth: np.ndarray
    norm: float


Classifier = Callable[[Split], np.ndarray]  # -> float32 [m, 2]


def is_classification(task: str) -> bool:
    """Whether ``task`` names linear classification."""
    return task.split("-")[0] in ("gaussian", "breast", "digits", "iris", "wine")


def split(task: str, index: int, size: int, rng: np.random.Generator) -> Split:
    """``size`` examples and HELD_OUT inputs of the index-th problem of the task.

    Tasks are ``gaussian`` (a teacher drawn again for each index), ``breast-cancer``, and
    ``digits``, ``iris``, ``wine``: index counts their pairs of classes, again from the start when
    they are used up; ``digits-3-8`` fixes the pair.

    Raises:
      InputError: an unknown task, or more examples than the data hold.

    >>> split("iris", 0, 20, np.random.default_rng(0)).inputs.shape
    (20, 5)
    """
    if task == "gaussian":
        teacher = Fixed.TEACHERS.stream(index).standard_normal(GAUSSIAN_DIM)
        features = np.rint(GRID * rng.standard_normal((size + HELD_OUT, GAUSSIAN_DIM)))
        # A rounded input can lie on the teacher's boundary only with probability 0.
        labels = np.where(features @ teacher >= 0, 1, -1)
        norm = GRID * 8.0 * GAUSSIAN_DIM**0.5
    else:
        values, labels = real_data(_name(task, index))
        features, labels = np.rint(GRID * values), labels.astype(np.int64)
        norm = float(np.linalg.norm(features, axis=1).max())
        if size + 2 > len(features):
            raise InputError(
                f"--sizes: expected at most {len(features) - 2} examples of {task}, got {size}"
            )
        order = rng.permutation(len(features))[: size + HELD_OUT]
        features, labels = features[order], labels[order]
    features = features.astype(np.int64)
    return Split(features[:size], labels[:size], features[size:], labels[size:], norm)


def _name(task: str, index: int) -> str:
    classes = {"digits": 10, "iris": 3, "wine": 3}
    if task not in classes:
        return task
    pairs = [(a, b) for b in range(classes[task]) for a in range(b)]
    first, second = pairs[index % len(pairs)]
    return f"{task}-{first}-{second}"


def _one_hot(weights: Any, queries: np.ndarray) -> np.ndarray:
    """The law of sign(<w, x>), class +1 first; an even one on the boundary."""
    score = queries @ np.asarray(weights, np.float64)
    return np.stack([(1 + np.sign(score)) / 2, (1 - np.sign(score)) / 2], axis=1, dtype=np.float32)


def logistic(data: Split) -> np.ndarray:
    """A softmax head on the features, trained by Optax: SGD on all examples, from zero."""
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


def emulator(data: Split) -> np.ndarray:
    """The same training inside the forward pass of hand-written weights, from the prompt."""
    z, labels, queries = _scaled(data)
    n, d = z.shape
    built = _built(
        "softmax-head", classes=2, features=d, steps=STEPS, learning_rate=RATE,
        queries=len(queries), length=n + len(queries) + 2,
    )  # fmt: skip
    problem = {"features": z, "labels": labels, "queries": queries}
    return np.asarray(built.decode(_run(built, built.encode(problem))), np.float32)


def _scaled(data: Split) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features of norm at most 1 as float32, and labels 0 for +1, 1 for -1."""
    z, queries = (np.asarray(x / data.norm, np.float32) for x in (data.inputs, data.queries))
    return z, ((1 - data.labels) // 2).astype(np.int32), queries


def through_weights(name: str, data: Split) -> np.ndarray:
    """The perceptron or the SVM, run by the hand-written weights of that name."""
    n, d = data.inputs.shape
    built = _built(name, dim=d, radius=float(np.ceil(data.norm)), loops=LOOPS, length=n + 1)
    problem = {"inputs": data.inputs, "labels": data.labels, "query": data.queries[0]}
    return _one_hot(built.decode(_run(built, built.encode(problem)))["weights"], data.queries)


def solver(learn: Callable[..., Any], data: Split) -> np.ndarray:
    """A learner of `icl_sim.halfspaces`, run directly."""
    inputs = jnp.asarray(data.inputs / GRID, jnp.float32)
    found = learn(inputs, jnp.asarray(data.labels, jnp.float32))
    return _one_hot(getattr(found, "weights", found), data.queries)


@lru_cache(maxsize=64)
def _built(name: str, **options: Any) -> Construction:
    return CONSTRUCTIONS[name](**options)


def _run(built: Construction, prompt: np.ndarray) -> np.ndarray:
    params = {name: jnp.asarray(leaf) for name, leaf in built.params.items()}
    inputs = jnp.asarray(prompt, jnp.float32)
    return np.asarray(_forward(built.spec, params, inputs))


@partial(jax.jit, static_argnums=0)
def _forward(spec: Any, params: dict[str, jax.Array], inputs: jax.Array) -> jax.Array:
    return forward(spec, params, inputs, prefix=inputs.shape[0])


CLASSIFIERS: dict[str, Classifier] = {
    "least-squares": partial(solver, jax.jit(least_squares)),
    "logistic": logistic,
    "logistic-in-context": emulator,
    "perceptron": partial(solver, jax.jit(perceptron)),
    "perceptron-in-context": partial(through_weights, "perceptron"),
    "svm": partial(solver, jax.jit(hard_margin_svm)),
    "svm-in-context": partial(through_weights, "svm"),
}


def classify(
    name: str, task: str, size: int, tasks: int, seeds: int, seed: list[int]
) -> list[list[list[list[float]]]]:
    """float32 [tasks seeds, m, 2] as nested lists: one classifier's laws ("truth": the labels')."""
    laws = []
    for replicate in range(tasks * seeds):
        rng = np.random.default_rng([*seed, replicate, size])
        data = split(task, replicate // seeds, size, rng)
        if name == "truth":
            law = np.stack([data.truth > 0, data.truth < 0], axis=1).astype(np.float32)
        else:
            law = CLASSIFIERS[name](data)
        laws.append(law.tolist())
    return laws


def check_classification(task: str, sizes: Any, predictors: Any) -> None:
    """Raises InputError for an unknown task or classifier, or a size that the data do not have."""
    if not re.fullmatch(r"gaussian|breast-cancer|(digits|iris|wine)(-\d-\d)?", task):
        raise InputError(
            "task: expected gaussian, breast-cancer, digits, iris or wine (or two of its classes, "
            f"digits-3-8), got {task}"
        )
    for name in predictors:
        if name not in CLASSIFIERS:
            known = ", ".join(CLASSIFIERS)
            raise InputError(f"predictor of {task}: expected one of {known}, got {name}")
    for size in sizes:
        split(task, 0, size, np.random.default_rng(0))
