"""A Turing machine that fine-tunes a linear classifier on {-1,+1}^d: the perceptron in dual form.

Every example carries its own margin <w, x> as a number in two's complement, and so does every
query, so the weights need no place of their own. When example j with label y is misclassified,
w += y x_j adds y <x_j, x_k> to every margin k: the machine reads a group of g features of example
j, carries y times them over the tape in its state, and adds the group's agreements less its
disagreements to each margin it meets. At last a query's answer is its margin's sign.

The one tape is `epochs _ mistake examples`: a tally `1` for each epoch but the first, a flag, and
for each example or query

    . features  ,  margin  label

with features 0 (-1) and 1 (+1), which are 2 and 3 while their group is done with in this update,
the margin divided by g with its lowest bit first, and the label 2 (-1) or 3 (+1). A query's label
is a comma, and its answer 0 or 1. The example that the machine learns from has ! for its full stop.

g is 2 if d is even, for all margins are even then and half the sweeps do, and 1 otherwise.
"""

from __future__ import annotations

from itertools import product
from math import isqrt

import numpy as np

from constructions.programs.assembler import HERE, NEXT, Action, Assembler, Tape
from constructions.programs.program import (
    TrainingProgram,
    check_least,
    check_signs,
    sample_halfspace,
)
from constructions.programs.turing import Trace, TuringMachine


def perceptron_machine(group: int) -> TuringMachine:
    """The machine for groups of g features; it depends on nothing else."""
    a = Assembler("perceptron", Tape("tape", "0123,.!_"))
    _scan(a)
    _learn(a, group)
    _end_of_epoch(a)
    _answer(a)
    return a.assemble()


def _scan(a: Assembler) -> None:
    """Compares sign and label of one example after the other; 0 counts as positive."""
    a.label("epoch")
    a.seek("R", "_")
    a.move("R")
    a.write("0")
    a.move("R")
    a.label("example")
    a.branch({"_": "end of epoch"})
    a.seek("R", ",")
    a.move("R")
    a.label("last bit 0")
    bits = {"0": (None, "R", "last bit 0"), "1": (None, "R", "last bit 1")}
    a.rules(bits | {"2": (None, "L", "mistake"), "3,": (None, "R", "example")})
    a.label("last bit 1")
    a.rules(bits | {"3": (None, "L", "mistake"), "2,": (None, "R", "example")})


def _learn(a: Assembler, group: int) -> None:
    """Adds y <x_j, x_k> to every margin k."""
    a.label("mistake")
    a.seek("L", ".")
    a.write("!")
    a.label("next group")
    a.seek("L", "!")
    a.seek("R", ",")
    a.seek("R", "23")
    for label in a.choose("23"):
        a.seek("L", "!")
        a.seek("R", "01")
        _read_group(a, group, "1" if label == "3" else "0", "")
    for features in product("01", repeat=group):
        _sweep(a, "".join(features))

    # Behind the last margin: is the last feature done with?
    a.label("swept")
    a.move("L")
    a.move("L")
    a.seek("L", ",")
    a.move("L")
    a.branch({"0": "next group", "1": "next group"})
    a.label("restore")
    a.rules({"2": ("0", "L", HERE), "3": ("1", "L", HERE), ".!": (None, "L", NEXT)})
    a.move("L")
    a.move("L")  # over the label before, or the flag
    a.seek("L", ",_")
    a.branch({"_": "learned"})
    a.move("L")
    a.goto("restore")

    a.label("learned")
    a.seek("R", "!")
    a.write(".")
    a.move("R")
    a.seek("R", "._")
    a.goto("example")


def _read_group(a: Assembler, group: int, plus: str, read: str) -> None:
    """Reads g features into the state, `plus` as 1, and goes to the left end to sweep with them."""
    if len(read) == group:
        a.goto(f"send {read}")
        return
    for feature in a.choose("01"):
        a.move("R")
        _read_group(a, group, plus, read + ("1" if feature == plus else "0"))


def _sweep(a: Assembler, sent: str) -> None:
    """Adds agreements less disagreements with the features sent, over g, to every margin."""

    def compare(agree: int, done: int) -> None:
        if done == len(sent):
            if change := (2 * agree - done) // len(sent):
                a.seek("R", ",")
                a.move("R")
                carry, stop = ("1", "0") if change > 0 else ("0", "1")
                end: Action = (None, "S", NEXT)  # the carry out of the highest bit is dropped
                a.rules({carry: (stop, "R", HERE), stop: (carry, "R", NEXT), "23,": end})
            a.seek("R", ".!_")
            a.goto(sweep)
            return
        for feature in a.choose("01"):
            a.write("2" if feature == "0" else "3")
            a.move("R")
            compare(agree + (feature == sent[done]), done + 1)

    a.label(f"send {sent}")
    a.seek("L", "_")
    a.move("R")
    a.write("1")
    a.move("R")
    sweep = f"sweep {sent}"
    a.label(sweep)
    a.seek("R", "01_")
    a.branch({"_": "swept"})
    compare(0, 0)


def _end_of_epoch(a: Assembler) -> None:
    """Begins another epoch if there was a mistake and a tally is left."""
    a.label("end of epoch")
    a.move("L")
    a.seek("L", "_")
    a.move("R")
    a.branch({"0": "trained"})
    a.move("L")
    a.move("L")
    a.seek("L", "1_")
    a.branch({"_": "no more"})
    a.write("0")
    a.goto("epoch")
    a.label("no more")
    a.move("R")
    a.seek("R", "_")
    a.move("R")


def _answer(a: Assembler) -> None:
    """Writes the sign of each query's margin in the place of its label."""
    a.label("trained")  # at the flag
    a.move("R")
    a.label("next")
    a.branch({"_": "done"})
    a.seek("R", ",")
    a.move("R")
    a.label("sign 0")
    bits = {"0": (None, "R", "sign 0"), "1": (None, "R", "sign 1"), "23": (None, "R", "next")}
    a.rules(bits | {",": ("1", "R", "next")})
    a.label("sign 1")
    a.rules(bits | {",": ("0", "R", "next")})


def train(inputs: np.ndarray, labels: np.ndarray, epochs: int) -> np.ndarray:
    """The perceptron's weights, int64 [d]: w = 0, and w += y x wherever sign(<w, x>) is not y.

    Args:
      inputs, labels: +-1 [n, d] and [n], in the order of learning; the sign of 0 is +1.
      epochs: passes over the examples, unless one without mistake comes first.

    Source: Rosenblatt, The perceptron, Psychological Review 65 (1958).
    """
    weights = np.zeros(inputs.shape[1], np.int64)
    for _ in range(epochs):
        before = weights
        for x, y in zip(inputs, labels, strict=True):
            if (weights @ x >= 0) != (y > 0):
                weights = weights + y * x
        if weights is before:
            break
    return weights


def perceptron(features: int = 8, epochs: int = 32) -> TrainingProgram:
    """The perceptron on {-1,+1}^d; labels and answers are +-1, the sign of 0 is +1.

    Args:
      features: d.
      epochs: passes over the examples, unless one without mistake comes first.
    """
    check_least(1, features=features, epochs=epochs)
    group = 2 - features % 2

    def encode(inputs: np.ndarray, labels: np.ndarray, queries: np.ndarray) -> str:
        check_signs(features, inputs, labels, queries)
        # A mistake adds at most d to |w|^2, so |<w, x>| <= sqrt(U d) sqrt(d) after U mistakes. One
        # bit more holds the sign; what overflows in the midst of an update comes back.
        largest = isqrt(features**2 * len(inputs) * epochs)
        margin = "0" * ((largest // group).bit_length() + 1)

        def row(x: np.ndarray, label: str) -> str:
            return "." + "".join("1" if value > 0 else "0" for value in x) + "," + margin + label

        examples = [row(x, "3" if y > 0 else "2") for x, y in zip(inputs, labels, strict=True)]
        return "1" * (epochs - 1) + "_0" + "".join(examples + [row(x, ",") for x in queries])

    def decode(trace: Trace) -> np.ndarray:
        rows = "".join(trace.tape).strip("_").split(".")[1:]
        return np.array([2 * int(row[-1]) - 1 for row in rows if row[-1] in "01"], np.int64)

    def oracle(inputs: np.ndarray, labels: np.ndarray, queries: np.ndarray) -> np.ndarray:
        return np.where(queries @ train(inputs, labels, epochs) >= 0, 1, -1)

    return TrainingProgram(
        name="perceptron",
        machine=perceptron_machine(group),
        domain=np.array(list(product((-1, 1), repeat=features))),
        sample=lambda rng, n: sample_halfspace(rng, n, features),
        encode=encode,
        decode=decode,
        oracle=oracle,
        source="Aizerman, Braverman and Rozonoer, Theoretical foundations of the potential function"
        " method, Automation and Remote Control 25 (1964)",
    )
