"""What a named program is, and the table notation that its machine is written in.

One line a state: its name, then cells `reads:write move next`. One cell may read several symbols; a
missing symbol written is the one read, a missing next state is the present one, and a state without
a line halts.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from constructions.turing import MOVES, Rule, Trace, TuringMachine


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


def written(trace: Trace) -> str:
    """What stands on the visited tape, outer blanks removed."""
    return "".join(trace.tape).strip(trace.machine.blank)


def halting_state(trace: Trace) -> str:
    """The state that the machine halted in."""
    return trace.state
