"""From a program to its graph: every function becomes a table over all values it may be asked.

Equal tables and predicates become one node, a table of a table becomes one table, and a program
that cannot be held is refused with its name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np

from constructions.rasp import expressions as rasp
from constructions.rasp import graph
from constructions.rasp.graph import Average, Match, Matches, Node, Terms
from constructions.rasp.values import (
    Number,
    Value,
    called,
    holds,
    in_order,
    is_number,
    number,
    numbers,
)

RESERVED = ("one", "bos", "self", "ballast", "spare")  # `Residual` takes slices as keywords


class Lowering:
    """The nodes of one program, in an order in which each stands behind its inputs.

    Args:
      alphabet: the values of the tokens.
      length: the longest input.
    """

    def __init__(self, alphabet: Sequence[Value], length: int) -> None:
        self.length = length
        self.nodes: list[Node] = []
        self._known: dict[Any, Node] = {}
        self._matches: dict[Any, Match] = {}
        self._lowered: dict[int, tuple[Any, Any]] = {}
        self.tokens = self._add("tokens", tuple(alphabet), False, graph.Tokens())
        places = tuple(range(1, length + 1))
        self._position = self._add("index", places, True, graph.Position())

    def node(self, expression: rasp.SOp) -> Node:
        """The node of an S-operation.

        Raises:
          ValueError: it has too many values, or a numeric one may be none.
        """
        return self._once(expression, lambda: self._lower(expression))

    def selector(self, expression: rasp.Selector) -> Matches:
        """The conditions of a selector."""
        return self._once(expression, lambda: self._select(expression))

    def _once(self, expression: Any, lower: Callable[[], Any]) -> Any:
        if id(expression) not in self._lowered:
            self._lowered[id(expression)] = (lower(), expression)  # kept, so that its id is its own
        return self._lowered[id(expression)][0]

    def _lower(self, expression: Any) -> Node:
        name, numeric = expression.name, expression.numeric
        match expression:
            case rasp.Tokens():
                return self.as_encoded(self.tokens, numeric)
            case rasp.Indices():
                return self._map(
                    name, numeric, self._position, [p - 1 for p in range(1, self.length + 1)]
                )
            case rasp.Full(fill=fill):
                return self._map(name, numeric, self.tokens, [fill] * len(self.tokens.values))
            case rasp.Map(f=f, inner=inner):
                x = self.node(inner)
                return self._map(name, numeric, x, [called(name, f, value) for value in x.values])
            case rasp.LinearSequenceMap() if numeric:
                return self._weighted(expression)
            case rasp.SequenceMap(f=f, fst=fst, snd=snd):
                x, y = (self.as_encoded(self.node(part), False) for part in (fst, snd))
                self._check_pairs(name, x, y)
                rows = [called(name, f, *pair) for pair in product(x.values, y.values)]
                return self._map_pair(name, numeric, x, y, rows)
            case rasp.SelectorWidth(selector=selector):
                share = self._share(name, self.selector(selector))
                counts = [int(1 / value) - 1 for value in share.values]
                return self._map(name, numeric, share, counts)
            case rasp.Aggregate():
                return self._aggregate(expression)
        raise ValueError(
            f"{name}: expected an S-operation of this language, got {expression!r:.60}"
        )

    def as_encoded(self, node: Node, numeric: bool) -> Node:
        """The node's values, in that encoding."""
        if node.numeric == numeric:
            return node
        return self._map(node.name, numeric, node, node.values)

    def _map(self, name: str, numeric: bool, x: Node, outputs: Sequence[Value]) -> Node:
        """A function of one node, given by its outputs at the node's values."""
        values, index = self._indexed(name, numeric, outputs)
        # A table of a table, or of steps, is one.
        match x.operation:
            case graph.Table(inputs=inputs, index=first):
                return self._table(name, values, numeric, inputs, index[first])
            case graph.Steps(source=source, index=first):
                return self._steps(name, values, numeric, source, index[first])
        if x.numeric:
            return self._steps(name, values, numeric, x, index)
        return self._table(name, values, numeric, (x,), index)

    def _map_pair(
        self, name: str, numeric: bool, x: Node, y: Node, outputs: Sequence[Value]
    ) -> Node:
        """A function of two nodes: of one, if both are tables of one."""
        values, index = self._indexed(name, numeric, outputs)
        index = index.reshape(len(x.values), len(y.values))
        (source, first), (other, second) = graph.root(x), graph.root(y)
        if source is other:
            both = index[first, second]
            if source.numeric:
                return self._steps(name, values, numeric, source, both)
            return self._table(name, values, numeric, (source,), both)
        return self._table(name, values, numeric, (x, y), index)

    def _indexed(
        self, name: str, numeric: bool, outputs: Sequence[Value]
    ) -> tuple[tuple[Value, ...], np.ndarray]:
        if numeric:
            outputs = numbers(name, outputs)
        values = in_order(name, outputs)
        if not numeric and len(values) > graph.MOST_CATEGORIES:
            raise ValueError(
                f"{name}: {len(values):,} values, expected at most {graph.MOST_CATEGORIES:,} of "
                "what is categorical: shorten it, or make it numerical"
            )
        place = {value: i for i, value in enumerate(values)}
        return values, np.array([place[value] for value in outputs], np.int64)

    def _table(
        self, name: str, values: Any, numeric: bool, inputs: tuple[Node, ...], index: np.ndarray
    ) -> Node:
        if len(inputs) == 2 and inputs[0] is inputs[1]:
            inputs, index = inputs[:1], index.diagonal()
        key = ("table", *map(id, inputs), repr(values), numeric, index.tobytes())
        return self._shared(key, name, values, numeric, lambda: graph.Table(inputs, index))

    def _steps(
        self, name: str, values: Any, numeric: bool, source: Node, index: np.ndarray
    ) -> Node:
        if numeric and (line := graph.affine(source.values, [values[i] for i in index])):
            return self._linear(name, ((source, line[0]),), line[1])
        key = ("steps", id(source), repr(values), numeric, index.tobytes())
        return self._shared(key, name, values, numeric, lambda: graph.Steps(source, index))

    def _linear(self, name: str, terms: Terms, constant: Number) -> Node:
        average = graph.sum_of_means(terms, constant)
        found = graph.sums(terms, constant)
        if average is not None:
            found = graph.means(average.over, self.length)
            if found is not None:
                found = found | {average.default}
        if found is None:
            raise ValueError(
                f"{name}: more than {graph.MOST_VALUES:,} values at length {self.length}: "
                "shorten it, or aggregate the sum instead of adding aggregates"
            )
        start = constant + sum(factor * node.at_start for node, factor in terms)
        key = ("linear", *((id(node), factor) for node, factor in terms), constant)
        values = tuple(sorted(map(number, found)))
        return self._shared(
            key, name, values, True, lambda: graph.Linear(terms, constant),
            at_start=start, mean=average,
        )  # fmt: skip

    def _weighted(self, expression: rasp.LinearSequenceMap) -> Node:
        x, y = (self.as_encoded(self.node(e), True) for e in (expression.fst, expression.snd))
        terms: Terms = ((x, expression.fst_fac), (y, expression.snd_fac))
        if x is y:
            terms = ((x, expression.fst_fac + expression.snd_fac),)
        return self._linear(expression.name, terms, Fraction(0))

    def _share(self, name: str, selector: Matches) -> Node:
        least = int(graph.never_empty(selector))
        values = tuple(Fraction(1, 1 + w) for w in range(self.length, least - 1, -1))
        key = ("share", *map(id, selector))
        return self._shared(
            key, f"{name}_share", values, True, lambda: graph.Share(selector), at_start=Fraction(1)
        )

    def _aggregate(self, expression: rasp.Aggregate) -> Node:
        name, numeric, default = expression.name, expression.numeric, expression.default
        selector = self.selector(expression.selector)
        source = self.as_encoded(self.node(expression.sop), numeric)
        empty = not graph.never_empty(selector)
        if numeric:
            if not is_number(default):
                if empty:
                    raise ValueError(
                        f"{name}: expected a number as default of what is numerical, got "
                        f"{default!r:.40}"
                    )
                default = 0
            default = number(default)
            average = Average(selector, frozenset(source.values), default)
            found = graph.means(average.over, self.length)
            if found is None:
                raise ValueError(
                    f"{name}: more than {graph.MOST_VALUES:,} values at length {self.length}: "
                    "shorten it, or aggregate fewer different numbers"
                )
            found = found | ({default} if empty else set())
            values: tuple[Value, ...] = tuple(sorted(map(number, found)))
            start = default
        else:
            average, start = None, Fraction(0)
            values = in_order(name, [*source.values, *([default] if empty else [])])
        one = graph.single(selector, source)
        key = ("mean", *map(id, selector), id(source), repr(values), repr(default))
        return self._shared(
            key, name, values, numeric, lambda: graph.Mean(selector, source, default, one),
            at_start=start, mean=average,
        )  # fmt: skip

    def _select(self, expression: Any) -> Matches:
        match expression:
            case rasp.Select(keys=keys, queries=queries, predicate=predicate, name=name):
                k, q = (self.as_encoded(self.node(part), False) for part in (keys, queries))
                self._check_pairs(name, k, q)
                rows = [[holds(name, predicate, a, b) for a in k.values] for b in q.values]
                return self._match(k, q, np.array(rows, bool))
            case rasp.Combined(fst=fst, snd=snd, every=every):
                a, b = self.selector(fst), self.selector(snd)
                return tuple(dict.fromkeys([*a, *b])) if every else self._joined(a, b)
            case rasp.Complement(inner=inner):
                return self._joined(self.selector(inner), None)
        raise ValueError(f"{expression.name}: expected a selector of this language")

    def _match(self, keys: Node, queries: Node, rows: np.ndarray) -> Matches:
        if rows.all():
            return ()
        key = (id(keys), id(queries), rows.tobytes())
        return (self._matches.setdefault(key, Match(keys, queries, rows)),)

    def _joined(self, first: Matches, second: Matches | None) -> Matches:
        """One condition on tuples of values: that ``first`` or ``second`` are met.

        With None for the second: that the first are not.
        """
        every = [*first, *(second or ())]
        if not every:
            tokens = self.tokens
            nothing = np.full((len(tokens.values),) * 2, second is not None)
            return self._match(tokens, tokens, nothing)
        keys = list(dict.fromkeys(m.keys for m in every))
        queries = list(dict.fromkeys(m.queries for m in every))
        shape = [len(node.values) for node in (*queries, *keys)]
        if np.prod(shape, dtype=float) > graph.MOST_PAIRS:
            sizes = " x ".join(map(str, shape))
            raise ValueError(f"selector: a condition on {sizes} values: shorten it, or use & alone")

        def met(matches: Matches) -> np.ndarray:
            found = np.ones(shape, bool)
            for m in matches:
                axes = [1] * len(shape)
                q, k = queries.index(m.queries), len(queries) + keys.index(m.keys)
                axes[q], axes[k] = m.holds.shape
                found &= m.holds.reshape(axes)
            return found

        rows = ~met(first) if second is None else met(first) | met(second)
        k, q = (self._tuple(nodes) for nodes in (keys, queries))
        return self._match(k, q, rows.reshape(len(q.values), len(k.values)))

    def _tuple(self, nodes: list[Node]) -> Node:
        """A node whose values are all tuples of the nodes' values, in the order of `product`."""
        first, *rest = nodes
        for other in rest:
            values = tuple(product(first.values, other.values))
            if len(values) > graph.MOST_CATEGORIES:
                raise ValueError(
                    f"selector: a condition on {len(values):,} pairs of values: shorten it, or use "
                    "& alone"
                )
            index = np.arange(len(values)).reshape(len(first.values), len(other.values))
            first = self._table(f"{first.name}_{other.name}", values, False, (first, other), index)
        return first

    def _check_pairs(self, name: str, x: Node, y: Node) -> None:
        if len(x.values) * len(y.values) > graph.MOST_PAIRS:
            raise ValueError(
                f"{name}: a table of {len(x.values):,} x {len(y.values):,} values: shorten it, or "
                "ask of fewer values"
            )

    def _shared(
        self, key: Any, name: str, values: Any, numeric: bool,
        operation: Callable[[], graph.Operation], **more: Any,
    ) -> Node:  # fmt: skip
        if key not in self._known:
            self._known[key] = self._add(name, values, numeric, operation(), **more)
        return self._known[key]

    def _add(
        self, name: str, values: Any, numeric: bool, operation: graph.Operation, **more: Any
    ) -> Node:
        node = Node(self._free(name), values, numeric, operation, **more)
        self.nodes.append(node)
        return node

    def _free(self, name: str) -> str:
        """The name, in letters and digits, with a number if it is taken."""
        name = re.sub(r"\W+", "_", name).strip("_")
        taken = {node.name for node in self.nodes}.union(RESERVED)
        if name not in taken:
            return name
        return next(f"{name}_{i}" for i in range(2, len(taken) + 3) if f"{name}_{i}" not in taken)
