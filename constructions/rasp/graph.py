"""A program as a graph: nodes with every value they may take, a slice of the residual stream each.

A node is categorical, a one-hot of its values, or numeric, one number. Its operation says how a
sublayer computes it: a `Table` or `Steps` or `Linear` by hidden units, a `Mean` or `Share` by a
head. Value sets may be larger than what occurs, never smaller.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import gcd, lcm

import numpy as np

from constructions.rasp.values import Number, Value, divided

MOST_VALUES = 200_000  # of a numeric node
MOST_CATEGORIES = 4096  # of a categorical node
MOST_PAIRS = 2**22  # entries of a table or predicate


@dataclass(frozen=True, eq=False)
class Match:
    """One condition of a selector: holds[query value, key value]; a selector meets them all."""

    keys: Node
    queries: Node
    holds: np.ndarray


Matches = tuple[Match, ...]


@dataclass(frozen=True, eq=False)
class Tokens:
    """The input, embedded."""


@dataclass(frozen=True, eq=False)
class Position:
    """The index of a token, 0 at the start token: a feature of the architecture."""


@dataclass(frozen=True, eq=False)
class Table:
    """Index [|X|] or [|X|, |Y|] into the node's values, by the values of one or two inputs."""

    inputs: tuple[Node, ...]
    index: np.ndarray


@dataclass(frozen=True, eq=False)
class Steps:
    """Index [|X|] into the node's values, by the values of a numeric input, in their order."""

    source: Node
    index: np.ndarray


@dataclass(frozen=True, eq=False)
class Linear:
    """A sum of multiples of numeric inputs, and a constant."""

    terms: Terms
    constant: Number


@dataclass(frozen=True, eq=False)
class Mean:
    """The mean of ``source`` over what is selected, or ``default`` where nothing is.

    Args:
      selector: the conditions.
      source: of the node's encoding.
      default: a value.
      single: whether it is proved that what is selected is equal.
    """

    selector: Matches
    source: Node
    default: Value
    single: bool


@dataclass(frozen=True, eq=False)
class Share:
    """1 / (1 + w), with w the number of keys selected: the weight of the start token."""

    selector: Matches


@dataclass(frozen=True, eq=False)
class Seen(Share):
    """The share where all tokens are selected under a causal mask: 1 / (2 + index)."""


Operation = Tokens | Position | Table | Steps | Linear | Mean | Share


@dataclass(frozen=True, eq=False)
class Node:
    """One slice.

    Args:
      name: its name.
      values: what it may hold; numeric ones are fractions, in increasing order.
      numeric: one number, or else one-hot.
      operation: how it is computed.
      at_start: of a numeric node, what the start token holds. A categorical one holds zeros there.
      mean: of a numeric mean, what it averages (`Average`), so that sums of means are means.
    """

    name: str
    values: tuple[Value, ...]
    numeric: bool
    operation: Operation = field(repr=False)
    at_start: Number = 0
    mean: Average | None = None

    @property
    def size(self) -> int:
        """Columns of the slice."""
        return 1 if self.numeric else len(self.values)

    @property
    def inputs(self) -> tuple[Node, ...]:
        """The nodes that it reads."""
        match self.operation:
            case Table(inputs=inputs):
                return inputs
            case Steps(source=source):
                return (source,)
            case Linear(terms=terms):
                return tuple(node for node, _ in terms)
            case Mean(selector=selector, source=source):
                return (source, *_read(selector))
            case Share(selector=selector):
                return _read(selector)
        return ()


Terms = tuple[tuple[Node, Number], ...]  # of a linear form


def _read(selector: Matches) -> tuple[Node, ...]:
    return tuple(node for match in selector for node in (match.keys, match.queries))


@dataclass(frozen=True, eq=False)
class Average:
    """What a mean averages: numbers ``over`` the keys of ``selector``, or ``default``."""

    selector: Matches
    over: frozenset[Number]
    default: Number


def never_empty(selector: Matches) -> bool:
    """Whether every query is sure to select something: itself."""
    return all(m.keys is m.queries and m.holds.diagonal().all() for m in selector)


def single(selector: Matches, source: Node) -> bool:
    """Whether it is sure that all keys which a query selects hold one value of ``source``."""
    if len(source.values) == 1:
        return True
    for match in selector:
        alone = (match.holds.sum(axis=1) <= 1).all()
        if alone and (distinct(match.keys) or match.keys is source):
            return True
        values = _by_keys(source, match.keys)
        if values is not None and all(len(set(values[row].tolist())) <= 1 for row in match.holds):
            return True
    return False


def distinct(node: Node) -> bool:
    """Whether no two positions hold the same value."""
    match node.operation:
        case Steps(source=source, index=index) if isinstance(source.operation, Position | Seen):
            return len(set(index.tolist())) == len(index)
        case Table(inputs=(source,), index=index):
            return distinct(source) and len(set(index.tolist())) == len(index)
    return False


def _by_keys(source: Node, keys: Node) -> np.ndarray | None:
    """Source's value by the value of the keys, if it is a table of them."""
    match source.operation:
        case Table(inputs=(only,), index=index) if only is keys:
            return index
    return None


def means(numbers: Iterable[Number], length: int) -> set[Number] | None:
    """Every mean of up to ``length`` of these numbers, and some more; None if they are too many.

    All lie on a lattice u Z, so that a mean of w is a multiple of u / w between the extremes.

    >>> sorted(map(str, means([Fraction(0), Fraction(1)], 3)))
    ['0', '1', '1/2', '1/3', '2/3']
    """
    numbers = set(numbers)
    if len(numbers) == 1:
        return numbers
    denominator = lcm(*(x.denominator for x in numbers))
    whole = [int(x * denominator) for x in numbers]
    low, high = min(whole), max(whole)
    unit = gcd(*whole)
    if (high - low) // unit * length * (length + 1) // 2 > 4 * MOST_VALUES:
        return None
    found: set[Number] = {
        Fraction(k * unit, w * denominator)
        for w in range(1, length + 1)
        for k in range(low * w // unit, high * w // unit + 1)
    }
    return found if len(found) <= MOST_VALUES else None


def sums(terms: Terms, constant: Number) -> set[Number] | None:
    """Every value of the linear form, and some more; None if they are too many."""
    found = {constant}
    for node, factor in terms:
        if len(found) * len(node.values) > MOST_PAIRS:
            return None
        found = {x + factor * y for x in found for y in node.values}
    return found if len(found) <= MOST_VALUES else None


def root(node: Node) -> tuple[Node, np.ndarray]:
    """What a categorical node is a table of, and the table; of others the node itself."""
    match node.operation:
        case Table(inputs=(source,), index=index):
            return source, index
        case Steps(source=source, index=index):
            return source, index
    return node, np.arange(len(node.values))


def affine(xs: Sequence[Value], ys: Sequence[Value]) -> tuple[Number, Number] | None:
    """(a, b) with y = a x + b everywhere, if there are."""
    if len(set(ys)) == 1:
        return None
    slope = divided(ys[1] - ys[0], xs[1] - xs[0])
    constant = ys[0] - slope * xs[0]
    fits = all(slope * x + constant == y for x, y in zip(xs, ys, strict=True))
    return (slope, constant) if fits else None


def sum_of_means(terms: Terms, constant: Number) -> Average | None:
    """The sum of means over one selector is the mean of the sums over that selector."""
    parts = [node.mean for node, _ in terms if node.mean is not None]
    if len(parts) < len(terms) or any(part.selector != parts[0].selector for part in parts):
        return None
    over, default = {constant}, constant
    for (_, factor), part in zip(terms, parts, strict=True):
        over = {x + factor * y for x in over for y in part.over}
        default += factor * part.default
    return Average(parts[0].selector, frozenset(over), default)
