"""Attention of all decoders: from what a head reads off its tokens to what it answers.

`attend` is the definition, for one token and all keys so far. The scores of a head of a known kind
(`plan.Head`) have a form that lets a sum, a queue or a table answer the same at a constant cost.
Tokens are read in three ways, with the same answers. Letters are those of `head_state`, and n
tokens of a block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from constructions.certificate import Address
from constructions.spec import Layer
from icl_sim.decoding.head_state import Memory, averages, row_of, with_row
from icl_sim.decoding.plan import Head


class Reading(Enum):
    """Which tokens are read at once, and so what the leading shape of codes and positions is."""

    ONE = "one token of one sequence: []"
    LANES = "one token each of B sequences: [B]"
    BLOCK = "n tokens of one sequence, all of them known: [n]"


class Projected(NamedTuple):
    """What a head reads off the residual stream, each with the reading's leading shape.

    Attributes:
      position: int32, the tokens' indices.
      query: [..., K]; of an addressed head its code, int32, 0 where it is out of range.
      key: [..., K]; of an addressed head its code, int32.
      values: [..., U].
      bias: the head's relative bias [W], if it has one.
      valid: bool, lanes whose token is one; the others' memories stay as they are.
    """

    position: jax.Array
    query: Any
    key: Any = None
    values: Any = None
    bias: Any = None
    valid: jax.Array | None = None


def answer(
    layer: Layer, head: Head, memory: Memory, x: Projected, reading: Reading
) -> tuple[Memory, jax.Array, Any]:
    """The head's new memory, its answer [..., U], and whether its query is out of range.

    Once a memory has settled, the query is all that is needed.
    """
    if address := head.address:
        lost = x.query == 0
        if is_settled(memory):
            return memory, _recalled(memory, address, x.query, reading), lost
        return *_addressed(memory, address, x, reading), lost
    if head.kind == "dense":
        return *_dense(memory, layer, x, reading), False
    changed, found = _RUNNING[head.kind](memory, x, reading)
    if x.valid is not None:
        changed = {
            name: jnp.where(x.valid.reshape(-1, *(1,) * (new.ndim - 1)), new, memory[name])
            for name, new in changed.items()
        }
    return changed, found, False


def is_settled(memory: Memory) -> bool:
    """No key can change what the head answers any more."""
    return "averages" in memory


def in_range(code: jax.Array, remainders: Iterable[Any]) -> jax.Array:
    """The query's code, 0 unless all columns of `Address.remainder` are zero."""
    for column in remainders:
        code = jnp.where(jnp.abs(column) < 0.5, code, jnp.int32(0))
    return code


def attend(layer: Layer, scores: jax.Array, seen: jax.Array, values: jax.Array) -> jax.Array:
    """Attention as it is defined: scores [S], which of them count, and values [S, U] -> [U]."""
    weight, total = WEIGHTS[layer.attend](scores, seen)
    return jnp.dot(weight, values, precision=lax.Precision.HIGHEST) / total


def _softmax(scores: jax.Array, seen: jax.Array) -> tuple[jax.Array, jax.Array]:
    scores = jnp.where(seen, scores, -jnp.inf)
    weight = jnp.exp(scores - scores.max())
    return weight, weight.sum()


def _hardmax(scores: jax.Array, seen: jax.Array) -> tuple[jax.Array, jax.Array]:
    scores = jnp.where(seen, scores, -jnp.inf)
    weight = (scores == scores.max()).astype(scores.dtype)
    return weight, weight.sum()


def _linear(scores: jax.Array, seen: jax.Array) -> tuple[jax.Array, jax.Array]:
    return jnp.where(seen, scores, 0), jnp.float32(1)


WEIGHTS = {"softmax": _softmax, "hardmax": _hardmax, "linear": _linear}


def _dense(
    memory: Memory, layer: Layer, x: Projected, reading: Reading
) -> tuple[Memory, jax.Array]:
    """Keeps all keys and values, and attends to them all."""
    if reading is not Reading.ONE:
        raise ValueError("a dense head reads one token of one sequence at a time")
    keys = with_row(memory["keys"], x.position, x.key)
    values = with_row(memory["values"], x.position, x.values)
    index = jnp.arange(len(keys), dtype=jnp.int32)
    scores = jnp.dot(keys, x.query, precision=lax.Precision.HIGHEST) * jnp.float32(layer.scale)
    if layer.window:
        scores = scores + x.bias[jnp.clip(x.position - index, 0, layer.window - 1)]
    found = attend(layer, scores, index <= x.position, values)
    return {"keys": keys, "values": values}, found


def _mean(memory: Memory, x: Projected, reading: Reading) -> tuple[Memory, jax.Array]:
    """All scores are equal: the mean of all values so far."""
    if reading is Reading.BLOCK:
        totals = memory["total"][None] + jnp.cumsum(x.values, axis=0)
        return {"total": totals[-1]}, totals / _count(x.position)
    total = memory["total"] + x.values
    return {"total": total}, total / _count(x.position)


def _offset(memory: Memory, x: Projected, reading: Reading) -> tuple[Memory, jax.Array]:
    """One distance wins: the value so far back; the mean of all while there are too few."""
    queue, values = memory["queue"], x.values
    size = queue.shape[-2]
    few = (x.position < size - 1)[..., None]
    if reading is Reading.BLOCK:
        line = jnp.concatenate([queue[1:], values])
        sums = jnp.cumsum(jnp.concatenate([jnp.zeros_like(line[:1]), line]), axis=0)
        early = (sums[size:] - sums[:-size]) / _count(x.position)
        return {"queue": line[len(values) - 1 :]}, jnp.where(few, early, line[: len(values)])
    queue = jnp.concatenate([queue[..., 1:, :], values[..., None, :]], axis=-2)
    early = queue.sum(axis=-2) / _count(x.position)
    return {"queue": queue}, jnp.where(few, early, queue[..., 0, :])


_RUNNING: dict[str, Callable[[Memory, Projected, Reading], tuple[Memory, jax.Array]]] = {
    "mean": _mean,
    "offset": _offset,
}


def _count(position: jax.Array) -> jax.Array:
    """Tokens seen, [..., 1], as a float: an integer rounded once."""
    return (position + 1).astype(jnp.float32)[..., None]


def _addressed(
    memory: Memory, address: Address, x: Projected, reading: Reading
) -> tuple[Memory, jax.Array]:
    """Equal codes alone count: adds the values to the key's row, then averages the query's row."""
    table, key, values = memory["table"], x.key, x.values
    if x.valid is not None:
        # Code 0 is nobody's.
        key, values = jnp.where(x.valid, key, 0), jnp.where(x.valid[..., None], values, 0)
    key, query = (_rows(code, address, reading) for code in (key, x.query))
    # Integer values and a one for each.
    one = jnp.ones((*values.shape[:-1], 1), jnp.int32)
    entries = jnp.concatenate([values.astype(jnp.int32), one], axis=-1)
    if reading is Reading.ONE:
        table, found = _visit(table, key, query, entries)
    else:
        table, found = _visit_all(table, key, query, entries)
    return {"table": table}, averages(found, address)


def _recalled(memory: Memory, address: Address, query: jax.Array, reading: Reading) -> jax.Array:
    """The query's row of a settled table."""
    if reading is Reading.ONE:
        return row_of(memory["averages"], query)
    return memory["averages"].at[_rows(query, address, reading)].get(mode="clip")


def _rows(code: jax.Array, address: Address, reading: Reading) -> jax.Array:
    """The rows of codes: lanes' tables stand one behind the other."""
    if reading is not Reading.LANES:
        return code
    return code + jnp.arange(len(code), dtype=jnp.int32) * jnp.int32(address.size)


def _visit(table: jax.Array, key: Any, query: Any, entry: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Adds an entry to the key's row, then looks up the query's row."""
    # Written before it is read: the other order makes XLA copy the whole table.
    table = with_row(table, key, row_of(table, key) + entry)
    return table, row_of(table, query)


def _visit_all(
    table: jax.Array, key: jax.Array, query: jax.Array, entries: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """`_visit` one after the other.

    A loop of slices: many times faster on a CPU than a scatter and a gather, and needed where
    later tokens see what earlier ones wrote.
    """

    def one(i: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        table, found = _visit(carry[0], key[i], query[i], row_of(entries, i))
        return table, with_row(carry[1], i, found)

    carry = (table, jnp.zeros_like(entries))
    return lax.fori_loop(jnp.int32(0), jnp.int32(len(entries)), one, carry)
