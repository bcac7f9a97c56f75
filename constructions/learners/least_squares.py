"""Linear regression in context: gradient descent on least squares and ridge regression."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from constructions.blueprint import Blueprint, Head, LayerBlueprint, Units
from constructions.certificate import UNIT, Certificate, Record
from constructions.construction import Construction
from constructions.fields import vectors
from constructions.gadgets import clear, move
from constructions.learners.descent import Recipe
from constructions.learners.descent_bound import logit_errors
from constructions.learners.regression import Regression, check_penalty
from constructions.residual import Residual
from constructions.spec import Params, TransformerSpec

SOURCE = "least squares by linear attention: von Oswald et al. 2023 (arXiv:2212.07677)"


def least_squares(
    *, features: int = 4, steps: int = 32, learning_rate: float = 0.5, penalty: float = 0.0,
    queries: int = 1, norm: float = 1.0, target: float = 1.0, length: int = 512,
    a_posteriori: bool = False,
) -> Construction:  # fmt: skip
    """Gradient descent on (1/2) sum_i w_i (<x_i, w> - y_i)^2 from zero: predictions [m].

    The problem is ``{"features": [n, d], "targets": [n], "queries": [m, d]}``, and optionally
    ``"weights"`` [n] of the examples, 1/n each by default.

    Args:
      features: d.
      steps, learning_rate: of gradient descent; eta (norm^2 + penalty) <= 2, so that it is stable.
      penalty: of `ridge`; 0 without.
      queries: m.
      norm, target: the largest Euclidean norm of a feature vector and the largest |y| to certify.
      length: the longest prompt, in tokens, to certify.
      a_posteriori: build even where nothing is certified of all prompts (here: any learning rate),
        and leave it to `Construction.bound` to certify the prompt at hand.

    >>> descent = least_squares(features=1, steps=2)
    >>> descent.oracle({"features": [[1.0]], "targets": [1.0], "queries": [[1.0]]}).tolist()
    [0.75]
    """
    options = Regression(
        features=features, steps=steps, learning_rate=learning_rate, penalty=penalty,
        queries=queries, norm=norm, target=target, length=length, a_posteriori=a_posteriori,
    )  # fmt: skip
    rate, reach = learning_rate, norm**2 + penalty
    if not 0 < rate * reach <= (math.inf if a_posteriori else 2):
        raise ValueError(
            "learning_rate: expected 0 < learning_rate (norm^2 + penalty) <= 2, or descent "
            f"diverges on some prompts, got {rate:g} ({norm:g}^2 + {penalty:g}) = "
            f"{rate * reach:.4g}: a_posteriori=True builds it and certifies the prompt at hand"
        )
    blueprint, fields = describe(options)

    def oracle(
        *, features: np.ndarray, targets: np.ndarray, weights: np.ndarray, queries: np.ndarray
    ) -> np.ndarray:
        x, y = features, targets
        w = np.zeros(x.shape[1])
        for _ in range(steps):
            w = w - rate * (x.T @ (weights * (x @ w - y)) + penalty * w)
        return np.asarray(queries @ w)

    def fill(*, features: Any, targets: Any, weights: Any, queries: Any) -> Any:
        """float32 [n + m, I]: the examples, then the queries.

        Args:
          features, targets, weights: [n, d], [n] and [n], of NumPy or JAX.
          queries: [m, d].
        """
        example = {"x": features, "key": weights[:, None] * features, "target": targets[:, None]}
        return vectors(fields, (len(features), example), (len(queries), {"x": queries}))

    def enclose(*, outputs: Any, targets: np.ndarray, weights: np.ndarray, **x: Any) -> float:
        run = Recipe((learning_rate,) * steps, weight_decay=penalty)
        start = np.zeros((len(targets) + queries, 1))
        _, errors = logit_errors(
            run, None, UNIT["float32"], labels=targets[:, None], weights=weights[None],
            logits=start, **x,
        )  # fmt: skip
        return float(errors.max())

    return options.learner(
        "ridge" if penalty else "least-squares", blueprint, fields,
        certify=certify, fill=fill, oracle=oracle, enclose=enclose,
        source=SOURCE,
        proof=(
            "Every token carries its prediction <x_j, w> instead of w. A linear head with W_Q = "
            "W_K = (I, 0) and value f_i - y_i adds sum_i <x_j, x_i> w_i (f_i - y_i), which is "
            "<x_j, gradient>; the penalty acts on each token alone. One loop is one step."
        ),
    )  # fmt: skip


def ridge(*, penalty: float = 0.1, **options: Any) -> Construction:
    """`least_squares` with (penalty/2) |w|^2 added: gradient descent towards the ridge estimate.

    With kappa the condition number of sum_i w_i x_i x_i' + penalty and the step 2/(least + largest
    eigenvalue), it is within ((kappa - 1)/(kappa + 1))^steps |w| |x| of the estimate.
    """
    check_penalty(penalty)
    return least_squares(penalty=penalty, **options)


def describe(options: Regression) -> tuple[Blueprint, Residual]:
    """One layer, looped once a step, and the fields of an input vector.

    Proof. Token j carries f_j = <x_j, w>, and residual_i = f_i - y_i is its ``prediction`` less its
    ``target``. The linear head has queries x_j and keys w_i x_i, which are zero on queries: it
    adds sum_i <x_j, x_i> w_i (f_i - y_i) = <x_j, gradient> to ``pull``. The MLP moves f_j by
    -eta (pull + penalty f_j) and clears ``pull``. Without a penalty the head writes -eta times its
    sum to f_j at once, and no MLP is needed (von Oswald et al., proposition 1). QED
    """
    d, rate, penalty = options.features, options.learning_rate, options.penalty
    fields = Residual(x=d, key=d, target=1)
    residual = Residual(**fields.sizes, prediction=1, **({"pull": 1} if penalty else {}))
    to, gain = ("pull", 1.0) if penalty else ("prediction", -rate)
    head = Head({("x", "key"): 1.0}, {("prediction", to): gain, ("target", to): -gain})
    units: tuple[Units, ...] = ()
    if penalty:
        units = (
            move(residual, "pull", {"prediction": -rate}),
            move(residual, "prediction", {"prediction": -rate * penalty}),
            *clear(residual, "pull"),
        )
    layer = LayerBlueprint((head,), units, attend="linear", mask="prefix")
    return options.blueprint(residual, fields, layer, answer="prediction"), fields


def certify(
    spec: TransformerSpec, params: Params, *, blueprint: Blueprint, options: Regression
) -> Certificate:
    """The weights are the described ones; the error is that of rounding.

    A stable step never raises the loss, so sum_i w_i (f_i - y_i)^2 <= Y^2, Y the largest |y|, and
    |w| <= eta t Z Y, <= Y / sqrt(penalty). With F = Z |w| a step's sum of T products of d terms
    errs by at most gamma Z^2 Y, gamma = (T + d + 8) u, its values f - y by 2 u (F + Y), and the
    update by 4 u F. An error o of the predictions propagates as o + <x, A> with
    A <- (I - eta M) A - eta sum_i w_i x_i o_i, 0 <= M <= Z^2 + penalty, so |A| grows by eta Z |o|.
    """
    unit, Z, Y = UNIT["float32"], options.norm, options.target
    rate, penalty = options.learning_rate, options.penalty
    blueprint.verify("ridge" if penalty else "least-squares", spec, params)

    def error(length: int) -> float:
        if rate * (Z * Z + penalty) > 2:
            return math.inf  # some prompts diverge
        o = A = 0.0
        for t in range(1, options.steps + 1):
            F = Z * Y * min(rate * t * Z, penalty**-0.5 if penalty else math.inf)
            gradient = Z * Z * ((length + options.features + 8) * Y + 2 * (F + Y))
            A += rate * Z * o
            o += unit * (rate * gradient + 4 * F)
        return o + Z * A

    record = Record(
        part="layer_0 head 0",
        kind="gradient",
        margin=Z,
        magnitude=Z * Z * (rate * options.steps * Z * Z * Y + Y),
        note=f"features of norm <= {Z:g}, targets <= {Y:g}",
    )
    records = [record]
    if penalty:
        note = "prediction -= rate (pull + penalty prediction)"
        records.append(Record(part="layer_0 mlp", kind="step", magnitude=Z * Y, note=note))
    return options.certificate(spec, params, records, error)
