"""A Turing machine that fine-tunes a two-layer network on {-1,+1}^d by gradient descent, exactly.

The network is f(x) = sum_j a_j relu(<W_j, x>) with signs a_j that stay and integer weights W_j; the
loss is max(0, -y f(x)), whose gradient is taken where f(x) has not the sign of y, 0 counting as
positive, and through the units with <W_j, x> >= 0. So a step of rate 1 is W_j += a_j y x for those
units: integers stay integers, and nothing is rounded.

Three tapes, numbers in two's complement with b bits, the lowest first:

    data     epochs _ examples _ queries _   an example is `label features ,`, a query ends in #,
                                             its label being 1
    weights  #ag,zW,zW ... ;ag,zW ... #      of each unit its sign, whether it is active, and for
                                             each feature its z and its weight
    margin   ,0 u ;0 f #                     of one unit, and of the network

A unit first has z = x, and u is the sum of z W. If that is not negative the unit is active, z
becomes a x, and the same sum goes to f: so the way to add is the same, and the separator behind the
number tells which it was. A step then adds y z to W.
"""

from __future__ import annotations

from functools import cache
from itertools import product

import numpy as np

from constructions.programs.assembler import HERE, NEXT, Action, Assembler, Tape
from constructions.programs.logistic_machine import add_signed, answered, over_epochs
from constructions.programs.program import TrainingProgram, check_least, check_signs
from constructions.programs.turing import TuringMachine

_MARKS = {"0": "a", "1": "b"}


@cache
def _program() -> Assembler:
    a = Assembler(
        "network",
        Tape("data", "01,#_", _MARKS),
        Tape("weights", "01,;#", _MARKS),
        Tape("margin", "01,;#", _MARKS),
    )
    over_epochs(a, "evaluate")
    _forget(a)
    _load(a)
    _add(a)
    _after_sum(a)
    _judge(a)
    _step(a)
    return a


@cache
def network_machine() -> TuringMachine:
    """The machine; it depends on nothing."""
    return _program().assemble()


def _forget(a: Assembler) -> None:
    """F = 0. The margin's head rests on the 0 before u, that of the weights on a unit's sign."""
    a.label("evaluate")
    a.on("margin")
    a.seek("R", "#")
    a.move("L")
    a.rules({"01": ("0", "L", HERE), ";": (None, "L", NEXT)})
    _to_start(a)


def _to_start(a: Assembler) -> None:
    """The margin's head to the 0 before u."""
    a.seek("L", ",")
    a.move("R")


def _load(a: Assembler) -> None:
    """Copies the features to a unit, and u = 0; data's head is on the label, and again."""
    a.label("unit", "margin")
    a.on("data")
    a.move("R")
    for feature in a.loop("01", until=",#"):
        a.on("weights")
        a.seek("R", ",")
        a.move("R")
        a.write(feature)
        a.on("data")
        a.move("R")
    a.move("L")
    a.seek("L", ",#_")
    a.move("R")
    a.on("margin")
    a.rules({"01": ("0", "R", HERE), ";": (None, "L", NEXT)})
    _to_start(a)
    a.on("weights")
    a.seek("L", ";#")
    a.move("R")


def _add(a: Assembler) -> None:
    """Adds the sum of z W to the number at the margin's head, and stops behind it."""
    a.label("field", "weights")
    a.seek("R", ",;#")
    a.branch({";": "summed", "#": "summed"})
    a.move("R")
    add_signed(a, ends=",;#")
    a.move("L")
    a.on("margin")
    a.seek("L", ",;")
    a.move("R")
    a.on("weights")
    a.goto("field")


def _after_sum(a: Assembler) -> None:
    """After u: is the unit active? Then z = a x, and once more for f. After f: the next unit."""
    a.label("summed", "weights")
    a.move("L")
    a.on("margin")
    a.seek("R", ";#")
    a.branch({"#": "next unit"})
    a.move("L")
    for sign in a.choose("01"):
        if sign == "0":
            a.seek("R", ";")
            a.move("R")
        a.on("weights")
        a.seek("L", ";#")
        a.move("R")
        if sign == "1":
            a.move("R")
            a.write("0")
            a.on("margin")
            a.goto("next unit")
            continue
        for own in a.choose("01"):
            a.move("R")
            a.write("1")
            if own == "1":
                a.goto("field")
                continue
            a.label("flip")
            a.seek("R", ",;#")
            end: Action = (None, "L", "flipped")
            a.rules({",": (None, "R", NEXT), ";#": end})
            a.rules({"0": ("1", "R", "flip"), "1": ("0", "R", "flip")})
            a.label("flipped")
            a.seek("L", ";#")
            a.move("R")
            a.goto("field")
    a.label("next unit", "margin")
    a.seek("L", ",")
    a.move("R")
    a.on("weights")
    a.seek("R", ";#")
    a.branch({"#": "evaluated"})
    a.move("R")
    a.on("margin")
    a.goto("unit")


def _judge(a: Assembler) -> None:
    """A query's answer is the sign of f; an example's step is made where that is not its label."""
    a.label("evaluated")
    a.move("L")
    a.on("margin")
    a.seek("R", "#")
    a.move("L")
    for sign in a.choose("01"):
        answer, other = ("1", "0") if sign == "0" else ("0", "1")
        _to_start(a)
        a.on("data")
        a.rules({answer: (None, "S", "learned"), other: (None, "R", NEXT)})
        a.seek("R", ",#")
        a.rules({",": (None, "L", f"learn {other}"), "#": (None, "L", "answer 0")})
    a.label("answer 0")  # a query's label is 1 before
    a.seek("L", "#_")
    a.move("R")
    a.write("0")
    a.label("learned", "data")
    a.on("weights")
    a.label("forward")
    a.seek("L", "#")
    a.move("R")
    a.on("data")
    a.seek("R", ",#")
    a.rules({",": (None, "R", "example"), "#": (None, "R", "query")})


def _step(a: Assembler) -> None:
    """Adds y z to the weights of every active unit."""
    for label in "01":
        a.label(f"learn {label}", "data")
        a.on("weights")
        a.seek("L", "#")
        a.label(f"update {label}")
        a.move("R")
        a.move("R")
        a.rules({"1": (None, "R", f"weight {label}"), "0": (None, "R", NEXT)})
        a.seek("R", ";#")
        a.rules({";": (None, "S", f"update {label}"), "#": (None, "L", "forward")})
        a.label(f"weight {label}", "weights")
        a.seek("R", ",;#")
        ends: dict[str, Action] = {";": (None, "S", f"update {label}"), "#": (None, "L", "forward")}
        a.rules(ends | {",": (None, "R", NEXT)})
        for z in a.choose("01"):
            up = "1" if z == label else "0"
            down = "0" if up == "1" else "1"
            a.move("R")
            # The carry out of the highest bit is dropped.
            end: Action = (None, "S", f"weight {label}")
            a.rules({up: (down, "R", HERE), down: (up, "R", f"weight {label}"), ",;#": end})


def signs(units: int) -> np.ndarray:
    """a, int64 [h]: 1 and -1 in turn."""
    return np.where(np.arange(units) % 2 == 0, 1, -1)


def weights_at_start(features: int, units: int) -> np.ndarray:
    """W before training, int64 [h, d]: small, and not alike."""
    return np.random.default_rng([features, units, 31]).integers(-2, 3, (units, features))


def train(
    inputs: np.ndarray,
    labels: np.ndarray,
    *,
    units: int,
    epochs: int,
    start: np.ndarray | None = None,
) -> np.ndarray:
    """The weights int64 [h, d] after gradient descent, one example after the other.

    Args:
      inputs, labels: +-1 [n, d] and [n], in the order of learning.
      units: h.
      epochs: passes over the examples.
      start: [h, d] before; by default `weights_at_start`.
    """
    a = signs(units)
    weights = weights_at_start(inputs.shape[1], units) if start is None else start
    for _ in range(epochs):
        for x, y in zip(inputs, labels, strict=True):
            if y != np.where(network(weights, x) >= 0, 1, -1):
                weights = weights + np.outer(a * (weights @ x >= 0), y * x)
    return weights


def network(weights: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    """F of inputs [..., d], int64 [...]."""
    found: np.ndarray = np.maximum(inputs @ weights.T, 0) @ signs(len(weights))
    return found


def neural(features: int = 2, units: int = 4, epochs: int = 4) -> TrainingProgram:
    """Gradient descent of a two-layer network on {-1,+1}^d; labels and answers are +-1.

    Samples are labeled by the product of the first two features (the one, if d = 1), which no
    linear model knows.

    Args:
      features: d.
      units: h.
      epochs: passes over the examples.
    """
    check_least(1, features=features, units=units, epochs=epochs)

    def encode(inputs: np.ndarray, labels: np.ndarray, queries: np.ndarray) -> str:
        check_signs(features, inputs, labels, queries)
        # A weight moves by 1 in a step, |u| is at most d of the largest weight, and |f| h of these.
        start = weights_at_start(features, units)
        largest = units * features * (2 + len(inputs) * epochs)
        bits = largest.bit_length() + 1

        def number(value: int) -> str:
            return "".join(str(value >> j & 1) for j in range(bits))

        def binary(x: np.ndarray) -> str:
            return "".join("1" if value > 0 else "0" for value in x)

        examples = "".join(
            binary(np.array([y, *x])) + "," for x, y in zip(inputs, labels, strict=True)
        )
        asked = "".join("1" + binary(x) + "#" for x in queries)
        return _program().layout(
            "1" * (epochs - 1) + f"_{examples}_{asked}_",
            "#"
            + ";".join(
                f"{int(sign > 0)}0" + "".join(",0" + number(int(w)) for w in row)
                for sign, row in zip(signs(units), start, strict=True)
            )
            + "#",
            ",0" + number(0) + ";0" + number(0) + "#",
        )

    def oracle(inputs: np.ndarray, labels: np.ndarray, queries: np.ndarray) -> np.ndarray:
        weights = train(inputs, labels, units=units, epochs=epochs)
        return np.where(network(weights, queries) >= 0, 1, -1)

    def sample(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        inputs = rng.choice((-1, 1), size=(n, features))
        return inputs, inputs[:, :2].prod(axis=1)

    return TrainingProgram(
        name="network",
        machine=network_machine(),
        domain=np.array(list(product((-1, 1), repeat=features))),
        sample=sample,
        encode=encode,
        decode=answered,
        oracle=oracle,
        source="Rumelhart, Hinton and Williams, Nature 323 (1986)",
    )
