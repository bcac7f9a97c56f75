"""Programs: those of tracr's library and others, each as a few lines of the language.

Where a comment says so, a program means what its name says only if every position sees all others;
compiled causally it answers what it says of each prefix, or is undefined there and refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

from constructions.rasp.expressions import (
    Aggregate,
    Indices,
    LinearSequenceMap,
    Map,
    Select,
    SelectorWidth,
    SequenceMap,
    SOp,
    Tokens,
    numerical,
)
from constructions.rasp.values import Comparison, Value

EQ, LT, GT, LEQ = Comparison.EQ, Comparison.LT, Comparison.GT, Comparison.LEQ
tokens, indices = Tokens(), Indices()
everything = Select(tokens, tokens, Comparison.TRUE)
before = Select(indices, indices, LEQ)  # what stands before a position, itself included
length = SelectorWidth(everything).named("length")


def count(condition: SOp) -> SOp:
    """At how many positions it holds."""
    return SelectorWidth(Select(condition, tokens, lambda key, query: bool(key)))


def count_before(condition: SOp) -> SOp:
    """At how many positions up to this one it holds."""
    held = Select(condition, tokens, lambda key, query: bool(key))
    return SelectorWidth(held & before)


def where(condition: SOp, sop: SOp, default: Value = None) -> SOp:
    """The value at the positions at which the condition holds: they must agree."""
    return Aggregate(Select(condition, tokens, lambda key, query: bool(key)), sop, default)


def shift(sop: SOp, offset: int = 1, default: Value = None) -> SOp:
    """The value ``offset`` places back.

    >>> shift(tokens)("abc")
    [None, 'a', 'b']
    """
    back = Select(indices, indices, lambda key, query: key == query - offset)
    return Aggregate(back, sop, default).named(f"shift_{offset}")


def reverse(sop: SOp = tokens) -> SOp:
    """The sequence backwards.

    >>> reverse()("hello")
    ['o', 'l', 'l', 'e', 'h']
    """
    opposite = (length - indices - 1).named("opposite")
    return Aggregate(Select(indices, opposite, EQ), sop).named("reverse")


def histogram(sop: SOp = tokens) -> SOp:
    """How often the value of each position occurs.

    >>> histogram()("abac")
    [2, 1, 2, 1]
    """
    return SelectorWidth(Select(sop, sop, EQ)).named("histogram")


def sort_unique(values: SOp = tokens, keys: SOp = tokens) -> SOp:
    """Values in the order of keys, all of which differ.

    >>> sort_unique()([2, 4, 3, 1])
    [1, 2, 3, 4]
    """
    target = SelectorWidth(Select(keys, keys, LT)).named("target")
    return Aggregate(Select(target, indices, EQ), values).named("sort_unique")


def sort(values: SOp = tokens, keys: SOp = tokens) -> SOp:
    """Values in the order of keys; those of equal keys keep their order.

    >>> sort()([2, 4, 1, 2])
    [1, 2, 2, 4]
    """
    smaller = SelectorWidth(Select(keys, keys, LT)).named("smaller")
    equal = SelectorWidth(Select(keys, keys, EQ) & Select(indices, indices, LT)).named("equal")
    target = (smaller + equal).named("target")
    return Aggregate(Select(target, indices, EQ), values).named("sort")


def sort_by_frequency() -> SOp:
    """The tokens, the most frequent first; of equally frequent ones, the first first.

    >>> sort_by_frequency()([2, 4, 2, 1])
    [2, 2, 4, 1]
    """
    return sort(tokens, -1 * histogram()).named("sort_by_frequency")


def most_frequent() -> SOp:
    """The most frequent token, everywhere; of several, the least. Needs to see all.

    >>> most_frequent()("bcabc")
    ['b', 'b', 'b', 'b', 'b']
    """
    often = histogram()
    more = SelectorWidth(Select(often, often, GT))
    less = SelectorWidth(Select(often, often, EQ) & Select(tokens, tokens, LT))
    best = (more + less == 0).named("best")
    return where(best, tokens).named("most_frequent")


def majority() -> SOp:
    """The token at more than half of all positions, everywhere, or None. Needs to see all.

    >>> majority()("abaa"), majority()("abab")
    (['a', 'a', 'a', 'a'], [None, None, None, None])
    """
    winner = SequenceMap(lambda often, n: 2 * often > n, histogram(), length).named("winner")
    return where(winner, tokens).named("majority")


def fraction_before(condition: SOp) -> SOp:
    """The fraction of the positions up to this one at which the condition holds.

    >>> fraction_before(tokens == "l")("hello")[:4]
    [0, 0, 0.3333333333333333, 0.5]
    """
    return numerical(Aggregate(before, numerical(condition), 0)).named("fraction_before")


def pair_balance(opening: Value, closing: Value, sop: SOp = tokens) -> SOp:
    """The fraction of opening tokens up to here, minus that of closing ones.

    >>> pair_balance("(", ")")("a()b(")
    [0, 0.5, 0, 0, 0.2]
    """
    opens, closes = (fraction_before(sop == token) for token in (opening, closing))
    return numerical(LinearSequenceMap(opens, closes, 1, -1)).named("pair_balance")


def shuffle_dyck(pairs: Sequence[str]) -> SOp:
    """Whether every kind of brackets is balanced, whatever the others do. Needs to see all.

    >>> shuffle_dyck(["()", "{}"])("({)}")
    [True, True, True, True]
    """
    balances = [pair_balance(*pair) for pair in pairs]
    negative = reduce(lambda x, y: x | y, [balance < 0 for balance in balances])
    any_negative = numerical(Aggregate(everything, numerical(negative), 0)).named("any_negative")
    zero = reduce(lambda x, y: x & y, [balance == 0 for balance in balances])
    last = Aggregate(Select(indices, length - 1, EQ), zero).named("last")
    return (last & ~any_negative).named("shuffle_dyck")


def dyck(pairs: Sequence[str]) -> SOp:
    """Whether the brackets of the prefix, or of all that is seen, are nested properly.

    The tokens of one level of depth are numbered; in a sequence whose depth is never negative they
    open and close in turn, so that a closing one must fit the one numbered before it.

    >>> dyck(["()", "{}"])("({})")[0], dyck(["()", "{}"])("({)}")[0]
    (True, False)
    """
    kinds = {bracket: i for i, pair in enumerate(pairs) for bracket in pair}
    sign = {bracket: 1 - 2 * side for pair in pairs for side, bracket in enumerate(pair)}
    opens = Map(lambda t: sign.get(t) == 1, tokens)
    closes = Map(lambda t: sign.get(t) == -1, tokens)
    depth = (count_before(opens) - count_before(closes)).named("depth")
    side = Map(sign.get, tokens)
    level = SequenceMap(lambda d, s: d + (s < 0), depth, side).named("level")
    number = SelectorWidth(Select(level, level, EQ) & before).named("number")
    partner = Aggregate(
        Select(level, level, EQ) & Select(number, number, lambda key, query: key == query - 1),
        tokens,
        "none",
    ).named("partner")
    fits = SequenceMap(
        lambda t, p: sign.get(t) != -1 or (sign.get(p) == 1 and kinds[p] == kinds[t]),
        tokens,
        partner,
    ).named("fits")
    wrong = (~fits | (depth < 0)).named("wrong")
    unclosed = (count(opens) - count(closes)).named("unclosed")
    return ((count(wrong) == 0) & (unclosed == 0)).named("dyck")


def induction() -> SOp:
    """What followed the last earlier occurrence of this token, or None.

    >>> induction()("abcab")
    [None, None, None, 'b', 'c']
    """
    number = SelectorWidth(Select(tokens, tokens, EQ) & before).named("number")
    after = Select(shift(tokens), tokens, EQ)
    last = Select(shift(number), number, lambda key, query: key is not None and key == query - 1)
    return Aggregate(after & last, tokens).named("induction")


def detect_pattern(pattern: Sequence[Value], sop: SOp = tokens) -> SOp:
    """Whether the pattern ends here; None at its first positions.

    >>> detect_pattern("abc")("abcabc")
    [None, None, True, False, False, True]
    """
    parts = [sop == value for value in pattern]
    found = [
        part if place == len(parts) - 1 else shift(part, len(parts) - 1 - place)
        for place, part in enumerate(parts)
    ]
    return reduce(lambda x, y: x & y, found).named("detect_pattern")


def count_less_frequent(n: int) -> SOp:
    """How many tokens occur at most ``n`` times.

    >>> count_less_frequent(2)("aaabbc")
    [3, 3, 3, 3, 3, 3]
    """
    often = histogram()
    return SelectorWidth(Select(often, often, lambda key, query: key <= n)).named("rare")


def addition(base: int = 10) -> SOp:
    """The sum of two numbers a+b, its digits at the last places and zeros before. Needs to see all.

    Digits are integers, in that base, and the sign is "+". A carry comes from the nearest place to
    the right whose digits do not add up to ``base - 1``: it is the one whose number among those
    places, counted from the right, is that of all such places to the right.

    >>> addition()([9, 5, "+", 7])
    [0, 1, 0, 2]
    """
    digit = Map(lambda t: 0 if t == "+" else t, tokens).named("digit")
    plus = where(tokens == "+", indices, 0).named("plus")
    right = SequenceMap(lambda i, p: i > p, indices, plus)
    second = SequenceMap(lambda d, here: d if here else 0, digit, right).named("second")
    source = (indices + (plus - length)).named("source")
    first = Aggregate(Select(indices, source, EQ), digit, 0).named("first")
    total = (first + second).named("total")
    stops = (total != base - 1).named("stops")
    after = Select(indices, indices, GT)
    held = Select(stops, tokens, lambda key, query: bool(key))
    beyond = SelectorWidth(held & after).named("beyond")
    here = SequenceMap(lambda n, stop: n + 1 if stop else -1, beyond, stops).named("here")
    carry = Aggregate(Select(here, beyond, EQ), total >= base, False).named("carry")
    return SequenceMap(lambda s, c: (s + c) % base, total, carry).named("addition")
