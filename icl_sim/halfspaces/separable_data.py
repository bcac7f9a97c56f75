"""Real data that a halfspace labels, as laws."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.optimize import linprog

from icl_sim.data.vectors import real_data
from icl_sim.errors import InputError
from icl_sim.halfspaces.laws import Law, pool


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
