"""A universal Turing machine as a stock Llama of two layers: a token of it is a step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from constructions.certificate import Certificate
from constructions.construction import Construction, MachineIO, Words, posing
from constructions.machines.stock_certificate import certify
from constructions.machines.stock_weights import Numbers, build, slices
from constructions.programs.turing import Trace, TuringMachine
from constructions.residual import Residual
from constructions.spec import Params, TransformerSpec
from constructions.stock_vocabulary import StockVocabulary
from constructions.vocabulary import oracle

SOURCE = (
    "universality of one frozen transformer whose program is its prompt: Qiu et al. 2025 "
    "(arXiv:2411.01992); the architecture: Touvron et al. 2023 (arXiv:2302.13971), unmodified"
)
PROOF = (
    "By induction on the steps, each token names its step and the cell where the head then is. A "
    "ballast makes the norm the identity and is the constant 1; a theta of 1e38 lets the content "
    "of heads stand still. In layer 0 the head matches the address with those of all writes; their "
    "changes telescope, so that their mean is one-hot/visits, and a difference of two gates makes "
    "it the symbol; <start> is the sink of a cell never written. In layer 1 the head finds the "
    "rule for state and symbol, <start> where there is none, and conjunctions flip the bits of "
    "the address that a move flips. The readout names the next step, ahead of all others by a gap."
)


@dataclass(frozen=True, kw_only=True)
class StockIO(MachineIO):
    """How a stock machine writes down a run: steps, and the cells where the head is.

    Args:
      tokens: the vocabulary with cells; ``vocabulary`` is the one without.
    """

    tokens: Words

    def transcribe(self, trace: Trace) -> np.ndarray:
        """The tokens that decoding must produce for the trace's recorded steps: int32 [tokens]."""
        return self.tokens.transcribe(trace)


def stock(
    *,
    states: int = 5,
    symbols: int = 2,
    bits: int = 4,
    visits: int = 2048,
    beta: float = 64.0,
    gap: float = 32.0,
    dtype: str = "float32",
) -> Construction:
    """Runs every Turing machine of up to this size on a ring of cells, in a stock Llama.

    Problems and answers are those of `universal`. Cells are named modulo 2^bits, so that a run is
    refused if it needs more cells than that, the tape's included, or visits one too often.

    Args:
      states: K, working states (states that have a rule; the start is one).
      symbols: S, tape symbols, the blank included.
      bits: the ring has 2^bits cells.
      visits: how often a run may write to one cell must be certified up to this.
      beta: score between a match and a mismatch, a power of two.
      gap: by which the right logit leads.
      dtype: the arithmetic to certify. float32; of others the first inequality that fails is told.

    Raises:
      ValueError: a size out of range, or visits that cannot be certified, with the reason.

    >>> from constructions.programs.turing import TuringMachine
    >>> construction = stock(states=2)
    >>> machine = TuringMachine.from_bbchallenge("1RB1LB_1LA1RZ")
    >>> problem = {"machine": machine, "tape": "1", "steps": 9}
    >>> construction.fields.text(construction.encode(problem))
    '<start> A0:1RB A1:1LB B0:1LA B1:1RZ [0]=1 <go>'
    >>> construction.oracle(problem)["steps"]
    4
    """
    vocabulary = StockVocabulary(states, symbols, bits)
    numbers = Numbers(ballast=2.0**20, beta=beta, slope=slope_for(visits), steep=32.0, gap=gap)
    spec, params = build(vocabulary, numbers)
    return machine_of(
        "stock",
        vocabulary,
        (spec, params, slices(vocabulary)),
        lambda spec, params: certify(spec, params, vocabulary, visits=visits, dtype=dtype),
        extra_visits=1,  # the token of the tape
        proof=PROOF,
    )


def slope_for(visits: int) -> float:
    """A power of two: a mean of 1/visits times that must be well above 3/2."""
    return float(2.0 ** np.ceil(np.log2(2 * max(visits, 1))))


def machine_of(
    name: str,
    vocabulary: Words,
    weights: tuple[TransformerSpec, Params, Residual],
    certify: Callable[[TransformerSpec, Params], Certificate],
    *,
    extra_visits: int,
    proof: str,
    source: str = SOURCE,
    machine: TuringMachine | None = None,
) -> Construction:
    """The construction of these weights, whose prompts and runs the vocabulary writes.

    Args:
      name, proof, source, certify: as in `Construction`.
      vocabulary: of the weights.
      weights: the spec, the leaves and the slices of the stream.
      extra_visits: to one cell at most, beside those of the run: tokens that are as if they wrote.
      machine: of problems that name none.
    """
    spec, params, residual = weights
    certificate = certify(spec, params)

    def whole(problem: Mapping[str, Any]) -> dict[str, Any]:
        return ({"machine": machine} if machine else {}) | dict(problem)

    def parse(problem: Mapping[str, Any]) -> dict[str, np.ndarray]:
        problem = whole(problem)
        return vocabulary.data(problem["machine"], problem["tape"])

    def encode(problem: Mapping[str, Any]) -> np.ndarray:
        data, problem = parse(problem), whole(problem)
        run = problem["machine"], problem["tape"], problem.get("steps", 0)
        check_run(certificate, *run, extra_visits=extra_visits)
        inputs: np.ndarray = vocabulary.fill(**data)
        return inputs

    def answer(problem: Mapping[str, Any]) -> dict[str, Any]:
        return oracle(vocabulary.plain, whole(problem), certificate.limits["steps"])

    return Construction(
        name=name,
        kind="machine",
        spec=spec,
        params=params,
        residual=residual,
        fields=vocabulary,
        parse=posing(name, parse),
        fill=vocabulary.fill,
        encode=posing(name, encode),
        decode=vocabulary.answer,
        oracle=posing(name, answer),
        certificate=certificate,
        source=source,
        proof=proof,
        certify=certify,
        machine=StockIO(vocabulary.plain, tokens=vocabulary),
    )


def check_run(
    certificate: Certificate, machine: TuringMachine, tape: Any, steps: int, *, extra_visits: int
) -> None:
    """Raises ValueError if a run of ``steps`` steps is not certified, by running it."""
    tape = list(tape)
    certificate.check(cells=len(tape), steps=steps)
    trace = machine.run(tape, steps)
    position = trace.position
    low, high = trace.tape_start, trace.tape_start + len(trace.cells) - 1
    certificate.check(cells=max(high, len(tape) - 1) - min(low, 0) + 1)
    visits = np.bincount(position - low).max(initial=0) + extra_visits
    certificate.check(visits=int(visits))
