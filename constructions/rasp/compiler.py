"""From a program to a construction: values, weights, certificate.

The design in ten lines. Every value that an S-operation may take is found by asking its function
about all values of what it reads. What is categorical is one-hot, what is numerical is one number.
A map is a table, a hidden unit for each value of the output; a map of a number is a step halfway
between neighbouring values. A select with an aggregate is a head whose score counts the conditions
that are met; the start token, put before every input, answers where nothing is selected. The width
of a selector is read off the weight 1 / (1 + w) of the start token. One-hots are made exact again
after every head, so errors do not add up; those of numbers are carried along and compared with the
distance between neighbouring values. What cannot be certified at the length that is asked for is
refused with the place and the reason.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from constructions.argument_types import short
from constructions.certificate import Certificate
from constructions.construction import Construction, Plan, assemble
from constructions.fields import TokenRanges, sequence
from constructions.learners.options import check_sizes
from constructions.rasp.bounding import certify
from constructions.rasp.expressions import SOp
from constructions.rasp.graph import Mean, Node
from constructions.rasp.lowering import Lowering
from constructions.rasp.values import Value, checked, in_order, plain
from constructions.rasp.writing import write
from constructions.spec import Params, TransformerSpec, param_shapes

MOST_WEIGHTS = 2**27  # 512 MiB in float32
MOST_TOKENS = 2**20
SOURCE = "RASP: Weiss et al. 2021 (arXiv:2106.06981); compiled after Lindner et al. 2023"
PROOF = (
    "One-hot slices hold exact zeros and ones, so a head's score is the number of conditions that "
    "a key meets, times the scale: those that meet all weigh the same, the start token half a step "
    "less, all others a step less. Units are tables of one-hots, or steps halfway between the "
    "numbers that they tell apart."
)


def compile_program(
    program: SOp,
    *,
    length: int,
    alphabet: int | Sequence[Value],
    causal: bool = False,
    name: str | None = None,
) -> Construction:
    """A transformer that computes the program on every input of up to ``length`` tokens.

    A problem is a sequence of the alphabet's values; the answer is the list of the program's values
    at all positions, which is what ``program(problem, causal=causal)`` says. The prompt is a start
    token and the sequence.

    Args:
      program: what the last layer holds.
      length: the longest input, without the start token.
      alphabet: the tokens' values, or a number of them: 0, 1, ...
      causal: whether a position sees only itself and those before it.
      name: of the construction; by default the program's.

    Raises:
      ValueError: the program cannot be held, or not certified at this length: the reason.

    >>> from constructions.rasp import Aggregate, Comparison, Select, indices, length, tokens
    >>> opposite = Select(indices, length - indices - 1, Comparison.EQ)
    >>> built = compile_program(Aggregate(opposite, tokens), length=5, alphabet="abc")
    >>> built.oracle("abac")
    ['c', 'a', 'b', 'a']
    >>> from constructions import forward
    >>> built.decode(forward(built.spec, built.params, built.encode("abac")))
    ['c', 'a', 'b', 'a']
    """
    letters, lowering, output = lowered(program, Lowering, length=length, alphabet=alphabet)
    name = name or program.name
    blueprint, placed = write(output, lowering.nodes, len(letters), causal=causal)
    size = sum(math.prod(shape) for shape in param_shapes(blueprint.spec).values())
    if size > MOST_WEIGHTS:
        raise ValueError(
            f"{name}: {size:,} weights at length {length:,}, expected at most {MOST_WEIGHTS:,}: "
            "shorten it, or ask of fewer values"
        )

    def certify_weights(spec: TransformerSpec, params: Params) -> Certificate:
        return certify(name, blueprint, placed, length, spec, params)

    values = [float(value) for value in output.values] if output.numeric else []
    between = (np.array(values[1:]) + np.array(values[:-1])) / 2  # neighbours

    def decode(outputs: Any) -> list[Value]:
        rows = np.asarray(outputs, np.float64)[1:]
        if output.numeric:
            nearest = np.searchsorted(between, rows[:, 0])
        else:
            nearest = rows.argmax(axis=1)
        return [plain(output.values[i]) for i in nearest.tolist()]

    return posed(
        name, blueprint, program, letters, lowering, causal=causal, certify=certify_weights,
        decode=decode, fields=TokenRanges({"token": len(letters), "bos": 1}), proof=PROOF,
    )  # fmt: skip


L = TypeVar("L", bound=Lowering)


def lowered(
    program: SOp, lower: Callable[[tuple[Value, ...], int], L], *, length: int, alphabet: Any
) -> tuple[tuple[Value, ...], L, Node]:
    """The alphabet's values, the nodes, and the one that is the program's.

    Raises:
      ValueError: it is no program, or cannot be held.
    """
    if not isinstance(program, SOp):
        raise ValueError(f"program: expected an S-operation, got {program!r:.60}")
    check_sizes(length=(length, 1))
    _check_most("length", length, MOST_TOKENS)
    letters = _alphabet(alphabet)
    lowering = lower(letters, length)
    try:
        return letters, lowering, lowering.node(program)
    except RecursionError:
        raise ValueError(f"{program.name}: its operations are nested too deeply") from None


def posed(
    name: str, plan: Plan, program: SOp, letters: tuple[Value, ...], lowering: Lowering, *,
    causal: bool, certify: Callable[[TransformerSpec, Params], Certificate],
    decode: Callable[[Any], list[Value]], fields: TokenRanges, proof: str,
) -> Construction:  # fmt: skip
    """The construction: how sequences are posed to the weights, and what the program says of them.

    Args:
      name, plan, certify, decode, proof: as in `assemble`.
      program, letters, lowering, causal: what was compiled, for which tokens, to which nodes.
      fields: the tokens, of which the one behind the letters is the start token.
    """
    place = {value: i for i, value in enumerate(letters)}
    # An input on which such an aggregate averages different values has no meaning.
    doubtful = any(
        isinstance(node.operation, Mean) and not node.numeric and not node.operation.single
        for node in lowering.nodes
    )

    def parse(problem: Any) -> dict[str, np.ndarray]:
        return {"tokens": np.array(_places(problem, place), np.int64)}

    def fill(*, tokens: Any) -> Any:
        """int32 [1 + T]: the start token, then the places of the tokens in the alphabet."""
        return sequence([len(letters)], tokens)

    def oracle(*, tokens: np.ndarray) -> list[Value]:
        return program([letters[i] for i in tokens.tolist()], causal=causal)

    def check(*, tokens: np.ndarray) -> None:
        if doubtful:
            oracle(tokens=tokens)

    if doubtful:
        proof += (
            " Encoding an input runs the program on it, and refuses one on which a categorical "
            "aggregate would average different values."
        )
    return assemble(
        name, plan, fields=fields, certify=certify, parse=parse, fill=fill, decode=decode,
        oracle=oracle, check=check, source=SOURCE, proof=proof, kind="program",
    )  # fmt: skip


def _check_most(name: str, size: int, most: int) -> None:
    if size > most:
        raise ValueError(f"{name}: expected at most {most:,}, got {short(size)}")


def _alphabet(alphabet: Any) -> tuple[Value, ...]:
    if isinstance(alphabet, int | np.integer) and not isinstance(alphabet, bool):
        check_sizes(alphabet=(int(alphabet), 1))
        _check_most("alphabet", int(alphabet), math.isqrt(MOST_WEIGHTS))  # one-hot, in and out
        return tuple(range(int(alphabet)))
    try:
        values = [checked("alphabet", value) for value in alphabet]
    except TypeError:
        raise ValueError(
            f"alphabet: expected a number of tokens or their values, got {alphabet!r:.60}"
        ) from None
    if len(set(values)) != len(values) or not values:
        raise ValueError(f"alphabet: expected different values, got {alphabet!r:.60}")
    return in_order("alphabet", values)


def _places(problem: Any, place: dict[Value, int]) -> list[int]:
    try:
        values = [checked("tokens", value) for value in problem]
    except TypeError:
        raise ValueError(f"problem: expected a sequence of tokens, got {problem!r:.60}") from None
    for i, value in enumerate(values):
        if value not in place:
            known = ", ".join(repr(plain(letter)) for letter in list(place)[:30])
            raise ValueError(f"token {i}: expected one of {known}, got {plain(value)!r:.40}")
    return [place[value] for value in values]
