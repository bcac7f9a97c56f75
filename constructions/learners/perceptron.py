"""The perceptron in context, in integers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from constructions.blueprint import Head, LayerBlueprint, Units, score_gain
from constructions.certificate import UNIT, Certificate, Record, by_length
from constructions.construction import Construction
from constructions.gadgets import clear, signed_product
from constructions.learners.halfspace import check_halfspace, labeled, plan_of
from constructions.learners.prompt import WEIGHT_OR_SCORE, check_whole, weights_learner
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
        records = tuple(
            Record(part=part, kind=kind, margin=margin, magnitude=magnitude, exact=True, note=note)
            for part, kind, margin, note in (
                ("layer_0 mlp", "update", 1.0, "w += z if the margin is <= 0"),
                ("layer_1 head 0", "least margin", 1.0, "equal ones: the earliest"),
                ("layer_1 mlp", "products", math.inf, "margin and score"),
            )
        )
        return by_length(
            spec,
            params,
            records,
            lambda length: 0.0,
            length=min(length, least),
            unit=WEIGHT_OR_SCORE,
            dtype=dtype,
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

    return weights_learner(
        "perceptron", plan, fields, parse=parse,
        certify=certify, oracle=oracle, source=SOURCE, proof=PROOF,
    )  # fmt: skip
