"""A Turing machine that fine-tunes a logistic model on {-1,+1}^d: SGD in fixed point.

Weights are integers, w = W / 2^f. With z = y x and the margin u = <W, z>, a step of rate 2^-r is
W += g(u) z, where g(u) = round(G sigmoid(-u / 2^f)) falls from G = 2^(f-r) to 0 at G thresholds.
They stand on the tape, so the step is: for every threshold above u, W += z.

Four tapes, numbers in two's complement with b bits, the lowest first:

    data        epochs _ examples _ queries _   an example is `label features ,`, a query ends in #
    weights     #0 ,zW ,zW ... #                for each feature its z and its weight
    margin      ,0 u ,                          u plus 2^(b-1)
    thresholds  #,0 t ,0 t ... #                from the highest to the lowest, plus 2^(b-1)

All heads rest on 0 or 1, before the bit that they read next; the zeros serve as such a place.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from math import isqrt, log

import numpy as np

from constructions.programs.assembler import HERE, NEXT, Action, Assembler, Tape
from constructions.programs.program import (
    TrainingProgram,
    check_least,
    check_signs,
    sample_halfspace,
)
from constructions.programs.turing import Trace

_MARKS = {"0": "a", "1": "b"}


def _program() -> Assembler:
    a = Assembler(
        "logistic",
        Tape("data", "01,#_", _MARKS),
        Tape("weights", "01,#", _MARKS),
        Tape("margin", "01,", _MARKS),
        Tape("thresholds", "01,#", _MARKS),
    )
    over_epochs(a, "load")
    a.label("load")
    _load(a)
    _multiply(a)
    _step(a)
    _answer(a)
    return a


def _rewind(a: Assembler, to: str) -> None:
    """From the right of a tape's first separator to the cell after it."""
    a.seek("L", to)
    a.move("R")


def _enter_field(a: Assembler, *, end: str) -> None:
    """From one field of a tape into the next; after the last, to the label ``end``."""
    a.seek("R", ",#")
    a.branch({"#": end})
    a.move("R")


def over_epochs(a: Assembler, then: str) -> None:
    """Goes over the examples once more for each tally, then to the queries; each at the label.

    On a tape `epochs _ examples _ queries _`, from its first cell on.
    """
    a.seek("R", "_")
    a.move("R")
    a.label("example")
    a.branch({"0": then, "1": then})
    a.move("L")
    a.seek("L", "_")
    a.move("L")
    a.seek("L", "1_")
    a.branch({"_": "trained"})
    a.write("0")
    a.seek("R", "_")
    a.move("R")
    a.goto("example")
    a.label("trained")
    for _ in range(2):
        a.move("R")
        a.seek("R", "_")
    a.move("R")
    a.label("query")
    a.branch({"_": "done"})


def _load(a: Assembler) -> None:
    """Copies label times features to the weights."""
    for label in a.choose("01"):
        a.move("R")
        for feature in a.loop("01", until=",#"):
            a.on("weights")
            a.seek("R", ",")
            a.move("R")
            a.write("1" if feature == label else "0")
            a.on("data")
            a.move("R")
    a.move("L")
    a.on("weights")
    _rewind(a, "#")


def _multiply(a: Assembler) -> None:
    """U = sum of z W, a weight of negative z as its complement plus 1."""
    a.on("margin")
    a.move("R")
    a.rules({"01": ("0", "R", HERE), ",": (None, "L", NEXT)})
    a.write("1")
    _rewind(a, ",")
    a.on("weights")
    a.label("field")
    _enter_field(a, end="multiplied")
    add_signed(a, ends=",#")
    a.move("L")
    a.on("margin")
    _rewind(a, ",")
    a.on("weights")
    a.goto("field")
    a.label("multiplied")
    a.move("L")
    _rewind(a, "#")


def add_signed(a: Assembler, *, ends: str) -> None:
    """Adds z W to the number at the margin's head; z is under the weights' head, W behind it.

    Both are in two's complement, the lowest bit first; of negative z it is the complement of W plus
    1. It goes on at ``added``, the weights' head being on the one of ``ends`` behind W.
    """
    a.rules({"0": (None, "S", "add 0 1"), "1": (None, "S", "add 1 0")})
    for z, carry in product("01", (0, 1)):
        a.label(f"add {z} {carry}", "weights")
        a.move("R")
        a.branch(dict.fromkeys(ends, "added"))
        for bit in a.choose("01"):
            a.on("margin")
            a.move("R")
            for sum_bit in a.choose("01"):
                total = int(bit == z) + int(sum_bit) + carry
                a.write(str(total % 2))
                a.on("weights")
                a.goto(f"add {z} {total // 2}")
    a.label("added")


def _step(a: Assembler) -> None:
    """W += z for every threshold above u."""
    a.on("data")
    a.move("R")
    a.branch({"#": "answer"})
    a.move("L")
    a.on("margin")
    a.label("compare 0")
    for less in (0, 1):
        if less:
            a.label("compare 1")
        a.move("R")
        a.branch({",": f"compared {less}"})
        for bit in a.choose("01"):
            a.on("thresholds")
            a.move("R")
            for other in a.choose("01"):
                a.on("margin")
                a.goto(f"compare {less if bit == other else int(bit < other)}")

    a.label("compared 1")
    a.move("L")
    _rewind(a, ",")
    a.on("weights")
    a.label("add")
    _enter_field(a, end="added all")
    for z in a.choose("01"):
        a.move("R")
        end: Action = (None, "S", "add")
        other = "0" if z == "1" else "1"
        a.rules({z: (other, "R", HERE), other: (z, "R", "add"), ",#": end})
    a.label("added all")
    a.move("L")
    _rewind(a, "#")
    a.on("thresholds")
    _enter_field(a, end="stepped")
    a.on("margin")
    a.goto("compare 0")

    a.label("compared 0")
    a.move("L")
    _rewind(a, ",")
    a.on("thresholds")
    a.label("stepped")
    a.move("L")
    _rewind(a, "#")
    a.move("R")
    a.on("data")
    a.move("R")
    a.move("R")
    a.goto("example")


def _answer(a: Assembler) -> None:
    """Writes the sign of the margin in the place of the query's label."""
    a.label("answer")
    a.move("L")
    a.on("margin")
    a.seek("R", ",")
    a.move("L")
    for sign in a.choose("01"):
        _rewind(a, ",")
        a.on("data")
        a.seek("L", "#_")
        a.move("R")
        a.write(sign)
        a.seek("R", "#")
        a.move("R")
        a.goto("query")


def thresholds(fraction: int, rate: int) -> list[int]:
    """The integers t, from the highest, so that round(G sigmoid(-u/2^f)) = #{t > u}, G = 2^(f-r).

    >>> table = thresholds(4, 1)
    >>> [sum(t > u for t in table) for u in (-100, 0, 10, 100)]
    [8, 4, 3, 0]
    """
    steps = 2 ** (fraction - rate)
    # #{t > u} >= k where G sigmoid(-u/2^f) >= k - 1/2, that is u <= 2^f ln(G/(k - 1/2) - 1).
    limits = [2**fraction * log(steps / (k - 0.5) - 1) for k in range(1, steps + 1)]
    return [int(np.ceil(limit)) for limit in limits]


def train(
    inputs: np.ndarray, labels: np.ndarray, *, fraction: int, rate: int, epochs: int
) -> np.ndarray:
    """The integer weights W, int64 [d]: W += round(2^(f-r) sigmoid(-y <W, x>/2^f)) y x in turn.

    Args:
      inputs, labels: +-1 [n, d] and [n], in the order of learning.
      fraction, rate: f and r; weights are W / 2^f, the learning rate is 2^-r.
      epochs: passes over the examples.
    """
    table = np.array(thresholds(fraction, rate))
    weights = np.zeros(inputs.shape[1], np.int64)
    for _ in range(epochs):
        for x, y in zip(inputs, labels, strict=True):
            weights = weights + np.sum(table > y * (weights @ x)) * y * x
    return weights


def weight_error(features: int, fraction: int, rate: int, steps: int) -> float:
    """How far, in Euclidean norm, W / 2^f may be from SGD in real numbers: sqrt(d) steps 2^-(f+1).

    A step of SGD on one example's logistic loss is non-expansive in w if 2^-r <= 2 / (d/4), d/4
    bounding the loss's curvature; rounding g adds at most sqrt(d) 2^-(f+1) to each. Margins are
    sqrt(d) times as far apart at most, hence answers agree where a margin is larger than that.

    Raises:
      ValueError: the rate is too high for the argument.

    >>> weight_error(4, 10, 6, 100)
    0.09765625
    """
    if 2.0**-rate > 8 / features:
        raise ValueError(f"expected a rate 2^-r of at most {8 / features}, got {2.0**-rate}")
    return features**0.5 * steps * 2.0 ** -(fraction + 1)


def answered(trace: Trace) -> np.ndarray:
    """The answers +-1 that stand in the place of the queries' labels."""
    text = "".join(trace.tape[-trace.tape_start :])  # from cell 0
    asked = text.split("_")[2].split("#")[:-1]
    return np.array([2 * int(query[0]) - 1 for query in asked], np.int64)


def logistic(
    features: int = 8, fraction: int = 10, rate: int = 6, epochs: int = 2
) -> TrainingProgram:
    """SGD of a logistic model on {-1,+1}^d in fixed point; labels and answers are +-1.

    Args:
      features: d.
      fraction: f; weights are integers over 2^f.
      rate: r; the learning rate is 2^-r, at least 2^-f.
      epochs: passes over the examples.
    """
    check_least(1, features=features, epochs=epochs)
    check_least(rate, fraction=fraction)
    table = thresholds(fraction, rate)
    program = _program()

    def encode(inputs: np.ndarray, labels: np.ndarray, queries: np.ndarray) -> str:
        check_signs(features, inputs, labels, queries)
        # A step g > 0 has u < t for the highest threshold t, and g <= G, so it adds at most
        # 2 G t + G^2 d to |W|^2. Then |u| <= sqrt(d) |W|, and one bit more holds the sign.
        steps, highest = len(table), table[0]
        square = len(inputs) * epochs * (2 * steps * highest + steps**2 * features)
        largest = max(isqrt(features * square), highest, -table[-1])
        bits = largest.bit_length() + 1

        def number(value: int) -> str:
            value += 1 << (bits - 1)
            return "".join(str(value >> j & 1) for j in range(bits))

        def signs(x: Iterable[int]) -> str:
            return "".join("1" if value > 0 else "0" for value in x)

        examples = "".join(signs([y, *x]) + "," for x, y in zip(inputs, labels, strict=True))
        asked = "".join("1" + signs(x) + "#" for x in queries)
        return program.layout(
            "1" * (epochs - 1) + f"_{examples}_{asked}_",
            "#0" + (",0" + "0" * bits) * features + "#",
            ",0" + number(0) + ",",
            "#" + "".join(",0" + number(t) for t in table) + "#",
        )

    def oracle(inputs: np.ndarray, labels: np.ndarray, queries: np.ndarray) -> np.ndarray:
        weights = train(inputs, labels, fraction=fraction, rate=rate, epochs=epochs)
        return np.where(queries @ weights >= 0, 1, -1)

    return TrainingProgram(
        name="logistic",
        machine=program.assemble(),
        domain=np.array(list(product((-1, 1), repeat=features))),
        sample=lambda rng, n: sample_halfspace(rng, n, features),
        encode=encode,
        decode=answered,
        oracle=oracle,
        source="Robbins and Monro, A stochastic approximation method, Ann. Math. Stat. 22 (1951)",
    )
