"""What the simulators of Turing machines share: weights, certificate, prompt and answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from constructions.certificate import Certificate
from constructions.construction import Construction, MachineIO
from constructions.machines.certify import certify
from constructions.machines.weights import build
from constructions.programs.turing import TuringMachine
from constructions.spec import Params, TransformerSpec
from constructions.vocabulary import Vocabulary, answer_of, oracle


def simulator(
    name: str,
    vocabulary: Vocabulary,
    *,
    actions: np.ndarray | None,
    machine_of: Callable[[Mapping[str, Any]], TuringMachine],
    steps: int,
    cells: int,
    base: int,
    attend: str,
    dtype: str,
    source: str,
    proof: str,
) -> Construction:
    """A transformer that runs machines of the vocabulary's size; its ``fill`` is the vocabulary's.

    Args:
      name, source, proof: as in `Construction`.
      vocabulary: the tokens of prompt and run.
      actions: the rules that the weights hold; None to read them from the prompt.
      machine_of: problem -> its machine, or ValueError.
      steps, cells, base, attend, dtype: as for `universal`.
    """
    spec, params, residual = build(
        vocabulary, actions=actions, steps=steps, cells=cells, base=base, attend=attend
    )

    def certify_weights(spec: TransformerSpec, params: Params) -> Certificate:
        return certify(
            name,
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

    def parse(problem: Mapping[str, Any]) -> dict[str, np.ndarray]:
        machine = machine_of(problem)
        rules = vocabulary.actions(machine)
        tape = {"tape": machine.encode_tape(problem["tape"])}
        return tape | ({"actions": rules} if actions is None else {})

    def encode(problem: Mapping[str, Any]) -> np.ndarray:
        data = parse(problem)
        certificate.check(cells=len(data["tape"]), steps=problem.get("steps", 0))
        inputs: np.ndarray = vocabulary.fill(**data)
        return inputs

    def answer(problem: Mapping[str, Any]) -> dict[str, Any]:
        full = {**problem, "machine": machine_of(problem)}
        return oracle(vocabulary, full, certificate.limits["steps"])

    return Construction(
        name=name,
        kind="machine",
        spec=spec,
        params=params,
        residual=residual,
        fields=vocabulary,
        parse=parse,
        fill=vocabulary.fill,
        encode=encode,
        decode=lambda tokens: answer_of(vocabulary, tokens),
        oracle=answer,
        certificate=certificate,
        source=source,
        proof=proof,
        certify=certify_weights,
        machine=MachineIO(vocabulary),
    )
