"""A universal Turing machine of many states and cells as a stock Llama: two tokens are a step."""

from __future__ import annotations

from constructions.certificate import Certificate
from constructions.construction import Construction
from constructions.machines.pairs_certificate import certify
from constructions.machines.pairs_weights import PairsNumbers, build, slices
from constructions.machines.stock import machine_of, slope_for
from constructions.pairs_vocabulary import PairsVocabulary
from constructions.spec import Params, TransformerSpec

PROOF = (
    "By induction on the tokens, a step names what was done and the token behind it the cell where "
    "the head then is. A ballast makes the norm the identity and is the constant 1. In layer 0 the "
    "few pairs that turn under a theta of 1e38 find the token before, whose address, state or key "
    "is copied; conjunctions flip the bits of the address that the move flips. In layer 1 the head "
    "matches the address with those of all writes; their changes telescope, so that their mean is "
    "one-hot/visits, and a difference of two gates makes it the symbol; <start> is the sink of a "
    "cell never written. In layer 2 the head finds the rule for state and symbol, <start> where "
    "there is none. The readout names a step behind a cell and a cell behind a step, the right one "
    "ahead of all others by a gap."
)


def stock_pairs(
    *,
    states: int = 5,
    symbols: int = 2,
    bits: int = 4,
    visits: int = 2048,
    beta: float = 64.0,
    gap: float = 32.0,
    sharp: float = 1024.0,
    dtype: str = "float32",
) -> Construction:
    """Runs every Turing machine of up to this size on a ring of cells, in a stock Llama.

    As `stock`, but with two tokens a step and two a rule, so that the vocabulary grows as K S^2 +
    2^bits and holds machines that train (`constructions.programs.training_machines`).

    Args:
      states: K, working states (states that have a rule; the start is one).
      symbols: S, tape symbols, the blank included.
      bits: the ring has 2^bits cells.
      visits: how often a run may write to one cell must be certified up to this.
      beta: score between a match and a mismatch, a power of two.
      gap: by which the right logit leads.
      sharp: score of each turning pair of the head that finds the token before.
      dtype: the arithmetic to certify: float32.

    Raises:
      ValueError: a size out of range, or visits that cannot be certified, with the reason.

    >>> from constructions.programs.turing import TuringMachine
    >>> construction = stock_pairs(states=2)
    >>> machine = TuringMachine.from_bbchallenge("1RB1LB_1LA1RZ")
    >>> problem = {"machine": machine, "tape": "1", "steps": 9}
    >>> construction.fields.text(construction.encode(problem))
    '<start> q0,0: 1Rq1 q0,1: 1Lq1 q1,0: 1Lq0 q1,1: 1RZ @0 =1 <go>'
    >>> construction.fields.text(construction.machine.transcribe(machine.run("1", 9)))
    '@0 1>1Lq1 @-1 0>1Lq0 @-2 0>1Rq1 @-1 1>1RZ @0 <end>'
    """
    vocabulary = PairsVocabulary(states, symbols, bits)
    slope = slope_for(visits)
    numbers = PairsNumbers(
        ballast=2.0**20, beta=beta, slope=slope, steep=32.0, gap=gap, sharp=sharp
    )
    spec, params = build(vocabulary, numbers)

    def certify_weights(spec: TransformerSpec, params: Params) -> Certificate:
        return certify(spec, params, vocabulary, visits=visits, dtype=dtype)

    return machine_of(
        "stock-pairs",
        vocabulary,
        (spec, params, slices(vocabulary)),
        certify_weights,
        extra_visits=2,  # the token of the tape, and <go> at cell 0
        proof=PROOF,
    )
