"""What the simulators of Turing machines share: weights, certificate, prompt and answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from constructions.certificate import Certificate, check_dtype, issue
from constructions.construction import Construction, MachineIO, posing
from constructions.machines.certify import certify
from constructions.machines.reader import read_weights
from constructions.machines.weights import build
from constructions.programs.turing import TuringMachine
from constructions.spec import Params, TransformerSpec
from constructions.vocabulary import Vocabulary, answer_of, oracle


@dataclass(frozen=True, kw_only=True)
class SimulatorOptions:
    """What a simulator is built and certified for; `universal` says what each means."""

    steps: int
    cells: int
    base: int
    attend: str
    dtype: str


def simulator(
    name: str,
    vocabulary: Vocabulary,
    *,
    actions: np.ndarray | None,
    machine_of: Callable[[Mapping[str, Any]], TuringMachine],
    options: SimulatorOptions,
    source: str,
    proof: str,
    coins: bool = False,
) -> Construction:
    """A transformer that runs machines of the vocabulary's size; its ``fill`` is the vocabulary's.

    Args:
      name, source, proof: as in `Construction`.
      vocabulary: the tokens of prompt and run.
      actions: the rules that the weights hold; None to read them from the prompt.
      machine_of: problem -> its machine, or ValueError.
      options: the size, and the arithmetic.
      coins: whether a tape token foretells a fair coin, of the symbols of codes 1 and 2.

    Raises:
      ValueError: coins without two symbols beside the blank.
    """
    if coins and vocabulary.symbols < 3:
        raise ValueError(f"coins: expected at least 3 symbols, got {vocabulary.symbols}")
    spec, params, residual = build(
        vocabulary, actions=actions, coins=coins, steps=options.steps, cells=options.cells,
        base=options.base, attend=options.attend,
    )  # fmt: skip

    def certify_weights(spec: TransformerSpec, params: Params) -> Certificate:
        check_dtype(options.dtype)
        reading = read_weights(name, spec, params, residual, vocabulary, actions, coins=coins)
        proved = certify(
            name, reading, steps=options.steps, cells=options.cells, dtype=options.dtype
        )
        return issue(proved, spec, params)

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
        parse=posing(name, parse),
        fill=vocabulary.fill,
        encode=posing(name, encode),
        decode=lambda tokens: answer_of(vocabulary, tokens),
        oracle=posing(name, answer),
        certificate=certificate,
        source=source,
        proof=proof,
        certify=certify_weights,
        machine=MachineIO(vocabulary),
    )
