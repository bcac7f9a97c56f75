"""Bayes mixtures over known tables, and the choice of the most likely of them.

Hypothesis tokens stand at the start of the prompt, and each holds a table p_k [contexts, vocab].
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from constructions.blueprint import Blueprint, Head, LayerBlueprint, Units, score_gain
from constructions.certificate import UNIT, Certificate, Record, by_length, check_dtype, losing_mass
from constructions.construction import Construction, assemble
from constructions.fields import TokenRanges, namespace, sequence
from constructions.learners.options import check_sizes
from constructions.learners.prompt import integers, last_law
from constructions.residual import Residual
from constructions.spec import Params, TransformerSpec

MIXTURE = "in-context learning as Bayesian inference: Xie et al. 2022 (arXiv:2111.02080)"
CHOICE = "maximum likelihood among K prompts; size (ln K + ln 1/delta) 2/eps^2: docs, elicitation"
PROOF = (
    "A linear head with score 1 sums the one-hot pairs: the counts N of the demonstrations, exact "
    "integers. A second head scores hypothesis k with the sum of N(c, y) ln p_k(y|c), from which "
    "the largest over k is taken in every cell: that shifts all scores alike. {pick} Hypotheses "
    "have B more than all other tokens. The gates pick the query's row of the averaged table."
)
SOFTMAX = (
    "A softmax of log-likelihoods and log-priors is the posterior, so the head averages by it."
)
HARDMAX = "Hardmax takes the largest, the maximum-likelihood hypothesis."


def mixture(
    *,
    tables: Any = None,
    prior: Any = None,
    length: int = 256,
    dtype: str = "float32",
) -> Construction:
    """The posterior predictive law of a mixture of K tables: sum_k P(k | D) p_k(. | query).

    A problem is ``{"pairs": [(c, y), ...], "query": c}``; the answer is a law [V].
    ``fill(contexts=[N], outputs=[N], queries=[q])`` puts q queries behind one copy of the pairs;
    the last q outputs are their laws.

    Args:
      tables: positive [K, m, V], each row summing to 1; three small ones by default.
      prior: [K], positive, normalized here; uniform by default.
      length: the longest prompt, hypotheses, pairs and query, to certify.
      dtype: the arithmetic, a key of `UNIT`.

    Raises:
      ValueError: tables that are not positive laws, or log-likelihoods too large for ``dtype``.

    >>> built = mixture(tables=[[[0.9, 0.1]], [[0.1, 0.9]]])
    >>> built.oracle({"pairs": [(0, 0)], "query": 0}).round(6).tolist()
    [0.82, 0.18]
    """
    laws = _laws(tables)
    weights = np.ones(len(laws)) if prior is None else np.asarray(prior, np.float64)
    if weights.shape != (len(laws),) or not (weights > 0).all() or not np.isfinite(weights).all():
        raise ValueError(f"prior: expected {len(laws)} positive numbers, got {weights.tolist()}")
    log_prior = np.log(weights / weights.max())
    return _build("mixture", laws, log_prior, length, dtype)


def prompt_choice(*, tables: Any = None, length: int = 256, dtype: str = "float32") -> Construction:
    """The law of the table under which the demonstrations are most likely.

    What elicitation does among K prompts: table k is the base model's law under prompt k. Problem,
    answer and arguments are those of `mixture`. A choice that ``dtype`` cannot make, because the
    two best log-likelihoods are too close, is refused.

    >>> built = prompt_choice(tables=[[[0.9, 0.1]], [[0.1, 0.9]]])
    >>> built.oracle({"pairs": [(0, 0)], "query": 0}).tolist()
    [0.9, 0.1]
    """
    laws = _laws(tables)
    return _build("prompt-choice", laws, np.zeros(len(laws)), length, dtype)


def _build(
    name: str, laws: np.ndarray, log_prior: np.ndarray, length: int, dtype: str
) -> Construction:
    K, m, V = laws.shape
    check_sizes(length=(length, K + 2))
    check_dtype(dtype)
    hard = name == "prompt-choice"
    logs = np.log(laws) - np.log(laws).max(axis=0)
    spread = -float(logs.min())
    bonus = float(math.ceil(length * spread - log_prior.min() + 64))
    r = Residual(
        one=1, pair=m * V, context=m, hypothesis=1, evidence=m * V, prior=1, table=m * V,
        counts=m * V, mixed=m * V, law=V,
    )  # fmt: skip
    ranges = TokenRanges({"hypothesis": K, "pair": m * V, "query": m})
    size = ranges.size
    tokens = np.eye(size)

    def of_hypotheses(values: np.ndarray) -> np.ndarray:
        return np.concatenate([values.reshape(K, -1), np.zeros((size - K, values.size // K))])

    row = np.repeat(np.eye(m), V, axis=1)
    plan = Blueprint(
        residual=r,
        embed={
            "one": np.ones((size, 1)),
            "pair": tokens[:, ranges["pair"]],
            "context": tokens[:, ranges["query"]],
            "hypothesis": of_hypotheses(np.ones(K)),
            "evidence": of_hypotheses(logs),
            "prior": of_hypotheses(log_prior),
            "table": of_hypotheses(laws),
        },
        layers=(
            LayerBlueprint(
                attend="linear",
                heads=(Head(score={("one", "one"): 1.0}, value={("pair", "counts"): 1.0}),),
            ),
            LayerBlueprint(
                attend="hardmax" if hard else "softmax",
                gate="hard_sigmoid",
                heads=(
                    Head(
                        score={
                            ("counts", "evidence"): 1.0,
                            ("one", "prior"): 1.0,
                            ("one", "hypothesis"): bonus,
                        },
                        value={("table", "mixed"): 1.0},
                    ),
                ),
                units=(
                    Units(
                        gate={"context": row},
                        up={"mixed": np.eye(m * V)},
                        down={"law": np.tile(np.eye(V), (m, 1))},
                    ),
                ),
            ),
        ),
        out={"law": np.eye(V)},
    )

    def rounding(length: int) -> float:
        """Of a log-likelihood: products of m V counts, and the logs' own."""
        return (m * V + 5) * UNIT[dtype] * (length * spread + bonus)

    def certify(spec: TransformerSpec, params: Params) -> Certificate:
        plan.verify(name, spec, params)
        above = float(score_gain(spec, params, r, (1, 0), ("one", "hypothesis"))[0, 0])
        lowest = float(params["embed"][:, r["prior"]].min())

        def error(length: int) -> float:
            u = UNIT[dtype]
            if hard:  # encode refuses choices within the rounding; equal ones are averaged
                return (K + 3) * u
            # Weights are off by a factor exp(rounding), numerator and denominator alike.
            leak = losing_mass(length, above + lowest - length * spread)
            return math.expm1(2 * min(rounding(length), 300.0)) + leak + (K + 8) * u

        if not hard and error(length) > 5e-2:
            raise ValueError(
                f"{name}: in {dtype} log-likelihoods up to {length * spread:,.0f} are rounded by "
                f"{rounding(length):.1e}, an error of {error(length):.1e} in total variation at "
                f"length {length:,}: shorten the prompt or temper the tables"
            )
        best = "largest" if hard else "posterior"
        records = (
            Record(
                part="layer_0 head 0",
                kind="counts",
                magnitude=length,
                exact=True,
                note="sums of one-hot pairs",
            ),
            Record(
                part="layer_1 head 0",
                kind=best,
                margin=above + lowest - length * spread,
                magnitude=length * spread + above,
                note=f"log-likelihoods are rounded by at most {rounding(length):.1e}; the margin "
                "is that of hypotheses over other tokens",
            ),
            Record(
                part="layer_1 mlp", kind="the query's row", margin=1.0, magnitude=1.0, exact=True
            ),
        )
        return by_length(spec, params, records, error, length=length, dtype=dtype)

    def parse(problem: Mapping[str, Any]) -> dict[str, np.ndarray]:
        pairs = np.asarray(problem["pairs"]).reshape(-1, 2)
        pairs = pairs.astype(np.int64) if not pairs.size else pairs
        return {
            "contexts": integers("contexts of pairs", pairs[:, 0], len(pairs), 0, m - 1),
            "outputs": integers("outputs of pairs", pairs[:, 1], len(pairs), 0, V - 1),
            "queries": integers("query", [problem["query"]], 1, 0, m - 1),
        }

    def fill(*, contexts: Any, outputs: Any, queries: Any) -> Any:
        """int32 [K + N + q]: the hypotheses, the pairs, then all queries behind this one copy.

        Queries are no pairs, so none is evidence for another; the last q outputs are their laws.

        Args:
          contexts, outputs: integers [N], of NumPy or JAX.
          queries: integers [q], contexts.
        """
        xp = namespace(contexts, outputs, queries)
        contexts, outputs, queries = (xp.asarray(part) for part in (contexts, outputs, queries))
        pairs = ranges["pair"].start + contexts * V + outputs
        return sequence(ranges["hypothesis"], pairs, ranges["query"].start + queries)

    def log_likelihoods(contexts: np.ndarray, outputs: np.ndarray) -> np.ndarray:
        return log_prior + np.log(laws[:, contexts, outputs]).sum(axis=1)

    def check(*, contexts: np.ndarray, outputs: np.ndarray, queries: np.ndarray) -> None:
        if hard and len(contexts):
            scores = np.sort(log_likelihoods(contexts, outputs))[::-1]
            gap = scores[0] - scores[1] if K > 1 else math.inf
            error = rounding(K + len(contexts) + len(queries))
            if gap <= 2 * error:
                raise ValueError(
                    f"pairs: expected a most likely table that {dtype} can tell, got the best two "
                    f"log-likelihoods {gap:.1e} apart, rounded by up to {error:.1e}: add "
                    "demonstrations"
                )

    def oracle(*, contexts: np.ndarray, outputs: np.ndarray, queries: np.ndarray) -> np.ndarray:
        scores = log_likelihoods(contexts, outputs)
        share = (scores == scores.max()) * 1.0 if hard else np.exp(scores - scores.max())
        return share @ laws[:, queries[-1]] / share.sum()

    return assemble(
        name,
        plan,
        fields=ranges,
        certify=certify,
        parse=parse,
        fill=fill,
        check=check,
        decode=last_law,
        oracle=oracle,
        source=CHOICE if hard else MIXTURE,
        proof=PROOF.format(pick=HARDMAX if hard else SOFTMAX),
    )


def _laws(tables: Any) -> np.ndarray:
    if tables is None:
        tables = [
            [[0.8, 0.1, 0.1], [0.1, 0.8, 0.1]],
            [[0.1, 0.1, 0.8], [0.8, 0.1, 0.1]],
            [[0.4, 0.3, 0.3], [0.3, 0.3, 0.4]],
        ]
    laws = np.asarray(tables, np.float64)
    if laws.ndim != 3 or 0 in laws.shape:
        raise ValueError(f"tables: expected shape [K, m, V], got {list(laws.shape)}")
    if not (laws > 0).all() or np.abs(laws.sum(axis=2) - 1).max() > 1e-6:
        raise ValueError(
            f"tables: expected positive rows with sum 1, got entries from {laws.min():g} and sums "
            f"up to {laws.sum(axis=2).max():g}: mix each row with a little of the uniform law"
        )
    return laws / laws.sum(axis=2, keepdims=True)
