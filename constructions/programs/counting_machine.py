"""A Turing machine that fine-tunes a table: it counts outputs by context, then answers by argmax.

The one tape is `# examples # queries # table`. An example is the number c V + y, D digits in base 4
with the lowest first. A query is a full stop and a number, first the context, at last the answer.
The table is a bar `0` and tallies `1` for each number.

Training takes no addresses: one pass subtracts 1 from every example, and those that fall below 0 in
pass k are the occurrences of k. Each is struck out and leaves a tally at the table's end, where a
bar follows after the pass. Passes end when all examples are struck out; a slot that the table lacks
is added when a query needs it.

A query walks c times V bars, then crosses out tallies of its row's slots in rounds, one a slot. The
first slot that had a tally in the last round is the argmax, ties to the smallest output; an unseen
context has no tally, and output 0.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from constructions.programs.assembler import HERE, NEXT, Assembler, Tape
from constructions.programs.program import TrainingProgram, check_least
from constructions.programs.turing import Trace, TuringMachine

_BASE = 4


def _digits(largest: int) -> int:
    """How many digits the numbers 0 .. largest need."""
    return max(1, (largest.bit_length() + 1) // 2)


def _number(value: int, digits: int) -> str:
    return "".join(str(value // _BASE**j % _BASE) for j in range(digits))


@cache
def counting_machine(contexts: int, outputs: int) -> TuringMachine:
    """The machine for m contexts and V outputs; it depends on V and on the numbers of digits."""
    a = Assembler("counting", Tape("tape", "0123.!#_"))
    digits = _digits(contexts * outputs - 1)
    query_digits = _digits(max(contexts, outputs) - 1)
    _train(a, digits)
    _route(a, outputs, query_digits)
    _elect(a)
    _answer(a, query_digits)
    return a.assemble()


def _train(a: Assembler, digits: int) -> None:
    """Passes over the examples, from the left # on."""
    a.label("pass")
    a.move("R")
    a.label("example")
    a.rules({".": (None, "R", HERE), "#": (None, "S", "slot"), "0123": (None, "S", NEXT)})
    for j in range(digits):
        last = j == digits - 1
        then = f"skip {digits - 1 - j}"
        borrow = ("!", "R", NEXT) if last else ("3", "R", NEXT)
        a.rules({"0": borrow, "1": ("0", "R", then), "2": ("1", "R", then), "3": ("2", "R", then)})
    a.seek("R", "_")
    a.write("1")
    a.seek("L", "!")
    a.write(".")
    for _ in range(digits - 1):
        a.move("L")
        a.write(".")
    a.goto("example")

    for j in reversed(range(1, digits)):
        a.label(f"skip {j}")
        a.move("R")
    a.label("skip 0")
    a.goto("example")

    a.label("slot")  # at the second #
    a.seek("R", "_")
    a.write("0")
    for _ in range(2):
        a.seek("L", "#")
        a.move("L")
    a.seek("L", "0123#")  # are there examples left?
    a.branch({"#": "trained"})
    a.seek("L", "#")
    a.goto("pass")


def _route(a: Assembler, outputs: int, digits: int) -> None:
    """Marks the bars of the queried row's first slot and of the next row's with 2."""

    def advance() -> None:
        for _ in range(outputs):
            a.move("R")
            a.seek("R", "0_")
            a.write("0")
        a.write("2")

    a.label("trained")
    a.move("R")
    a.seek("R", "#")
    a.move("R")
    a.label("query")
    a.branch({"#": "done"})
    a.write("!")
    a.seek("R", "#")
    a.move("R")
    a.write("2")
    a.label("rows")
    a.seek("L", "!")
    a.move("R")
    for _ in range(digits):
        go = "next row"
        a.rules(
            {"0": ("3", "R", NEXT), "1": ("0", "S", go), "2": ("1", "S", go), "3": ("2", "S", go)}
        )
    for _ in range(digits):  # below 0: all digits are 3
        a.move("L")
        a.write("0")
    a.seek("R", "#")
    a.move("R")
    a.seek("R", "2")
    advance()
    a.goto("tallies")

    a.label("next row")
    a.seek("R", "#")
    a.move("R")
    a.seek("R", "2")
    a.write("0")
    advance()
    a.goto("rows")


def _elect(a: Assembler) -> None:
    """Crosses out tallies until none is left: `.` in the last round that found one, else `3`."""
    a.label("tallies")  # at the row's right end: is a tally left?
    a.move("L")
    a.seek("L", "12")
    a.branch({"2": "elected"})
    a.seek("L", "2")
    a.move("R")
    a.label("slots")
    a.rules(
        {
            "03": (None, "R", HERE),
            ".": ("3", "R", HERE),
            "1": (".", "R", NEXT),
            "2": (None, "S", "tallies"),
        }
    )
    a.rules({"1": (None, "R", HERE), "0": (None, "R", "slots"), "2": (None, "S", "tallies")})


def _answer(a: Assembler, digits: int) -> None:
    """Counts the bars left of the elected slot's into the query, and tidies the row."""
    a.label("elected")  # at the row's left end
    a.move("R")
    a.seek("R", ".2")
    a.branch({"2": "tidy"})
    a.label("bars")
    a.seek("L", "02")
    a.branch({"2": "counted"})
    a.write("!")
    a.move("L")
    a.seek("L", "!")
    a.move("R")
    up = {
        "3": ("0", "R", HERE),
        "0": ("1", "S", NEXT),
        "1": ("2", "S", NEXT),
        "2": ("3", "S", NEXT),
    }
    a.rules(up)
    a.seek("R", "!")
    a.write("0")
    a.move("L")
    a.goto("bars")

    a.label("counted")
    a.move("R")
    a.seek("R", "2")
    a.label("tidy")  # at the row's right end
    a.write("0")
    a.move("L")
    a.rules({"3.": ("1", "L", HERE), "01": (None, "L", HERE), "2": ("0", "S", NEXT)})
    a.seek("L", "!")
    a.write(".")
    for _ in range(1 + digits):
        a.move("R")
    a.goto("query")


def counting(contexts: int = 8, outputs: int = 8) -> TrainingProgram:
    """Tabular fine-tuning: argmax_y of the number of examples (c, y), ties to the smallest y.

    Args:
      contexts: m; inputs and queries are 0 .. m - 1.
      outputs: V; labels and answers are 0 .. V - 1.
    """
    check_least(1, contexts=contexts, outputs=outputs)
    digits = _digits(contexts * outputs - 1)
    query_digits = _digits(max(contexts, outputs) - 1)

    def encode(inputs: np.ndarray, labels: np.ndarray, queries: np.ndarray) -> str:
        for name, values, size in (
            ("inputs", inputs, contexts),
            ("labels", labels, outputs),
            ("queries", queries, contexts),
        ):
            if len(values) and not 0 <= np.min(values) <= np.max(values) < size:
                raise ValueError(f"{name} must be in 0 .. {size - 1}, got {sorted(set(values))}")
        if len(inputs) != len(labels):
            raise ValueError(f"got {len(inputs)} inputs and {len(labels)} labels")
        numbers = (int(c) * outputs + int(y) for c, y in zip(inputs, labels, strict=True))
        examples = "".join(_number(number, digits) for number in numbers)
        asked = "".join("." + _number(int(c), query_digits) for c in queries)
        return f"#{examples}#{asked}#0"

    def decode(trace: Trace) -> np.ndarray:
        asked = "".join(trace.tape).split("#")[2]
        values = [
            sum(int(digit) * _BASE**j for j, digit in enumerate(number))
            for number in asked.split(".")[1:]
        ]
        return np.array(values, np.int64)

    def oracle(inputs: np.ndarray, labels: np.ndarray, queries: np.ndarray) -> np.ndarray:
        table = np.zeros((contexts, outputs), np.int64)
        np.add.at(table, (inputs, labels), 1)
        return np.argmax(table, axis=1)[queries]

    def sample(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        law = rng.dirichlet(np.ones(outputs), size=contexts)
        inputs = rng.integers(contexts, size=n)
        return inputs, np.array([rng.choice(outputs, p=law[c]) for c in inputs], np.int64)

    return TrainingProgram(
        name="counting",
        machine=counting_machine(contexts, outputs),
        domain=np.arange(contexts),
        sample=sample,
        encode=encode,
        decode=decode,
        oracle=oracle,
        source="maximum likelihood in the tabular model, ties to the smallest output",
    )
