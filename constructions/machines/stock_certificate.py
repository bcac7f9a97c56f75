"""How long, on how many cells and with how many visits to one the stock machine is certain.

All is derived from the weights that are given, for the arithmetic of stock implementations, see
`stored_arithmetic`: sums in any order, attention weights normalized before the sum (eager) or
behind it (fused).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

from constructions.certificate import Certificate, Record, losing_mass
from constructions.machines.stock_weights import (
    HEAD,
    Numbers,
    architecture,
    build,
    numbers_of,
    slices,
)
from constructions.machines.stored_arithmetic import Arithmetic
from constructions.machines.tape_certificate import (
    MOST_TOKENS,
    Run,
    certified,
    check_type,
    check_weights,
    form_fault,
    mean_errors,
    still,
)
from constructions.spec import Params, TransformerSpec
from constructions.stock_vocabulary import StockVocabulary


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
      dtype: a key of `ARITHMETIC`.

    Raises:
      ValueError: weights that are not of the proven form, or not certain, with the reason.
    """
    numbers = read_back(spec, params, vocabulary)
    return certified(
        *(spec, params),
        fault=partial(fault, numbers, vocabulary),
        records=partial(_records, numbers, vocabulary),
        visits=visits,
        most=MOST_TOKENS,
        cells=vocabulary.cells,
        dtype=dtype,
    )


def read_back(spec: TransformerSpec, params: Params, vocabulary: StockVocabulary) -> Numbers:
    """The numbers in the weights.

    Raises:
      ValueError: a weight that is not what `build` writes for them, the first such.
    """
    check_type(spec, params, architecture(vocabulary))
    numbers = numbers_of(vocabulary, params)
    check_weights(params, numbers, lambda: build(vocabulary, numbers)[1])
    return numbers


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
    u, rounding = run.arithmetic.unit, run.arithmetic.rounding
    tokens = min(vocabulary.longest_prompt + run.steps, 2**30)
    on, off, symbol = tape_errors(numbers, tokens, run)
    if symbol == math.inf:
        return Errors(on, off, math.inf, math.inf, math.inf, math.inf)
    score = (S - 1) * beta * symbol + rounding(HEAD) * 4 * beta + 4 * beta * still(tokens)
    half, whole = beta / 2 - 2 * score, beta - 2 * score
    if half <= 0:
        return Errors(on, off, symbol, math.inf, math.inf, math.inf)
    masses = losing_mass(1, half) + losing_mass(tokens, whole), losing_mass(tokens, half)
    chosen = 2 * max(masses) + 8 * u
    bit = bit_error(numbers, w, 2 * chosen, run.arithmetic)
    size = gap * (4 + w / 2) * 2
    terms = 2 * (K + S + w) + 8
    logit = gap * (3 * chosen + S * symbol + w / 2 * bit) + rounding(terms) * size
    return Errors(on, off, symbol, chosen, bit, logit)


def tape_errors(numbers: Numbers, tokens: int, run: Run) -> tuple[float, float, float]:
    """``on``, ``off`` and ``symbol`` of `Errors`, infinite where the gates have no room."""
    slope, steep = numbers.slope, numbers.steep
    on, off = mean_errors(numbers, tokens, run)
    distance = min(on - 1.5, 0.5 - off)
    if steep * distance < 2:
        return on, off, math.inf
    tails = 2 * distance * math.exp(-steep * distance)
    return on, off, tails + 10 * run.arithmetic.unit * max(slope, 1)


def bit_error(numbers: Numbers, bits: int, move: float, arithmetic: Arithmetic) -> float:
    """Of the bits of the next address, from that of one literal; infinite without room."""
    literals = move + arithmetic.rounding(bits + 3) * (2 * bits + 4)
    edge = numbers.steep * (1 - literals)
    if edge < 2:
        return math.inf
    tails = 8 * bits * edge * math.exp(-edge) / numbers.steep
    return 2 * literals + tails + 16 * arithmetic.unit


def fault(numbers: Numbers, vocabulary: StockVocabulary, run: Run) -> str | None:
    """Why this run is not certain, or None if it is. Faults stay as runs grow."""
    tokens = vocabulary.longest_prompt + run.steps
    if tokens > MOST_TOKENS:
        return f"{tokens:,} tokens are more than {MOST_TOKENS:,}"
    squares = 9 * slices(vocabulary).width  # no channel beside the ballast exceeds 3
    return form_fault(numbers, slices(vocabulary), tokens, run, squares) or error_fault(
        numbers, errors(numbers, vocabulary, run), run.visits
    )


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


def tape_records(
    numbers: Numbers, found: Errors, run: Run, *, bits: int, layer: int
) -> tuple[Record, Record]:
    """What is certified of the head that reads the tape, and of the MLP behind it."""
    match = Record(
        part=f"layer_{layer} head 0",
        kind="match of addresses",
        margin=numbers.beta / 2,
        magnitude=numbers.beta * bits,
        note=f"the mean of {run.visits:,} changes is right within {found.off:.1e} of its step",
    )
    snap = Record(
        part=f"layer_{layer} mlp",
        kind="snap",
        margin=min(found.on - 1.5, 0.5 - found.off) / numbers.slope,
        magnitude=numbers.steep * numbers.slope,
        note=f"symbols are off by {found.symbol:.1e} or less",
    )
    return match, snap


def rule_record(found: Errors, *, margin: float, magnitude: float, layer: int) -> Record:
    """What is certified of the head that reads the rule."""
    return Record(
        part=f"layer_{layer} head 0",
        kind="match of state and symbol",
        margin=margin,
        magnitude=magnitude,
        note=f"actions are off by {found.chosen:.1e} or less",
    )


def flip_record(found: Errors, *, margin: float, magnitude: float, layer: int) -> Record:
    """What is certified of the MLP that adds the move to the address."""
    return Record(
        part=f"layer_{layer} mlp",
        kind="conjunctions",
        margin=margin,
        magnitude=magnitude,
        note=f"bits are off by {found.bit:.1e} or less",
    )


def readout_record(margin: float, magnitude: float) -> Record:
    """What is certified of the logits."""
    note = "the right token's logit leads by that much"
    return Record(part="readout", kind="logits", margin=margin, magnitude=magnitude, note=note)


def _records(numbers: Numbers, vocabulary: StockVocabulary, run: Run) -> tuple[Record, ...]:
    found = errors(numbers, vocabulary, run)
    beta, w, gap = numbers.beta, vocabulary.bits, numbers.gap
    size = numbers.steep * (2 * w + 4)
    return (
        *tape_records(numbers, found, run, bits=w, layer=0),
        rule_record(found, margin=beta / 2, magnitude=3.5 * beta, layer=1),
        flip_record(found, margin=0.5 - found.chosen, magnitude=size, layer=1),
        readout_record(gap - 2 * found.logit, gap * (4 + w / 2)),
    )
