"""Lookup of any order through one match head: contexts are compared by random codes.

`lookup` gives every one of the k symbols of a context columns of its own. Here their codes are
added up in r columns, and what must be proved is that different contexts get different sums.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from constructions.blueprint import Blueprint, Head, LayerBlueprint, score_gain
from constructions.certificate import UNIT, Certificate, Record, by_length, value_map
from constructions.construction import Construction
from constructions.fields import TokenRanges, sequence
from constructions.gadgets import offset_head, signed_product
from constructions.learners.lookup import law_after
from constructions.learners.options import check_sizes
from constructions.learners.prompt import stream_learner
from constructions.residual import Residual
from constructions.spec import Params, TransformerSpec

SOURCE = "random codes: Johnson and Lindenstrauss 1984; the lookup: Edelman et al. 2024"
PROOF = (
    "h_t is the sum of the codes of the last k symbols, each with a code for its place; the codes "
    "are +-1, so h_t is an integer vector. The match head scores token s with -|h_t - h_(s-1)|^2, "
    "all terms integers: 0 if the contexts agree. If they differ, h_t - h_(s-1) = M e for the "
    "matrix M of all codes and a vector e of integers with |e| >= 1, so |M e|^2 is at least the "
    "least eigenvalue of M' M: a bound for all contexts at once, from the codes drawn. The start "
    "tokens, whose code is 0, score half of it below a match and answer uniformly if there is "
    "none. Early tokens see start tokens only, so nothing else enters their sums."
)


def hash_lookup(
    *, vocab: int = 4, order: int = 4, width: int | None = None,
    beta: float = 512.0, length: int = 1024, seed: int = 0,
) -> Construction:  # fmt: skip
    """The empirical law of the next symbol after the last k, unsmoothed.

    A problem is ``{"stream": [x_1, ..., x_T]}``, symbols below ``vocab``; the answer is a law [V],
    uniform for a context that has not occurred.

    Args:
      vocab: V.
      order: k.
      width: r, entries of a code; by default the power of two from 4 k V on, which keeps the least
        eigenvalue near r/4.
      beta: score in logits of a squared distance r.
      length: the longest prompt, in tokens, to certify.
      seed: draws the codes.

    Raises:
      ValueError: a size out of range, codes with too small an eigenvalue, or a beta that cannot be
        certified at this length.

    >>> hash_lookup(vocab=2, order=2).oracle({"stream": [0, 0, 1, 0, 0, 1, 0, 0]}).tolist()
    [0.0, 1.0]
    """
    if width is None:
        width = 2 ** (4 * order * vocab - 1).bit_length()
    check_sizes(vocab=(vocab, 2), order=(order, 1), width=(width, 1), length=(length, order + 1))
    if not 0 < beta <= 2.0**20:
        raise ValueError(f"beta: expected 0 < beta <= 1,048,576 (scores overflow), got {beta}")
    if 4.0 * order**2 * width * UNIT["float32"] > 1:
        raise ValueError(
            f"width: scores at order {order} and width {width:,} reach {4 * order**2 * width:,}, "
            "and float32 holds integers up to 16,777,216"
        )
    codes = np.random.default_rng(seed).choice([-1.0, 1.0], (order, vocab, width))
    gap = _least_distance(codes)
    r = Residual(
        one=1, start=1, symbol=vocab, output=vocab, hash=width, square=1, before=width,
        before_square=1, law=vocab,
    )  # fmt: skip
    symbols = np.eye(vocab + 1, vocab)
    plan = Blueprint(
        residual=r,
        embed={
            "one": np.ones((vocab + 1, 1)),
            "start": np.eye(vocab + 1)[:, vocab:],
            "symbol": symbols,
            "output": symbols + np.eye(vocab + 1)[:, vocab:] / vocab,
            "hash": symbols @ codes[0],
        },
        layers=(
            LayerBlueprint(
                heads=tuple(
                    offset_head(j, {("symbol", "hash"): codes[j]}) for j in range(1, order)
                ),
                units=signed_product(r, "hash", "hash", "square"),
            ),
            LayerBlueprint(
                heads=(
                    offset_head(1, {("hash", "before"): 1.0, ("square", "before_square"): 1.0}),
                ),
            ),
            LayerBlueprint(
                scale=beta / width,
                heads=(
                    Head(
                        score={
                            ("hash", "before"): 2.0,
                            ("one", "before_square"): -1.0,
                            ("square", "start"): 1.0,
                            ("one", "start"): -math.floor(gap) / 2,
                        },
                        value={("output", "law"): 1.0},
                    ),
                ),
            ),
        ),
        out={"law": np.eye(vocab)},
    )

    def certify(spec: TransformerSpec, params: Params) -> Certificate:
        plan.verify("hash-lookup", spec, params)
        drawn = [params["embed"][:vocab, r["hash"]].astype(np.float64)]
        drawn += [value_map(params, 0, j)[r["symbol"], r["hash"]] for j in range(order - 1)]
        least = math.floor(_least_distance(np.stack(drawn)))
        scale = spec.layers[2].scale
        half = -float(score_gain(spec, params, r, (2, 0), ("one", "start"))[0, 0])
        match = scale * least
        magnitude = 4.0 * order**2 * width
        if least < 1:
            raise ValueError(
                f"hash-lookup: codes of width {width} keep different contexts only "
                f"{_least_distance(np.stack(drawn)):.2g} apart (squared): widen them, "
                f"{4 * order * vocab} or more"
            )

        def error(length: int) -> float:
            mismatches = length * math.exp(-match)
            seen = order * math.exp(-half) + mismatches
            unseen = length * math.exp(-(match - half)) / order
            return max(seen, unseen) + 2 * UNIT["float32"]

        if error(length) > 1e-4:
            raise ValueError(
                f"hash-lookup: at length {length:,} and score gap {match:g} the leak is "
                f"{error(length):.1e} in total variation: raise beta or the width"
            )
        note = f"different contexts are {least} or more apart (squared), of {2 * width} on average"
        records = [
            Record(
                part=f"layer_0 head {j}",
                kind=f"code {j + 1} back",
                margin=64.0,
                magnitude=order,
                exact=True,
            )
            for j in range(order - 1)
        ]
        records += [
            Record(part="layer_0 mlp", kind="square", magnitude=order**2 * width, exact=True),
            Record(
                part="layer_1 head 0",
                kind="previous code",
                margin=64.0,
                magnitude=order**2 * width,
                exact=True,
            ),
            Record(
                part="layer_2 head 0",
                kind="match and average",
                margin=min(half, match - half),
                magnitude=magnitude,
                exact=True,
                note=note,
            ),
        ]
        return by_length(spec, params, tuple(records), error, length=length)

    ranges = TokenRanges({"symbol": vocab, "start": 1})

    def fill(*, stream: Any) -> Any:
        """The start tokens, then the stream, integers [T]."""
        return sequence([*ranges["start"]] * order, stream)

    def oracle(*, stream: np.ndarray) -> np.ndarray:
        return law_after(stream.tolist(), order, vocab)

    return stream_learner(
        "hash-lookup", plan, ranges, vocab=vocab, fill=fill,
        certify=certify, oracle=oracle, source=SOURCE, proof=PROOF,
    )  # fmt: skip


def _least_distance(codes: np.ndarray) -> float:
    """The least eigenvalue of M' M for codes [k, V, r], the columns of M, less its rounding."""
    columns = codes.reshape(-1, codes.shape[-1])
    eigenvalues = np.linalg.eigvalsh(columns @ columns.T)
    return float(eigenvalues[0] - 1e-9 * eigenvalues[-1])
