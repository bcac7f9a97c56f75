"""How long, and with how many visits to a cell, one machine in a stock Llama is certain.

All is derived from the weights that are given, for float32, bfloat16 or float16, see
`stored_arithmetic`; the arguments for norm, scores and means are those of `stock_certificate`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from constructions.certificate import Certificate, Record
from constructions.machines.single_weights import (
    architecture,
    build,
    head_size,
    numbers_of,
    slices,
)
from constructions.machines.stock_certificate import readout_record
from constructions.machines.stock_weights import TapeNumbers
from constructions.machines.tape_certificate import (
    MOST_TOKENS,
    Run,
    certified,
    check_type,
    check_weights,
    form_fault,
    mean_errors,
)
from constructions.single_vocabulary import SingleVocabulary
from constructions.spec import Params, TransformerSpec


def certify(
    spec: TransformerSpec,
    params: Params,
    vocabulary: SingleVocabulary,
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
        most=MOST_TOKENS,
        cells=vocabulary.cells,
        dtype=dtype,
    )


def read_back(spec: TransformerSpec, params: Params, vocabulary: SingleVocabulary) -> TapeNumbers:
    """The numbers in the weights.

    Raises:
      ValueError: a weight that is not what `build` writes for them, the first such.
    """
    check_type(spec, params, architecture(vocabulary))
    numbers = numbers_of(vocabulary, params)
    check_weights(params, numbers, lambda: build(vocabulary, numbers)[1])
    return numbers


@dataclass(frozen=True)
class Leads:
    """What the readout has to go by; see `leads`.

    Args:
      on, off: least slope times mean where a symbol stands, largest where none does.
      logit: largest error of a logit.
      lead: the least by which the right token leads.
    """

    on: float
    off: float
    logit: float
    lead: float


def leads(numbers: TapeNumbers, vocabulary: SingleVocabulary, run: Run) -> Leads:
    """How far the right token leads at each step, if all before it were right.

    Scores are integers times a power of two, of w + w terms at most [any_order_exact], so that
    matches have one score, beta above mismatches and beta/2 above <start> [inner_gap]. The changes
    telescope [changes_telescope]; `mean_errors` holds, in which the norm, which divides by
    ballast root, may lose half the smallest number, once before the head and once at the readout.

    The logit of a step is gap (state + inner/2 + 2 t), state 0 or 1, inner the product of two
    addresses, t = 1 for blank and slope times the mean for others. t does not depend on the state,
    so that the right symbol is the best of every state. So a token that is wrong lacks at least one
    of: a gap for the state, a gap for the address [inner_gap], 2 (on - 1), 2 (1 - off) or 2 (on -
    off) gaps for the symbol. Other kinds of tokens have 0, and the right one has 3 gaps or more.
    Where the state is Z, <end> has 4 slope gaps; others 2 t + w/2 at most, t at most slope.

    Each logit is a sum of w + 3 products, the others being 0. QED
    """
    w, gap, slope = vocabulary.bits, numbers.gap, numbers.slope
    residual, arithmetic = slices(vocabulary), run.arithmetic
    root = (residual.sizes["ballast"] / residual.width) ** 0.5
    lost = slope * arithmetic.least * numbers.ballast * root
    on, off = mean_errors(numbers, vocabulary.longest_prompt + run.steps, run)
    on, off = on - lost, off + lost
    most = slope * (1 + 8 * arithmetic.unit) + lost
    logit = arithmetic.rounding(w + 3) * gap * (1 + w / 2 + 2 * max(most, 1))
    end = 4 * slope * (1 - arithmetic.rounding(1)) - 2 * max(most, 1) - w / 2
    return Leads(on, off, logit, gap * min(1, 2 * (on - 1), 2 * (1 - off), end) - 2 * logit)


def fault(numbers: TapeNumbers, vocabulary: SingleVocabulary, run: Run) -> str | None:
    """Why this run is not certain, or None if it is. Faults stay as runs grow."""
    w, tokens = vocabulary.bits, vocabulary.longest_prompt + run.steps + 2
    if tokens > MOST_TOKENS:
        return f"{tokens:,} tokens are more than {MOST_TOKENS:,}"
    # Two addresses, a state, and one-hots of a change, their mean and the sink.
    squares = 2 * w + 6
    residual, head = slices(vocabulary), head_size(vocabulary)
    if reason := form_fault(numbers, residual, tokens, run, squares, head=head):
        return reason
    largest = max(
        numbers.beta * head**0.5 * 2 * w,  # a score before it is scaled
        4 * numbers.gap * numbers.slope,  # <end>
        numbers.gap * (3 + w / 2 + 2 * numbers.slope),
    )
    if largest > run.arithmetic.most:
        return f"numbers reach {largest:g}, {run.arithmetic.dtype} up to {run.arithmetic.most:g}"
    found = leads(numbers, vocabulary, run)
    if found.lead < numbers.gap / 4:
        return (
            f"the mean of {run.visits:,} changes, times {numbers.slope:g}, is known to be above "
            f"{found.on:.3g} or below {found.off:.3g}, and logits within {found.logit:.3g}, so "
            f"that the right one leads by {found.lead:.3g} only, of a gap of {numbers.gap:g}"
        )
    return None


def _records(numbers: TapeNumbers, vocabulary: SingleVocabulary, run: Run) -> tuple[Record, ...]:
    found, w = leads(numbers, vocabulary, run), vocabulary.bits
    return (
        Record(
            part="layer_0 head 0",
            kind="match of addresses",
            margin=numbers.beta / 2,
            magnitude=numbers.beta * w,
            note=f"slope times the mean of {run.visits:,} changes is above {found.on:.3g} where a "
            f"symbol stands, below {found.off:.1e} where none does",
        ),
        Record(part="layer_0 mlp", kind="nothing", magnitude=0.0, exact=True),
        readout_record(found.lead, numbers.gap * (1 + w / 2 + 2 * numbers.slope)),
    )
