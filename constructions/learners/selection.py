"""Selection of an algorithm in context: validation inside the prompt.

K lookups, of orders 0 to K - 1, run side by side in slices of their own. Every symbol of the
prompt tests what they predicted for it from the symbols before, and a sharp head takes the best.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from constructions.blueprint import Blueprint, Head, LayerBlueprint, Units, score_gain
from constructions.certificate import UNIT, Certificate, Record, by_length, losing_mass
from constructions.construction import Construction
from constructions.fields import TokenRanges, sequence
from constructions.gadgets import match_head, offset_head, recall
from constructions.learners.lookup import law_after
from constructions.learners.options import check_positive, check_sizes
from constructions.learners.prompt import stream_learner
from constructions.residual import Residual
from constructions.spec import Params, TransformerSpec

SOURCE = "in-context algorithm selection by validation: Bai et al. 2023 (arXiv:2306.04637)"
PROOF = (
    "Layers 0 and 1 are the lookups of all orders, one match head each. Layer 2 carries their laws "
    "to the next token, whose symbol gates its own probability: the hit. No law has seen the "
    "symbol that tests it. A uniform head averages the hits, and a head with scores sharpness "
    "times the means weighs the algorithm tokens: by a gap g in the mean, the others weigh "
    "(K - 1) exp(-sharpness g) at most. The gates add up the laws with these weights."
)


def selection(
    *, vocab: int = 3, order: int = 2,
    sharpness: float = 64.0, beta: float = 64.0, length: int = 128,
) -> Construction:  # fmt: skip
    """The laws of the lookups of orders 0 to ``order``, weighted by how well each has predicted.

    A problem is ``{"stream": [x_1, ..., x_T]}``; the answer is a law [V].

    Args:
      vocab: V.
      order: the largest order k; there are K = k + 1 algorithms.
      sharpness: weight exp(sharpness * mean hit); the mean is over all tokens of the prompt.
      beta: of the lookups.
      length: the longest prompt, in tokens, to certify.

    Raises:
      ValueError: a size out of range, or a sharpness at which rounding shows.

    >>> law = selection(vocab=2).oracle({"stream": [0, 1] * 40})
    >>> law.round(6).tolist()
    [1.0, 0.0]
    """
    K = order + 1
    check_sizes(vocab=(vocab, 2), order=(order, 1), length=(length, K + order + 1))
    check_positive(sharpness=sharpness)
    if not 0 < beta <= 80:
        raise ValueError(f"beta: expected 0 < beta <= 80 (exp underflows beyond), got {beta}")
    previous = [f"previous_{j}" for j in range(1, K)]
    starts, laws, before = (
        [f"{name}_{j}" for j in range(K)] for name in ("start", "law", "before")
    )
    r = Residual(
        one=1,
        **dict.fromkeys(starts, 1),
        algorithm=K,
        symbol=vocab,
        output=vocab,
        **dict.fromkeys(previous, vocab),
        **dict.fromkeys(laws, vocab),
        **dict.fromkeys(before, vocab),
        hit=K,
        mean=K,
        choice=K,
        answer=vocab,
    )
    # Tokens: V symbols, the start token, K algorithms.
    tokens = np.eye(vocab + 1 + K)
    start, algorithms = tokens[:, vocab : vocab + 1], tokens[:, vocab + 1 :]
    embed = {
        "one": np.ones((len(tokens), 1)),
        "algorithm": algorithms,
        "symbol": tokens[:, :vocab],
        "output": tokens[:, :vocab] + start / vocab,
    }
    for j, name in enumerate(starts):
        # Start tokens stand half a step below a match of order j, algorithms below everything.
        embed[name] = (j - 0.5) * start - algorithms.sum(axis=1, keepdims=True)
    same = np.eye(vocab)
    bonus = 1 + 64 / sharpness
    plan = Blueprint(
        residual=r,
        embed=embed,
        layers=(
            LayerBlueprint(heads=recall("symbol", previous)),
            LayerBlueprint(
                scale=beta,
                heads=tuple(
                    match_head(
                        list(zip(["symbol", *previous][:j], previous[:j], strict=True)),
                        default=("one", starts[j]),
                        value={("output", laws[j]): 1.0},
                    )
                    for j in range(K)
                ),
            ),
            LayerBlueprint(
                heads=(offset_head(1, dict.fromkeys(zip(laws, before, strict=True), 1.0)),),
                units=tuple(
                    Units(
                        gate={"symbol": same},
                        up={name: same},
                        down={"hit": np.tile(np.eye(K)[j], (vocab, 1))},
                    )
                    for j, name in enumerate(before)
                ),
            ),
            LayerBlueprint(heads=(Head(value={("hit", "mean"): 1.0}),)),
            LayerBlueprint(
                scale=sharpness,
                heads=(
                    Head(
                        score={("mean", "algorithm"): 1.0, ("one", "algorithm"): bonus},
                        value={("algorithm", "choice"): 1.0},
                    ),
                ),
                units=tuple(
                    Units(
                        gate={"choice": np.tile(np.eye(K)[:, j : j + 1], vocab)},
                        up={name: same},
                        down={"answer": same},
                    )
                    for j, name in enumerate(laws)
                ),
            ),
        ),
        out={"answer": same},
    )

    def certify(spec: TransformerSpec, params: Params) -> Certificate:
        plan.verify("selection", spec, params)
        step = spec.layers[1].scale
        sharp = spec.layers[4].scale
        above = float(score_gain(spec, params, r, (4, 0), ("one", "algorithm")).min())
        u = UNIT["float32"]

        def error(length: int) -> float:
            # As in lookup: start tokens against a match, and mismatches against either.
            leak = (K + order) * math.exp(-step / 2) + length * math.exp(-step / 2)
            law = leak + 2 * u
            # A mean of hits between 0 and 1, each off by 2 law.
            mean = 2 * law + (length + 2) * u
            score = sharp * mean + (K + 4) * u * (sharp + above)
            weights = math.expm1(2 * min(score, 300.0)) + losing_mass(length, above)
            return weights + law + (K + 2) * u

        if error(length) > 1e-2:
            raise ValueError(
                f"selection: at length {length:,}, beta {step:g} and sharpness {sharp:g} the error "
                f"is {error(length):.1e} in total variation: shorten the prompt, raise beta or "
                "lower the sharpness"
            )
        records = [
            Record(
                part=f"layer_0 head {j - 1}",
                kind=f"symbol {j} back",
                margin=64.0,
                magnitude=64.0,
                exact=True,
            )
            for j in range(1, K)
        ]
        records += [
            Record(
                part=f"layer_1 head {j}",
                kind=f"lookup of order {j}",
                margin=step / 2,
                magnitude=(j + 1) * step,
            )
            for j in range(K)
        ]
        records += [
            Record(part="layer_2 head 0", kind="laws one back", margin=64.0, magnitude=64.0),
            Record(
                part="layer_2 mlp",
                kind="hits",
                margin=1.0,
                magnitude=1.0,
                exact=True,
                note="p(x) of the symbol that came",
            ),
            Record(part="layer_3 head 0", kind="mean", magnitude=length),
            Record(
                part="layer_4 head 0",
                kind="choice",
                margin=above,
                magnitude=sharp + above,
                note="the margin is that of algorithm tokens over the others",
            ),
            Record(part="layer_4 mlp", kind="weighted sum", magnitude=1.0),
        ]
        return by_length(spec, params, tuple(records), error, length=length)

    ranges = TokenRanges({"symbol": vocab, "start": 1, "algorithm": K})

    def fill(*, stream: Any) -> Any:
        """The algorithms, the start tokens, then the stream, integers [T]."""
        return sequence(ranges["algorithm"], [*ranges["start"]] * order, stream)

    def oracle(*, stream: np.ndarray) -> np.ndarray:
        symbols = stream.tolist()
        tokens = K + order + len(symbols)
        hits = [
            sum(law_after(symbols[:t], j, vocab)[x] for t, x in enumerate(symbols))
            for j in range(K)
        ]
        share = np.exp(sharpness * (np.array(hits) - max(hits)) / tokens)
        return share @ [law_after(symbols, j, vocab) for j in range(K)] / share.sum()

    return stream_learner(
        "selection", plan, ranges, vocab=vocab, fill=fill,
        certify=certify, oracle=oracle, source=SOURCE, proof=PROOF,
    )  # fmt: skip
