"""Worst cases of many small errors, carried through linear maps: outer ellipsoids.

An error e obeys e <- J e + B xi with known J and B and any |xi_i| <= 1. The box of all xi can be
carried along only corner by corner; an ellipsoid that holds the errors costs one matrix C a step:

    |a' e| <= sqrt(a' C a)      for every a.                                                   (*)

Lemma 1 (a map). If (*) holds for e and C, it holds for J e and J C J'.
Proof. a' J e = (J' a)' e. QED

Lemma 2 (a box). With b_i the columns of B and any beta_i > 0, (*) holds for B xi and
C = (sum beta) sum_i b_i b_i' / beta_i. Proof. (a' B xi)^2 <= (sum_i |a' b_i|)^2 <= (sum beta)
sum_i (a' b_i)^2 / beta_i by Cauchy and Schwarz. QED Its trace is least at beta_i = |b_i|.

Lemma 3 (a sum). If (*) holds for e, C and for f, D, it holds for e + f and (1 + r) C + (1 + 1/r) D,
r > 0. Proof. 2 (a'e)(a'f) <= r (a'e)^2 + (a'f)^2 / r. QED With r = sqrt(|D| / |C|) in any size
that is linear, such as a trace, the square root of the size adds up.

The recursion is a covariance's, but what it gives is no standard deviation: no error that the
assumptions allow is larger. Source: F. C. Schweppe, IEEE Trans. Automatic Control 13 (1968); A.
Kurzhanski and I. Valyi, Ellipsoidal Calculus (1997).
"""

from __future__ import annotations

import numpy as np


def box(columns: np.ndarray) -> np.ndarray:
    """[D, D]: of all sums of the columns [D, k] with factors between -1 and 1 (lemma 2).

    >>> box(np.array([[3.0, 0.0], [0.0, 1.0]])).tolist()
    [[12.0, 0.0], [0.0, 4.0]]
    """
    size = np.linalg.norm(columns, axis=0)
    columns, size = columns[:, size > 0], size[size > 0]
    return np.asarray((columns * (size.sum() / size)) @ columns.T)


def total(first: np.ndarray, second: np.ndarray, scale: np.ndarray | float = 1.0) -> np.ndarray:
    """[D, D]: of the sums of an error of each (lemma 3).

    Args:
      first, second: [D, D].
      scale: [D], what a unit of each entry counts in the size that decides about r.
    """
    if not first.any() or not second.any():
        return np.asarray(first + second)
    sizes = [float((np.diagonal(one) * scale).sum()) for one in (first, second)]
    if min(sizes) <= 0:
        sizes = [float(np.trace(one)) for one in (first, second)]
    r = (sizes[1] / sizes[0]) ** 0.5
    return np.asarray((1 + r) * first + (1 + 1 / r) * second)


def widths(ellipsoid: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """[...]: the largest |a'e| for each row a of [..., D].

    A part 2^-40 of the trace is added, for the rounding of this computation itself.

    >>> widths(np.diag([4.0, 9.0]), np.eye(2)).round(4).tolist()
    [2.0, 3.0]
    """
    flat = rows.reshape(-1, rows.shape[-1])
    squares = np.einsum("ad,ad->a", flat @ ellipsoid, flat)
    slack = 2.0**-40 * np.trace(ellipsoid) * (flat**2).sum(axis=1)
    return np.asarray(np.sqrt(np.maximum(squares, 0) + slack).reshape(rows.shape[:-1]))
