"""One transformer for all Turing machines of a given size: the machine is in the prompt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from constructions.certificate import Certificate
from constructions.construction import Construction
from constructions.machines.certify import certify
from constructions.machines.vocabulary import END, Vocabulary, answer_of, oracle
from constructions.machines.weights import build
from constructions.spec import Params, TransformerSpec

SOURCE = (
    "universality of one frozen transformer whose program is its prompt: Qiu et al. 2025 "
    "(arXiv:2411.01992); attention as memory: Perez et al. 2021 (JMLR 22)"
)
PROOF = (
    "By induction on the steps, each token names its step: next state, symbol written, move, "
    "symbol read. The moves add up to the head's cell: mean times count. Its digits address an "
    "attention head whose score is minus the squared distance of the addresses, so that exactly "
    "the tokens that wrote this cell answer, each with its change, and the changes add up to the "
    "present symbol. State and symbol then address the rule table in the prompt, and the readout "
    "names the next step."
)


def universal(
    *,
    states: int = 8,
    symbols: int = 2,
    steps: int = 2**20,
    cells: int = 2**19,
    base: int = 4,
    attend: str = "softmax",
    dtype: str = "float32",
) -> Construction:
    """Runs every Turing machine of up to this size, from the machine and the tape in its prompt.

    A problem is ``{"machine": TuringMachine, "tape": symbols, "steps": limit}`` (steps default to
    the certified ones). An answer has steps, halted, state, head, tape_start and tape, by code, as
    `Transcript.answer` says.

    Args:
      states: K, working states (states that have a rule; the start is one).
      symbols: S, tape symbols, the blank included.
      steps, cells: what the certificate must reach. A run on n cells visits cells less than n
        away from the first, on either side.
      base: digits of a cell's address have this base: 4 makes more and smaller layers than 32.
      attend: ``softmax``, or ``hardmax``, which gives the same tokens.
      dtype: the arithmetic to certify.

    Raises:
      ValueError: a size out of range, or limits that the dtype cannot certify, with the reason.

    >>> from constructions.programs.turing import TuringMachine
    >>> construction = universal(states=2, steps=1000, cells=100)
    >>> machine = TuringMachine.from_bbchallenge("1RB1LB_1LA1RZ")
    >>> problem = {"machine": machine, "tape": "", "steps": 1000}
    >>> construction.encode(problem).tolist()[-3:], construction.oracle(problem)["steps"]
    ([23, 23, 1], 6)
    """
    vocabulary = Vocabulary(states, symbols)
    spec, params, residual = build(
        vocabulary, actions=None, steps=steps, cells=cells, base=base, attend=attend
    )

    def certify_weights(spec: TransformerSpec, params: Params) -> Certificate:
        return certify(
            "universal",
            spec,
            params,
            residual,
            vocabulary,
            actions=None,
            steps=steps,
            cells=cells,
            dtype=dtype,
        )

    certificate = certify_weights(spec, params)

    def encode(problem: Mapping[str, Any]) -> np.ndarray:
        tokens = vocabulary.prompt(problem["machine"], problem["tape"], rules=True)
        cells = len(tokens) - vocabulary.rows - 2
        certificate.check(cells=cells, steps=problem.get("steps", 0))
        return tokens

    return Construction(
        name="universal",
        kind="machine",
        spec=spec,
        params=params,
        residual=residual,
        encode=encode,
        decode=lambda tokens: answer_of(vocabulary, tokens),
        oracle=lambda problem: oracle(vocabulary, problem, certificate.limits["steps"]),
        certificate=certificate,
        source=SOURCE,
        proof=PROOF,
        stop=END,
        transcribe=vocabulary.transcribe,
        certify=certify_weights,
    )
