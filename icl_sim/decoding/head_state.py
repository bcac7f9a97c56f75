"""What each kind of head remembers from token to token; `attention` reads and writes it.

Letters: U values of a head, K its key size, C codes of an address, B lanes, R room (the most tokens
that a dense head can keep). A memory is a dict of arrays:

    mean        total [U]: the sum of all values; the count is the position
    offset      queue [offset + 1, U]: the last values, oldest first
    addressed   table int32 [C, U + 1]: per code, the sum of the values and their number
                averages [C, U] in its place once the prompt is read, if no more keys can come
    dense       keys [R, K], values [R, U]

A lane's arrays are stacked, except for tables, which stand one behind the other, [B C, U + 1].
"""

from __future__ import annotations

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
            return {"averages": averages(memory["table"], head.address)}
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


def averages(rows: jax.Array, address: Address) -> jax.Array:
    """Sums over numbers: [..., U + 1] -> [..., U]."""
    number = rows[..., -1:]
    if address.default:
        weight = number.astype(jnp.float32) + jnp.float32(address.default)
    else:
        # A code without keys answers 0, as its default tokens do.
        weight = jnp.maximum(number, 1).astype(jnp.float32)
    return rows[..., :-1].astype(jnp.float32) / weight
