"""SUBLEQ, the computer with one instruction: its interpreter, its assembler and named programs.

Memory is n words of N bits, in two's complement, program and data alike. The three words at the
program counter are one instruction, a b c:

    mem[b] := mem[b] - mem[a]; if mem[b] <= 0 then go to c, else go to the next three words

Differences wrap around as N-bit words, addresses and the counter as numbers below n. A jump to a
negative address halts, and counts as a step.

Source: F. Mavaddat and B. Parhami, URISC: the ultimate reduced instruction set computer,
International Journal of Electrical Engineering Education 25 (1988).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass
class Computer:
    """The interpreter: ground truth for the looped construction.

    Args:
      memory: int64 [n], changed in place.
      bits: N.
      counter: address of the instruction that comes next.
      halted: whether a jump to a negative address was taken.

    >>> computer = Computer(np.array([3, 4, -1, 2, 5]), bits=8)
    >>> computer.step()
    >>> computer.memory.tolist(), computer.counter, computer.halted
    ([3, 4, -1, 2, 3], 3, False)
    """

    memory: np.ndarray
    bits: int
    counter: int = 0
    halted: bool = False

    def step(self) -> None:
        """One instruction; nothing once it has halted."""
        if self.halted:
            return
        memory, n = self.memory, len(self.memory)
        a, b, c = (int(memory[(self.counter + i) % n]) for i in range(3))
        memory[b % n] = difference = wrap(int(memory[b % n]) - int(memory[a % n]), self.bits)
        jump = difference <= 0
        self.halted = jump and c < 0
        self.counter = (c if jump else self.counter + 3) % n


def wrap(value: int, bits: int) -> int:
    """The N-bit word, from -2^(N-1) to 2^(N-1) - 1, that equals ``value`` modulo 2^N.

    >>> wrap(128, 8), wrap(-129, 8)
    (-128, 127)
    """
    half = 1 << (bits - 1)
    return (value + half) % (2 * half) - half


@dataclass(frozen=True)
class Assembled:
    """Words of a program, and the addresses of its labels."""

    words: tuple[int, ...]
    labels: Mapping[str, int]


def assemble(source: str) -> Assembled:
    r"""Words of a program in assembly.

    A line is ``label: a b c``, an instruction, or ``label: .words value ...``, data; the label may
    be missing. Operands are numbers and labels, each with an offset (``array+1``) if need be. A
    missing c is the next instruction. ``;`` starts a comment.

    Raises:
      ValueError: naming every fault at once.

    >>> assemble("x y -1 ; y := y - x \n x: .words 2 \n y: .words 5").words
    (3, 4, -1, 2, 5)
    """
    labels: dict[str, int] = {}
    words: list[str] = []
    faults: list[str] = []
    for number, line in enumerate(source.splitlines(), start=1):
        *names, rest = (part.strip() for part in line.partition(";")[0].split(":"))
        for name in names:
            if not re.fullmatch(r"[a-z_]\w*", name) or name in labels:
                faults.append(f"line {number}: {name!r} is no new label")
            labels[name] = len(words)
        operands = rest.split()
        if operands[:1] == [".words"]:
            words += operands[1:]
        elif len(operands) in (2, 3):
            words += [*operands, str(len(words) + 3)][:3]
        elif operands:
            faults.append(f"line {number}: expected a b c, or .words, got {rest!r}")
    values: list[int] = []
    for word in words:
        found = re.fullmatch(r"(-?\d+)|([a-z_]\w*)(?:\+(\d+))?", word)
        if not found or (found[2] and found[2] not in labels):
            faults.append(f"{word!r} is neither a number nor a label")
        elif found[1]:
            values.append(int(found[1]))
        else:
            values.append(labels[found[2]] + int(found[3] or 0))
    if faults:
        raise ValueError("assembly: " + "; ".join(faults))
    return Assembled(tuple(values), labels)


@dataclass(frozen=True)
class SubleqProgram:
    """A SUBLEQ program that computes a known function.

    Attributes:
      name: its name in `SUBLEQ`.
      source: its assembly. Inputs go to the words at ``input``; where the program takes any number
        of them, ``input`` is its last label and the word ``count`` tells how many there are.
      arity: the number of inputs, or None for any.
      samples: inputs in its domain.
      domain: the numbers that may be given, in words.
      check: inputs, least word, greatest word -> is the problem in the domain.
      oracle: inputs -> answer, computed without any machine.
      output: the label of the answer.
    """

    name: str
    source: str
    arity: int | None
    samples: tuple[tuple[int, ...], ...]
    domain: str
    check: Callable[[Sequence[int], int, int], bool]
    oracle: Callable[[Sequence[int]], list[int]]
    output: str

    def memory(self, inputs: Sequence[int], *, bits: int) -> np.ndarray:
        """The program with its inputs, int64 [words].

        Raises:
          ValueError: too few or too many inputs, or numbers out of the domain.
        """
        if self.arity is not None and len(inputs) != self.arity:
            raise ValueError(f"{self.name}: expected {self.arity} inputs, got {len(inputs)}")
        least, greatest = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
        if not self.check(inputs, least, greatest):
            raise ValueError(
                f"{self.name}: expected {self.domain}, of {bits} bits, got {[*inputs]}"
            )
        code = assemble(self.source)
        start = code.labels["input"]
        words = np.zeros(max(len(code.words), start + len(inputs)), np.int64)
        words[: len(code.words)] = code.words
        words[start : start + len(inputs)] = inputs
        if self.arity is None:
            words[code.labels["count"]] = len(inputs)
        return words

    def answer(self, memory: Sequence[int], inputs: Sequence[int]) -> list[int]:
        """The answer that stands in the memory of the halted computer."""
        start = assemble(self.source).labels[self.output]
        return [int(word) for word in memory[start : start + len(self.oracle(inputs))]]


def run(memory: np.ndarray, *, bits: int, steps: int, counter: int = 0) -> Iterator[Computer]:
    """The computer after each step, until it has halted; always the same object."""
    computer = Computer(memory.copy(), bits, counter)
    for _ in range(steps):
        if computer.halted:
            return
        computer.step()
        yield computer


def _between(least: int, values: Sequence[int], greatest: int) -> bool:
    return all(least <= value <= greatest for value in values)


def _fibonacci(n: int) -> int:
    a, b = 0, 1
    for _ in range(n):
        a, b = b, a + b
    return a


ADD = SubleqProgram(
    name="add",
    source="""
            x zero            ; zero := -x
            zero y            ; y := y + x
            zero zero -1
    zero:   .words 0
    input:
    x:      .words 0
    y:      .words 0
    """,
    arity=2,
    samples=((3, 5), (-7, 2), (0, 0), (-100, -28), (64, 63)),
    domain="two numbers whose sum is a word",
    check=lambda v, low, high: _between(low + 1, v, high) and low <= sum(v) <= high,
    oracle=lambda v: [v[0] + v[1]],
    output="y",
)

MULTIPLY = SubleqProgram(
    name="multiply",
    source="""
            x minus           ; minus := -x
            zero y negative   ; y is changed by nothing: go if y <= 0
    add:    minus product     ; product := product + x, y times
            one y done
            zero zero add
    negative: y left done     ; left := -y: done if y = 0
    take:   x product         ; product := product - x, -y times
            one left done
            zero zero take
    done:   zero zero -1
    zero:   .words 0
    one:    .words 1
    minus:  .words 0
    left:   .words 0
    product: .words 0
    input:
    x:      .words 0
    y:      .words 0
    """,
    arity=2,
    samples=((6, 7), (-4, 5), (9, -3), (-8, -8), (0, 5), (5, 0), (1, 100)),
    domain="two numbers whose product is a word",
    check=lambda v, low, high: _between(low + 1, v, high) and low < v[0] * v[1] <= high,
    oracle=lambda v: [v[0] * v[1]],
    output="product",
)

FIBONACCI = SubleqProgram(
    name="fibonacci",
    source="""
            zero n done
    loop:   a t               ; t := -a
            b t               ; t := -a - b
            a a
            b zero
            zero a            ; a := b
            b b
            t b               ; b := a + b, of before
            zero zero
            t t
            one n done
            zero zero loop
    done:   zero zero -1
    zero:   .words 0
    one:    .words 1
    t:      .words 0
    a:      .words 0
    b:      .words 1
    input:
    n:      .words 0
    """,
    arity=1,
    samples=((10,), (0,), (1,), (2,), (7,)),
    domain="n >= 0 whose next Fibonacci number is a word",
    check=lambda v, low, high: 0 <= v[0] <= 2 * high.bit_length() and _fibonacci(v[0] + 1) <= high,
    oracle=lambda v: [_fibonacci(v[0])],
    output="a",
)

# The operands marked with * are pointers that the program itself moves along the array.
SORT = SubleqProgram(
    name="sort",
    source="""
            one count done    ; count is how often neighbours are compared in one pass
            count zero
            zero left         ; left := count
            zero zero
    loop:   low low
            high high
            order order
    first:  input low         ; low := -first*
    second: input+1 high      ; high := -second*
            high low          ; low := second - first
            low order keep    ; order := first - second: keep if that is <= 0
    third:  order input       ; first* := second
    fourth: low input+1       ; second* := first
    keep:   minus first
            minus second
            minus third+1
            minus fourth+1
            one left again
            zero zero loop
    again:  count first       ; all pointers back to the start
            count second
            count third+1
            count fourth+1
            one count done
            count zero
            zero left
            zero zero loop
    done:   zero zero -1
    zero:   .words 0
    one:    .words 1
    minus:  .words -1
    low:    .words 0
    high:   .words 0
    order:  .words 0
    left:   .words 0
    count:  .words 0
    input:
    """,
    arity=None,
    samples=((3, 1, 2), (), (5,), (2, -2), (4, 4, -1, 0, 9, -9), (8, 7, 6, 5, 4, 3, 2, 1)),
    domain="numbers whose differences are words",
    check=lambda v, low, high: _between(low // 2 + 1, v, high // 2),
    oracle=lambda v: sorted(v),
    output="input",
)

SUBLEQ: Mapping[str, SubleqProgram] = {
    program.name: program for program in (ADD, MULTIPLY, FIBONACCI, SORT)
}
