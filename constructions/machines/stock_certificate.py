"""How long, on how many cells and with how many visits to one the stock machine is certain.

All is derived from the weights that are given, for float32 as stock implementations compute it:
sums in any order, attention weights normalized before the sum (eager) or behind it (fused).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from constructions.certificate import UNIT, Certificate, Record, issue, losing_mass
from constructions.machines.certify import largest
from constructions.machines.stock_weights import (
    HEAD,
    STILL,
    THETA,
    Numbers,
    architecture,
    build,
    numbers_of,
    slices,
)
from constructions.residual import Residual
from constructions.rotary import Rotary
from constructions.spec import Params, TransformerSpec, check_params
from constructions.stock_vocabulary import StockVocabulary

MOST_TOKENS = 2**23  # so that counts of tokens, and twice their number, are exact
MOST_VISITS = 2**20  # times the unit roundoff: much less than 1
_REFUSED = {
    "bfloat16": "the mean of the changes of a cell visited often is lost in 8 bits",
    "float16": "the ballast of 2^20 is beyond its largest number, 65,504",
}


@dataclass(frozen=True)
class Run:
    """How much is asked of the weights: steps, and visits to the cell visited most."""

    steps: int
    visits: int


def certify(
    spec: TransformerSpec,
    params: Params,
    vocabulary: StockVocabulary,
    *,
    visits: int,
    dtype: str = "float32",
) -> Certificate:
    """The certificate of these weights.

    Args:
      spec, params: the weights.
      vocabulary: the tokens they should be for.
      visits: what must be reached.
      dtype: ``float32``.

    Raises:
      ValueError: weights that are not of the proven form, or not certain, with the reason.
    """
    check_arithmetic(dtype)
    numbers = read_back(spec, params, vocabulary)
    if reason := fault(numbers, vocabulary, Run(0, visits)):
        raise ValueError(f"stock: {dtype} does not certify {visits:,} visits to a cell: {reason}")
    steps = largest(MOST_TOKENS, lambda n: fault(numbers, vocabulary, Run(n, visits)))
    limits = {
        "steps": steps,
        "cells": vocabulary.cells,
        "visits": largest(MOST_VISITS, lambda n: fault(numbers, vocabulary, Run(steps, n))),
    }
    certificate = Certificate(
        dtype=dtype,
        limits=limits,
        records=_records(numbers, vocabulary, Run(steps, limits["visits"])),
        error=lambda steps, cells, visits: 0.0,
    )
    return issue(certificate, spec, params)


def check_arithmetic(dtype: str) -> None:
    """Raises ValueError for any but float32, with the reason."""
    if dtype != "float32":
        why = _REFUSED.get(dtype, "nothing is proved of it")
        raise ValueError(f"stock: dtype: expected float32, got {dtype}: {why}")


def read_back(spec: TransformerSpec, params: Params, vocabulary: StockVocabulary) -> Numbers:
    """The numbers in the weights.

    Raises:
      ValueError: a weight that is not what `build` writes for them, the first such.
    """
    check_type(spec, params, architecture(vocabulary))
    numbers = numbers_of(vocabulary, params)
    check_weights(params, numbers, lambda: build(vocabulary, numbers)[1])
    return numbers


def check_type(spec: TransformerSpec, params: Params, expected: TransformerSpec) -> None:
    """Raises ValueError if the weights are not float32 leaves of that spec."""
    if spec != expected:
        raise ValueError("stock: the spec is not that of the construction")
    check_params(spec, params)
    # Most weights are powers of two, that would be the same in other types.
    if params["embed"].dtype != np.float32:
        raise ValueError(f"stock: expected float32 weights, got {params['embed'].dtype}")


def check_weights(params: Params, numbers: Numbers, rebuild: Callable[[], Params]) -> None:
    """Raises ValueError for the first weight that differs from those written for the numbers."""
    for name, value in vars(numbers).items():
        if not 0 < value < math.inf:
            raise ValueError(f"stock: {name}: expected a number above 0, got {value:g}")
    for leaf, values in rebuild().items():
        wrong = np.argwhere(params[leaf] != values)
        if len(wrong):
            place = tuple(wrong[0].tolist())
            raise ValueError(
                f"stock: {leaf}{list(place)}: expected {values[place]:g}, got "
                f"{params[leaf][place]:g}"
            )


@dataclass(frozen=True)
class Errors:
    """Largest errors of one step; see `errors`.

    Args:
      on, off: least slope times mean where a symbol stands, largest where none does.
      symbol: of the one-hot of the symbol read.
      chosen: of the one-hots of the action.
      bit: of the bits of the next address.
      logit: of a logit.
    """

    on: float
    off: float
    symbol: float
    chosen: float
    bit: float
    logit: float


def errors(numbers: Numbers, vocabulary: StockVocabulary, run: Run) -> Errors:
    """How far one step may be off, if all before it was right.

    u is the unit roundoff; a sum of n numbers of total size M is off by at most gamma_n M in any
    order, gamma_n = n u/(1 - n u), and exp, division, cosine and the gate by 4 u of their value.

    The lemmas in brackets are those of proofs/exact.v, which Coq checks.

    Tape. Keys and queries are +-1 times one power of two, in first halves of pairs whose second
    halves are 0, so that all partial scores are integers times it, exact in any order
    [any_order_exact]: all v matches have one score, by beta above all others [inner_gap]. The sink
    has exp(-beta/2) of their weight, each of the others exp(-beta) or less [losing_share]; twice
    that covers the rounding of sums. The v changes telescope to 0 or 1 [changes_telescope]. Summed
    behind the division each is the same p = 1/v; partial sums in any order are at most (v + 1)/2 p,
    and v - 1 additions of two numbers that are not zero round them: by u v^2/2 p in all, and
    rounded sums by 1/(1 - v u) more. Where no token matches, the sink wins by beta/2.

    Symbol. Gates are t = |x| - 1/2 (or 3/2) times ``steep`` from zero, where silu differs from 0
    or z by at most z exp(-z) [silu_tail], which falls from z = 1.28 on.

    Rule. Errors of the symbol move scores by beta times as much. Move. Bits flip where they should
    [increment]; each conjunction is off by twice the error of its move, by the rounding of its
    literals, and by the tails of its gates, steep away from zero [conjunction]. Logits add up those
    errors. QED
    """
    beta, gap = numbers.beta, numbers.gap
    w, S, K = vocabulary.bits, vocabulary.symbols, vocabulary.states
    u = UNIT["float32"]
    tokens = min(vocabulary.longest_prompt + run.steps, 2**30)
    on, off, symbol = tape_errors(numbers, tokens, run.visits)
    if symbol == math.inf:
        return Errors(on, off, math.inf, math.inf, math.inf, math.inf)
    score = (S - 1) * beta * symbol + gamma(HEAD) * 4 * beta + 4 * beta * still(tokens)
    half, whole = beta / 2 - 2 * score, beta - 2 * score
    if half <= 0:
        return Errors(on, off, symbol, math.inf, math.inf, math.inf)
    masses = losing_mass(1, half) + losing_mass(tokens, whole), losing_mass(tokens, half)
    chosen = 2 * max(masses) + 8 * u
    bit = bit_error(numbers, w, 2 * chosen)
    size = gap * (4 + w / 2) * 2
    terms = 2 * (K + S + w) + 8
    logit = gap * (3 * chosen + S * symbol + w / 2 * bit) + gamma(terms) * size
    return Errors(on, off, symbol, chosen, bit, logit)


def tape_errors(numbers: Numbers, tokens: int, visits: int) -> tuple[float, float, float]:
    """``on``, ``off`` and ``symbol`` of `Errors`, infinite where the gates have no room."""
    beta, slope, steep = numbers.beta, numbers.slope, numbers.steep
    u, v = UNIT["float32"], visits
    others = 2 * losing_mass(tokens, beta)
    sums = (v * v / 2 + 8) * u / (1 - v * u)
    on = slope / v * (1 - others - 2 * math.exp(-beta / 2) - sums)
    off = slope * max(sums / v + others, 2 * losing_mass(tokens, beta / 2))
    distance = min(on - 1.5, 0.5 - off)
    if steep * distance < 2:
        return on, off, math.inf
    return on, off, 2 * distance * math.exp(-steep * distance) + 10 * u * max(slope, 1)


def bit_error(numbers: Numbers, bits: int, move: float) -> float:
    """Of the bits of the next address, from that of one literal; infinite without room."""
    literals = move + gamma(bits + 3) * (2 * bits + 4)
    edge = numbers.steep * (1 - literals)
    if edge < 2:
        return math.inf
    tails = 8 * bits * edge * math.exp(-edge) / numbers.steep
    return 2 * literals + tails + 16 * UNIT["float32"]


def gamma(terms: int) -> float:
    """Relative error of a float32 sum of ``terms`` terms."""
    share = terms * UNIT["float32"]
    return share / (1 - share)


def still(tokens: int) -> float:
    """The largest angle, in radians, by which an entry of the content turns."""
    pairs = np.unique(STILL % (HEAD // 2))
    return float(tokens * Rotary(theta=THETA).frequencies(HEAD)[pairs].max())


def fault(numbers: Numbers, vocabulary: StockVocabulary, run: Run) -> str | None:
    """Why this run is not certain, or None if it is. Faults stay as runs grow."""
    tokens = vocabulary.longest_prompt + run.steps
    if tokens > MOST_TOKENS:
        return f"{tokens:,} tokens are more than {MOST_TOKENS:,}"
    return form_fault(numbers, slices(vocabulary), tokens, run.visits) or error_fault(
        numbers, errors(numbers, vocabulary, run), run.visits
    )


def form_fault(numbers: Numbers, residual: Residual, tokens: int, visits: int) -> str | None:
    """Why norms and scores are not exact, or None if they are."""
    if not 1 <= visits <= MOST_VISITS:
        return f"expected 1 to {MOST_VISITS:,} visits"
    if reason := norm_fault(numbers, residual):
        return reason
    for name in ("beta", "steep", "slope"):
        value = getattr(numbers, name)
        if math.frexp(value)[0] != 0.5:
            return f"{name} {value:g} is no power of two, so that scores would be rounded"
    if still(tokens) >= UNIT["float32"] / 2:
        return f"an address turns by {still(tokens):.2g} rad at index {tokens:,}"
    return None


def error_fault(numbers: Numbers, found: Errors, visits: int) -> str | None:
    """Why a step may go wrong with these errors, or None if it may not."""
    if found.symbol == math.inf:
        return (
            f"the mean of {visits:,} changes, times {numbers.slope:g}, is known to be above "
            f"{found.on:.3g} or below {found.off:.3g} only: the gates need 1.5 and .5, with room"
        )
    if found.chosen == math.inf or found.bit == math.inf:
        return f"a symbol that is off by {found.symbol:.2g} may find another rule"
    if 2 * found.logit > numbers.gap / 2:
        return f"logits are off by {found.logit:.2g} of a gap of {numbers.gap:g}"
    return None


def norm_fault(numbers: Numbers, residual: Residual) -> str | None:
    """No channel beside the ballast exceeds 3: one-hots, +-1, and a bit while it flips.

    So the ballast absorbs their squares [ballast_absorbs], and the norm divides all tokens by one
    power of two; root and quotient of such are exact in every implementation that rounds correctly.
    """
    u = UNIT["float32"]
    rest = 9 * residual.width * (1 + gamma(residual.width))
    if rest >= numbers.ballast**2 * u:
        return f"squares of {rest:g} beside a ballast of {numbers.ballast:g} change the norm"
    mean = numbers.ballast**2 * residual.sizes["ballast"] / residual.width
    mantissa, exponent = math.frexp(mean)
    if mantissa != 0.5 or exponent % 2 == 0:
        return f"the mean of squares, {mean:g}, is no power of four, so that its root is rounded"
    return None


def _records(numbers: Numbers, vocabulary: StockVocabulary, run: Run) -> tuple[Record, ...]:
    found = errors(numbers, vocabulary, run)
    beta, steep, w = numbers.beta, numbers.steep, vocabulary.bits
    return (
        Record(
            part="layer_0 head 0",
            kind="match of addresses",
            margin=beta / 2,
            magnitude=beta * w,
            note=f"the mean of {run.visits:,} changes is right within {found.off:.1e} of its step",
        ),
        Record(
            part="layer_0 mlp",
            kind="snap",
            margin=min(found.on - 1.5, 0.5 - found.off) / numbers.slope,
            magnitude=steep * numbers.slope,
            note=f"symbols are off by {found.symbol:.1e} or less",
        ),
        Record(
            part="layer_1 head 0",
            kind="match of state and symbol",
            margin=beta / 2,
            magnitude=3.5 * beta,
            note=f"actions are off by {found.chosen:.1e} or less",
        ),
        Record(
            part="layer_1 mlp",
            kind="conjunctions",
            margin=0.5 - found.chosen,
            magnitude=steep * (2 * w + 4),
            note=f"bits are off by {found.bit:.1e} or less",
        ),
        Record(
            part="readout",
            kind="logits",
            margin=numbers.gap - 2 * found.logit,
            magnitude=numbers.gap * (4 + w / 2),
            note="the right token's logit leads by that much",
        ),
    )
