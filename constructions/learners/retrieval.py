"""Prediction from similar examples in the prompt: Nadaraya-Watson, and retrieval of the nearest K.

Both score example i for the query q with 2 <q, x_i> - |x_i|^2 = |q|^2 - |q - x_i|^2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from constructions.blueprint import Blueprint, Head, LayerBlueprint, score_gain
from constructions.certificate import UNIT, Certificate, Record, check_dtype, digest, losing_mass
from constructions.construction import Construction
from constructions.gadgets import clear, embedding, move, signed_product
from constructions.learners.options import check_positive, check_sizes
from constructions.learners.prompt import integers, rows, within
from constructions.residual import Residual
from constructions.spec import Params, TransformerSpec

KERNEL = "kernel regression: Nadaraya 1964; Watson 1964; in context: Han et al. 2023"
KERNEL_PROOF = (
    "A softmax head with scores (<q, x_i> - |x_i|^2/2)/h^2, equal up to a constant to "
    "-|q - x_i|^2/(2 h^2), averages the labels: the Nadaraya-Watson estimate itself. Examples "
    "have B more than the query's own token, which so weighs next to nothing."
)
NEAREST = (
    "nearest neighbors: Fix and Hodges 1951; retrieval in rounds by a sharp head: Li et al. 2024"
)
NEAREST_PROOF = (
    "Integers throughout. In each round a hardmax head scores item i of the prompt with "
    "N (|q|^2 - |q - x_i|^2) - i, N more than the number of tokens, plus B for being an item, less "
    "B for each time it has been picked: the nearest item not yet picked wins, the earliest among "
    "equals, and neither a picked item nor the query's own token can. Its label joins the sum, its "
    "slot the list of picked ones."
)


def nadaraya_watson(
    *,
    dim: int = 2,
    outputs: int = 3,
    bandwidth: float = 0.5,
    radius: float = 2.0,
    length: int = 256,
    dtype: str = "float32",
) -> Construction:
    """Kernel regression with a Gaussian kernel: sum K(q, x_i) e_(y_i) / sum K(q, x_i).

    A problem is ``{"inputs": [n, d], "labels": [n] below outputs, "query": [d]}``; the answer is a
    law [outputs].

    Args:
      dim, outputs: d, and the number of labels.
      bandwidth: h, K(q, x) = exp(-|q - x|^2 / (2 h^2)).
      radius: the largest norm of an input or query to certify.
      length: the longest prompt, examples and query, to certify.
      dtype: the arithmetic, a key of `UNIT`.

    Raises:
      ValueError: a size out of range, or scores (radius/bandwidth)^2 too large for ``dtype``.

    >>> built = nadaraya_watson(outputs=2)
    >>> problem = {"inputs": [[0, 0], [1, 0]], "labels": [0, 1], "query": [0.5, 0]}
    >>> built.oracle(problem).tolist()
    [0.5, 0.5]
    """
    _check(dim, outputs, radius, length, dtype)
    if not 0 < bandwidth <= 1e6:
        raise ValueError(f"bandwidth: expected 0 < bandwidth <= 1e6, got {bandwidth}")
    r = Residual(one=1, x=dim, label=outputs, query=dim, square=1, law=outputs)
    bonus = 1.5 * radius**2 + 64 * bandwidth**2
    plan = Blueprint(
        residual=r,
        inputs="vectors",
        embed=embedding(Residual(x=dim, label=outputs, query=dim, one=1), r),
        layers=(
            LayerBlueprint(units=signed_product(r, "x", "x", "square")),
            LayerBlueprint(
                scale=bandwidth**-2,
                heads=(
                    Head(
                        score={
                            ("query", "x"): 1.0,
                            ("one", "square"): -0.5,
                            ("one", "label"): bonus,
                        },
                        value={("label", "law"): 1.0},
                    ),
                ),
            ),
        ),
        out={"law": np.eye(outputs)},
    )
    spec, params = plan.spec, plan.build()

    def certify(spec: TransformerSpec, params: Params) -> Certificate:
        plan.verify("nadaraya-watson", spec, params)
        u = UNIT[dtype]
        scale = spec.layers[1].scale
        above = float(score_gain(spec, params, r, (1, 0), ("one", "label")).min())
        margin = above - 1.5 * scale * radius**2
        # d products for |x|^2, d + 2 more for the score, and its product with the scale.
        rounding = (2 * dim + 6) * u * (above + 1.5 * scale * radius**2)

        def error(length: int) -> float:
            # A weight is off by a factor exp(rounding), its exp by a few units, a sum of n
            # positive terms by n units; numerator and denominator alike.
            relative = math.expm1(min(rounding, 700.0)) + (length + 6) * u
            return 2 * relative + losing_mass(1, margin)

        if margin <= 0 or error(length) > 1e-2:
            raise ValueError(
                f"nadaraya-watson: in {dtype} scores of {above:,.0f} logits are rounded by up to "
                f"{rounding:.1e}, an error of {error(length):.1e} in total variation at length "
                f"{length:,}: widen the bandwidth or shrink the radius"
            )
        records = (
            Record(
                part="layer_0 mlp", kind="square", margin=math.inf, magnitude=radius**2, exact=False
            ),
            Record(
                part="layer_1 head 0",
                kind="Gaussian kernel",
                margin=margin,
                magnitude=above,
                exact=False,
                note="the margin is that of examples over the query's own token",
            ),
        )
        return Certificate(
            dtype, {"length": length}, records, error, "total variation", digest(spec, params)
        )

    certificate = certify(spec, params)

    def encode(problem: Mapping[str, Any]) -> np.ndarray:
        inputs, labels, query = _parse(problem, dim, outputs, radius)
        certificate.check(length=len(inputs) + 1)
        return _prompt(inputs, np.eye(outputs)[labels], query)

    def oracle(problem: Mapping[str, Any]) -> np.ndarray:
        inputs, labels, query = _parse(problem, dim, outputs, radius)
        distances = ((inputs - query) ** 2).sum(axis=1)
        kernel = np.exp((distances.min() - distances) / (2 * bandwidth**2))
        return np.bincount(labels, kernel, outputs) / kernel.sum()

    return Construction(
        name="nadaraya-watson",
        kind="learner",
        spec=spec,
        params=params,
        residual=r,
        encode=encode,
        decode=lambda outputs: outputs[..., -1, :],
        oracle=oracle,
        certificate=certificate,
        source=KERNEL,
        proof=KERNEL_PROOF,
        certify=certify,
    )


def retrieval(
    *,
    dim: int = 2,
    outputs: int = 3,
    items: int = 32,
    nearest: int = 3,
    radius: float = 32.0,
    dtype: str = "float32",
) -> Construction:
    """The nearest K items of the prompt and the law of their labels; exact, ties by position.

    A problem is ``{"inputs": [n, d] integers, "labels": [n] below outputs, "query": [d] integers}``
    with n from K to ``items``; the answer is ``{"law": [outputs], "items": [K'] indices}``, in
    order of position. Data on any grid are integers in its unit. K = 1 is the nearest neighbor.

    Args:
      dim, outputs: d, and the number of labels.
      items: the most items in a prompt; each has a column of the residual stream.
      nearest: K, the number of loops.
      radius: the largest norm of an input or query to certify.
      dtype: the arithmetic, a key of `UNIT`.

    Raises:
      ValueError: a size out of range, or scores that ``dtype`` does not hold exactly.

    >>> built = retrieval(nearest=2)
    >>> problem = {"inputs": [[9, 9], [1, 0], [0, 2]], "labels": [0, 1, 2], "query": [0, 0]}
    >>> built.oracle(problem)["items"].tolist()
    [1, 2]
    """
    _check(dim, outputs, radius, items + 1, dtype)
    if not 1 <= nearest <= items:
        raise ValueError(f"nearest: expected 1 to {items}, the most items, got {nearest}")
    r = Residual(
        one=1,
        index=1,
        x=dim,
        label=outputs,
        slot=items,
        query=dim,
        square=1,
        pick=items,
        used=items,
        law=outputs,
    )
    priority = float(2 ** items.bit_length())
    bonus = priority * (math.ceil(4 * radius**2) + 1)
    size = outputs + items
    plan = Blueprint(
        residual=r,
        inputs="vectors",
        embed=embedding(Residual(x=dim, label=outputs, slot=items, query=dim, one=1), r),
        layers=(
            LayerBlueprint(units=(*signed_product(r, "x", "x", "square"), *clear(r, "square"))),
            LayerBlueprint(
                attend="hardmax",
                heads=(
                    Head(
                        score={
                            ("query", "x"): 2 * priority,
                            ("one", "square"): -priority,
                            ("one", "index"): -1.0,
                            ("one", "slot"): bonus,
                            ("used", "slot"): -bonus,
                        },
                        value={("slot", "pick"): 1.0, ("label", "law"): 1.0},
                    ),
                ),
                units=(move(r, "pick", {"used": 1, "pick": -1}),),
            ),
        ),
        out={
            "law": np.eye(outputs, size) / nearest,
            "used": np.eye(size)[outputs:],
        },
        loops=nearest,
        positions=("index",),
    )
    spec, params = plan.spec, plan.build()

    def certify(spec: TransformerSpec, params: Params) -> Certificate:
        plan.verify("retrieval", spec, params)
        scale = -float(score_gain(spec, params, r, (1, 0), ("one", "square"))[0, 0])
        above = float(score_gain(spec, params, r, (1, 0), ("one", "slot")).min())
        # |2 <q, x>| <= 2 R^2 by partial sums, |x|^2 <= R^2, and two bonuses.
        magnitude = scale * 3 * radius**2 + 2 * above + items
        if magnitude * UNIT[dtype] > 1:
            raise ValueError(
                f"retrieval: {dtype} holds integers up to {1 / UNIT[dtype]:,.0f}, and scores of "
                f"{items:,} items of norm {radius:g} reach {magnitude:,.0f}: fewer items or a "
                "coarser grid"
            )
        records = (
            Record(
                part="layer_0 mlp", kind="square", margin=math.inf, magnitude=radius**2, exact=True
            ),
            Record(
                part="layer_1 head 0",
                kind="nearest unused",
                margin=1.0,
                magnitude=magnitude,
                exact=True,
                note="equal distances: the earliest",
            ),
            Record(
                part="layer_1 mlp", kind="mark as used", margin=math.inf, magnitude=1, exact=True
            ),
        )
        return Certificate(
            dtype,
            {"length": items + 1},
            records,
            # K times 1/K, each rounded.
            lambda length: 2 * UNIT[dtype],
            "total variation, and wrong items",
            digest(spec, params),
        )

    certificate = certify(spec, params)

    def parse(problem: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        inputs, labels, query = _parse(problem, dim, outputs, radius)
        for name, values in (("inputs", inputs), ("query", query)):
            if (values != np.rint(values)).any():
                raise ValueError(
                    f"{name}: expected integers, whose distances {dtype} compares exactly, got "
                    f"{values[values != np.rint(values)][0]:g}: multiply by the inverse of the grid"
                )
        if len(inputs) < nearest:
            raise ValueError(f"inputs: expected at least {nearest} items, got {len(inputs)}")
        return inputs, labels, query

    def encode(problem: Mapping[str, Any]) -> np.ndarray:
        inputs, labels, query = parse(problem)
        certificate.check(length=len(inputs) + 1)
        features = np.concatenate([np.eye(outputs)[labels], np.eye(items)[: len(inputs)]], axis=1)
        return _prompt(inputs, features, query)

    def decode(found: Any) -> dict[str, Any]:
        last = np.asarray(found)[-1]
        return {"law": last[:outputs], "items": np.flatnonzero(last[outputs:])}

    def oracle(problem: Mapping[str, Any]) -> dict[str, Any]:
        inputs, labels, query = parse(problem)
        order = np.argsort(((inputs - query) ** 2).sum(axis=1), kind="stable")[:nearest]
        law = np.bincount(labels[order], minlength=outputs) / nearest
        return {"law": law, "items": np.sort(order)}

    return Construction(
        name="retrieval",
        kind="learner",
        spec=spec,
        params=params,
        residual=r,
        encode=encode,
        decode=decode,
        oracle=oracle,
        certificate=certificate,
        source=NEAREST,
        proof=NEAREST_PROOF,
        certify=certify,
    )


def _prompt(inputs: np.ndarray, features: np.ndarray, query: np.ndarray) -> np.ndarray:
    """float32 [n + 1, ...]: rows (x, features, 0, 1), then (0, 0, query, 1)."""
    n, d = inputs.shape
    tokens = np.zeros((n + 1, 2 * d + features.shape[1] + 1), np.float32)
    tokens[:n, : d + features.shape[1]] = np.concatenate([inputs, features], axis=1)
    tokens[n, -d - 1 : -1] = query
    tokens[:, -1] = 1
    return tokens


def _parse(
    problem: Mapping[str, Any], dim: int, outputs: int, radius: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    inputs = rows("inputs", problem["inputs"], dim)
    query = rows("query", np.reshape(problem["query"], (1, -1)), dim)[0]
    labels = integers("labels", problem["labels"], len(inputs), 0, outputs - 1)
    if not len(inputs):
        raise ValueError("inputs: expected at least one example, got none")
    within("inputs", inputs, radius)
    within("query", query[None], radius)
    return inputs, labels, query


def _check(dim: int, outputs: int, radius: float, length: int, dtype: str) -> None:
    check_sizes(dim=(dim, 1), outputs=(outputs, 2), length=(length, 2))
    check_positive(radius=radius)
    check_dtype(dtype)
