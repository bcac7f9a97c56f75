"""Gradient descent in the forward pass of a stock Llama, whose softmax is the fine-tuned law.

The model that is fine-tuned is a table: logits [m, V], one row a context, zero at first. Each layer
is a step of full-batch gradient descent on the data in the prompt; the logits that come out are
those of the query's row, so that a token drawn behind the prompt is drawn from the trained model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from constructions.certificate import Certificate, Record, by_length, losing_mass
from constructions.construction import Construction
from constructions.fields import TokenRanges, namespace, sequence
from constructions.learners.lookup import parse_problem
from constructions.learners.options import check_sizes
from constructions.machines.pairs_certificate import previous_lead
from constructions.machines.pairs_weights import look_back
from constructions.machines.stock_weights import (
    HEAD,
    STILL,
    TapeNumbers,
    llama,
    undo_norms,
    with_ballast,
)
from constructions.machines.stored_arithmetic import FLOAT32, SUMS, gamma
from constructions.machines.tape_certificate import (
    Run,
    check_type,
    check_weights,
    form_fault,
    still,
)
from constructions.residual import Residual
from constructions.spec import Params, TransformerSpec, blank

SOURCE = (
    "gradient descent by attention: von Oswald et al. 2023 (arXiv:2212.07677); with the "
    "cross-entropy of a softmax, in an unmodified Llama: this library"
)
PROOF = (
    "A ballast makes the norm the identity and is the constant 1; silu(x) - silu(-x) = x, so that "
    "two gated units are a product. Layer 0 copies the context before each output and multiplies "
    "the two: a pair. Layer 1 averages the pairs and picks the row of the token's own context: the "
    "share of the data with it and each output. Each further layer is a step on that row: class "
    "tokens with key and value e_y make a head return softmax(logits), and the MLP adds rate times "
    "(share of the output less share of the context times that). The readout is the row."
)
MASK = 64.0  # by which the logits of tokens that are no outputs, and scores of no classes, are less


@dataclass(frozen=True)
class Descent:
    """What is trained, and how.

    Args:
      contexts, outputs: m and V.
      steps: T, of gradient descent.
      rate: the learning rate.
    """

    contexts: int
    outputs: int
    steps: int
    rate: float


NUMBERS = TapeNumbers(ballast=2.0**20, beta=64.0, slope=1.0, gap=1.0)
SHARP = 1024.0  # of the head that looks back


def stock_descent(
    *, vocab: int = 2, contexts: int = 2, steps: int = 4, learning_rate: float = 1.0,
    length: int = 512,
) -> Construction:  # fmt: skip
    """Fine-tuning of a table by gradient descent, in a stock Llama: the trained model's law.

    A problem is ``{"pairs": [(c, y), ...], "query": c}``. The mean cross-entropy of the pairs is
    taken ``steps`` steps down from zero logits, and the answer is the law [V] of the query's row:
    the softmax of the last logits. The prompt is a start token, one class token for each output,
    the pairs, the query; ``fill(contexts=[N], outputs=[N], queries=[q])`` puts q queries behind one
    copy of the pairs, and the last q outputs are their logits.

    Args:
      vocab: V, outputs.
      contexts: m; m V at most 64.
      steps: T; layers are T + 2.
      learning_rate: at most 4, so that a step makes no error larger.
      length: the longest prompt, in tokens, to certify.

    Raises:
      ValueError: a size out of range, or a length that cannot be certified, with the reason.

    >>> built = stock_descent()
    >>> problem = {"pairs": [(0, 1), (1, 0), (0, 1)], "query": 0}
    >>> " ".join(built.fields.words[token] for token in built.encode(problem))
    '<start> class0 class1 context0 output1 context1 output0 context0 output1 context0'
    >>> built.oracle(problem).round(3).tolist()
    [0.154, 0.846]
    """
    check_sizes(
        vocab=(vocab, 2), contexts=(contexts, 1), steps=(steps, 1), length=(length, vocab + 2)
    )
    if vocab * contexts > HEAD or vocab > len(STILL) - 1:
        raise ValueError(
            f"vocab x contexts: expected at most {HEAD}, of {len(STILL) - 1} outputs or fewer, got "
            f"{vocab} x {contexts}"
        )
    if not 0 < learning_rate <= 4 or learning_rate * steps > MASK / 2:
        raise ValueError(
            f"learning_rate: expected above 0, up to 4, and up to {MASK / 2:g} / steps, got "
            f"{learning_rate:g} for {steps} steps"
        )
    task = Descent(contexts, vocab, steps, learning_rate)
    ranges = TokenRanges({"start": 1, "class": vocab, "context": contexts, "output": vocab})
    spec, params = build(ranges, task)
    certify_weights = partial(certify, ranges=ranges, task=task, length=length)
    certificate = certify_weights(spec, params)
    columns = np.array(ranges["output"])

    def parse(problem: Mapping[str, Any]) -> dict[str, np.ndarray]:
        if missing := {"pairs", "query"} - set(problem):
            raise ValueError(f"stock-descent: expected a problem with {', '.join(sorted(missing))}")
        return parse_problem(problem, vocab, contexts)

    def encode(problem: Mapping[str, Any]) -> np.ndarray:
        inputs: np.ndarray = fill(ranges, **parse(problem))
        certificate.check(length=len(inputs))
        return inputs

    return Construction(
        name="stock-descent",
        kind="learner",
        spec=spec,
        params=params,
        residual=slices(task),
        fields=ranges,
        parse=parse,
        fill=partial(fill, ranges),
        encode=encode,
        decode=lambda outputs: _softmax(np.asarray(outputs, np.float64)[..., -1, columns]),
        oracle=lambda problem: train(task, **parse(problem)),
        certificate=certificate,
        source=SOURCE,
        proof=PROOF,
        certify=certify_weights,
    )


def train(
    task: Descent, *, contexts: np.ndarray, outputs: np.ndarray, queries: np.ndarray
) -> np.ndarray:
    """The law [V] of the last query's row after training, without a network."""
    counts = np.zeros((task.contexts, task.outputs))
    np.add.at(counts, (contexts, outputs), 1 / max(len(contexts), 1))
    logits = np.zeros_like(counts)
    for _ in range(task.steps):
        laws = _softmax(logits)
        logits -= task.rate * (counts.sum(axis=1, keepdims=True) * laws - counts)
    return _softmax(logits)[queries[-1]]


def fill(ranges: TokenRanges, *, contexts: Any, outputs: Any, queries: Any) -> Any:
    """int32 [1 + V + 2 N + q]: start, the classes, c_1, y_1, ..., c_N, y_N, the queries."""
    xp = namespace(contexts, outputs)
    pairs = [ranges["context"].start + xp.asarray(contexts)]
    pairs += [ranges["output"].start + xp.asarray(outputs)]
    asked = ranges["context"].start + xp.asarray(queries)
    return sequence([0], ranges["class"], xp.stack(pairs, axis=1).reshape(-1), asked)


def _softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))


def slices(task: Descent) -> Residual:
    """The residual stream: what each token is, the data, and the row that is trained."""
    m, V = task.contexts, task.outputs
    said = {"context": m, "is_context": 1, "output": V, "is_output": 1, "class": V, "is_class": 1}
    found = {"previous": m, "after_context": 1, "pair": m * V, "mean": m * V}
    laws = {f"law_{t}": V for t in range(task.steps)}
    return with_ballast(said | found | {"share": V, "weight": 1} | laws | {"logits": V})


def architecture(ranges: TokenRanges, task: Descent) -> TransformerSpec:
    """A Llama of T + 2 layers of one head."""
    hidden = max(2 * task.contexts * task.outputs, 4 * task.outputs)
    width = slices(task).width
    return llama(ranges.size, width, layers=task.steps + 2, hidden=hidden)


def build(ranges: TokenRanges, task: Descent) -> tuple[TransformerSpec, Params]:
    """The weights, float32."""
    spec, r = architecture(ranges, task), slices(task)
    params, m, V = blank(spec), task.contexts, task.outputs
    undo_norms(NUMBERS.ballast, r, params)
    embed, out, one = params["embed"], params["w_out"], r.column("ballast")
    embed[:, r["ballast"]] = NUMBERS.ballast
    for name in ("context", "output", "class"):
        tokens = np.array(ranges[name])
        embed[tokens, r.column(name) + np.arange(len(tokens))] = 1
        embed[tokens, r.column(f"is_{name}")] = 1
    _pair(r, params, m, V)
    _share(r, params, m, V)
    for t in range(task.steps):
        _step(r, params, task, t)
    outputs = np.array(ranges["output"])
    out[one] = -MASK
    out[one, outputs] = 0
    out[r.column("logits") + np.arange(V), outputs] = 1
    return spec, params


def _product(
    params: Params, layer: int, unit: int, *, factors: tuple[int, int], into: Mapping[int, float]
) -> int:
    """Two units that add factor times factor, as silu(x) y - silu(-x) y = x y; the next unit."""
    gate, up, down = (params[f"layer_{layer}.w_{x}"] for x in ("gate", "up", "down"))
    for i, sign in enumerate((1, -1)):
        gate[factors[0], unit + i] = sign
        up[factors[1], unit + i] = 1
        for column, times in into.items():
            down[unit + i, column] = sign * times
    return unit + 2


def _pair(r: Residual, params: Params, m: int, V: int) -> None:
    """Layer 0: what context stood before, and its product with the output that stands here."""
    look_back(SHARP, r, params, head=0, back=1)
    value, out, contexts = params["layer_0.w_v"][0], params["layer_0.w_o"][0], np.arange(m)
    value[r.column("context") + contexts, contexts] = 1
    out[contexts, r.column("previous") + contexts] = 1
    value[r.column("is_context"), m] = 1
    out[m, r.column("after_context")] = 1
    unit = 0
    for c, y in np.ndindex(m, V):
        factors = r.column("previous", c), r.column("output", y)
        unit = _product(params, 0, unit, factors=factors, into={r.column("pair", c * V + y): 1.0})


def _share(r: Residual, params: Params, m: int, V: int) -> None:
    """Layer 1: the mean of all pairs, and the row of it that is the own context's.

    An output behind a context scores 2 beta, others beta or nothing.
    """
    query, key, value, out = (params[f"layer_1.w_{x}"][0] for x in "qkvo")
    query[r.column("ballast"), STILL[:2]] = HEAD**0.5 * NUMBERS.beta
    key[r.column("after_context"), STILL[0]] = 1
    key[r.column("is_output"), STILL[1]] = 1
    entries = np.arange(m * V)
    value[r.column("pair") + entries, entries] = 1
    out[entries, r.column("mean") + entries] = 1
    unit = 0
    for c, y in np.ndindex(m, V):
        factors = r.column("context", c), r.column("mean", c * V + y)
        into = {r.column("share", y): 1.0, r.column("weight"): 1.0}
        unit = _product(params, 1, unit, factors=factors, into=into)


def _step(r: Residual, params: Params, task: Descent, t: int) -> None:
    """Layer t + 2: softmax of the logits over the class tokens, then one step of the row."""
    layer, outputs = t + 2, np.arange(task.outputs)
    query, key, value, out = (params[f"layer_{layer}.w_{x}"][0] for x in "qkvo")
    query[r.column("logits") + outputs, STILL[outputs]] = HEAD**0.5
    key[r.column("class") + outputs, STILL[outputs]] = 1
    query[r.column("ballast"), STILL[task.outputs]] = HEAD**0.5 * MASK
    key[r.column("is_class"), STILL[task.outputs]] = 1
    value[r.column("class") + outputs, outputs] = 1
    out[outputs, r.column(f"law_{t}") + outputs] = 1
    unit = 0
    for y in outputs:
        into = r.column("logits", int(y))
        factors = r.column("share", int(y)), r.column("ballast")
        unit = _product(params, layer, unit, factors=factors, into={into: task.rate})
        factors = r.column("weight"), r.column(f"law_{t}", int(y))
        unit = _product(params, layer, unit, factors=factors, into={into: -task.rate})


def certify(
    spec: TransformerSpec, params: Params, *, ranges: TokenRanges, task: Descent, length: int
) -> Certificate:
    """The certificate of these weights: they are, entry by entry, those of `build`; then `bound`.

    Raises:
      ValueError: a weight that is not, or a length that is not certain, with the reason.
    """
    check_type(spec, params, architecture(ranges, task))
    check_weights(params, NUMBERS, lambda: build(ranges, task)[1])
    residual = slices(task)
    squares = residual.width * max(1.0, task.rate * task.steps) ** 2
    lead = previous_lead(SHARP, length)
    reason = form_fault(NUMBERS, residual, length, Run(0, 1, FLOAT32), squares)
    if not reason and losing_mass(length, lead) >= SUMS / 4:
        reason = f"of {length:,} tokens the one before leads by {lead:.3g} only"
    if reason:
        raise ValueError(f"stock-descent: float32 does not certify {length:,} tokens: {reason}")
    kinds = [("the token before", lead), ("mean of the pairs", NUMBERS.beta)]
    kinds += [("softmax of the row", MASK - 2 * task.rate * task.steps)] * task.steps
    does = ["pairs", "the own context's row", *["a step of gradient descent"] * task.steps]
    records = []
    for i, ((kind, margin), units) in enumerate(zip(kinds, does, strict=True)):
        magnitude = SHARP * 6 if i == 0 else 2 * NUMBERS.beta
        head = Record(part=f"layer_{i} head 0", kind=kind, margin=margin, magnitude=magnitude)
        records += [head, Record(part=f"layer_{i} mlp", kind=units, magnitude=task.rate)]
    return by_length(
        spec, params, tuple(records), partial(bound, task), length=length, dtype="float32"
    )


def bound(task: Descent, length: int) -> float:
    """The largest distance, in total variation, from the law of the model trained directly.

    u is the unit roundoff. Copies are exact up to u/4 of the lead [losing_share]. A product by two
    units [silu_product] has an error of 10 u of its size: two gates of 4 u, whose sizes add up to
    that of x, and the sum; a context that was not before an output is off by u/4. A mean of N
    pairs, in any order, has a relative error of (N + 8) u; other tokens weigh exp(-beta). So shares
    and weights, which are at most 1, are right up to s.

    A law: scores of up to MASK + |z| are rounded twice and turn by `still`; a relative error d of
    each weight makes one of 2 d of a law, of which other tokens have exp(2 |z| - MASK).

    A step z - rate (w softmax(z) - share) makes no error of z larger in the Euclidean norm: its
    Jacobian is symmetric, with eigenvalues between 1 - rate w/2 and 1, and rate w <= 4. So the
    errors of the steps add up: rate times those of share and weight (s), of the law, and of three
    roundings of products; and one rounding of z. A law whose logits are off by e differs by
    (exp(2 e) - 1)/2 at most; the readout adds a rounding, and exp(-MASK) for other tokens. QED
    """
    u, V, T, rate = SUMS, task.outputs, task.steps, task.rate
    largest = rate * T
    s = gamma(length + 8) + (32 + V) * u + 2 * losing_mass(length, NUMBERS.beta)
    score = 4 * (MASK + largest) * (u + still(length))
    law = 2 * (score + (8 + V) * u) + losing_mass(length, MASK - 2 * largest)
    step = rate * (2 * s + law + 30 * u) + 2 * u * largest * V**0.5
    off = T * step + 2 * u * (largest + MASK)
    return float(np.expm1(2 * off) / 2 + losing_mass(task.contexts + V + 1, MASK - 2 * largest))
