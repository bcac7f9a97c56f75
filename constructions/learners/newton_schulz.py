"""Ridge regression in context by Newton-Schulz matrix inversion."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from constructions.blueprint import Blueprint, Head, LayerBlueprint
from constructions.certificate import UNIT, Certificate, Record
from constructions.construction import Construction
from constructions.fields import vectors
from constructions.gadgets import clear
from constructions.learners.regression import Regression, check_penalty
from constructions.residual import Residual
from constructions.spec import Params, TransformerSpec

SOURCE = "Newton-Schulz: Schulz 1933; in context, Fu et al. 2023 (arXiv:2310.17086)"


def newton_schulz(
    *, features: int = 4, penalty: float = 0.1, steps: int = 8, queries: int = 1,
    norm: float = 1.0, target: float = 1.0, length: int = 512, a_posteriori: bool = False,
) -> Construction:  # fmt: skip
    """Ridge regression by matrix inversion, X <- 2 X - X A X: predictions [m].

    The problem is that of `least_squares`; A = sum_i w_i x_i x_i' + penalty and X starts at
    I / (norm^2 + penalty). Then I - A X squares at each step: after k steps the prediction differs
    from the ridge estimate's by at most (1 - penalty/(norm^2 + penalty))^(2^k) |w| |x|.

    Args:
      features: d; the prompt has d tokens for the rows of the matrices.
      penalty: of ridge regression, > 0.
      steps: k.
      queries, norm, target, length, a_posteriori: as in `least_squares`.
    """
    check_penalty(penalty)
    options = Regression(
        features=features, steps=steps, penalty=penalty,
        queries=queries, norm=norm, target=target, length=length, a_posteriori=a_posteriori,
    )  # fmt: skip
    blueprint, fields = describe(options)
    start, eye = 1 / (norm**2 + penalty), np.eye(features)

    def oracle(
        *, features: np.ndarray, targets: np.ndarray, weights: np.ndarray, queries: np.ndarray
    ) -> np.ndarray:
        x = features
        A = x.T @ (weights[:, None] * x) + penalty * eye
        X = start * eye
        for _ in range(steps):
            X = 2 * X - X @ A @ X
        return np.asarray(queries @ (X @ (x.T @ (weights * targets))))

    def fill(*, features: Any, targets: Any, weights: Any, queries: Any) -> Any:
        """float32 [d + n + m, I]: rows of the matrices, the examples, then the queries.

        Args:
          features, targets, weights: [n, d], [n] and [n], of NumPy or JAX.
          queries: [m, d].
        """
        example = {"x": features, "key": weights[:, None] * features, "y": targets[:, None]}
        return vectors(
            fields,
            (len(eye), {"row": eye, "inverse": start * eye}),
            (len(features), example),
            (len(queries), {"x": queries}),
        )

    return options.learner(
        "newton-schulz", blueprint, fields,
        certify=certify, fill=fill, oracle=oracle, enclose=partial(enclose, options),
        source=SOURCE,
        proof=(
            "d tokens hold the rows of A, A X and X. Linear heads: row k of A is "
            "sum_i w_i x_ik x_i'; a token with a vector a in its query reads sum_j a_j (row j of "
            "M) = a' M off the row tokens. So X += X (I - A X), then x' X and x' X sum w_i x_i y_i."
        ),
    )  # fmt: skip


def describe(options: Regression) -> tuple[Blueprint, Residual]:
    """Five layers, looped once a step, and the fields of an input vector.

    ``row`` is e_k on row token k and zero elsewhere, ``x`` and ``key`` = w_i x_i are zero on row
    tokens, so each head reaches the tokens meant and no others:

    0. row token k: gram += sum_i <e_k, w_i x_i> x_i', the row of A without the penalty.
    1. image += sum_j (gram_k + penalty e_k)_j inverse_j = row k of A X; gram := 0.
    2. inverse += sum_j inverse_kj (e_j - image_j) = row k of X (I - A X); image := 0, and the last
       loop's prediction := 0.
    3. all tokens: direction += sum_k x_k inverse_k = x' X.
    4. prediction += sum_i <direction, w_i x_i> y_i; direction := 0.
    """
    d, penalty = options.features, options.penalty
    residual = Residual(
        row=d, x=d, key=d, y=1, gram=d, image=d, inverse=d, direction=d, prediction=1
    )
    fields = Residual(row=d, x=d, key=d, y=1, inverse=d)
    heads_and_units = (
        (Head({("row", "key"): 1.0}, {("x", "gram"): 1.0}), ()),
        (
            Head({("gram", "row"): 1.0, ("row", "row"): penalty}, {("inverse", "image"): 1.0}),
            clear(residual, "gram"),
        ),
        (
            Head({("inverse", "row"): 1.0}, {("row", "inverse"): 1.0, ("image", "inverse"): -1.0}),
            clear(residual, "image", "prediction"),
        ),
        (Head({("x", "row"): 1.0}, {("inverse", "direction"): 1.0}), ()),
        (
            Head({("direction", "key"): 1.0}, {("y", "prediction"): 1.0}),
            clear(residual, "direction"),
        ),
    )
    layers = (
        LayerBlueprint((head,), units, attend="linear", mask="prefix")
        for head, units in heads_and_units
    )
    return options.blueprint(residual, fields, *layers, answer="prediction"), fields


def enclose(
    options: Regression, *, outputs: Any, features: np.ndarray, targets: np.ndarray,
    weights: np.ndarray, queries: np.ndarray,
) -> float:  # fmt: skip
    """`Construction.enclose`: rounding on the prompt at hand, entry by entry.

    With X the exact iterate, X + E the computed one, B = A X, |.| of each entry and k_i = w_i x_i:

    - A is off by dA = (n + 3) u sum_i |k_i| |x_i|' (products, sums, both converted) and 3 u on its
      diagonal for the penalty.
    - B then by dA |X| + (d + 2) u |A| |X|, with |X| + |E| for |X| here and below.
    - X + (X - X B): |X| dB + (d + 1) u |X| |B| + u |X - X B| + u |2 X - X B|, three additions.
    - E <- (I - X A) E + E (I - A X) - E A E and what has been rounded, in the spectral norm, which
      is at most that of the entries' squares: |E| <- (|I - X A| + |I - A X|) |E| + |A| |E|^2 + own.
    - x' X takes (d + 2) u of |x|' |X|, the prediction (n + d + 4) u of that times sum |k_i| |y_i|,
      and x' E sum k_i y_i is |x| |E| |sum k_i y_i| at most.
    """
    d, n, u = options.features, len(targets), UNIT["float32"]
    eye, key = np.eye(d), weights[:, None] * features
    A = features.T @ key + options.penalty * eye
    size_A = np.abs(A)
    dA = u * ((n + 3) * np.abs(features).T @ np.abs(key) + 3 * options.penalty * eye)
    start = 1 / (options.norm**2 + options.penalty)
    X, E = start * eye, u * start
    for _ in range(options.steps):
        if not E < 1e9:
            return math.inf
        size, B = np.abs(X) + E, A @ X  # no entry of E is larger than its norm
        dB = dA @ size + (d + 2) * u * (size_A @ size)
        change = X - X @ B
        own = size @ dB + (d + 1) * u * (size @ (size_A @ size))
        own += u * (np.abs(change) + np.abs(X + change) + 3 * E)
        carried = np.linalg.norm(eye - X @ A, 2) + np.linalg.norm(eye - B, 2)
        E = float(carried * E + np.linalg.norm(A, 2) * E * E + np.linalg.norm(own))
        X = X + change
    pull = float(np.linalg.norm(key.T @ targets))
    read = np.abs(queries) @ (np.abs(X) + E) @ (np.abs(key).T @ np.abs(targets))
    errors = np.linalg.norm(queries, axis=1) * E * pull + (n + 2 * d + 6) * u * read
    return float(1.01 * errors.max())


def certify(
    spec: TransformerSpec, params: Params, *, blueprint: Blueprint, options: Regression
) -> Certificate:
    """The weights are the described ones; the error is that of rounding.

    In the spectral norm, with E the error of X and R = I - A X, 0 <= R < 1: the step's map has the
    derivative E -> E R + R' E and adds |A| |E|^2 and its own rounding. That is at most
    gamma |X|^2 |A| from A (sums of T products), and from products of d terms at most
    d gamma (|X|^2 |A| + 2 |X|), gamma = (T + 2 d + 8) u, since Frobenius norms are at most sqrt(d)
    times spectral ones. |X_t| <= 2^t |X_0| and <= 1/penalty, |R_t| <= R_0^(2^t). The prediction
    adds sqrt(d) gamma |X| Z^2 Y.
    """
    blueprint.verify("newton-schulz", spec, params)
    unit, d = UNIT["float32"], options.features
    Z, Y, penalty = options.norm, options.target, options.penalty
    size, largest = Z * Z + penalty, 1 / penalty

    def error(length: int) -> float:
        gamma = (length + 2 * d + 8) * unit
        E, X, R = unit / size, 1 / size, 1 - penalty / size
        for _ in range(options.steps):
            before = E, X, R
            E = 2 * R * E + size * E * E + 2 * d * gamma * (X + X * X * size)
            X, R = min(2 * X, largest), R * R
            if E > 1e9:
                return math.inf
            if before == (E, X, R):  # nor will the other steps change it
                break
        return E * Z * Z * Y + gamma * (X + E) * Z * Z * Y * math.sqrt(d)

    if not error(options.limit) < Y and not options.a_posteriori:
        raise ValueError(
            f"newton-schulz: with penalty {penalty:g}, norm {Z:g}, {options.steps} steps and "
            f"{options.limit:,} tokens float32 may err by {error(options.limit):.1e} on targets of "
            f"{Y:g}: raise the penalty, or shorten the prompt"
        )
    heads = (
        ("rows of A", Z * Z),
        ("rows of A X", size * largest),
        ("X (I - A X)", largest),
        ("x' X", Z * largest),
        ("prediction", Z * Z * Y * largest),
    )
    records = [
        Record(part=f"layer_{i} head 0", kind=kind, margin=penalty / size, magnitude=magnitude)
        for i, (kind, magnitude) in enumerate(heads)
    ]
    records += [
        Record(part=f"layer_{i} mlp", kind="clears", magnitude=largest, exact=True)
        for i in (1, 2, 4)
    ]
    return options.certificate(spec, params, records, error)
