"""One transformer for one Turing machine: the machine is in the weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from constructions.certificate import Certificate
from constructions.construction import Construction
from constructions.machines.certify import certify
from constructions.machines.vocabulary import END, Vocabulary, answer_of, oracle
from constructions.machines.weights import build
from constructions.programs.turing import TuringMachine
from constructions.spec import Params, TransformerSpec

SOURCE = "Turing completeness of the transformer: Perez et al. 2021 (JMLR 22)"
PROOF = (
    "As for the universal construction, but the rule for state and symbol is found by a layer with "
    "one hidden unit for each rule, and not in the prompt."
)
_DEFAULT = "1RB1LB_1LA1RZ"


def single(
    *,
    machine: TuringMachine | None = None,
    states: int | None = None,
    symbols: int | None = None,
    steps: int = 2**20,
    cells: int = 2**19,
    base: int = 4,
    attend: str = "softmax",
    dtype: str = "float32",
) -> Construction:
    """Runs one Turing machine on every tape.

    A problem is ``{"tape": symbols, "steps": limit}``, and its ``"machine"``, if given, must be
    this one. Answers are those of `universal`.

    Args:
      machine: the machine; the default is the busy beaver with two states.
      states, symbols: the size to pad it to, at least its own. Machines padded to one size have
        params of one shape, so that they share compiled functions.
      steps, cells, base, attend, dtype: as for `universal`.

    Raises:
      ValueError: a machine larger than the size, or as for `universal`.

    >>> construction = single(steps=1000, cells=100)
    >>> construction.encode({"tape": "101"}).tolist(), construction.oracle({"tape": ""})["steps"]
    ([0, 4, 3, 4, 1], 6)
    """
    machine = machine or TuringMachine.from_bbchallenge(_DEFAULT)
    vocabulary = Vocabulary(
        states or len({machine.start, *machine.working}), symbols or max(2, len(machine.alphabet))
    )
    actions = vocabulary.actions(machine)
    spec, params, residual = build(
        vocabulary, actions=actions, steps=steps, cells=cells, base=base, attend=attend
    )

    def certify_weights(spec: TransformerSpec, params: Params) -> Certificate:
        return certify(
            "single",
            spec,
            params,
            residual,
            vocabulary,
            actions=actions,
            steps=steps,
            cells=cells,
            dtype=dtype,
        )

    certificate = certify_weights(spec, params)

    def check(problem: Mapping[str, Any]) -> None:
        other = problem.get("machine", machine)
        if other is not machine and not np.array_equal(vocabulary.actions(other), actions):
            raise ValueError(
                f"machine: expected {machine.name!r}, which the weights hold, got {other.name!r}"
            )

    def encode(problem: Mapping[str, Any]) -> np.ndarray:
        check(problem)
        tokens = vocabulary.prompt(machine, problem["tape"], rules=False)
        certificate.check(cells=len(tokens) - 2, steps=problem.get("steps", 0))
        return tokens

    def answer(problem: Mapping[str, Any]) -> dict[str, Any]:
        check(problem)
        full = {**problem, "machine": machine}
        return oracle(vocabulary, full, certificate.limits["steps"])

    return Construction(
        name="single",
        kind="machine",
        spec=spec,
        params=params,
        residual=residual,
        encode=encode,
        decode=lambda tokens: answer_of(vocabulary, tokens),
        oracle=answer,
        certificate=certificate,
        source=SOURCE,
        proof=PROOF,
        stop=END,
        transcribe=vocabulary.transcribe,
        certify=certify_weights,
    )
