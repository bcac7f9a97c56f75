"""One transformer for one Turing machine: the machine is in the weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from constructions.construction import Construction
from constructions.machines.simulator import SimulatorOptions, simulator
from constructions.programs.turing import TuringMachine
from constructions.vocabulary import Vocabulary

SOURCE = "Turing completeness of the transformer: Perez et al. 2021 (JMLR 22)"
PROOF = (
    "As for the universal construction, but the rule for state and symbol is found by a layer with "
    "one hidden unit for each rule, and not in the prompt."
)
_DEFAULT = "1RB1LB_1LA1RZ"


def single(
    *, machine: TuringMachine | None = None,
    states: int | None = None, symbols: int | None = None,
    steps: int = 2**20, cells: int = 2**19, base: int = 4,
    attend: str = "softmax", dtype: str = "float32",
) -> Construction:  # fmt: skip
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

    def machine_of(problem: Mapping[str, Any]) -> TuringMachine:
        other: TuringMachine = problem.get("machine", machine)
        if other is not machine and not np.array_equal(vocabulary.actions(other), actions):
            raise ValueError(
                f"machine: expected {machine.name!r}, which the weights hold, got {other.name!r}"
            )
        return machine

    options = SimulatorOptions(steps=steps, cells=cells, base=base, attend=attend, dtype=dtype)
    return simulator(
        "single",
        vocabulary,
        actions=actions,
        machine_of=machine_of,
        options=options,
        source=SOURCE,
        proof=PROOF,
    )
