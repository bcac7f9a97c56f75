"""What each kind of head remembers, and how it answers, in three ways of reading tokens.

`Single` reads one token of one sequence, `Lanes` one token each of many sequences, `Block` many
tokens of one sequence at once (teacher-forced). They give the same answers.

Letters: U values of a head, K its key size, C codes of an address, B lanes, n tokens of a block,
R room (the most tokens that a dense head can keep). A memory is a dict of arrays:

    mean        total [U]: the sum of all values; the count is the position
    offset      queue [offset + 1, U]: the last values, oldest first
    addressed   table int32 [C, U + 1]: per code, the sum of the values and their number
                averages [C, U] in its place once the prompt is read, if no more keys can come
    dense       keys [R, K], values [R, U]

A lane's arrays are stacked, except for tables, which stand one behind the other, [B C, U + 1].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from constructions.certificate import Address
from constructions.spec import Layer
from icl_sim.decoding.plan import Head, Plan

Memory = dict[str, jax.Array]


def empty(plan: Plan, *, lanes: int | None = None, room: int = 0) -> list[list[Memory]]:
    """Memories before the first token, by layer (loop after loop) and head."""
    lead = () if lanes is None else (lanes,)

    def memory(layer: Layer, head: Head) -> Memory:
        U = layer.value_size
        if head.kind == "mean":
            return {"total": jnp.zeros((*lead, U), jnp.float32)}
        if head.kind == "offset":
            return {"queue": jnp.zeros((*lead, head.offset + 1, U), jnp.float32)}
        if head.address:
            rows = head.address.size * (lanes or 1)
            return {"table": jnp.zeros((rows, U + 1), jnp.int32)}
        shapes = {"keys": layer.key_size, "values": U}
        return {name: jnp.zeros((room, size), jnp.float32) for name, size in shapes.items()}

    return [
        [memory(layer, head) for head in heads]
        for _ in range(plan.spec.loops)
        for layer, heads in zip(plan.spec.layers, plan.heads, strict=True)
    ]


def memory_bytes(plan: Plan, *, lanes: int = 1, room: int = 0) -> int:
    """Size of the memories that `empty` makes: four bytes an entry of every array named above."""

    def entries(layer: Layer, head: Head) -> int:
        U = layer.value_size
        if head.kind == "mean":
            return U
        if head.kind == "offset":
            return (head.offset + 1) * U
        return head.address.size * (U + 1) if head.address else room * (layer.key_size + U)

    layers = zip(plan.spec.layers, plan.heads, strict=True)
    one = sum(entries(layer, head) for layer, heads in layers for head in heads)
    return 4 * plan.spec.loops * lanes * one


def settle(plan: Plan, memories: list[list[Memory]]) -> list[list[Memory]]:
    """Memories once the prompt is read: tables that no key can change become their averages."""

    def settled(head: Head, memory: Memory) -> Memory:
        if head.address and head.address.fixed:
            return {"averages": _average(memory["table"], head.address)}
        return memory

    return [
        [settled(head, memory) for head, memory in zip(heads, row, strict=True)]
        for heads, row in zip(plan.heads * plan.spec.loops, memories, strict=True)
    ]


def row_of(table: jax.Array, i: Any) -> jax.Array:
    """Row i, [n, w] -> [w]."""
    return lax.dynamic_slice(table, (i, np.int32(0)), (1, table.shape[1]))[0]


def with_row(table: jax.Array, i: Any, row: jax.Array) -> jax.Array:
    """The table with another row i."""
    return lax.dynamic_update_slice(table, row[None], (i, np.int32(0)))


def _average(rows: jax.Array, address: Address) -> jax.Array:
    """Sums over numbers: [..., U + 1] -> [..., U]."""
    number = rows[..., -1:]
    if address.default:
        weight = number.astype(jnp.float32) + jnp.float32(address.default)
    else:
        # A code without keys answers 0, as its default tokens do.
        weight = jnp.maximum(number, 1).astype(jnp.float32)
    return rows[..., :-1].astype(jnp.float32) / weight


def _entries(values: jax.Array) -> jax.Array:
    """Integer values and a one for each: [..., U] -> int32 [..., U + 1]."""
    one = jnp.ones((*values.shape[:-1], 1), jnp.int32)
    return jnp.concatenate([values.astype(jnp.int32), one], axis=-1)


def _visit(
    table: jax.Array, key: jax.Array, query: jax.Array, values: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """One after the other: adds to the key's row, then looks up the query's row.

    A loop of slices: many times faster on a CPU than a scatter and a gather, and needed where
    later tokens see what earlier ones wrote.
    """
    entries = _entries(values)

    def one(i: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        table, found = carry
        # Written before it is read: the other order makes XLA copy the whole table.
        table = with_row(table, key[i], row_of(table, key[i]) + row_of(entries, i))
        return table, with_row(found, i, row_of(table, query[i]))

    carry = (table, jnp.zeros_like(entries))
    return lax.fori_loop(jnp.int32(0), jnp.int32(len(entries)), one, carry)


@dataclass(frozen=True)
class Single:
    """One token of one sequence: values [U], codes and positions are scalars."""

    def mean(self, memory: Memory, values: jax.Array, position: jax.Array) -> tuple[Memory, Any]:
        """The mean of all values so far."""
        total = memory["total"] + values
        return {"total": total}, total / _count(position)

    def offset(self, memory: Memory, values: jax.Array, position: jax.Array) -> tuple[Memory, Any]:
        """The oldest value kept; the mean of all while there are too few."""
        queue = jnp.concatenate([memory["queue"][1:], values[None]])
        early = queue.sum(axis=0) / _count(position)
        return {"queue": queue}, jnp.where(position < len(queue) - 1, early, queue[0])

    def addressed(
        self, memory: Memory, address: Address, key: Any, query: Any, values: jax.Array
    ) -> tuple[Memory, jax.Array]:
        """Adds the values to the key's code, then answers the query's code."""
        table = memory["table"]
        # Written before it is read: the other order makes XLA copy the whole table.
        table = with_row(table, key, row_of(table, key) + _entries(values))
        return {"table": table}, _average(row_of(table, query), address)

    def recall(self, memory: Memory, address: Address, query: Any) -> jax.Array:
        """Answers the query's code from a settled memory."""
        return row_of(memory["averages"], query)

    def dense(
        self,
        memory: Memory,
        layer: Layer,
        bias: jax.Array | None,
        key: jax.Array,
        query: jax.Array,
        values: jax.Array,
        position: jax.Array,
    ) -> tuple[Memory, jax.Array]:
        """Attention as it is defined, over all keys so far."""
        keys = with_row(memory["keys"], position, key)
        kept = with_row(memory["values"], position, values)
        index = jnp.arange(len(keys), dtype=jnp.int32)
        scores = jnp.dot(keys, query, precision=lax.Precision.HIGHEST) * jnp.float32(layer.scale)
        if bias is not None:
            scores = scores + bias[jnp.clip(position - index, 0, layer.window - 1)]
        seen = index <= position
        if layer.attend == "linear":
            weight, norm = jnp.where(seen, scores, 0), jnp.float32(1)
        else:
            scores = jnp.where(seen, scores, -jnp.inf)
            best = scores.max()
            hard = layer.attend == "hardmax"
            weight = (scores == best).astype(scores.dtype) if hard else jnp.exp(scores - best)
            norm = weight.sum()
        answer = jnp.dot(weight, kept, precision=lax.Precision.HIGHEST) / norm
        return {"keys": keys, "values": kept}, answer


@dataclass(frozen=True)
class Lanes:
    """One token each of B sequences: values [B, U], codes and positions [B]."""

    lanes: int

    def mean(self, memory: Memory, values: jax.Array, position: jax.Array) -> tuple[Memory, Any]:
        """The mean of all values so far."""
        total = memory["total"] + values
        return {"total": total}, total / _count(position)[:, None]

    def offset(self, memory: Memory, values: jax.Array, position: jax.Array) -> tuple[Memory, Any]:
        """The oldest value kept; the mean of all while there are too few."""
        queue = jnp.concatenate([memory["queue"][:, 1:], values[:, None]], axis=1)
        early = queue.sum(axis=1) / _count(position)[:, None]
        few = (position < queue.shape[1] - 1)[:, None]
        return {"queue": queue}, jnp.where(few, early, queue[:, 0])

    def addressed(
        self, memory: Memory, address: Address, key: Any, query: Any, values: jax.Array
    ) -> tuple[Memory, jax.Array]:
        """Adds the values to the key's code, then answers the query's code."""
        starts = self._starts(address)
        table, found = _visit(memory["table"], key + starts, query + starts, values)
        return {"table": table}, _average(found, address)

    def recall(self, memory: Memory, address: Address, query: Any) -> jax.Array:
        """Answers the query's code from a settled memory."""
        return memory["averages"].at[query + self._starts(address)].get(mode="clip")

    def _starts(self, address: Address) -> jax.Array:
        return jnp.arange(self.lanes, dtype=jnp.int32) * jnp.int32(address.size)


@dataclass(frozen=True)
class Block:
    """Tokens of one sequence, all known: values [n, U], codes and positions [n]."""

    def mean(self, memory: Memory, values: jax.Array, position: jax.Array) -> tuple[Memory, Any]:
        """The mean of all values up to each token."""
        totals = memory["total"][None] + jnp.cumsum(values, axis=0)
        return {"total": totals[-1]}, totals / _count(position)[:, None]

    def offset(self, memory: Memory, values: jax.Array, position: jax.Array) -> tuple[Memory, Any]:
        """The value `offset` places back; the mean of all where there are too few."""
        size = len(memory["queue"])
        line = jnp.concatenate([memory["queue"][1:], values])
        sums = jnp.cumsum(jnp.concatenate([jnp.zeros_like(line[:1]), line]), axis=0)
        early = (sums[size:] - sums[:-size]) / _count(position)[:, None]
        few = (position < size - 1)[:, None]
        return {"queue": line[len(values) - 1 :]}, jnp.where(few, early, line[: len(values)])

    def addressed(
        self, memory: Memory, address: Address, key: Any, query: Any, values: jax.Array
    ) -> tuple[Memory, jax.Array]:
        """Adds the values to the keys' codes and answers the queries' codes, token by token."""
        table, found = _visit(memory["table"], key, query, values)
        return {"table": table}, _average(found, address)

    def recall(self, memory: Memory, address: Address, query: Any) -> jax.Array:
        """Answers the queries' codes from a settled memory."""
        return memory["averages"].at[query].get(mode="clip")


Reading = Single | Lanes | Block


def _count(position: jax.Array) -> jax.Array:
    """Tokens seen, as a float: an integer rounded once."""
    return (position + 1).astype(jnp.float32)
