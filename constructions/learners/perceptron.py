"""The perceptron in context, in integers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from constructions.blueprint import Head, LayerBlueprint, Units, score_gain
from constructions.certificate import UNIT, Certificate, Record, digest
from constructions.construction import Construction, assemble
from constructions.gadgets import clear, signed_product
from constructions.learners.halfspace import check_halfspace, labeled, plan_of
from constructions.learners.prompt import check_whole, prompt, weights_and_score
from constructions.residual import Residual
from constructions.spec import Params, TransformerSpec

SOURCE = "perceptron: Rosenblatt 1958; at most (R/gamma)^2 updates: Novikoff 1962"
PROOF = (
    "Integers throughout. The head scores token i with -N <w, z_i> - i, N more than the number of "
    "tokens: the least margin wins, the earliest among equals; the query's own token has z = 0. "
    "The gate clip(1 - margin) is 1 if the example is a mistake (margin <= 0) and 0 if not "
    "(margin >= 1), so w += z exactly on mistakes. Then |w|^2 grows by at most R^2 a loop and "
    "<w, w*> by gamma, so there are at most (R/gamma)^2 updates, and no partial sum exceeds "
    "N R^2 sqrt(loops)."
)


def perceptron(
    *, dim: int = 2, radius: float = 8.0, loops: int = 64, length: int = 64, dtype: str = "float32"
) -> Construction:
    """The perceptron on the example with the least margin, in integers, exactly.

    A problem is ``{"inputs": [n, d] integers, "labels": [n] of +-1, "query": [d] integers}``; the
    answer is ``{"weights": [d], "score": <w, query>}`` after ``loops - 1`` steps. Once no
    example has a margin <= 0 the weights stay: (R/gamma)^2 + 1 loops reach that. Data on any
    grid are integers in its unit.

    Args:
      dim: d.
      radius: R, the largest norm of an input or query to certify.
      loops: how often the two layers are applied.
      length: the longest prompt, examples and query, to certify.
      dtype: the arithmetic, a key of `UNIT`.

    Raises:
      ValueError: a size out of range, or sums that ``dtype`` does not hold exactly.

    >>> built = perceptron()
    >>> problem = {"inputs": [[2, 1], [1, 3]], "labels": [1, -1], "query": [1, 0]}
    >>> built.oracle(problem)["weights"].tolist()
    [4.0, -3.0]
    """
    check_halfspace(dim, radius, loops, length, dtype)
    r = Residual(
        one=1, index=1, x=dim, label=1, query=dim, z=dim, weights=dim, pick=dim, margin=1, score=1
    )
    priority = float(2 ** (length - 1).bit_length())
    change = LayerBlueprint(
        gate="hard_sigmoid",
        units=(
            *signed_product(r, "label", "x", "z"),
            *clear(r, "z"),  # so that the next loop finds y x again, not 2 y x
            Units(
                gate={"margin": -np.ones((1, dim))},
                gate_bias=1.0,
                up={"pick": np.eye(dim)},
                down={"weights": np.eye(dim)},
            ),
            *clear(r, "pick", "margin"),
        ),
    )
    pick = LayerBlueprint(
        attend="hardmax",
        heads=(
            Head(
                score={("weights", "z"): -priority, ("one", "index"): -1.0},
                value={("z", "pick"): 1.0},
            ),
        ),
        units=(
            *signed_product(r, "weights", "pick", "margin"),
            *signed_product(r, "weights", "query", "score"),
            *clear(r, "score"),
        ),
    )
    plan, fields = plan_of(r, (change, pick), loops, scale=1.0, positions=("index",))

    def certify(spec: TransformerSpec, params: Params) -> Certificate:
        plan.verify("perceptron", spec, params)
        found = -float(score_gain(spec, params, r, (1, 0), ("weights", "z"))[0, 0])
        least = math.ceil(found)
        magnitude = found * math.sqrt(loops) * radius**2 + length
        if magnitude * UNIT[dtype] > 1:
            raise ValueError(
                f"perceptron: {dtype} holds integers up to {1 / UNIT[dtype]:,.0f}, and {loops:,} "
                f"loops on {length:,} tokens of norm {radius:g} reach {magnitude:,.0f}: fewer "
                "loops, fewer tokens or a coarser grid"
            )
        records = (
            Record(
                part="layer_0 mlp",
                kind="update",
                margin=1.0,
                magnitude=magnitude,
                exact=True,
                note="w += z if the margin is <= 0",
            ),
            Record(
                part="layer_1 head 0",
                kind="least margin",
                margin=1.0,
                magnitude=magnitude,
                exact=True,
                note="equal ones: the earliest",
            ),
            Record(
                part="layer_1 mlp",
                kind="products",
                magnitude=magnitude,
                exact=True,
                note="margin and score",
            ),
        )
        return Certificate(
            dtype,
            {"length": min(length, least)},
            records,
            lambda length: 0.0,
            "largest error of a weight or the score",
            digest(spec, params),
        )

    def parse(problem: Mapping[str, Any]) -> dict[str, np.ndarray]:
        data = labeled(problem, dim, radius)
        check_whole(f"which {dtype} adds exactly", inputs=data["inputs"], query=data["query"])
        return data

    def oracle(*, inputs: np.ndarray, labels: np.ndarray, query: np.ndarray) -> dict[str, Any]:
        z = [[int(y * v) for v in x] for x, y in zip(inputs, labels, strict=True)]
        w = [0] * dim
        for _ in range(loops - 1):
            worst = min(z, key=lambda row: sum(a * b for a, b in zip(w, row, strict=True)))
            if sum(a * b for a, b in zip(w, worst, strict=True)) > 0:
                break
            w = [a + b for a, b in zip(w, worst, strict=True)]
        weights = np.array(w, np.float64)
        return {"weights": weights, "score": weights @ query}

    return assemble(
        "perceptron",
        plan,
        fields=fields,
        certify=certify,
        parse=parse,
        fill=partial(prompt, fields),
        decode=weights_and_score,
        oracle=oracle,
        source=SOURCE,
        proof=PROOF,
    )
