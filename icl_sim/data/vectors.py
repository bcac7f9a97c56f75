"""Labeled vectors: real two-class data as they come with scikit-learn, and drawn ones.

Nothing is fetched. Real data sets are named ``digits-A-B`` (two of the ten digits, 64 pixels),
``breast-cancer`` (30 features), ``wine-A-B`` (two of three cultivars, 13 features) and ``iris-A-B``
(two of three species, 4 features).

Letters: n examples, d features, m held-out inputs.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from icl_sim.errors import InputError
from icl_sim.execution.streams import Fixed

GRID = 4
HELD_OUT = 64
GAUSSIAN_DIM = 8
VECTOR_TASKS = {
    "breast-cancer": "Benign or malignant, from 30 features of a cell sample (scikit-learn).",
    "digits": "Two of the ten digits, 64 pixels (scikit-learn); digits-3-8 fixes the pair.",
    "gaussian": f"Gaussian inputs in R^{GAUSSIAN_DIM}, labeled by a random halfspace.",
    "iris": "Two of three species, 4 features (scikit-learn).",
    "wine": "Two of three cultivars, 13 features (scikit-learn).",
}
_CLASSES = {"digits": 10, "iris": 3, "wine": 3}


class LabeledVectors(NamedTuple):
    """Examples of two classes, and inputs whose class is asked for.

    Features are standardized and rounded to multiples of 1/GRID, so that algorithms that need
    integers see the very data that the others see.

    inputs: int64 [n, d], in units of 1/GRID; labels: int64 [n] of +-1.
    queries: int64 [m, d].
    norm: the largest Euclidean norm of all inputs there are, in the same units.
    """

    inputs: np.ndarray
    labels: np.ndarray
    queries: np.ndarray
    norm: float


def is_vector_task(task: str) -> bool:
    """Whether ``task`` is one of VECTOR_TASKS, or looks like a class pair of one of them."""
    return any(re.fullmatch(rf"{family}(-.*)?", task) for family in VECTOR_TASKS)


def split(
    task: str, index: int, size: int, rng: np.random.Generator
) -> tuple[LabeledVectors, np.ndarray]:
    """``size`` examples, HELD_OUT inputs and their classes of the index-th problem of the task.

    Tasks are ``gaussian`` (a teacher drawn again for each index), ``breast-cancer``, and
    ``digits``, ``iris``, ``wine``: index counts their pairs of classes, again from the start when
    they are used up; ``digits-3-8`` fixes the pair.

    Returns:
      the data, and the queries' classes, int64 [m] of +-1.

    Raises:
      InputError: an unknown task, or more examples than the data hold.

    >>> data, truth = split("iris", 0, 20, np.random.default_rng(0))
    >>> data.inputs.shape, data.queries.shape, truth.shape
    ((20, 5), (64, 5), (64,))
    """
    _check_task(task)
    most = most_examples(task, index)
    if most is not None and size > most:
        raise InputError(f"--sizes: expected at most {most} examples of {task}, got {size}")
    if task == "gaussian":
        teacher = Fixed.TEACHERS.stream(index).standard_normal(GAUSSIAN_DIM)
        features = np.rint(GRID * rng.standard_normal((size + HELD_OUT, GAUSSIAN_DIM)))
        # A rounded input can lie on the teacher's boundary only with probability 0.
        labels = np.where(features @ teacher >= 0, 1, -1)
        norm = GRID * 8.0 * GAUSSIAN_DIM**0.5
    else:
        values, labels = real_data(_pair(task, index))
        features, labels = np.rint(GRID * values), labels.astype(np.int64)
        norm = float(np.linalg.norm(features, axis=1).max())
        order = rng.permutation(len(features))[: size + HELD_OUT]
        features, labels = features[order], labels[order]
    features = features.astype(np.int64)
    data = LabeledVectors(features[:size], labels[:size], features[size:], norm)
    return data, labels[size:]


def most_examples(task: str, index: int) -> int | None:
    """How many examples the index-th problem has beside two held-out inputs; None: any number.

    >>> most_examples("iris", 0), most_examples("gaussian", 0)
    (98, None)
    """
    _check_task(task)
    return None if task == "gaussian" else len(real_data(_pair(task, index))[1]) - 2


def _check_task(task: str) -> None:
    if not re.fullmatch(r"gaussian|breast-cancer|(digits|iris|wine)(-\d-\d)?", task):
        raise InputError(
            "task: expected gaussian, breast-cancer, digits, iris or wine (or two of its classes, "
            f"digits-3-8), got {task}"
        )


def _pair(task: str, index: int) -> str:
    if task not in _CLASSES:
        return task
    pairs = [(a, b) for b in range(_CLASSES[task]) for a in range(b)]
    first, second = pairs[index % len(pairs)]
    return f"{task}-{first}-{second}"


@lru_cache(maxsize=64)
def real_data(name: str) -> tuple[np.ndarray, np.ndarray]:
    """A real two-class data set, standardized, with a constant coordinate for affine halfspaces.

    Args:
      name: e.g. ``digits-3-8``, ``breast-cancer``, ``wine-0-1``, ``iris-1-2``.

    Returns:
      inputs float64 [N, d + 1], features of mean 0 and deviation 1 (constant ones dropped) and a
      final 1; labels float64 [N] of +-1, +1 for the first class named (``breast-cancer``:
      malignant). Both are read-only.

    Raises:
      InputError: no such data set or class.

    >>> inputs, labels = real_data("iris-0-1")
    >>> inputs.shape, labels.sum()
    ((100, 5), np.float64(0.0))
    """
    from sklearn import datasets  # which takes a second, and few need it

    match = re.fullmatch(r"breast-cancer|(digits|iris|wine)-(\d)-(\d)", name)
    if match is None:
        raise InputError(
            f"data set: expected breast-cancer, digits-A-B, iris-A-B or wine-A-B, got {name!r}"
        )
    data = getattr(datasets, f"load_{match[1] or 'breast_cancer'}")()
    first, second = (int(match[2]), int(match[3])) if match[1] else (0, 1)
    classes = sorted(set(data.target.tolist()))
    if first == second or not {first, second} <= set(classes):
        raise InputError(f"data set: expected two of the classes {classes}, got {name!r}")
    chosen = (data.target == first) | (data.target == second)
    inputs, labels = data.data[chosen], np.where(data.target[chosen] == first, 1.0, -1.0)
    spread = inputs.std(axis=0)
    inputs = (inputs - inputs.mean(axis=0))[:, spread > 0] / spread[spread > 0]
    inputs = np.column_stack([inputs, np.ones(len(inputs))])
    inputs.flags.writeable = labels.flags.writeable = False
    return inputs, labels
