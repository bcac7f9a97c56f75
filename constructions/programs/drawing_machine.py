"""A Turing machine that learns a law from data by maximum likelihood and draws from it with coins.

The one tape is `# examples # query coins`. An example is a context, 0 or 1, and an output, a, b or
c; the query is a context; each of the b coins is 0 or 1. Of the n examples of the query's context,
N_y of them with an output of at most y, the machine makes a list left of the tape in the order of
the outputs. A coin then doubles every cell of the list and keeps one half: 0 that at the right, 1
that at the left. After b coins the list is one of the 2^b blocks that halve the law again and
again, each for one string of coins, and its middle, the smaller one of two, is the answer.

Block u of n cells has its middle at cell (2u + 1) n/2 of 2^b n, rounded up. So answers up to y come
from the blocks with (2u + 1) n <= 2^(b+1) N_y, and there are as many as the integer nearest to
2^b N_y/n, a half upwards: the law of the answer is that of the data, rounded to units of 2^-b.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from constructions.programs.assembler import HERE, NEXT, Assembler, Tape
from constructions.programs.turing import Trace, TuringMachine

OUTPUTS = "abc"


@cache
def drawing_machine() -> TuringMachine:
    """The machine; it depends on nothing."""
    a = Assembler("draw", Tape("tape", "01abcx#_"))
    _filter(a)
    _sort(a)
    _toss(a)
    for side, coin in (("R", "0"), ("L", "1")):
        _halve(a, side, coin)
    _middle(a)
    return a.assemble()


def encode(inputs: np.ndarray, labels: np.ndarray, query: int, coins: str) -> str:
    """The tape: examples, query and coins one after the other.

    Args:
      inputs: contexts [n], 0 or 1, the query's among them.
      labels: outputs [n], 0 to 2.
      query: a context.
      coins: 0 and 1.

    Raises:
      ValueError: something else, or no example of the query's context.
    """
    if not (np.isin(inputs, (0, 1)).all() and np.isin(labels, (0, 1, 2)).all()):
        raise ValueError("expected contexts 0 and 1 and outputs 0 to 2")
    if query not in inputs or set(coins) - {"0", "1"}:
        raise ValueError(f"expected examples of context {query}, and coins 0 and 1, got {coins!r}")
    examples = "".join(f"{x}{OUTPUTS[y]}" for x, y in zip(inputs, labels, strict=True))
    return f"#{examples}#{query}{coins}"


def decode(trace: Trace) -> int:
    """The output drawn, from the tape of the halted machine: its leftmost cell."""
    return OUTPUTS.index("".join(trace.tape).strip(trace.machine.blank)[0])


def _filter(a: Assembler) -> None:
    """Crosses out the context of each example, and the output too if it is not the query's."""
    a.move("R")
    a.seek("R", "#")
    a.move("R")
    for query in a.choose("01"):
        other = "1" if query == "0" else "0"
        a.rules({query: ("x", "L", NEXT)})
        a.move("L")
        a.label(f"example {query}")
        a.rules({OUTPUTS: (None, "L", NEXT), "#": (None, "S", "sort")})
        a.rules({query: ("x", "L", f"example {query}"), other: ("x", "R", NEXT)})
        a.rules({OUTPUTS: ("x", "L", NEXT)})
        a.rules({"x": (None, "L", f"example {query}")})


def _sort(a: Assembler) -> None:
    """Appends the outputs to the list, which grows to the left: all a, all b, all c."""
    a.label("sort", "tape")
    for y in OUTPUTS:
        a.label(f"take {y}")
        a.move("R")
        a.rules({y: ("x", "L", NEXT), "#": (None, "L", f"all {y}"), _but(y): (None, "R", HERE)})
        a.seek("L", "_")
        a.rules({"_": (y, "R", NEXT)})
        a.seek("R", "#")
        a.goto(f"take {y}")
        a.label(f"all {y}")
        a.seek("L", "#")


def _but(y: str) -> str:
    return "".join(s for s in "abcx" if s != y)


def _toss(a: Assembler) -> None:
    """Reads the coins from the right; each begins a list behind a # at the left end."""
    a.label("toss")
    a.seek("R", "_")
    a.move("L")
    a.rules(
        {
            "x": (None, "L", HERE),
            "0": ("x", "L", "halve 0"),
            "1": ("x", "L", "halve 1"),
            "#": (None, "L", "middle"),
        }
    )


def _end(a: Assembler, side: str) -> None:
    """From the # left of a list to its last cell on that side that is not crossed out, or a #."""
    a.move("R")
    if side == "R":
        a.seek("R", "#")
        a.move("L")
    back = "L" if side == "R" else "R"
    a.seek(back, "abc#")


def _halve(a: Assembler, side: str, coin: str) -> None:
    """Twice the last cell of this side, and one of the other side crossed out, until none is left.

    With one cell left, it alone: the list is as long as before, and from its right end on what was
    found from this side on.
    """
    other = "L" if side == "R" else "R"
    a.label(f"halve {coin}", "tape")
    a.seek("L", "_")
    a.write("#")
    a.label(f"next {coin}")
    _end(a, side)
    a.branch({"#": "toss"})
    for y in a.choose(OUTPUTS):
        a.write("x")
        a.seek("L", "#")
        _end(a, other)
        a.rules({OUTPUTS: ("x", "L", NEXT), "#": (None, "L", f"once {y} {coin}")})
        a.seek("L", "_")
        a.rules({"_": (y, "L", NEXT)})
        a.label(f"once {y} {coin}")
        a.seek("L", "_")
        a.rules({"_": (y, "R", NEXT)})
        a.seek("R", "#")
        a.goto(f"next {coin}")


def _middle(a: Assembler) -> None:
    """Crosses out both ends in turn; the last cell, or the smaller of the last two, is written."""
    a.label("middle", "tape")
    a.seek("L", "_")
    a.write("#")
    a.label("pair")
    _end(a, "R")
    for y in a.choose(OUTPUTS):
        a.write("x")
        a.seek("L", "#")
        _end(a, "L")
        a.branch({"#": f"answer {y}"})
        for z in a.choose(OUTPUTS):
            a.write("x")
            a.move("R")
            a.seek("R", "abc#")
            a.rules({"#": (None, "L", f"answer {min(y, z)}"), OUTPUTS: (None, "L", "again")})
    a.label("again", "tape")
    a.seek("L", "#")
    a.goto("pair")
    for y in OUTPUTS:
        a.label(f"answer {y}", "tape")
        a.seek("L", "_")
        a.write(y)
        a.goto("done")
