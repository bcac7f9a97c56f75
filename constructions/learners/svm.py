"""The hard-margin support vector machine in context, by Frank-Wolfe on its dual."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from constructions.blueprint import Head, LayerBlueprint, Units, score_gain
from constructions.certificate import UNIT, Certificate, Record, by_length
from constructions.construction import Construction
from constructions.gadgets import clear, signed_product
from constructions.learners.halfspace import check_halfspace, labeled, plan_of
from constructions.learners.prompt import (
    WEIGHT_OR_SCORE,
    longest,
    weights_and_score,
    weights_learner,
)
from constructions.residual import Residual
from constructions.spec import Params, TransformerSpec

SOURCE = "Frank-Wolfe on the dual of the SVM: Frank and Wolfe 1956; Jaggi 2013"
PROOF = (
    "The point w* of least norm in the hull of the z_i is gamma times the maximal-margin unit "
    "vector, gamma its margin. Frank-Wolfe with steps 2/(t+2) keeps w = 2 U/(t (t+1)), U the sum "
    "of s z_(s) over its picks: the head takes the least <U, z_i>, the MLP adds s times it, and no "
    "division is needed. |w - w*|^2 <= |w|^2 - |w*|^2 <= 16 R^2/(t+1), to which a pick that is "
    "wrong by delta adds at most 2 delta. Examples score C more than the query's own token."
)


def svm(
    *, dim: int = 2, radius: float = 1.0,
    loops: int = 1024, length: int = 256, dtype: str = "float32",
) -> Construction:  # fmt: skip
    """The hard-margin SVM by Frank-Wolfe on its dual: the point of least norm in hull(y_i x_i).

    A problem is ``{"inputs": [n, d], "labels": [n] of +-1, "query": [d]}``; the answer is
    ``{"weights": [d], "score": <w, query>}``. The weights tend to w*, whose norm is the margin and
    whose direction separates with that margin; to 0 if the data are not separable.

    Args:
      dim: d.
      radius: R, the largest norm of an input or query to certify.
      loops: how often the two layers are applied; ``loops - 1`` Frank-Wolfe steps.
      length: the longest prompt, examples and query, to certify.
      dtype: the arithmetic, a key of `UNIT`.

    Raises:
      ValueError: a size out of range, or a dtype whose rounding outweighs the steps.

    >>> built = svm(radius=2.0)
    >>> problem = {"inputs": [[2, 0], [0, -1]], "labels": [1, -1], "query": [1, 1]}
    >>> built.oracle(problem)["weights"].round(3).tolist()
    [0.4, 0.8]
    """
    check_halfspace(dim, radius, loops, length, dtype)
    r = Residual(
        one=1, x=dim, label=1, query=dim, z=dim, example=1, count=1, weights=dim, pick=dim,
        score=1,
    )  # fmt: skip
    change = LayerBlueprint(
        units=(
            *signed_product(r, "label", "x", "z"),
            *clear(r, "z"),
            *signed_product(r, "label", "label", "example"),
            *clear(r, "example"),
            *signed_product(r, "count", "pick", "weights"),
            *clear(r, "pick"),
            Units(gate_bias=1.0, up_bias=1.0, down={"count": np.ones((1, 1))}),
        ),
    )
    above = float(radius * loops) ** 2
    pick = LayerBlueprint(
        attend="hardmax",
        heads=(
            Head(
                score={("weights", "z"): -1.0, ("one", "example"): above},
                value={("z", "pick"): 1.0},
            ),
        ),
        units=(*signed_product(r, "weights", "query", "score"), *clear(r, "score")),
    )
    steps = loops - 1
    plan, fields = plan_of(r, (change, pick), loops, scale=2 / (steps * (steps + 1)))

    def parts(length: int, bonus: float) -> tuple[float, float]:
        """Bounds of what picks add to |w|^2 - |w*|^2, and of the sums' rounding."""
        u = UNIT[dtype]
        s = np.arange(1, steps, dtype=np.float64)
        size = s * (s + 1) / 2
        # Mean over ties, scaling by s, s additions: each relative to R.
        rounding = (length + steps + 4) * u * radius
        score = (dim + 4) * u * (radius**2 * size + bonus)
        wrong = 2 * score / size + 2 * rounding * radius
        return 4 * float(((s + 1) * wrong).sum()) / (steps * (steps + 1)), rounding

    def certify(spec: TransformerSpec, params: Params) -> Certificate:
        plan.verify("svm", spec, params)
        bonus = float(score_gain(spec, params, r, (1, 0), ("one", "example"))[0, 0])
        u, optimum = UNIT[dtype], 16 * radius**2 / (steps + 1)

        def error(length: int) -> float:
            picks, rounding = parts(length, bonus)
            distance = math.sqrt(optimum + picks) + rounding
            return max(1.0, radius) * distance + (dim + 3) * u * radius**2

        picks, _ = parts(length, bonus)
        if picks > optimum / 2:
            raise ValueError(
                f"svm: in {dtype} the picks' rounding moves |w|^2 by up to {picks:.1e}, more than "
                f"half of the {optimum:.1e} that {steps:,} steps leave: fewer loops or a smaller "
                "radius"
            )
        records = (
            Record(part="layer_0 mlp", kind="step", magnitude=steps * radius, note="U += s pick"),
            Record(
                part="layer_1 head 0",
                kind="least margin",
                margin=bonus - radius**2 * steps * (steps + 1) / 2,
                magnitude=bonus + radius**2 * steps * (steps + 1) / 2,
                note="the margin is that of examples over the query",
            ),
            Record(
                part="layer_1 mlp", kind="product", magnitude=radius**2, note="the query's score"
            ),
        )
        return by_length(
            spec, params, records, error, length=length, unit=WEIGHT_OR_SCORE, dtype=dtype
        )

    def oracle(*, inputs: np.ndarray, labels: np.ndarray, query: np.ndarray) -> dict[str, Any]:
        weights = point_of_least_norm(inputs * labels[:, None])
        return {"weights": weights, "score": weights @ query}

    def enclose(
        *, inputs: np.ndarray, labels: np.ndarray, query: np.ndarray, outputs: Any
    ) -> float:
        z = inputs * labels[:, None]
        picks, rounding = parts(len(z) + 1, above)
        if outputs is None:
            # The steps' theory, with the diameter of these points for 2 R.
            diameter = longest((z[:, None] - z[None]).reshape(-1, dim))
            distance = math.sqrt(4 * diameter**2 / (steps + 1) + picks) + rounding
        else:
            distance = gap_distance(weights_and_score(outputs)["weights"], z, rounding)
        largest = np.abs(point_of_least_norm(z)) + distance
        # Products, their sum, and the last loop's score, which is added and taken away.
        read = 3 * (dim + 4) * UNIT[dtype] * float(np.abs(query) @ largest)
        return max(distance, float(np.linalg.norm(query)) * distance + read)

    return weights_learner(
        "svm", plan, fields, parse=lambda problem: labeled(problem, dim, radius),
        certify=certify, oracle=oracle, enclose=enclose, source=SOURCE, proof=PROOF,
    )  # fmt: skip


def gap_distance(weights: np.ndarray, points: np.ndarray, off: float) -> float:
    """How far weights can be from the point w* of least norm in the hull of ``points`` [n, d].

    Proof. For w in the hull <w - w*, w*> >= 0, since w* is the nearest point to 0; so |w - w*|^2 <=
    <w - w*, w> <= |w|^2 - min_i <w, z_i>, the duality gap, since w* is in the hull too. Weights
    v = w + e with |e| <= off have a gap that is less by (2 |v| + R + off) off at most, R the
    largest |z_i|, and are off further from w* than w. QED

    Args:
      weights: [d].
      points: z_i = y_i x_i, [n, d].
      off: how far the weights may be from the hull.

    >>> points = np.array([[1.0, 1.0], [1.0, -1.0]])
    >>> [round(gap_distance(np.array([1.0, y]), points, 0.0), 3) for y in (0.0, 0.01)]
    [0.0, 0.1]
    """
    v = np.asarray(weights, np.float64)
    gap = float(v @ v - (points @ v).min())
    room = off * (2 * float(np.linalg.norm(v)) + longest(points) + off)
    return math.sqrt(max(gap, 0.0) + room) + off


def point_of_least_norm(points: np.ndarray) -> np.ndarray:
    """The point of least norm in the convex hull of ``points`` [n, d], by Wolfe's algorithm (1976).

    >>> point_of_least_norm(np.array([[1.0, 1.0], [1.0, -1.0], [3.0, 0.0]])).round(9) + 0.0
    array([1., 0.])
    """
    size = float((points**2).sum(axis=1).max())
    corral = [int(np.argmin((points**2).sum(axis=1)))]
    shares = np.ones(1)
    while True:
        point = shares @ points[corral]
        entering = int(np.argmin(points @ point))
        if entering in corral or point @ point - points[entering] @ point <= 1e-13 * size:
            return point
        corral, shares = [*corral, entering], np.append(shares, 0.0)
        while True:
            # The affine hull's point of least norm: G mu = const, sum mu = 1.
            gram = points[corral] @ points[corral].T
            k = len(corral)
            system = np.block([[gram, np.ones((k, 1))], [np.ones((1, k)), np.zeros((1, 1))]])
            target = np.linalg.lstsq(system, np.append(np.zeros(k), 1.0), rcond=None)[0][:k]
            if (target > 0).all():
                shares = target
                break
            falling = target <= 0
            with np.errstate(divide="ignore", invalid="ignore"):
                theta = np.min(np.where(falling, shares / (shares - target), np.inf))
            shares = (1 - theta) * shares + theta * target
            kept = shares > 1e-14
            corral = [i for i, keep in zip(corral, kept, strict=True) if keep]
            shares = shares[kept] / shares[kept].sum()
