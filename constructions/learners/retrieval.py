"""Prediction from similar examples in the prompt: Nadaraya-Watson, and retrieval of the nearest K.

Both score example i for the query q with 2 <q, x_i> - |x_i|^2 = |q|^2 - |q - x_i|^2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from constructions.blueprint import Blueprint, Head, LayerBlueprint, score_gain
from constructions.certificate import UNIT, Certificate, Record, by_length, check_dtype, losing_mass
from constructions.construction import Construction, assemble
from constructions.fields import namespace, vectors
from constructions.gadgets import clear, embedding, move, signed_product
from constructions.learners.options import check_positive, check_sizes
from constructions.learners.prompt import (
    check_whole,
    fields_of,
    integers,
    last_law,
    rows,
    within,
)
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
    *, dim: int = 2, outputs: int = 3, bandwidth: float = 0.5,
    radius: float = 2.0, length: int = 256, dtype: str = "float32",
) -> Construction:  # fmt: skip
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
    fields = fields_of(r, "x", "label", "query", "one")
    bonus = 1.5 * radius**2 + 64 * bandwidth**2
    plan = Blueprint(
        residual=r,
        inputs="vectors",
        embed=embedding(fields, r),
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
            Record(part="layer_0 mlp", kind="square", magnitude=radius**2),
            Record(
                part="layer_1 head 0",
                kind="Gaussian kernel",
                margin=margin,
                magnitude=above,
                note="the margin is that of examples over the query's own token",
            ),
        )
        return by_length(spec, params, records, error, length=length, dtype=dtype)

    def oracle(*, inputs: np.ndarray, labels: np.ndarray, queries: np.ndarray) -> np.ndarray:
        query = queries[-1]
        distances = ((inputs - query) ** 2).sum(axis=1)
        kernel = np.exp((distances.min() - distances) / (2 * bandwidth**2))
        return np.bincount(labels, kernel, outputs) / kernel.sum()

    return assemble(
        "nadaraya-watson",
        plan,
        fields=fields,
        certify=certify,
        parse=lambda problem: _parse(problem, dim, outputs, radius),
        fill=partial(_fill, fields),
        decode=last_law,
        oracle=oracle,
        source=KERNEL,
        proof=KERNEL_PROOF,
    )


def retrieval(
    *, dim: int = 2, outputs: int = 3, items: int = 32, nearest: int = 3,
    radius: float = 32.0, dtype: str = "float32",
) -> Construction:  # fmt: skip
    """The nearest K items of the prompt and the law of their labels; exact, ties by position.

    A problem is ``{"inputs": [n, d] integers, "labels": [n] below outputs, "query": [d] integers}``
    with n from K to ``items``; the answer is ``{"law": [outputs], "items": [K'] indices}``, in
    order of position. Data on any grid are integers in its unit. K = 1 is the nearest neighbor.
    ``fill(inputs=[n, d], labels=[n], queries=[q, d])`` puts q queries behind one copy of the items.

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
        one=1, index=1, x=dim, label=outputs, slot=items, query=dim, square=1, pick=items,
        used=items, law=outputs,
    )  # fmt: skip
    fields = fields_of(r, "x", "label", "slot", "query", "one")
    priority = float(2 ** items.bit_length())
    bonus = priority * (math.ceil(4 * radius**2) + 1)
    size = outputs + items
    plan = Blueprint(
        residual=r,
        inputs="vectors",
        embed=embedding(fields, r),
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
        out={"law": np.eye(outputs, size) / nearest, "used": np.eye(size)[outputs:]},
        loops=nearest,
        positions=("index",),
    )

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
            Record(part="layer_0 mlp", kind="square", magnitude=radius**2, exact=True),
            Record(
                part="layer_1 head 0",
                kind="nearest unused",
                margin=1.0,
                magnitude=magnitude,
                exact=True,
                note="equal distances: the earliest",
            ),
            Record(part="layer_1 mlp", kind="mark as used", magnitude=1, exact=True),
        )
        return by_length(
            spec,
            params,
            records,
            lambda length: 2 * UNIT[dtype],  # K times 1/K, each rounded
            length=items + 1,
            unit="total variation, and wrong items",
            dtype=dtype,
        )

    def parse(problem: Mapping[str, Any]) -> dict[str, np.ndarray]:
        data = _parse(problem, dim, outputs, radius)
        reason = f"whose distances {dtype} compares exactly"
        check_whole(reason, inputs=data["inputs"], query=data["queries"])
        if len(data["inputs"]) < nearest:
            raise ValueError(
                f"inputs: expected at least {nearest} items, got {len(data['inputs'])}"
            )
        return data

    def decode(found: Any) -> dict[str, Any]:
        last = np.asarray(found)[-1]
        return {"law": last[:outputs], "items": np.flatnonzero(last[outputs:])}

    def oracle(*, inputs: np.ndarray, labels: np.ndarray, queries: np.ndarray) -> dict[str, Any]:
        order = np.argsort(((inputs - queries[-1]) ** 2).sum(axis=1), kind="stable")[:nearest]
        law = np.bincount(labels[order], minlength=outputs) / nearest
        return {"law": law, "items": np.sort(order)}

    return assemble(
        "retrieval",
        plan,
        fields=fields,
        certify=certify,
        parse=parse,
        fill=partial(_fill, fields),
        decode=decode,
        oracle=oracle,
        source=NEAREST,
        proof=NEAREST_PROOF,
    )


def _fill(fields: Residual, *, inputs: Any, labels: Any, queries: Any) -> Any:
    """float32 [n + q, I]: a vector for each example, then all queries behind this one copy.

    Queries have no label and no slot, so none answers, or is retrieved, for another; the last q
    outputs are theirs.

    Args:
      fields: ``x`` [d], ``label`` [outputs], perhaps ``slot`` [items], ``query`` [d] and ``one``.
      inputs: [n, d], of NumPy or JAX.
      labels: integers [n].
      queries: [q, d].
    """
    n = len(inputs)
    label = namespace(labels).asarray(labels)[:, None] == np.arange(fields.sizes["label"])[None]
    slot = {"slot": np.eye(n, fields.sizes["slot"])} if "slot" in fields.sizes else {}
    return vectors(
        fields,
        (n, {"x": inputs, "label": label, "one": 1, **slot}),
        (len(queries), {"query": queries, "one": 1}),
    )


def _parse(
    problem: Mapping[str, Any], dim: int, outputs: int, radius: float
) -> dict[str, np.ndarray]:
    inputs = rows("inputs", problem["inputs"], dim)
    query = rows("query", np.reshape(problem["query"], (1, -1)), dim)
    labels = integers("labels", problem["labels"], len(inputs), 0, outputs - 1)
    if not len(inputs):
        raise ValueError("inputs: expected at least one example, got none")
    within("inputs", inputs, radius)
    within("query", query, radius)
    return {"inputs": inputs, "labels": labels, "queries": query}


def _check(dim: int, outputs: int, radius: float, length: int, dtype: str) -> None:
    check_sizes(dim=(dim, 1), outputs=(outputs, 2), length=(length, 2))
    check_positive(radius=radius)
    check_dtype(dtype)
