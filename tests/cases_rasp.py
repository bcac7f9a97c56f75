"""Programs for tests: random typed ones, and what those of the library mean in plain Python."""

from __future__ import annotations

import itertools
import random
from collections import Counter

from constructions.rasp import (
    Aggregate,
    Comparison,
    Full,
    LinearSequenceMap,
    Map,
    Select,
    SelectorWidth,
    SequenceMap,
    categorical,
    indices,
    numerical,
    tokens,
)

LETTERS, NUMBERS, FLAGS = ("a", "b", "c"), (-2, -1, 0, 1, 3), (False, True)


def function(rng, outputs):
    """A function of any values, drawn once."""
    salt = rng.random()
    return lambda *values: random.Random(f"{salt} {values!r}").choice(outputs)


def random_program(rng, depth=4):
    """A typed program: letters, small numbers, flags or numerical means, of that depth."""
    make = rng.choice([_letter, _number, _flag, _mean])
    return make(rng, depth)


def _letter(rng, depth):
    if depth <= 1:
        return rng.choice([tokens, tokens, Full("b")])
    kind = rng.randrange(4)
    if kind == 0:
        return Map(function(rng, LETTERS), _any(rng, depth - 1))
    if kind == 1:
        x, y = _any(rng, depth - 1), _any(rng, depth - 1)
        return SequenceMap(function(rng, (*LETTERS, None)), x, y)
    default = rng.choice([None, "a", "d"])
    if kind == 2:
        return Aggregate(_alone(rng, depth - 1), _letter(rng, depth - 1), default)
    return Aggregate(_selector(rng, depth - 1), _letter(rng, depth - 1), default)


def _number(rng, depth):
    if depth <= 1:
        return rng.choice([indices, Full(2), Map(function(rng, NUMBERS), tokens)])
    kind = rng.randrange(5)
    if kind == 0:
        return Map(function(rng, NUMBERS), _any(rng, depth - 1))
    if kind == 1:
        return SelectorWidth(_selector(rng, depth - 1))
    x, y = _number(rng, depth - 1), _number(rng, depth - 1)
    if kind == 2:
        return rng.choice([x + y, x - y, 2 * x, 1 - y, LinearSequenceMap(x, y, 2, -1)])
    if kind == 3:
        return Aggregate(_alone(rng, depth - 1), x, rng.choice([0, 7]))
    return categorical(Map(function(rng, NUMBERS), _mean(rng, depth - 1)))


def _flag(rng, depth):
    if depth <= 1:
        return rng.choice([tokens == "a", indices > 1])
    kind = rng.randrange(4)
    if kind == 0:
        return _mean(rng, depth - 1) < rng.choice([0, 1, 0.5])
    if kind == 1:
        return _mean(rng, depth - 1) == rng.choice([0, 1, -1])
    x, y = _flag(rng, depth - 1), _flag(rng, depth - 1)
    return rng.choice([x & y, x | y, ~x])


def _mean(rng, depth):
    if depth <= 1:
        return numerical(tokens == rng.choice("ab"))
    kind = rng.randrange(3)
    selector, other = _selector(rng, depth - 1), _selector(rng, depth - 1)
    x, y = (numerical(rng.choice([_number, _flag])(rng, depth - 1)) for _ in range(2))
    one = numerical(Aggregate(selector, x, rng.choice([0, 1, -3])))
    if kind == 0:
        return one
    two = numerical(Aggregate(rng.choice([selector, other]), y, 0))
    if kind == 1:
        return numerical(LinearSequenceMap(one, two, 1, rng.choice([-1, 0.5])))
    return numerical(Map(function(rng, NUMBERS), one))


def _any(rng, depth):
    return rng.choice([_letter, _number, _flag])(rng, depth)


def _alone(rng, depth):
    """A selector of one key at most."""
    return Select(indices, _number(rng, depth), Comparison.EQ)


def _selector(rng, depth):
    kind = rng.randrange(6)
    if depth > 1 and kind == 0:
        return _selector(rng, depth - 1) & _selector(rng, depth - 1)
    if depth > 1 and kind == 1:
        return _selector(rng, depth - 1) | _selector(rng, depth - 1)
    if depth > 1 and kind == 2:
        return ~_selector(rng, depth - 1)
    make = rng.choice([_letter, _number])
    keys, queries = make(rng, depth - 1), make(rng, depth - 1)
    if kind == 3:
        return Select(keys, _any(rng, depth - 1), function(rng, FLAGS))
    return Select(keys, queries, rng.choice([*Comparison]))


def every_input(alphabet, length):
    """All sequences of up to ``length`` tokens."""
    for n in range(length + 1):
        yield from itertools.product(alphabet, repeat=n)


def balanced(xs, pairs):
    """Whether the brackets are nested properly, by a stack."""
    opening = {close: begin for begin, close in pairs}
    stack = []
    for x in xs:
        if x in opening.values():
            stack.append(x)
        elif x in opening and (not stack or stack.pop() != opening[x]):
            return False
    return not stack


def shuffled(xs, pairs):
    """Whether each kind of brackets alone is nested properly."""
    return all(balanced([x for x in xs if x in pair], [pair]) for pair in pairs)


def followed(xs, i):
    """What followed the last earlier occurrence of token i."""
    return next((xs[j + 1] for j in range(i - 1, -1, -1) if xs[j] == xs[i]), None)


def in_base(digits, base):
    """The number that the digits write."""
    number = 0
    for digit in digits:
        number = number * base + digit
    return number


def sum_of(xs, base):
    """The digits of a + b, as many as there are tokens."""
    sign = xs.index("+")
    total = in_base(xs[:sign], base) + in_base(xs[sign + 1 :], base)
    return [total // base**place % base for place in reversed(range(len(xs)))]


def _fractions(xs, of):
    return [sum(map(of, xs[: i + 1])) / (i + 1) for i in range(len(xs))]


def _most_frequent(xs):
    counts = Counter(xs)
    return min(counts, key=lambda x: (-counts[x], x))


def _side(x):
    return {"(": 1, ")": -1}.get(x, 0)


def _everywhere(value, xs):
    return [value] * len(xs)


# What each says of a whole sequence, and its alphabet, when all positions see all others.
MEANINGS = {
    "addition": lambda xs, letters: sum_of(xs, len(letters) - 1),
    "count": lambda xs, letters: _everywhere(xs.count(letters[0]), xs),
    "count-less-frequent": lambda xs, letters: _everywhere(
        sum(n for n in Counter(xs).values() if n <= 2), xs
    ),
    "detect-pattern": lambda xs, letters: [
        None if i < 2 else xs[i - 2 : i + 1] == list("aba") for i in range(len(xs))
    ],
    "dyck-1": lambda xs, letters: _everywhere(balanced(xs, ["()"]), xs),
    "dyck-2": lambda xs, letters: _everywhere(balanced(xs, ["()", "[]"]), xs),
    "fraction-before": lambda xs, letters: _fractions(xs, lambda x: x == letters[0]),
    "histogram": lambda xs, letters: [xs.count(x) for x in xs],
    "induction": lambda xs, letters: [followed(xs, i) for i in range(len(xs))],
    "length": lambda xs, letters: _everywhere(len(xs), xs),
    "majority": lambda xs, letters: _everywhere(
        next((x for x in xs if 2 * xs.count(x) > len(xs)), None), xs
    ),
    "most-frequent": lambda xs, letters: _everywhere(_most_frequent(xs), xs),
    "pair-balance": lambda xs, letters: _fractions(xs, _side),
    "previous": lambda xs, letters: [None, *xs[:-1]],
    "reverse": lambda xs, letters: xs[::-1],
    "shuffle-dyck-1": lambda xs, letters: _everywhere(shuffled(xs, ["()"]), xs),
    "shuffle-dyck-2": lambda xs, letters: _everywhere(shuffled(xs, ["()", "[]"]), xs),
    "sort": lambda xs, letters: sorted(xs),
    "sort-by-frequency": lambda xs, letters: sorted(xs, key=lambda x: -xs.count(x)),
    "sort-unique": lambda xs, letters: sorted(xs),
}
