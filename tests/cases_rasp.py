"""Programs for tests: random typed ones, and what those of the library mean in plain Python."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from functools import reduce

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
    """Of each prefix, whether its brackets are nested properly, by a stack."""
    opening = {close: begin for begin, close in pairs}
    stack, wrong, found = [], False, []
    for x in xs:
        if x in opening.values():
            stack.append(x)
        elif x in opening:
            wrong = wrong or not stack or stack.pop() != opening[x]
        found.append(not wrong and not stack)
    return found


def shuffled(xs, pairs):
    """Of each prefix, whether each kind of brackets alone is nested properly."""
    kinds = [balanced([x if x in pair else "" for x in xs], [pair]) for pair in pairs]
    return [all(parts) for parts in zip(*kinds, strict=True)]


def followed(xs, i):
    """What followed the last earlier occurrence of token i."""
    return next((xs[j + 1] for j in range(i - 1, -1, -1) if xs[j] == xs[i]), None)


def sum_of(xs, base):
    """The digits of a + b, as many as there are tokens."""
    sign, number = xs.index("+"), lambda digits: reduce(lambda n, x: n * base + x, digits, 0)
    total = number(xs[:sign]) + number(xs[sign + 1 :])
    return [total // base**place % base for place in reversed(range(len(xs)))]


def _fractions(xs, of):
    return [total / (i + 1) for i, total in enumerate(itertools.accumulate(map(of, xs)))]


def _most_frequent(xs):
    counts = Counter(xs)
    return min(counts, key=lambda x: (-counts[x], x))


def _majority(xs):
    return next((x for x, n in Counter(xs).items() if 2 * n > len(xs)), None)


# What each program says, from the tokens and their alphabet: of the whole sequence at every
# position, or position by position.
WHOLE = {
    "count": lambda xs, letters: xs.count(letters[0]),
    "count-less-frequent": lambda xs, letters: sum(n for n in Counter(xs).values() if n <= 2),
    "dyck-1": lambda xs, letters: balanced(xs, ["()"])[-1],
    "dyck-2": lambda xs, letters: balanced(xs, ["()", "[]"])[-1],
    "length": lambda xs, letters: len(xs),
    "majority": lambda xs, letters: _majority(xs),
    "most-frequent": lambda xs, letters: _most_frequent(xs),
    "shuffle-dyck-1": lambda xs, letters: shuffled(xs, ["()"])[-1],
    "shuffle-dyck-2": lambda xs, letters: shuffled(xs, ["()", "[]"])[-1],
}
FULL = {
    **{
        name: lambda xs, letters, of=of: [of(xs, letters)] * len(xs) if xs else []
        for name, of in WHOLE.items()
    },
    "addition": lambda xs, letters: sum_of(xs, len(letters) - 1),
    "detect-pattern": lambda xs, letters: [
        None if i < 2 else xs[i - 2 : i + 1] == list("aba") for i in range(len(xs))
    ],
    "fraction-before": lambda xs, letters: _fractions(xs, lambda x: x == letters[0]),
    "histogram": lambda xs, letters: [xs.count(x) for x in xs],
    "induction": lambda xs, letters: [followed(xs, i) for i in range(len(xs))],
    "pair-balance": lambda xs, letters: _fractions(xs, lambda x: (x == "(") - (x == ")")),
    "previous": lambda xs, letters: [None, *xs[:-1]],
    "reverse": lambda xs, letters: xs[::-1],
    "sort": lambda xs, letters: sorted(xs),
    "sort-by-frequency": lambda xs, letters: sorted(xs, key=lambda x: -xs.count(x)),
    "sort-unique": lambda xs, letters: sorted(xs),
}
# Of each prefix, with the causal mask; the others mean nothing then.
CAUSAL = {
    **{
        name: FULL[name]
        for name in ("detect-pattern", "fraction-before", "induction", "pair-balance", "previous")
    },
    "count": lambda xs, letters: [xs[: i + 1].count(letters[0]) for i in range(len(xs))],
    "dyck-1": lambda xs, letters: balanced(xs, ["()"]),
    "dyck-2": lambda xs, letters: balanced(xs, ["()", "[]"]),
    "histogram": lambda xs, letters: [xs[: i + 1].count(x) for i, x in enumerate(xs)],
    "length": lambda xs, letters: list(range(1, len(xs) + 1)),
    "reverse": lambda xs, letters: xs[:1] * len(xs),
    "shuffle-dyck-1": lambda xs, letters: shuffled(xs, ["()"]),
    "shuffle-dyck-2": lambda xs, letters: shuffled(xs, ["()", "[]"]),
}


def draw(rng, name, letters, length):
    """A random input of ``length`` tokens, of a kind on which the program's answers differ.

    Half of the brackets' are nested properly, but for one token in some.
    """
    if name == "addition":
        sign = rng.randrange(1, length - 1) if length > 2 else 0
        digits = [rng.choice(letters[:-1]) for _ in range(length)]
        if rng.random() < 0.5 and length > 2:  # a long carry
            base = len(letters) - 1
            digits[sign + 1 :] = [
                base - 1 - digits[j] if (j := i - (length - sign)) >= 0 else 0
                for i in range(sign + 1, length)
            ]
            digits[-1] = rng.randrange(base)
        return [*digits[:sign], "+", *digits[sign + 1 :]]
    if name == "sort-unique":
        return rng.sample(letters, min(length, len(letters)))
    if "dyck" in name and rng.random() < 0.5:
        return _brackets(rng, letters, length, 1 + name.endswith("2"))
    return [rng.choice(letters) for _ in range(length)]


def _brackets(rng, letters, length, kinds):
    """Properly nested brackets among other letters; one token is another in a third of them."""
    others = letters[2 * kinds :]
    stack, found = [], []
    for left in range(length, 0, -1):
        if stack and (len(stack) >= left or rng.random() < 0.5):
            found.append(stack.pop())
        elif others and (len(stack) + 1 >= left or rng.random() < 0.2):
            found.append(rng.choice(others))
        else:
            kind = rng.randrange(kinds)
            found.append(letters[2 * kind])
            stack.append(letters[2 * kind + 1])
    if rng.random() < 1 / 3:
        found[rng.randrange(length)] = rng.choice(letters)
    return found
