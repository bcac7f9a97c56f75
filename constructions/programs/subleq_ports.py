"""SUBLEQ programs of one's own, with input and output at the address -1.

    a = -1      mem[b] becomes the next word of the input, -1 when there is none left
    b = -1      mem[a] is put out
    otherwise   the instruction of `constructions.programs.subleq`

Instructions that read or write go on to the next three words, whatever c says. They are the only
ones that the computer does not carry out itself: a device does, between two instructions.

Source: O. Mazonka and A. Kolodin, A simple multi-processor computer based on subleq (2011),
arXiv:1106.2593; https://esolangs.org/wiki/Subleq
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from constructions.programs.subleq import Computer, assemble

PORT = -1


@dataclass
class Ports:
    """The device: how many words it has read of the input, what it put out, how often it served.

    >>> import numpy as np
    >>> computer, ports = Computer(np.array(words_of("-1 6 0  6 -1 0  0")), bits=8), Ports([7])
    >>> while not computer.halted and len(ports.output) < 1:
    ...     ports.serve(computer) or computer.step()
    True
    True
    >>> ports.output
    [7]
    """

    inputs: Sequence[int]
    output: list[int] = field(default_factory=list)
    read: int = 0
    served: int = 0

    @staticmethod
    def wanted(computer: Computer) -> bool:
        """Whether the next instruction is the device's."""
        if computer.halted:
            return False
        n = len(computer.memory)
        return PORT in (computer.memory[(computer.counter + i) % n] for i in range(2))

    def serve(self, computer: Computer) -> bool:
        """Carries out the next instruction if it reads or writes; says whether it did."""
        if not self.wanted(computer):
            return False
        memory, n = computer.memory, len(computer.memory)
        a, b = (int(memory[(computer.counter + i) % n]) for i in range(2))
        if a == PORT:
            word = self.inputs[self.read] if self.read < len(self.inputs) else -1
            self.read += 1
        else:
            word = int(memory[a % n])
        if b == PORT:
            self.output.append(word)
        else:
            memory[b % n] = word
        computer.counter = (computer.counter + 3) % n
        self.served += 1
        return True


def words_of(source: str) -> tuple[int, ...]:
    """The words of a program: numbers alone, or assembly (`constructions.programs.subleq`).

    Numbers are set apart by blanks or commas; ``#``, ``//`` and ``;`` begin comments.

    >>> words_of("3 4 -1, 2 5  # a comment"), words_of("x x -1; clears x")
    Traceback (most recent call last):
    ValueError: assembly: 'x' is neither a number nor a label; 'x' is neither a number nor a label

    Raises:
      ValueError: naming every fault at once.
    """
    lines = [re.split(r"#|//|;", line)[0] for line in source.splitlines()]
    parts = [part for line in lines for part in re.split(r"[\s,]+", line) if part]
    if parts and all(re.fullmatch(r"[+-]?\d{1,18}", part) for part in parts):
        return tuple(map(int, parts))
    if not parts:
        raise ValueError("program: expected numbers or assembly, got nothing")
    return assemble("\n".join(lines)).words
