"""P(TV > eps) by enumerating count vectors in exact rational arithmetic: an oracle for tests."""

from __future__ import annotations

from collections import defaultdict
from fractions import Fraction
from math import comb


def law_of_total_variation(law, n):
    """{n TV: probability} as Fractions, between `law` and the empirical law of n samples."""
    states = {(0, Fraction(0)): Fraction(1)}
    for p in law:
        after = defaultdict(Fraction)
        for (used, excess), weight in states.items():
            for c in range(n - used + 1):
                more = max(c - n * p, Fraction(0))
                after[used + c, excess + more] += weight * comb(n - used, c) * p**c
        states = after
    found = defaultdict(Fraction)
    for (used, excess), weight in states.items():
        if used == n:
            found[excess] += weight
    return dict(found)


def failure(law, n, eps):
    return sum((w for excess, w in law_of_total_variation(law, n).items() if excess > n * eps), 0)


def uniform_failure(vocab, n, eps):
    """The same at the uniform law, in integers: number of words with TV > eps, over V^n."""
    words = {(0, 0): 1}
    for _ in range(vocab):
        after = defaultdict(int)
        for (used, excess), weight in words.items():
            for c in range(n - used + 1):
                after[used + c, excess + max(vocab * c - n, 0)] += weight * comb(n - used, c)
        words = after
    count = sum(w for (used, s), w in words.items() if used == n and s > vocab * n * eps)
    return Fraction(count, vocab**n)
