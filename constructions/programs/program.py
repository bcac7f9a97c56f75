"""What a named program is, and the table notation that its machine is written in.

One line a state: its name, then cells `reads:write move next`. One cell may read several symbols; a
missing symbol written is the one read, a missing next state is the present one, and a state without
a line halts.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from constructions.argument_types import check_fields
from constructions.programs.turing import MOVES, Rule, Trace, TuringMachine


@dataclass(frozen=True)
class Program:
    """A machine that computes a known function.

    Attributes:
      name: its name in `PROGRAMS`.
      machine: the machine.
      inputs: sample tapes in the program's domain.
      oracle: tape -> answer, computed without any machine.
      answer: trace of the halted machine -> answer.
      max_steps: enough for every sample.
      source: where the machine comes from.
    """

    name: str
    machine: TuringMachine
    inputs: tuple[str, ...]
    oracle: Callable[[str], str]
    answer: Callable[[Trace], str]
    max_steps: int
    source: str

    def __post_init__(self) -> None:
        check_fields(self)


def from_table(name: str, table: str, blank: str = "_") -> TuringMachine:
    """The machine of a table in this module's notation; the first line is the start state.

    >>> parity = from_table("parity", '''
    ...     even  0:R  1:R odd  _:S yes
    ...     odd   0:R  1:R even _:S no''')
    >>> parity.run("1011", 100).state
    'no'
    """
    cell = re.compile(r"\s(\S+):(\S?)([LRS])(?: +([^\s:]+)(?![^\s]*:))?")
    delta: dict[tuple[str, str], Rule] = {}
    states: dict[str, None] = {}
    alphabet = {blank: None}
    lines = [line.strip() for line in table.strip().splitlines()]
    for state in (line.split()[0] for line in lines):
        states[state] = None
    for line in lines:
        state = line.split()[0]
        for reads, write, move, after in cell.findall(line):
            for read in reads:
                delta[state, read] = (after or state, write or read, MOVES[move])
                states[after or state] = alphabet[read] = alphabet[write or read] = None
    return TuringMachine(name, tuple(states), tuple(alphabet), blank, lines[0].split()[0], delta)


def tabled(
    name: str,
    table: str,
    *,
    inputs: tuple[str, ...],
    oracle: Callable[[str], str],
    answer: Callable[[Trace], str],
    max_steps: int,
    source: str = "textbook",
) -> Program:
    """The `Program` whose machine is that of a table."""
    machine = from_table(name, table)
    return Program(name, machine, inputs, oracle, answer, max_steps, source)


def written(trace: Trace) -> str:
    """What stands on the visited tape, outer blanks removed."""
    return "".join(trace.tape).strip(trace.machine.blank)


def halting_state(trace: Trace) -> str:
    """The state that the machine halted in."""
    return trace.state


@dataclass(frozen=True)
class TrainingProgram:
    """A machine that trains on the data on its tape and then answers the queries there.

    Letters: n examples, k queries.

    Attributes:
      name: its name in `TRAINING`.
      machine: the machine; it does not depend on n, k or the data.
      domain: every query that there is.
      sample: random generator, n -> inputs and labels of n examples.
      encode: inputs, labels, queries -> tape.
      decode: trace of the halted machine -> answers [k].
      oracle: inputs, labels, queries -> answers [k], of the model trained directly.
      source: what is trained, and how.
    """

    name: str
    machine: TuringMachine
    domain: np.ndarray
    sample: Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]
    encode: Callable[[np.ndarray, np.ndarray, np.ndarray], str]
    decode: Callable[[Trace], np.ndarray]
    oracle: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
    source: str

    def __post_init__(self) -> None:
        check_fields(self)


def check_least(least: int, **options: int) -> None:
    """Raises ValueError for options below `least`."""
    low = {name: value for name, value in options.items() if value < least}
    if low:
        raise ValueError(f"{', '.join(low)} must be at least {least}, got {[*low.values()]}")


def check_signs(features: int, inputs: np.ndarray, labels: np.ndarray, queries: np.ndarray) -> None:
    """Raises ValueError unless all are +-1 and inputs and queries have d features."""
    for name, values, width in (
        ("inputs", inputs, features),
        ("labels", labels, None),
        ("queries", queries, features),
    ):
        if width and (values.ndim != 2 or values.shape[1] != width):
            raise ValueError(f"{name} must be [n, {width}], got shape {values.shape}")
        if not np.isin(values, (-1, 1)).all():
            raise ValueError(f"{name} must be -1 or 1, got {sorted({*values.ravel().tolist()})}")
    if len(inputs) != len(labels):
        raise ValueError(f"got {len(inputs)} inputs and {len(labels)} labels")


def sample_halfspace(
    rng: np.random.Generator, n: int, features: int
) -> tuple[np.ndarray, np.ndarray]:
    """N uniform points of {-1,+1}^d, int64 [n, d], labelled by a Gaussian halfspace, [n]."""
    inputs = rng.choice((-1, 1), size=(n, features))
    return inputs, np.where(inputs @ rng.normal(size=features) >= 0, 1, -1)
