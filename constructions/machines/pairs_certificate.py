"""How long, on how many cells and with how many visits to one the machine in pairs is certain.

All is derived from the weights that are given, for float32 as stock implementations compute it; see
`stock_certificate`, whose arguments for norms, tape and units hold here too.
"""

from __future__ import annotations

import math
from functools import cache, partial

import numpy as np

from constructions.certificate import UNIT, Certificate, Record, losing_mass
from constructions.machines.pairs_weights import (
    KIND,
    TURNING,
    PairsNumbers,
    architecture,
    build,
    numbers_of,
    slices,
)
from constructions.machines.stock_certificate import (
    Errors,
    bit_error,
    error_fault,
    flip_record,
    readout_record,
    rule_record,
    tape_errors,
    tape_records,
)
from constructions.machines.stock_weights import HEAD, THETA
from constructions.machines.stored_arithmetic import FLOAT32, Arithmetic
from constructions.machines.tape_certificate import (
    Run,
    certified,
    check_type,
    check_weights,
    form_fault,
    still,
)
from constructions.pairs_vocabulary import PairsVocabulary
from constructions.rotary import Rotary
from constructions.spec import Params, TransformerSpec

MOST_TOKENS = 2**19
# Relative error of an angle: of the power of theta, its reciprocal and the product with the index.
_ANGLE = 16 * UNIT["float32"]


def certify(
    spec: TransformerSpec,
    params: Params,
    vocabulary: PairsVocabulary,
    *,
    visits: int,
    dtype: str = "float32",
) -> Certificate:
    """The certificate of these weights; arguments and errors are those of `stock_certificate`."""
    numbers = read_back(spec, params, vocabulary)
    return certified(
        *(spec, params),
        fault=partial(fault, numbers, vocabulary),
        records=partial(_records, numbers, vocabulary),
        visits=visits,
        most=MOST_TOKENS // 2,
        cells=vocabulary.cells,
        dtype=dtype,
    )


def read_back(spec: TransformerSpec, params: Params, vocabulary: PairsVocabulary) -> PairsNumbers:
    """The numbers in the weights.

    Raises:
      ValueError: a weight that is not what `build` writes for them, the first such.
    """
    check_type(spec, params, architecture(vocabulary))
    numbers = numbers_of(vocabulary, params)
    check_weights(params, numbers, lambda: build(vocabulary, numbers)[1])
    return numbers


@cache
def _leads(distances: int) -> np.ndarray:
    """Entry d: the least of sum_i 1 - cos((d' - 1) f_i) over d' <= d but 1, float64 [distances]."""
    turn = Rotary(theta=THETA).frequencies(HEAD)[:TURNING]
    behind = np.arange(distances, dtype=float) - 1
    lead = sum(1 - np.cos(behind * f) for f in turn)
    lead[1] = lead[0]
    return np.minimum.accumulate(lead)


def previous_lead(sharp: float, tokens: int, arithmetic: Arithmetic = FLOAT32) -> float:
    """By how much the score of the token a fixed distance back leads all others, at any index.

    In real numbers a score is sharp times a sum of cosines of (d - back) f [turned_back], greatest
    at d = back [no_score_above], so that the lead is sharp times that of `_leads`: computed,
    distance by distance, and not proved for all at once. The first pair turns by 1, so that its
    angles are integers, exact below 2^24. Each other angle has a relative error, which is the same
    at all indices but for the rounding of the product: at distance d both move phases by at most
    (d + 2 t) f e at index t, for the token before by 3 t f e, and cosines by no more; d <= t.
    Cosines, sines, rotations and sums of the terms, each at most sharp, round as sums do.
    """
    if tokens < 2:
        return math.inf
    slower = Rotary(theta=THETA).frequencies(HEAD)[1:TURNING].sum()
    phases = 6 * tokens * float(slower) * _ANGLE
    rounding = 2 * arithmetic.rounding(HEAD + 16) * 4 * TURNING
    lead = float(_leads(MOST_TOKENS + 1)[min(tokens, MOST_TOKENS)])
    return sharp * (lead - phases - rounding)


def errors(numbers: PairsNumbers, vocabulary: PairsVocabulary, run: Run) -> Errors:
    """How far one step, both its tokens, may be off, if all before it was right.

    Copy. The token before leads by `previous_lead`, so that all others have less than u/4 of its
    weight (`fault`): the quotient is 1, and what is +-1 or one is copied exactly, beside ``rest``,
    which is at most that mass where nothing is to be copied.

    Tape. As in `stock_certificate.errors`: a write is the token behind a cell, whose address was
    copied to it. <go> is a write of no change to cell 0: one more visit. Tokens that are no writes
    have no address, so that their score is ``rest`` times beta w, and beta w/2 below a match;
    [inner_gap] is for those that are. Behind a step the query has no address, <start> wins, and the
    symbol read is blank: no matter, as the readout wants a cell there.

    Rule. Of n bits of the state and one symbol: a rule for another state has beta less or more
    [inner_gap], for another symbol beta less. Tokens that are none have the score ``rest`` times
    the same, (n/2 + 1) beta below the match.

    Flips. Move and address are exact [increment] [conjunction]; behind a cell the move is none, and
    all gates are ``steep`` or more below zero.

    Logits. Behind a cell steps and <end> lead by `KIND` gaps and by what agrees; the rest of the
    vocabulary has none of it. Behind a step the same holds of cells, beside which a step token has
    at most n/2 + 3 gaps, of any mixture of actions. QED
    """
    beta, gap = numbers.beta, numbers.gap
    w, S, n = vocabulary.bits, vocabulary.symbols, vocabulary.state_bits
    u, tokens = run.arithmetic.unit, token_count(vocabulary, run)
    rounding = run.arithmetic.rounding
    rest = losing_mass(tokens, previous_lead(numbers.sharp, tokens, run.arithmetic))
    on, off, symbol = tape_errors(numbers, tokens, run)
    if symbol == math.inf:
        return Errors(on, off, math.inf, math.inf, math.inf, math.inf)
    size = n / 2 + 4
    score = beta * ((S - 1) * symbol + size * (rounding(HEAD) + still(tokens) + rest))
    half, whole = beta / 2 - 2 * score, beta - 2 * score
    if half <= 0:
        return Errors(on, off, symbol, math.inf, math.inf, math.inf)
    masses = losing_mass(1, half) + losing_mass(tokens, whole), losing_mass(tokens, half)
    chosen = 2 * max(masses) + 8 * u
    bit = bit_error(numbers, w, 2 * rest, run.arithmetic)
    terms = 2 * (n + S + w) + 8
    wrong = (n / 2 + 2) * chosen + S * symbol + w / 2 * (bit + rest)
    logit = gap * wrong + rounding(terms) * 2 * gap * (KIND + 4 + n / 2 + w)
    return Errors(on, off, symbol, chosen, bit, logit)


def token_count(vocabulary: PairsVocabulary, run: Run) -> int:
    """Tokens of the longest prompt with a run: two a step, the first place and <end>."""
    return vocabulary.longest_prompt + 2 * run.steps + 2


def fault(numbers: PairsNumbers, vocabulary: PairsVocabulary, run: Run) -> str | None:
    """Why this run is not certain, or None if it is. Faults stay as runs grow."""
    tokens, residual = token_count(vocabulary, run), slices(vocabulary)
    if tokens > MOST_TOKENS:
        return f"{tokens:,} tokens are more than {MOST_TOKENS:,}"
    if reason := form_fault(numbers, residual, tokens, run, 9 * residual.width):
        return reason
    lead = previous_lead(numbers.sharp, tokens, run.arithmetic)
    if losing_mass(tokens, lead) >= run.arithmetic.unit / 4:
        return f"of {tokens:,} tokens the one before leads by {lead:.3g} only"
    if vocabulary.state_bits / 2 + 5 > KIND - 1:
        return f"{KIND} gaps do not tell a cell from a step of {vocabulary.state_bits} bits"
    return error_fault(numbers, errors(numbers, vocabulary, run), run.visits)


def _records(numbers: PairsNumbers, vocabulary: PairsVocabulary, run: Run) -> tuple[Record, ...]:
    found = errors(numbers, vocabulary, run)
    beta, gap, w, n = numbers.beta, numbers.gap, vocabulary.bits, vocabulary.state_bits
    before = Record(
        part="layer_0 head 0",
        kind="the token before",
        margin=previous_lead(numbers.sharp, token_count(vocabulary, run)),
        magnitude=numbers.sharp * TURNING,
        note="its score leads by that much at every distance",
    )
    return (
        before,
        flip_record(found, margin=0.5, magnitude=numbers.steep * (2 * w + 4), layer=0),
        *tape_records(numbers, found, run, bits=w, layer=1),
        rule_record(found, margin=beta / 2, magnitude=beta * (n / 2 + 2), layer=2),
        Record(part="layer_2 mlp", kind="nothing", magnitude=0.0, exact=True),
        readout_record(gap - 2 * found.logit, gap * (KIND + 4 + n / 2 + w)),
    )
