"""Order-k lookup: the empirical conditional law of the data in the prompt, as two attention layers.

The statistical induction head (Edelman et al. 2024, arXiv:2402.11004; Olsson et al. 2022). After
enough steps, fine-tuning on the same data ends at the same law: this is what claim C1 compares.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from constructions.blueprint import Blueprint, LayerBlueprint
from constructions.certificate import UNIT, Certificate, Record, by_length, losing_mass
from constructions.construction import Construction, assemble
from constructions.fields import TokenRanges, namespace, sequence
from constructions.gadgets import match_head, recall
from constructions.learners.options import check_sizes
from constructions.learners.prompt import last_law
from constructions.residual import Residual
from constructions.spec import Params, TransformerSpec

SOURCE = "statistical induction head: Edelman et al. 2024 (arXiv:2402.11004)"
PROOF = (
    "Layer 0 writes the k previous symbols beside each token (offset heads). Layer 1 scores each "
    "earlier token by the number of agreeing symbols between the k symbols before it and the "
    "query's own last k, times beta, and averages the values of the best: the counts of what "
    "followed this context, normalized. The start tokens hold the uniform law and score half a "
    "step below a match (no smoothing), so that they answer where nothing matches, or as "
    "smoothing x vocab pseudo-counts."
)


def lookup(
    *, vocab: int = 4, contexts: int | None = None, order: int = 1, smoothing: float = 0.0,
    beta: float = 64.0, length: int = 4096,
) -> Construction:  # fmt: skip
    """In-context counting: the (smoothed) empirical law of the next symbol after the last k.

    With ``contexts`` the problem is ``{"pairs": [(c, y), ...], "query": c}``: demonstrations of a
    table with that many contexts and ``vocab`` outputs (order 1). Without, it is
    ``{"stream": [x_1, ..., x_T]}``: symbols below ``vocab``, of which the next is to be predicted.

    ``fill(contexts=[N], outputs=[N], queries=[q])`` puts q queries behind one copy of the pairs;
    the last q outputs are their laws. Without contexts it is ``fill(stream=[T])``.

    Args:
      vocab: V, symbols of the law.
      contexts: m, or None for the stream form.
      order: k.
      smoothing: pseudo-count lambda of each symbol, (N_y + lambda) / (N + lambda V).
      beta: score gap in logits between k and k - 1 agreeing symbols.
      length: the longest prompt, in tokens, to certify.

    Returns:
      A construction whose answer is a law [V]; an unseen context gives the uniform law.

    Raises:
      ValueError: a size out of range, or a beta that cannot be certified at this length.

    >>> stream = lookup(vocab=2, order=2)
    >>> stream.oracle({"stream": [0, 0, 1, 0, 0, 1, 0, 0]}).tolist()
    [0.0, 1.0]
    """
    _check(vocab, contexts, order, smoothing, beta, length)
    alphabet = vocab + (contexts or 0)
    named = {"symbol": vocab} if contexts is None else {"context": contexts, "output": vocab}
    ranges = TokenRanges({**named, "start": 1})
    previous = [f"previous_{j}" for j in range(1, order + 1)]
    r = Residual(
        one=1, start=1, symbol=alphabet, output=vocab, **dict.fromkeys(previous, alphabet),
        law=vocab,
    )  # fmt: skip
    # k start tokens share the weight of smoothing * V pseudo-counts, each exp(0) for a match:
    # exp(score) = smoothing V / k. Without smoothing they stand half a step below a match, so
    # they lose to one match by beta / 2 and win over every mismatch by beta / 2.
    default = math.log(smoothing * vocab / order) / beta if smoothing else -0.5
    start = np.eye(alphabet + 1)[:, alphabet:]
    symbols = np.eye(alphabet + 1, alphabet)
    plan = Blueprint(
        residual=r,
        embed={
            "one": np.ones((alphabet + 1, 1)),
            "start": start * (order + default),
            "symbol": symbols,
            "output": symbols[:, alphabet - vocab :] + start / vocab,
        },
        layers=(
            LayerBlueprint(heads=recall("symbol", previous)),
            LayerBlueprint(
                scale=beta,
                heads=(
                    # The symbol before the next one is the query token itself: query offsets
                    # 0..k-1 against key offsets 1..k.
                    match_head(
                        list(zip(["symbol", *previous], previous, strict=False)),
                        default=("one", "start"),
                        value={("output", "law"): 1.0},
                    ),
                ),
            ),
        ),
        out={"law": np.eye(vocab)},
    )

    def certify_weights(spec: TransformerSpec, params: Params) -> Certificate:
        plan.verify("lookup", spec, params)
        return certify(spec, params, r, order, smoothing, length)

    fill: Callable[..., Any] = fill_stream if contexts is None else _fill_pairs
    count: Callable[..., np.ndarray] = count_stream if contexts is None else _count_pairs
    return assemble(
        "lookup",
        plan,
        fields=ranges,
        certify=certify_weights,
        parse=lambda problem: parse_problem(problem, vocab, contexts),
        fill=partial(fill, ranges, order),
        decode=last_law,
        oracle=lambda **data: law_of(count(vocab, order, **data), smoothing),
        source=SOURCE,
        proof=PROOF,
    )


def certify(
    spec: TransformerSpec,
    params: Params,
    residual: Residual,
    order: int,
    smoothing: float,
    length: int,
) -> Certificate:
    """Margins read off weights of the lookup's form, and the error bound that follows.

    Raises:
      ValueError: margins too small for ``length``.
    """
    vocab = residual.sizes["output"]
    records = []
    for j in range(1, order + 1):
        bias = params["layer_0.bias"][j - 1].astype(np.float64)
        margin = float(bias[j] - np.delete(bias, j).max())
        leak = losing_mass(length - 1, margin)
        records.append(
            Record(
                part=f"layer_0 head {j - 1}",
                kind=f"symbol {j} back",
                margin=margin,
                magnitude=float(np.abs(bias).max()),
                exact=leak < UNIT["float32"] / 2,
                note=f"mass elsewhere <= {leak:.1e}",
            )
        )
    # The score counts agreeing symbols, times the scale: k for a match, at most k - 1 otherwise.
    gap = spec.layers[1].scale
    least_match = order * gap
    start = params["embed"][-1, residual.column("start")].astype(np.float64)
    default = float(gap * start)
    records.append(
        Record(
            part="layer_1 head 0",
            kind="match and average",
            margin=gap,
            magnitude=least_match,
            note=f"a match beats a mismatch by {gap:g}, the start tokens score {default:g}",
        )
    )

    def error(length: int) -> float:
        # Mismatches hold at most T exp(-gap) against one match or against smoothing * V; without
        # smoothing the start tokens are the other loser (k of them) or, unseen, the winner.
        # Sums of one-hots are exact, so rounding is one division; with smoothing the start
        # tokens' score has three roundings and its exp four more. A relative error r of the
        # weight of a share s of the law moves it by at most r s (1 - s) <= r / 4.
        if smoothing:
            leak = length * math.exp(-gap) / min(1.0, smoothing * vocab)
            return leak + ((3 * abs(default) + 4) / 4 + 2) * UNIT["float32"]
        half = least_match - default
        against = order * math.exp(-half) + length * math.exp(-gap)
        unseen = length * math.exp(-(gap - half)) / order
        return max(against, unseen) + 2 * UNIT["float32"]

    limit = min(length, 2**24)
    if error(limit) > 1e-4:
        raise ValueError(
            f"lookup: at length {length:,} and score gap {gap:g} the leak is {error(limit):.1e} in "
            "total variation: raise beta (64 is safe) or shorten the prompt"
        )
    return by_length(spec, params, tuple(records), error, length=limit)


def _check(
    vocab: int, contexts: int | None, order: int, smoothing: float, beta: float, length: int
) -> None:
    check_sizes(vocab=(vocab, 2), order=(order, 1), length=(length, order + 1))
    if contexts is not None:
        check_sizes(contexts=(contexts, 1))
        if order != 1:
            raise ValueError(f"order: expected 1 with contexts (pairs), got {order}")
    if smoothing < 0 or not math.isfinite(smoothing):
        raise ValueError(f"smoothing: expected a finite number >= 0, got {smoothing}")
    if not 0 < beta <= 80:
        raise ValueError(f"beta: expected 0 < beta <= 80 (exp underflows beyond), got {beta}")


def parse_problem(
    problem: Mapping[str, Any], vocab: int, contexts: int | None
) -> dict[str, np.ndarray]:
    """A problem's arrays: ``stream``, or with contexts ``contexts``, ``outputs`` and ``queries``.

    Raises:
      ValueError: symbols out of range.
    """
    if contexts is None:
        return {"stream": symbols_of("stream", problem["stream"], vocab)}
    pairs = np.asarray(problem["pairs"])
    if pairs.size and (pairs.ndim != 2 or pairs.shape[1] != 2 or pairs.dtype.kind not in "iu"):
        raise ValueError(f"pairs: expected integers [N, 2], got {pairs.dtype} {pairs.shape}")
    pairs = pairs.reshape(-1, 2).astype(np.int64)
    return {
        "contexts": symbols_of("contexts of pairs", pairs[:, 0], contexts),
        "outputs": symbols_of("outputs of pairs", pairs[:, 1], vocab),
        "queries": symbols_of("query", [problem["query"]], contexts),
    }


def fill_stream(ranges: TokenRanges, order: int, *, stream: Any) -> Any:
    """int32 [k + T]: k start tokens, x_1, ..., x_T."""
    return sequence([*ranges["start"]] * order, stream)


def _fill_pairs(
    ranges: TokenRanges, order: int, *, contexts: Any, outputs: Any, queries: Any
) -> Any:
    """int32 [2 N + q + 1]: start, c_1, y_1, ..., c_N, y_N, then all queries behind this one copy.

    A query's own position is a key whose previous symbol is the query before it (or y_N), never
    the query itself, so no query counts as evidence for another: each reads what it would read
    alone. The last q outputs are the queries' laws.

    Args:
      ranges, order: the tokens, and 1.
      contexts, outputs: integers [N], of NumPy or JAX.
      queries: integers [q], contexts.
    """
    xp = namespace(contexts, outputs)
    named = ranges["output"].start + xp.asarray(outputs)
    pairs = xp.stack([xp.asarray(contexts), named], axis=1)
    return sequence([*ranges["start"]] * order, pairs.reshape(-1), queries)


def symbols_of(name: str, values: Any, limit: int) -> np.ndarray:
    """Symbols as integers [T].

    Raises:
      ValueError: no list of integers from 0 to ``limit`` - 1.
    """
    symbols = np.asarray(values)
    if symbols.ndim != 1 or (symbols.size and symbols.dtype.kind not in "iu"):
        raise ValueError(f"{name}: expected a list of integers, got {symbols.dtype} array")
    if symbols.size and not 0 <= symbols.min() <= symbols.max() < limit:
        raise ValueError(f"{name}: expected 0 to {limit - 1}, got {symbols.min()}..{symbols.max()}")
    return symbols.astype(np.int64)


def count_stream(vocab: int, order: int, *, stream: np.ndarray) -> np.ndarray:
    """How often each symbol followed the last ``order`` ones: [V]."""
    return _count_after(stream.tolist(), order, vocab)


def _count_pairs(
    vocab: int, order: int, *, contexts: np.ndarray, outputs: np.ndarray, queries: np.ndarray
) -> np.ndarray:
    """How often each output followed the query, the last one: [V]."""
    counts = np.zeros(vocab)
    for context, output in zip(contexts, outputs, strict=True):
        if context == queries[-1]:
            counts[output] += 1
    return counts


def law_of(counts: np.ndarray, smoothing: float) -> np.ndarray:
    """The law [V] of counts with pseudo-counts; uniform where there are none."""
    if counts.sum() + smoothing == 0:
        return np.full(len(counts), 1 / len(counts))
    return np.asarray((counts + smoothing) / (counts.sum() + smoothing * len(counts)))


def law_after(symbols: list[int], order: int, vocab: int) -> np.ndarray:
    """The law [V] of what followed the last ``order`` symbols; uniform if nothing did.

    >>> law_after([0, 0, 1, 0, 0, 1, 0, 0], 2, 2).tolist()
    [0.0, 1.0]
    """
    return law_of(_count_after(symbols, order, vocab), 0.0)


def _count_after(symbols: list[int], order: int, vocab: int) -> np.ndarray:
    counts = np.zeros(vocab)
    for t in range(order, len(symbols)):
        if symbols[t - order : t] == symbols[len(symbols) - order :]:
            counts[symbols[t]] += 1
    return counts
