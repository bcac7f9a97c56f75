"""A Turing machine that learns the majority label in its state: large, where others use their tape.

Two symbols, 0 the blank. The tape is `1 y` for each of n examples, then 0, where the answer is
written. The state says how many more labels were 1 than 0, from -N to N, and whether a label is to
be read next: 4 N + 2 states. It is the table of `counting` for one context and two outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from constructions.programs.turing import Rule, TuringMachine


@cache
def majority_machine(most: int) -> TuringMachine:
    """The machine for up to N examples, of 4 N + 2 states.

    >>> machine = majority_machine(3)
    >>> len(machine.states), machine.run(encode(np.array([1, 0, 1])), 100).tape[-2:]
    (14, ['1', '0'])
    """
    delta: dict[tuple[str, str], Rule] = {}
    by_size = sorted(range(-most, most + 1), key=abs)  # from the start state on
    states = [f"{kind} {ahead}" for ahead in by_size for kind in ("more", "label")]
    for ahead in by_size:
        if ahead > 0:  # and where 0 is the answer, it stands there
            delta[f"more {ahead}", "0"] = (f"more {-ahead}", "1", 1)
        delta[f"more {ahead}", "1"] = (f"label {ahead}", "1", 1)
        for label, step in (("0", -1), ("1", 1)):
            if abs(ahead + step) <= most:
                delta[f"label {ahead}", label] = (f"more {ahead + step}", label, 1)
    return TuringMachine("majority", tuple(states), ("0", "1"), "0", "more 0", delta)


def encode(labels: np.ndarray) -> str:
    """The tape for labels 0 and 1, [n]."""
    return "".join(f"1{int(y)}" for y in labels)


def decode(cells: Sequence[str], examples: int) -> int:
    """The answer, from the tape from cell 0 on; what is not told is blank."""
    return int(cells[2 * examples]) if len(cells) > 2 * examples else 0


def majority(labels: np.ndarray) -> int:
    """The label that more than half of the examples have, 0 if there is none."""
    return int(2 * np.sum(labels) > len(labels))
