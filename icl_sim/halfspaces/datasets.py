"""Real data for halfspaces, as it comes with scikit-learn: nothing is fetched.

Names: ``digits-A-B`` (two of the ten digits, 64 pixels), ``breast-cancer`` (30 features),
``wine-A-B`` (two of three cultivars, 13 features), ``iris-A-B`` (two of three species, 4 features).
"""

from __future__ import annotations

import re
from functools import lru_cache

import numpy as np
from scipy.optimize import linprog
from sklearn import datasets

from icl_sim.errors import InputError
from icl_sim.halfspaces.laws import Law, pool

_LOADERS = {
    "breast-cancer": datasets.load_breast_cancer,
    "digits": datasets.load_digits,
    "iris": datasets.load_iris,
    "wine": datasets.load_wine,
}


def real_data(name: str) -> tuple[np.ndarray, np.ndarray]:
    """A real two-class data set, standardized, with a constant coordinate for affine halfspaces.

    Args:
      name: e.g. ``digits-3-8``, ``breast-cancer``, ``wine-0-1``, ``iris-1-2``.

    Returns:
      inputs float64 [N, d + 1], features of mean 0 and deviation 1 (constant ones dropped) and a
      final 1; labels float64 [N] of +-1, +1 for the first class named (``breast-cancer``:
      malignant).

    Raises:
      InputError: no such data set or class.

    >>> inputs, labels = real_data("iris-0-1")
    >>> inputs.shape, labels.sum()
    ((100, 5), np.float64(0.0))
    """
    match = re.fullmatch(r"(breast-cancer|(digits|iris|wine)-(\d)-(\d))", name)
    if match is None:
        raise InputError(
            f"data set: expected breast-cancer, digits-A-B, iris-A-B or wine-A-B, got {name!r}"
        )
    data = _LOADERS[match[2] or "breast-cancer"]()
    first, second = (int(match[3]), int(match[4])) if match[2] else (0, 1)
    classes = sorted(set(data.target.tolist()))
    if first == second or not {first, second} <= set(classes):
        raise InputError(f"data set: expected two of the classes {classes}, got {name!r}")
    chosen = (data.target == first) | (data.target == second)
    inputs, labels = data.data[chosen], np.where(data.target[chosen] == first, 1.0, -1.0)
    spread = inputs.std(axis=0)
    inputs = (inputs - inputs.mean(axis=0))[:, spread > 0] / spread[spread > 0]
    return np.column_stack([inputs, np.ones(len(inputs))]), labels


def separable(inputs: np.ndarray, labels: np.ndarray) -> bool:
    """Whether some halfspace through the origin labels every input, by linear programming.

    Feasibility of y_i w.x_i >= 1.

    Args:
      inputs: float [N, d].
      labels: [N] of +-1.

    >>> separable(np.array([[1.0, 1.0], [2.0, 1.0]]), np.array([1, -1]))
    True
    >>> separable(np.array([[1.0], [2.0]]), np.array([1, -1]))
    False
    """
    z = np.asarray(inputs, np.float64) * np.asarray(labels, np.float64)[:, None]
    found = linprog(np.zeros(z.shape[1]), A_ub=-z, b_ub=-np.ones(len(z)), bounds=(None, None))
    return found.status == 0


@lru_cache
def real_law(name: str) -> Law:
    """The uniform law on a real data set that a halfspace labels (claim C3's premise).

    Raises:
      InputError: no such data set, or no halfspace labels it.

    >>> real_law("iris-0-1").dim
    5
    """
    inputs, labels = real_data(name)
    if not separable(inputs, labels):
        raise InputError(f"data set: expected one that a halfspace labels, {name!r} is not")
    return pool(name, inputs, labels)
