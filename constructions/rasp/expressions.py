"""The language: RASP's primitives, each with its meaning in plain Python.

An S-operation maps a sequence to a sequence, a selector maps it to a table that says which
positions (keys) each position (query) selects. What the weights answer is what `SOp.__call__`
says; where it refuses an input, so does the compiled construction. The names are those of RASP
(Weiss et al. 2021, arXiv:2106.06981) and of tracr (Lindner et al. 2023, arXiv:2301.05062).
"""

from __future__ import annotations

import copy
import operator
import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

from constructions.rasp.values import (
    Number,
    Value,
    called,
    checked,
    divided,
    holds,
    is_number,
    number,
    numbers,
    plain,
)

Rows = list[list[bool]]  # of a selector: [query][key]


class Run:
    """One evaluation: the input, the mask, and what every expression was found to be.

    Args:
      xs: the sequence.
      causal: a position then selects none after itself.
    """

    def __init__(self, xs: Sequence[Value], *, causal: bool) -> None:
        self.xs, self.causal = [checked("tokens", x) for x in xs], causal
        self._found: dict[int, Any] = {}

    def of(self, expression: Any) -> Any:
        """The expression's values, or a selector's rows; computed once."""
        key = id(expression)
        if key not in self._found:
            found = expression.evaluate(self)
            numeric = isinstance(expression, SOp) and expression.numeric
            self._found[key] = numbers(expression.name, found) if numeric else found
        return self._found[key]

    def selected(self, selector: Selector, values: Sequence[Value]) -> list[list[Value]]:
        """Of each query, the values at the keys that it selects and may see."""
        rows, n = self.of(selector), len(self.xs)
        seen = [range(q + 1 if self.causal else n) for q in range(n)]
        return [[values[k] for k in seen[q] if rows[q][k]] for q in range(n)]


class Expression:
    """An S-operation or a selector."""

    name = "expression"

    def named(self, name: str) -> Any:
        """A copy with this name, for the residual stream and for messages."""
        if not re.search(r"\w", str(name)):
            raise ValueError(f"{self.name}: expected a name with a letter or digit, got {name!r}")
        other = copy.copy(self)
        other.name = str(name)
        return other

    def evaluate(self, run: Run) -> Any:
        """What it is in a run."""
        raise NotImplementedError


def _operator(f: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """The method of an operator: with an S-operation position by position, else with a constant."""

    def method(x: SOp, y: Any) -> SOp:
        if isinstance(y, SOp):
            return SequenceMap(f, x, y)
        constant = checked(x.name, y)
        return Map(lambda value: f(value, constant), x)

    return method


class SOp(Expression):
    """An S-operation; operators on it are maps."""

    name = "sop"
    numeric = False

    def __call__(self, xs: Sequence[Value], *, causal: bool = False) -> list[Value]:
        """The values at every position: the meaning of the program.

        Raises:
          ValueError: an aggregate averages different values and is not numerical, or a function
            fails.
        """
        return [plain(value) for value in Run(xs, causal=causal).of(self)]

    __lt__ = _operator(operator.lt)
    __le__ = _operator(operator.le)
    __gt__ = _operator(operator.gt)
    __ge__ = _operator(operator.ge)
    __eq__ = _operator(operator.eq)
    __ne__ = _operator(operator.ne)
    __hash__ = object.__hash__
    __add__ = _operator(operator.add)
    __radd__ = _operator(lambda x, y: y + x)
    __sub__ = _operator(operator.sub)
    __rsub__ = _operator(lambda x, y: y - x)
    __mul__ = _operator(operator.mul)
    __rmul__ = _operator(lambda x, y: y * x)
    __truediv__ = _operator(lambda x, y: divided(x, y))
    __rtruediv__ = _operator(lambda x, y: divided(y, x))
    __and__ = _operator(lambda x, y: x and y)
    __rand__ = _operator(lambda x, y: y and x)
    __or__ = _operator(lambda x, y: x or y)
    __ror__ = _operator(lambda x, y: y or x)

    def __invert__(self) -> SOp:
        return Map(operator.not_, self)


class Tokens(SOp):
    """The input."""

    name = "tokens"

    def evaluate(self, run: Run) -> list[Value]:
        """The sequence itself."""
        return run.xs


class Indices(SOp):
    """0, 1, 2, ..."""

    name = "indices"

    def evaluate(self, run: Run) -> list[Value]:
        """The positions."""
        return list(range(len(run.xs)))


class Full(SOp):
    """One value at every position."""

    name = "full"

    def __init__(self, fill: Value) -> None:
        self.fill = checked(self.name, fill)

    def evaluate(self, run: Run) -> list[Value]:
        """That value."""
        return [self.fill] * len(run.xs)


class Map(SOp):
    """A function of each value; of None it is None, and so is what divides by zero."""

    name = "map"

    def __init__(self, f: Callable[[Value], Value], inner: SOp) -> None:
        self.f, self.inner = _function(self.name, f), _sop(self.name, inner)

    def evaluate(self, run: Run) -> list[Value]:
        """F of each value."""
        return [called(self.name, self.f, x) for x in run.of(self.inner)]


class SequenceMap(SOp):
    """A function of two values at one position; None if one of them is."""

    name = "sequence_map"

    def __init__(self, f: Callable[[Value, Value], Value], fst: SOp, snd: SOp) -> None:
        self.f = _function(self.name, f)
        self.fst, self.snd = _sop(self.name, fst), _sop(self.name, snd)

    def evaluate(self, run: Run) -> list[Value]:
        """F of each pair."""
        pairs = zip(run.of(self.fst), run.of(self.snd), strict=True)
        return [called(self.name, self.f, *xy) for xy in pairs]


class LinearSequenceMap(SequenceMap):
    """``fst_fac`` times the first plus ``snd_fac`` times the second."""

    name = "linear_sequence_map"

    def __init__(self, fst: SOp, snd: SOp, fst_fac: float, snd_fac: float) -> None:
        a, b = (_factor(self.name, factor) for factor in (fst_fac, snd_fac))
        super().__init__(lambda x, y: a * x + b * y, fst, snd)
        self.fst_fac, self.snd_fac = a, b


class Selector(Expression):
    """Which keys each query selects; combined by &, | and ~."""

    name = "selector"

    def __and__(self, other: Selector) -> Selector:
        return Combined(self, _selector(self.name, other), every=True)

    def __or__(self, other: Selector) -> Selector:
        return Combined(self, _selector(self.name, other), every=False)

    def __invert__(self) -> Selector:
        return Complement(self)


class Select(Selector):
    """The keys for which predicate(key, query) holds. What raises TypeError of None does not."""

    name = "select"

    def __init__(self, keys: SOp, queries: SOp, predicate: Callable[[Value, Value], Any]) -> None:
        self.keys, self.queries = _sop(self.name, keys), _sop(self.name, queries)
        self.predicate = _function(self.name, predicate)

    def evaluate(self, run: Run) -> Rows:
        """Rows of the predicate."""
        keys, queries = run.of(self.keys), run.of(self.queries)
        table = {
            q: {k: holds(self.name, self.predicate, k, q) for k in set(keys)} for q in set(queries)
        }
        return [[table[q][k] for k in keys] for q in queries]


class Combined(Selector):
    """What both selectors select, or what one of them does."""

    name = "combined"

    def __init__(self, fst: Selector, snd: Selector, *, every: bool) -> None:
        self.fst, self.snd, self.every = fst, snd, every

    def evaluate(self, run: Run) -> Rows:
        """Row by row."""
        join = operator.and_ if self.every else operator.or_
        both = zip(run.of(self.fst), run.of(self.snd), strict=True)
        return [list(map(join, *rows)) for rows in both]


class Complement(Selector):
    """What a selector does not select."""

    name = "complement"

    def __init__(self, inner: Selector) -> None:
        self.inner = inner

    def evaluate(self, run: Run) -> Rows:
        """Row by row."""
        return [[not on for on in row] for row in run.of(self.inner)]


class SelectorWidth(SOp):
    """How many keys each query selects."""

    name = "selector_width"

    def __init__(self, selector: Selector) -> None:
        self.selector = _selector(self.name, selector)

    def evaluate(self, run: Run) -> list[Value]:
        """Counts."""
        return [len(row) for row in run.selected(self.selector, run.xs)]


class Aggregate(SOp):
    """The mean of what is selected, or ``default`` where nothing is.

    A categorical aggregate carries one value: what is selected must be equal.
    """

    name = "aggregate"

    def __init__(self, selector: Selector, sop: SOp, default: Value = None) -> None:
        self.selector, self.sop = _selector(self.name, selector), _sop(self.name, sop)
        self.default = checked(self.name, default)

    def evaluate(self, run: Run) -> list[Value]:
        """The mean, exactly, as a fraction."""
        rows = run.selected(self.selector, run.of(self.sop))
        return [self._mean(q, row) for q, row in enumerate(rows)]

    def _mean(self, position: int, values: list[Value]) -> Value:
        if not values:
            return self.default
        if all(value == values[0] for value in values):
            return values[0]
        if not self.numeric:
            two = sorted({repr(plain(value)) for value in values})[:2]
            raise ValueError(
                f"{self.name}: expected equal values where position {position} selects, got "
                f"{two[0]} and {two[1]}: select one, or aggregate numerical(...) for their mean"
            )
        return number(Fraction(sum(values)) / len(values))


def numerical(sop: SOp) -> Any:
    """A copy of it, held as one number and not as one of its values."""
    return _encoded(sop, numeric=True)


def categorical(sop: SOp) -> Any:
    """A copy of it, held as one of its values: the default."""
    return _encoded(sop, numeric=False)


def _encoded(sop: SOp, *, numeric: bool) -> Any:
    other = copy.copy(_sop("rasp", sop))
    other.numeric = numeric
    return other


def _sop(name: str, sop: Any) -> SOp:
    if not isinstance(sop, SOp):
        raise ValueError(f"{name}: expected an S-operation, got {sop!r:.60}")
    return sop


def _selector(name: str, selector: Any) -> Selector:
    if not isinstance(selector, Selector):
        raise ValueError(f"{name}: expected a selector, got {selector!r:.60}")
    return selector


def _function(name: str, f: Any) -> Callable[..., Any]:
    if not callable(f) or isinstance(f, Expression):
        raise ValueError(f"{name}: expected a function, got {f!r:.60}")
    return f


def _factor(name: str, factor: Any) -> Number:
    if not is_number(checked(name, factor)):
        raise ValueError(f"{name}: expected a number as factor, got {factor!r:.60}")
    return number(factor)
