"""One Turing machine as a stock Llama of one layer, small enough to read by eye.

The rules stand in the weights, and the prompt is the tape alone. A token says which rule was
carried out, and at which cell; so it says in which state the machine now is, and where. All that is
left to find is the symbol under the head, and one attention head does that.
"""

from __future__ import annotations

from constructions.certificate import Certificate
from constructions.construction import Construction
from constructions.machines.single_certificate import certify
from constructions.machines.single_weights import build, slices
from constructions.machines.stock import machine_of, slope_for
from constructions.machines.stock_weights import TapeNumbers
from constructions.programs.turing import TuringMachine
from constructions.single_vocabulary import SingleVocabulary
from constructions.spec import Params, TransformerSpec

SOURCE = (
    "Turing completeness of the transformer: Perez et al. 2021 (JMLR 22); the architecture: "
    "Touvron et al. 2023 (arXiv:2302.13971), unmodified"
)
PROOF = (
    "By induction on the steps, each token names a rule and the cell where it was carried out, so "
    "that its embedding holds the next state and the address where the head then is. A ballast "
    "makes the norm the identity and is the constant 1; a theta of 1e38 lets the content of heads "
    "stand still. The head matches the address with those of all writes; their changes telescope, "
    "so that their mean is one-hot/visits, and <start> is the sink of a cell never written. The "
    "MLP does nothing. The readout adds a gap for the state, one for the address and two or more "
    "for the symbol, so that the right token leads all others; <end> does where the state is Z."
)
_DEFAULT = "1RB1LB_1LA1RZ"
# Visits to certify by default: as many as the arithmetic allows, up to a factor below 2.
_VISITS = {"float32": 2048, "bfloat16": 16, "float16": 64}


def stock_single(
    *,
    machine: TuringMachine | None = None,
    bits: int = 4,
    visits: int | None = None,
    beta: float = 64.0,
    gap: float = 64.0,
    dtype: str = "float32",
) -> Construction:
    """Runs one Turing machine on every tape on a ring of cells, in a stock Llama of one layer.

    A problem is ``{"tape": symbols, "steps": limit}``, and its ``"machine"``, if given, must be
    this one. Answers are those of `universal`; runs are refused as by `stock`.

    Args:
      machine: the machine; the default is the busy beaver with two states.
      bits: the ring has 2^bits cells.
      visits: how often a run may write to one cell must be certified up to this; by default 2,048
        for float32, 16 for bfloat16 and 64 for float16.
      beta: score between a match and a mismatch, a power of two.
      gap: by which the right logit leads.
      dtype: the arithmetic to certify: float32, bfloat16 or float16.

    Raises:
      ValueError: a size out of range, or visits that cannot be certified, with the reason.

    >>> construction = stock_single(bits=3)
    >>> problem = {"tape": "1", "steps": 9}
    >>> construction.fields.text(construction.encode(problem))
    '<start> [0]=1 <go>'
    >>> construction.oracle(problem)["steps"]
    4
    >>> sum(int((leaf != 0).sum()) for name, leaf in construction.params.items() if ".w_" in name)
    10
    """
    machine = machine or TuringMachine.from_bbchallenge(_DEFAULT)
    vocabulary = SingleVocabulary(machine, bits)
    asked = _VISITS.get(dtype, 1) if visits is None else visits
    numbers = TapeNumbers(ballast=2.0**15, beta=beta, slope=slope_for(asked), gap=gap)
    spec, params = build(vocabulary, numbers)

    def certify_weights(spec: TransformerSpec, params: Params) -> Certificate:
        return certify(spec, params, vocabulary, visits=asked, dtype=dtype)

    return machine_of(
        "stock-single",
        vocabulary,
        (spec, params, slices(vocabulary)),
        certify_weights,
        extra_visits=1,  # the token of the tape
        proof=PROOF,
        source=SOURCE,
        machine=machine,
    )
