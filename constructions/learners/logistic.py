"""Logistic regression in context: gradient descent, and its normalized form.

Labels are +-1 and the model is P(+1 | x) = sigmoid(<x, w>).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from constructions.blueprint import Blueprint, Head, LayerBlueprint
from constructions.certificate import UNIT, Certificate, Record
from constructions.construction import Construction, assemble
from constructions.fields import vectors
from constructions.gadgets import clear, product, signed_product
from constructions.learners import descent
from constructions.learners.descent import MASK, HeadTask, Recipe, schedule_rates
from constructions.learners.options import check_sizes
from constructions.learners.prompt import as_array, fill, longest, parse
from constructions.learners.regression import Regression
from constructions.learners.softmax_head import certify, enclose
from constructions.residual import Residual
from constructions.spec import Params, TransformerSpec

# The two classes as rows of the single output: softmax((0, f)) = (1 - sigmoid(f), sigmoid(f)).
CLASSES = np.array([[0.0], [1.0]])
NORMALIZED = "normalized gradient descent: Nacson et al. 2019; Ji and Telgarsky 2021"


def logistic(
    *, features: int = 4, steps: int = 10, learning_rate: float = 1.0, schedule: str = "constant",
    momentum: float = 0.0, weight_decay: float = 0.0,
    queries: int = 1, norm: float = 1.0, length: int = 512,
) -> Construction:  # fmt: skip
    """Gradient descent on the mean logistic loss from zero: P(+1) at the queries, [m].

    The problem is ``{"features": [n, d], "labels": [n] of +-1, "queries": [m, d]}``. The weights
    are those of `softmax_head` with one output and class tokens 0 and 1 in place of the unit
    vectors: a softmax head over the scores (0, f) is the sigmoid of f.

    Args:
      features, steps, queries, norm, length: as in `softmax_head`.
      learning_rate, schedule, momentum, weight_decay: likewise.

    >>> one = logistic(features=1, steps=1)
    >>> one.oracle({"features": [[1.0]], "labels": [1], "queries": [[1.0]]}).round(4).tolist()
    [0.6225]
    """
    check_sizes(
        features=(features, 1), steps=(steps, 1), queries=(queries, 1), length=(length, queries)
    )
    recipe = Recipe(schedule_rates(learning_rate, schedule, steps), momentum, weight_decay)
    descent.check_recipe(recipe, norm)
    task = HeadTask(free=CLASSES, features=features, queries=queries, norm=norm, length=length)
    blueprint, fields = descent.describe(recipe, task)

    def data(problem: Mapping[str, Any]) -> dict[str, np.ndarray]:
        labels = (_signs(problem["labels"]) + 1) // 2
        return parse({**problem, "labels": labels}, recipe, task)

    return assemble(
        "logistic",
        blueprint,
        fields=fields,
        certify=partial(certify, name="logistic", blueprint=blueprint, recipe=recipe, task=task),
        parse=data,
        fill=partial(fill, fields, recipe, task),
        decode=lambda outputs: _sigmoid(np.asarray(outputs)[..., -queries:, 0]),
        oracle=lambda **data: _sigmoid(descent.train(recipe, CLASSES, **data)[:, 0]),
        # The sigmoid reads the answer off in float64.
        enclose=partial(enclose, recipe, task, read=0.0),
        source="gradient descent by linear attention: von Oswald et al. 2023 (arXiv:2212.07677)",
        proof=(
            "Layer 0: attention to class tokens with keys 0 and 1 is sigmoid(f). Layer 1: linear "
            "attention adds sum_i <x_j, x_i> w_i (p_i - y_i), <x_j, gradient>. One loop is one "
            "step."
        ),
    )


def normalized_logistic(
    *, features: int = 4, steps: int = 8, learning_rate: float = 0.5, queries: int = 1,
    norm: float = 1.0, length: int = 512,
) -> Construction:  # fmt: skip
    """Normalized gradient descent on the logistic loss: <x, w> at the queries, [m].

    w <- w + eta sum_i q_i y_i x_i with q_i = sigmoid(-y_i <x_i, w>) / (their sum): the gradient
    divided by the mean of sigmoid(-margin), which is at most the loss and at least 1 / (2 ln 2) of
    it on margins >= 0. On separable data the direction tends to the hard-margin one.

    The problem is that of `logistic`.

    Args:
      features, steps, learning_rate, queries, norm, length: as in `softmax_head`.
    """
    options = Regression(
        features=features, steps=steps, learning_rate=learning_rate,
        queries=queries, norm=norm, length=length,
    )  # fmt: skip
    if not 0 < learning_rate * norm**2 <= 64:
        raise ValueError(
            f"learning_rate: expected 0 < learning_rate norm^2 <= 64, got {learning_rate:g} "
            f"{norm:g}^2"
        )
    blueprint, fields = describe_normalized(options)

    def data(problem: Mapping[str, Any]) -> dict[str, np.ndarray]:
        x = as_array("features", problem["features"], (None, features))
        y = as_array("labels", _signs(problem["labels"]), (len(x),))
        queried = options.queried(problem)
        largest = longest(x, queried)
        if not len(x) or largest > norm * (1 + 1e-6):
            raise ValueError(
                f"features: expected at least one row, norms up to {norm:g} (certified), got "
                f"{len(x)} rows and {largest:.4g}: build with norm={largest:.4g}, or scale them"
            )
        return {"features": x, "labels": y, "queries": queried}

    def oracle(*, features: np.ndarray, labels: np.ndarray, queries: np.ndarray) -> np.ndarray:
        signed = labels[:, None] * features
        w = np.zeros(features.shape[1])
        for _ in range(steps):
            pull = _sigmoid(-signed @ w)
            w = w + learning_rate * (pull / pull.sum()) @ signed
        return np.asarray(queries @ w)

    def fill_normalized(*, features: Any, labels: Any, queries: Any) -> Any:
        """float32 [3 + n + m, I]: class tokens, examples, queries.

        Args:
          features, labels: [n, d] and +-1 [n], of NumPy or JAX.
          queries: [m, d].
        """
        classes = {"with_margin": [[1], [0], [0]], "with_loss": [[1], [1], [0]]}
        classes["vote"] = [[2], [2], [-2]]
        signed = labels[:, None] * features
        return vectors(
            fields,
            (3, {"one": 1, "hidden": 1, **classes}),
            (len(features), {"one": 1, "other": 1, "signed": signed}),
            (len(queries), {"one": 1, "other": 1, "hidden": 1, "signed": queries}),
        )

    return options.learner(
        "normalized-logistic", blueprint, fields, parse=data,
        certify=certify_normalized, fill=fill_normalized, oracle=oracle,
        source=NORMALIZED,
        proof=(
            "Every token carries w. Three Newton steps, each one softmax head over three tokens, "
            "give L_i = log(1 + exp(margin_i)); a softmax head over the examples with scores -L_i "
            "weighs them by sigmoid(-margin_i) / (their sum) and adds the average of y_i x_i to w."
        ),
    )  # fmt: skip


def describe_normalized(options: Regression) -> tuple[Blueprint, Residual]:
    """Six layers, looped once a step, and the fields of an input vector.

    Proof. Layer 0 sets ``loss`` to max(margin, 0), within ln 2 of L = log(1 + exp(margin)).
    Layers 1 to 3: the scores margin - loss, -loss and 0 of the class tokens have the third weight
    1 / (1 + exp(margin - loss) + exp(-loss)) = sigmoid(delta), delta = loss - L, and the values 2,
    2, -2 add 2 - 4 sigmoid(delta) = -2 tanh(delta / 2): delta <- delta - 2 tanh(delta / 2), between
    0 and delta^3 / 12. So |delta| <= .7, .03, 3e-6, 2e-18: Newton's iteration, cubic by
    symmetry. Layer 4: the examples alone are not hidden, and weigh exp(-L_i) / sum_j exp(-L_j) =
    sigmoid(-margin_i) / sum_j sigmoid(-margin_j); w += eta times their average; margin, loss := 0.
    Layer 5: margin := <w, y_i x_i> by two units a product; of queries, <w, x>. QED
    """
    d = options.features
    residual = Residual(
        one=1, other=1, hidden=1, with_margin=1, with_loss=1, vote=1,
        signed=d, w=d, margin=1, loss=1,
    )  # fmt: skip
    fields = Residual(one=1, other=1, hidden=1, with_margin=1, with_loss=1, vote=1, signed=d)
    scores = {
        ("margin", "with_margin"): 1.0,
        ("loss", "with_loss"): -1.0,
        ("one", "other"): -MASK,
    }
    newton = LayerBlueprint((Head(scores, {("vote", "loss"): 1.0}),), mask="prefix")
    scores = {("one", "loss"): -1.0, ("one", "hidden"): -MASK}
    update = Head(scores, {("signed", "w"): options.learning_rate})
    margins = signed_product(residual, "w", "signed", "margin")
    layers = (
        LayerBlueprint(units=(product(residual, "margin", "one", "loss"),), mask="prefix"),
        *(newton,) * 3,
        LayerBlueprint((update,), clear(residual, "margin", "loss"), mask="prefix"),
        LayerBlueprint(units=margins, mask="prefix"),
    )
    return options.blueprint(residual, fields, *layers, answer="margin"), fields


def certify_normalized(
    spec: TransformerSpec, params: Params, *, blueprint: Blueprint, options: Regression
) -> Certificate:
    """The weights are the described ones; the error of <x, w> is that of rounding.

    |w| <= eta t Z =: W and |margin| <= W Z =: M. A margin errs by o = (d + 2) u M + Z |E|, E the
    error of w; L by (2 M + 32) u more (one softmax of three scores, one addition). Averaging with
    softmax weights of n scores that err by e errs by at most Z (e + (2 T + M + 8) u), since
    sum_i q_i |e_i - mean| <= max |e|. So |E| grows to
    (1 + eta Z^2) |E| + eta Z (rounding) + 2 u W a step: exponential, for short runs only; 2 M, what
    two answers can differ by at all, after long ones.
    """
    blueprint.verify("normalized-logistic", spec, params)
    unit, Z = UNIT["float32"], options.norm
    rate, steps = options.learning_rate, options.steps

    def error(length: int) -> float:
        E = o = 0.0
        for t in range(1, steps + 1):
            W = rate * t * Z
            M = W * Z
            E += rate * Z * (o + unit * (3 * M + 2 * length + 40)) + 2 * unit * W
            o = (options.features + 2) * unit * M + Z * E
            if o > 2 * M:
                return 2 * rate * steps * Z * Z
        return o

    top = rate * steps * Z * Z
    if top > MASK / 2:
        raise ValueError(
            f"margins may reach {top:.3g}, where the mask of {MASK:g} does not hide the other "
            "tokens: lower the learning rate, the steps or the norm"
        )
    newton = [
        Record(
            part=f"layer_{i} head 0",
            kind="Newton's step for log(1 + exp(margin))",
            margin=MASK - top,
            magnitude=MASK,
            note=f"remainder below {remainder:g}",
        )
        for i, remainder in ((1, 0.03), (2, 3e-6), (3, 2e-18))
    ]
    average = Record(
        part="layer_4 head 0",
        kind="average of y x by sigmoid(-margin)",
        margin=MASK - top - math.log(2),
        magnitude=MASK,
    )
    units = [
        Record(part=f"layer_{i} mlp", kind=kind, magnitude=top, exact=exact)
        for i, kind, exact in (
            (0, "loss := max(margin, 0)", True),
            (4, "clears", True),
            (5, "margin := <w, y x>", False),
        )
    ]
    return options.certificate(spec, params, (*newton, average, *units), error)


def _signs(labels: Any) -> np.ndarray:
    signs = np.asarray(labels)
    if signs.ndim != 1 or not np.isin(signs, (-1, 1)).all():
        raise ValueError(f"labels: expected [n] of -1 and +1, got {labels}")
    return signs.astype(np.int64)


def _sigmoid(f: np.ndarray) -> np.ndarray:
    return np.asarray(np.exp(-np.logaddexp(0, -np.asarray(f, np.float64))))
