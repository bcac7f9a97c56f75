"""Order-k lookup as a stock Llama of two layers: counting of what followed, in its prompt.

The statistical induction head of `lookup`, without relative biases, ties of scores or a readout of
its own: what is left of them in other people's software is rotary positions, norms and logits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from constructions.certificate import Certificate, Record, by_length, losing_mass
from constructions.construction import Construction
from constructions.fields import TokenRanges
from constructions.learners.lookup import count_stream, fill_stream, law_of, symbols_of
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
from constructions.machines.stored_arithmetic import SUMS, Arithmetic, arithmetic_of
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
    "statistical induction head: Edelman et al. 2024 (arXiv:2402.11004); the architecture: Touvron "
    "et al. 2023 (arXiv:2302.13971), unmodified"
)
PROOF = (
    "A ballast makes the norm the identity and is the constant 1. Head j of layer 0 finds the "
    "token j + 1 places back by the few pairs that turn under a theta of 1e38, and copies its "
    "symbol. Layer 1 scores each earlier token by beta for each of the k symbols before it that "
    "agrees with the last k, and averages the symbols of the best: the counts of what followed, "
    "normalized. The start tokens hold the uniform law half a step below a match. The logits are "
    "a gap times the law, so that the greedy token is the most frequent one."
)
MOST_TOKENS = 2**17


@dataclass(frozen=True)
class LookupNumbers(TapeNumbers):
    """What the weights may differ in; ``slope`` is 1.

    Args:
      sharp: score of each turning pair at its best.
    """

    sharp: float


def stock_lookup(
    *,
    vocab: int = 4,
    order: int = 1,
    beta: float = 64.0,
    gap: float = 64.0,
    sharp: float = 1024.0,
    length: int = 4096,
    dtype: str = "float32",
) -> Construction:
    """In-context counting in a stock Llama: the empirical law of the next symbol after the last k.

    A problem is ``{"stream": [x_1, ..., x_T]}``, symbols below ``vocab``, of which the next is to
    be predicted; the prompt is k start tokens and the stream, ``fill(stream=[T])``. The answer is a
    law [V], uniform for a context that has not been seen. Logits are ``gap`` times it.

    Args:
      vocab, order: V and k, V k at most 31.
      beta: score between k and k - 1 agreeing symbols, a power of two.
      gap: of the logits, a power of two.
      sharp: score of each turning pair of the heads that look back.
      length: the longest prompt, in tokens, to certify.
      dtype: the arithmetic to certify. float32; of others the first inequality that fails is told.

    Raises:
      ValueError: a size out of range, or a length that cannot be certified, with the reason.

    >>> built = stock_lookup(vocab=2, order=2)
    >>> problem = {"stream": [0, 0, 1, 0, 0, 1, 0, 0]}
    >>> built.fields.words[2], built.encode(problem).tolist()
    ('<start>', [2, 2, 0, 0, 1, 0, 0, 1, 0, 0])
    >>> built.oracle(problem).tolist()
    [0.0, 1.0]
    """
    check_sizes(vocab=(vocab, 2), order=(order, 1), length=(length, order + 1))
    if vocab * order > len(STILL) - 1:
        raise ValueError(f"vocab x order: expected at most {len(STILL) - 1}, got {vocab} x {order}")
    ranges = TokenRanges({"symbol": vocab, "start": 1})
    numbers = LookupNumbers(ballast=2.0**20, beta=beta, slope=1.0, gap=gap, sharp=sharp)
    spec, params = build(vocab, order, numbers)
    certify_weights = partial(certify, vocab=vocab, order=order, length=length, dtype=dtype)
    certificate = certify_weights(spec, params)

    def parse(problem: Any) -> dict[str, np.ndarray]:
        if "stream" not in problem:
            raise ValueError(
                f"stock-lookup: expected a problem with 'stream', got {', '.join(problem)}"
            )
        return {"stream": symbols_of("stream", problem["stream"], vocab)}

    def encode(problem: Any) -> np.ndarray:
        inputs: np.ndarray = fill_stream(ranges, order, **parse(problem))
        certificate.check(length=len(inputs))
        return inputs

    return Construction(
        name="stock-lookup",
        kind="learner",
        spec=spec,
        params=params,
        residual=slices(vocab, order),
        fields=ranges,
        parse=parse,
        fill=partial(fill_stream, ranges, order),
        encode=encode,
        decode=lambda outputs: outputs[..., -1, :vocab] / numbers.gap,
        oracle=lambda problem: law_of(count_stream(vocab, order, **parse(problem)), 0.0),
        certificate=certificate,
        source=SOURCE,
        proof=PROOF,
        certify=certify_weights,
    )


def slices(vocab: int, order: int) -> Residual:
    """The residual stream: what each token is, what stood before it, and the law."""
    previous = {f"previous_{j}": vocab for j in range(1, order + 1)}
    return with_ballast({"symbol": vocab, "output": vocab, "sink": 1} | previous | {"law": vocab})


def architecture(vocab: int, order: int) -> TransformerSpec:
    """A Llama of two layers; stock classes want heads that divide the width, a power of two."""
    width, heads = slices(vocab, order).width, 2 ** (order - 1).bit_length()
    return llama(vocab + 1, width, layers=2, hidden=1, heads=heads)


def build(vocab: int, order: int, numbers: LookupNumbers) -> tuple[TransformerSpec, Params]:
    """The weights, float32: layer 0 uses ``order`` heads, layer 1 one."""
    r, spec = slices(vocab, order), architecture(vocab, order)
    params, symbols = blank(spec), np.arange(vocab)
    undo_norms(numbers.ballast, r, params)
    embed, one = params["embed"], r.column("ballast")
    embed[:, r["ballast"]] = numbers.ballast
    embed[symbols, r.column("symbol") + symbols] = 1
    embed[symbols, r.column("output") + symbols] = 1
    # A start token is no symbol, and holds the uniform law.
    embed[vocab, r["output"]] = 1 / vocab
    embed[vocab, r["sink"]] = 1
    for j in range(order):
        look_back(numbers.sharp, r, params, head=j, back=j + 1)
        params["layer_0.w_v"][j][r.column("symbol") + symbols, symbols] = 1
        params["layer_0.w_o"][j][symbols, r.column(f"previous_{j + 1}") + symbols] = 1
    query, key, value, out = (params[f"layer_1.w_{x}"][0] for x in "qkvo")
    scale = HEAD**0.5 * numbers.beta
    for j in range(order):
        # The symbol j before the query against the one j + 1 before the key.
        last, entries = f"previous_{j}" if j else "symbol", STILL[j * vocab + symbols]
        query[r.column(last) + symbols, entries] = scale
        key[r.column(f"previous_{j + 1}") + symbols, entries] = 1
    query[one, STILL[order * vocab]] = scale * (order - 0.5)
    key[r.column("sink"), STILL[order * vocab]] = 1
    value[r.column("output") + symbols, symbols] = 1
    out[symbols, r.column("law") + symbols] = 1
    params["w_out"][r.column("law") + symbols, symbols] = numbers.gap
    return spec, params


def read_back(spec: TransformerSpec, params: Params, vocab: int, order: int) -> LookupNumbers:
    """The numbers in the weights.

    Raises:
      ValueError: a weight that is not what `build` writes for them, the first such.
    """
    r, scale = slices(vocab, order), HEAD**-0.5
    one, query = r.column("ballast"), params["layer_1.w_q"][0]
    check_type(spec, params, architecture(vocab, order))
    numbers = LookupNumbers(
        ballast=float(params["embed"][vocab, one]),
        beta=float(query[r.column("symbol"), STILL[0]]) * scale,
        slope=1.0,
        gap=float(params["w_out"][r.column("law"), 0]),
        sharp=float(params["layer_0.w_q"][0, one, 0]) * scale,
    )
    check_weights(params, numbers, lambda: build(vocab, order, numbers)[1])
    return numbers


def certify(
    spec: TransformerSpec,
    params: Params,
    *,
    vocab: int,
    order: int,
    length: int,
    dtype: str = "float32",
) -> Certificate:
    """The certificate of these weights, for prompts of up to ``length`` tokens.

    Norm, scores and look-back are as in `tape_certificate` and `pairs_certificate`: copies of 0 and
    1 are off by less than u/4, so that scores are by 2 beta k times that, rounding and still
    entries. Matches weigh 1 each, start tokens exp(-beta/2), mismatches exp(-beta) of it; where no
    token matches, start tokens win by beta/2. Behind the division n equal weights 1/n, added in any
    order, are off by n + 8 roundings relative, half of which is the distance of the laws. QED

    Raises:
      ValueError: weights that are not of the proven form, or not certain, with the reason.
    """
    arithmetic = arithmetic_of("stock", dtype)
    numbers = read_back(spec, params, vocab, order)
    residual = slices(vocab, order)
    if reason := _fault(numbers, residual, order, length, arithmetic):
        raise ValueError(f"stock-lookup: {dtype} does not certify {length:,} tokens: {reason}")
    arithmetic.check("stock-lookup", params)

    def error(length: int) -> float:
        half = numbers.beta / 2 - _score_error(numbers, order, length)
        seen = losing_mass(order, half) + losing_mass(length, 2 * half)
        return max(seen, losing_mass(length, half)) + (length / 2 + 8) * SUMS

    lead = previous_lead(numbers.sharp, length)
    back = [
        Record(
            part=f"layer_0 head {j}",
            kind=f"symbol {j + 1} back",
            margin=lead,
            magnitude=numbers.sharp * 6,
            note="its score leads by that much at every distance",
        )
        for j in range(order)
    ]
    match = Record(
        part="layer_1 head 0",
        kind="match and average",
        margin=numbers.beta / 2,
        magnitude=numbers.beta * order,
        note="a match beats a start token by that much, which beats a mismatch by as much",
    )
    heads = spec.layers[0].heads
    idle = [f"layer_0 head {j}" for j in range(order, heads)]
    idle += ["layer_0 mlp", *(f"layer_1 head {j}" for j in range(1, heads)), "layer_1 mlp"]
    nothing = [Record(part=part, kind="nothing", magnitude=0.0, exact=True) for part in idle]
    return by_length(spec, params, (*back, match, *nothing), error, length=length, dtype=dtype)


def _fault(
    numbers: LookupNumbers, residual: Residual, order: int, length: int, arithmetic: Arithmetic
) -> str | None:
    """Why a prompt of that many tokens is not certain, or None if it is."""
    if length > MOST_TOKENS:
        return f"expected at most {MOST_TOKENS:,} tokens"
    run = Run(0, 1, arithmetic)
    if reason := form_fault(numbers, residual, length, run, 9 * residual.width):
        return reason
    lead = previous_lead(numbers.sharp, length, arithmetic)
    if losing_mass(length, lead) >= arithmetic.unit / 4:
        return f"of {length:,} tokens the one looked back at leads by {lead:.3g} only"
    if math.frexp(numbers.gap)[0] != 0.5:
        return f"gap {numbers.gap:g} is no power of two, so that logits would be rounded"
    if _score_error(numbers, order, length) > numbers.beta / 8:
        return f"scores are off by {_score_error(numbers, order, length):.2g} of {numbers.beta:g}"
    return None


def _score_error(numbers: LookupNumbers, order: int, length: int) -> float:
    return 4 * numbers.beta * order * (SUMS * (HEAD + 2) + still(length))
