"""The Lasso in context, by iterative soft thresholding (ISTA)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from constructions.blueprint import Blueprint, Head, LayerBlueprint, Units, score_gain
from constructions.certificate import UNIT, Certificate, Record, by_length, check_dtype
from constructions.construction import Construction
from constructions.gadgets import clear, embedding, signed_product
from constructions.learners import ellipsoid
from constructions.learners.options import check_positive, check_sizes
from constructions.learners.prompt import (
    WEIGHT_OR_SCORE,
    examples_and_query,
    fields_of,
    weights_learner,
    within,
)
from constructions.residual import Residual
from constructions.spec import Params, TransformerSpec

SOURCE = "ISTA: Daubechies et al. 2004; Beck and Teboulle 2009; in context: Bai et al. 2023"
PROOF = (
    "A linear head scores example i with its residual <w, x_i> - y_i and sums the x_i: the "
    "gradient of |X w - y|^2 / 2, of which it adds -step to w. The MLP puts relu(w - t) - "
    "relu(-w - t) in its place, t = step penalty. For step <= 1/|X|^2 the map contracts no "
    "distance more than 1 and never raises the objective F, so rounding adds up over the loops, "
    "|w|_1 <= F(0)/penalty, and F(w) - min F <= |w*|^2 / (2 step loops)."
)


def lasso(
    *, dim: int = 2, penalty: float = 0.5, radius: float = 2.0, step: float | None = None,
    loops: int = 64, length: int = 64, dtype: str = "float32", a_posteriori: bool = False,
) -> Construction:  # fmt: skip
    """Iterates of ISTA on |X w - y|^2 / 2 + penalty |w|_1, from w = 0.

    A problem is ``{"inputs": [n, d], "labels": [n] numbers, "query": [d]}``; the answer is
    ``{"weights": [d], "score": <w, query>}`` after ``loops`` steps.

    Args:
      dim: d.
      penalty: of |w|_1.
      radius: the largest norm of an input or query, and the largest |label|, to certify.
      step: at most 1/|X|^2, which is checked for each prompt; by default 1/(length radius^2), which
        is so for every prompt.
      loops: steps.
      length: the longest prompt, examples and query, to certify.
      dtype: the arithmetic, a key of `UNIT`.
      a_posteriori: build even where the error of all prompts cannot be bounded by 1 % of the
        weights, and leave it to `Construction.bound` to certify the prompt at hand.

    Raises:
      ValueError: a size out of range, or a bound of the error that exceeds 1 % of the weights.

    >>> built = lasso(step=0.5)
    >>> problem = {"inputs": [[1, 0], [0, 1]], "labels": [2, 0.2], "query": [1, 1]}
    >>> built.oracle(problem)["weights"].round(6).tolist()
    [1.5, 0.0]
    """
    check_sizes(dim=(dim, 1), loops=(loops, 1), length=(length, 2))
    step = 1 / (length * radius**2) if step is None else step
    check_positive(penalty=penalty, radius=radius, step=step)
    check_dtype(dtype)
    rate, threshold = float(np.float32(step)), float(np.float32(step * penalty))
    r = Residual(one=1, x=dim, label=1, query=dim, weights=dim, score=1)
    fields = fields_of(r, "x", "label", "query", "one")
    same = np.eye(dim)

    def above(sign: float, bias: float, gain: float) -> Units:
        """``weights`` += gain relu(sign weights + bias)."""
        return Units(
            gate={"weights": sign * same},
            gate_bias=bias,
            up_bias=1.0,
            down={"weights": gain * same},
        )

    descend = LayerBlueprint(
        attend="linear",
        heads=(
            Head(
                score={("weights", "x"): 1.0, ("one", "label"): -1.0},
                value={("x", "weights"): -rate},
            ),
        ),
        # The last two take w away exactly: relu(w) - relu(-w) = w.
        units=(
            above(1, -threshold, 1),
            above(-1, -threshold, -1),
            above(1, 0, -1),
            above(-1, 0, 1),
        ),
    )
    score = LayerBlueprint(
        units=(*signed_product(r, "weights", "query", "score"), *clear(r, "score"))
    )
    plan = Blueprint(
        residual=r,
        inputs="vectors",
        embed=embedding(fields, r),
        layers=(descend, score),
        out={"weights": np.eye(dim, dim + 1), "score": np.eye(dim + 1)[dim:]},
        loops=loops,
    )

    def certify(spec: TransformerSpec, params: Params) -> Certificate:
        plan.verify("lasso", spec, params)
        residuals = score_gain(spec, params, r, (0, 0), ("weights", "x"))
        if not np.array_equal(residuals, same):
            raise ValueError(f"lasso: expected residuals of gain 1, got {residuals[0, 0]:g}")
        u = UNIT[dtype]

        def largest(length: int) -> float:
            """|w|_1 <= F(0) / penalty."""
            return length * radius**2 / (2 * penalty)

        def error(length: int) -> float:
            # A step: |X|_F and |X w - y| are at most sqrt(n) R; each residual is a sum of d + 1
            # terms up to |w| R + R, the gradient one of n terms; then eight roundings of w.
            w = largest(length)
            residual = (dim + 2) * u * (w + 1) * radius
            gradient = length * radius * (residual + (length + 2) * u * radius)
            one_step = rate * gradient + 8 * u * (w + threshold)
            # The product with the query: d terms of |w| R.
            return max(1.0, radius) * loops * one_step + (dim + 2) * u * w * radius

        if error(length) > 0.01 * largest(length) and not a_posteriori:
            raise ValueError(
                f"lasso: in {dtype} rounding may reach {error(length):.1e} after {loops:,} loops "
                f"on {length:,} tokens, 1 % of the weights is {0.01 * largest(length):.1e}: fewer "
                "loops, fewer tokens or a smaller step"
            )
        records = (
            Record(
                part="layer_0 head 0",
                kind="gradient",
                magnitude=largest(length) * radius,
                note="w -= step sum (<w, x_i> - y_i) x_i",
            ),
            Record(part="layer_0 mlp", kind="soft threshold", magnitude=largest(length)),
            Record(part="layer_1 mlp", kind="product", magnitude=largest(length) * radius),
        )
        return by_length(
            spec, params, records, error, length=length, unit=WEIGHT_OR_SCORE, dtype=dtype
        )

    def parse(problem: Mapping[str, Any]) -> dict[str, np.ndarray]:
        data = examples_and_query(problem, dim)
        within("inputs", data["inputs"], radius)
        within("labels", data["labels"][:, None], radius)
        within("query", data["query"][None], radius)
        return data

    def check(*, inputs: np.ndarray, **others: np.ndarray) -> None:
        curvature = float(np.linalg.norm(inputs, 2) ** 2)
        if rate * curvature > 1 + 1e-6:
            raise ValueError(
                f"inputs: expected |X|^2 <= {1 / rate:g}, the inverse of the step, got "
                f"{curvature:g}: build with a smaller step"
            )

    def oracle(*, inputs: np.ndarray, labels: np.ndarray, query: np.ndarray) -> dict[str, Any]:
        w = np.zeros(dim)
        for _ in range(loops):
            w = w - rate * inputs.T @ (inputs @ w - labels)
            w = np.sign(w) * np.maximum(np.abs(w) - threshold, 0)
        return {"weights": w, "score": w @ query}

    def enclose(
        *, inputs: np.ndarray, labels: np.ndarray, query: np.ndarray, outputs: Any
    ) -> float:
        w, e, of_score = iterate_error(
            inputs, labels, query[None], rate=rate, threshold=threshold, loops=loops,
            unit=UNIT[dtype],
        )  # fmt: skip
        # Products, their sum, and the last loop's score, which is added and taken away.
        read = 3 * (dim + 4) * UNIT[dtype] * float(np.abs(query) @ (np.abs(w) + e))
        return max(float(e.max()), float(of_score[0]) + read)

    return weights_learner(
        "lasso", plan, fields, parse=parse, check=check,
        certify=certify, oracle=oracle, enclose=enclose, source=SOURCE, proof=PROOF,
    )  # fmt: skip


def iterate_error(
    inputs: np.ndarray, labels: np.ndarray, rows: np.ndarray, *,
    rate: float, threshold: float, loops: int, unit: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """The exact iterate w [d] of ISTA, how far the computed one may be off, and <row, its error>.

    Proof. The error e of w is carried in an ellipsoid, with n examples, |.| of each entry:

    - A residual takes (d + 2) u of |x_i| |w| + |y_i|, the gradient (n + 3) u of sum |x_ik| |res_i|
      (products, sums, the rate), w - step gradient u more: a box, behind e <- (I - rate X'X) e.
    - The threshold t: where w is farther than e from +-t it is known whether an entry stays (its
      error too) or becomes 0 = w - w, exactly. Elsewhere it may do either: half the error stays
      for certain and the other half is a box.
    - Four units w - t, -w - t, w, -w and their sum with w: 8 u |w| where the entry stays.
    - A step and the threshold never move two points apart (rate |X|^2 <= 1), so |e| is at most the
      sum of all roundings, too: a ball, which takes the ellipsoid's place once that is larger. QED

    Args:
      inputs, labels: [n, d] and [n].
      rows: [k, d].
      rate, threshold, loops: of `lasso`.
      unit: unit roundoff.
    """
    n, d = inputs.shape
    eye, size = np.eye(d), np.abs(inputs)
    J = eye - rate * inputs.T @ inputs
    w, C, ball = np.zeros(d), np.zeros((d, d)), 0.0
    for _ in range(loops):
        e = ellipsoid.widths(C, eye)
        residual = inputs @ w - labels
        off = (d + 2) * unit * (size @ (np.abs(w) + e) + np.abs(labels))
        w = w - rate * inputs.T @ residual
        own = rate * size.T @ (off + (n + 3) * unit * (np.abs(residual) + size @ e + off))
        own += unit * (np.abs(w) + e)
        ball += float(np.linalg.norm(own))
        C = ellipsoid.total(J @ C @ J.T, ellipsoid.box(np.diag(own)))
        e = ellipsoid.widths(C, eye)
        above = np.abs(w) - threshold
        # Each entry's slope: 1, 0, or unknown.
        slope = np.where(above > 2 * e, 1.0, np.where(above < -2 * e, 0.0, 0.5))
        own = (slope > 0) * 8 * unit * (np.abs(w) + e)
        ball += float(np.linalg.norm(own))
        own += (slope == 0.5) * 0.5 * e
        C = ellipsoid.total(slope * C * slope[:, None], ellipsoid.box(np.diag(own)))
        if np.trace(C) > d * ball**2:
            C = ball**2 * eye
        w = np.sign(w) * np.maximum(above, 0)
    return w, 1.01 * ellipsoid.widths(C, eye), 1.01 * ellipsoid.widths(C, rows)


def duality_gap(
    weights: np.ndarray, *, inputs: np.ndarray, labels: np.ndarray, penalty: float
) -> float:
    """F(w) - min F at most, F(w) = |X w - y|^2 / 2 + penalty |w|_1, for any weights [d].

    Proof. The dual is max |y|^2/2 - |y - v|^2/2 over |X'v|_inf <= penalty. The best admissible
    multiple of the residual y - X w is such a v. QED

    >>> x, y = np.eye(2), np.array([2.0, 0.2])
    >>> [round(duality_gap(np.array(w), inputs=x, labels=y, penalty=0.5), 6)
    ...  for w in ([1.5, 0.0], [1.6, 0.0])]
    [0.0, 0.00625]
    """
    residual = labels - inputs @ weights
    size, largest = float(residual @ residual), float(np.abs(inputs.T @ residual).max())
    scale = float(labels @ residual) / size if size else 0.0
    if largest:
        scale = float(np.clip(scale, -penalty / largest, penalty / largest))
    primal = residual @ residual / 2 + penalty * np.abs(weights).sum()
    dual = labels @ labels / 2 - ((labels - scale * residual) ** 2).sum() / 2
    return float(primal - dual)
