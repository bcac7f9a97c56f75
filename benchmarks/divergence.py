"""Distances of laws: from logits against what others write, and from hidden states.

From logits, the stream is a plain pass over both arrays, which every method must read. From hidden
states, the yardstick is the two matrix products alone, which make the logits and keep them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.measure import Call, Row, measure, peer
from benchmarks.roofline import Work, against_roof
from icl_sim.divergence import (
    jensen_shannon_from_logits,
    kl_from_logits,
    top1_disagreement,
    total_variation_from_hidden,
    total_variation_from_logits,
)

CHECKED = 64  # contexts that are compared with NumPy float64


@jax.jit
def naive(a: jax.Array, b: jax.Array) -> jax.Array:
    """What one writes first: both softmaxes, then the sum."""
    return jnp.sum(jnp.abs(jax.nn.softmax(a, axis=-1) - jax.nn.softmax(b, axis=-1)), axis=-1) / 2


@jax.jit
def stream(a: jax.Array, b: jax.Array) -> jax.Array:
    """Both arrays read once, next to no arithmetic."""
    return jnp.sum(jnp.abs(a - b), axis=-1)


@jax.jit
def products(a: jax.Array, w_a: jax.Array, b: jax.Array, w_b: jax.Array) -> Any:
    """The logits of both models."""
    return tuple(jnp.dot(x, w, precision="highest") for x, w in ((a, w_a), (b, w_b)))


def _numpy(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """`naive` in NumPy, of float32 or float64."""
    p, q = (np.exp(x - x.max(axis=-1, keepdims=True)) for x in (a, b))
    return np.abs(p / p.sum(-1, keepdims=True) - q / q.sum(-1, keepdims=True)).sum(-1) / 2


def _torch_functions(a: np.ndarray, b: np.ndarray) -> Mapping[str, Call]:
    import torch

    place = "cuda" if torch.cuda.is_available() else "cpu"
    tensors = torch.from_numpy(a).to(place), torch.from_numpy(b).to(place)

    def eager(a: Any, b: Any) -> Any:
        return (torch.softmax(a, -1) - torch.softmax(b, -1)).abs().sum(-1) / 2

    compiled = torch.compile(eager)
    return {"torch eager": lambda: eager(*tensors), "torch.compile": lambda: compiled(*tensors)}


def run(
    *,
    contexts: int = 2048,
    vocab: int = 32_768,
    width: int = 256,
    rounds: int = 9,
    peers: bool = False,
) -> list[Row]:
    """The rows of `measure` and `roofline`, with error.

    Args:
      contexts, vocab: shape [m, V] of the float32 logits.
      width: D of the hidden states.
      rounds: of the stopwatch.
      peers: also time NumPy and PyTorch.

    From logits the speedup is over naive, from hidden states over the two products. error is the
    largest absolute difference from NumPy float64 over the first contexts.
    """
    logits = _logits(contexts, vocab, rounds, peers)
    return [*logits, *_hidden(contexts, vocab, width, rounds)]


def _logits(contexts: int, vocab: int, rounds: int, peers: bool) -> list[Row]:
    rng = np.random.default_rng(0)
    a, b = (3 * rng.standard_normal((contexts, vocab), np.float32) for _ in range(2))
    device = jnp.asarray(a), jnp.asarray(b)
    exact: dict[str, Call | str] = {
        "naive": lambda: naive(*device),
        "icl_sim": lambda: total_variation_from_logits(*device),
        **peer("numpy", lambda: {"numpy": lambda: _numpy(a, b)}, asked=peers),
        **peer("torch", lambda: _torch_functions(a, b), asked=peers),
    }
    others: dict[str, Call | str] = {
        "stream": lambda: stream(*device),
        "icl_sim KL": lambda: kl_from_logits(*device),
        "icl_sim Jensen-Shannon": lambda: jensen_shannon_from_logits(*device),
        "icl_sim top-1": lambda: top1_disagreement(*device),
    }
    # Of each logit: maximum, difference, exponential and sum; then a difference, a product, an
    # absolute value and a sum of each pair.
    entries = 2 * a.size
    work = {name: Work(bytes=4 * entries, flops=6 * entries) for name in exact}
    work["stream"] = Work(bytes=4 * entries, flops=1.5 * entries)
    rows = against_roof(measure(exact | others, rounds=rounds, reference="naive"), work)
    return _with_errors(rows, exact, _numpy(*(x[:CHECKED].astype(np.float64) for x in (a, b))))


def _hidden(contexts: int, vocab: int, width: int, rounds: int) -> list[Row]:
    rng = np.random.default_rng(1)
    host = [
        scale * rng.standard_normal(shape, np.float32)
        for _ in range(2)
        for shape, scale in (((contexts, width), 3 / width**0.5), ((width, vocab), 1))
    ]
    device = [jnp.asarray(x) for x in host]
    calls: dict[str, Call | str] = {
        "two products": lambda: products(*device),
        "icl_sim from hidden states": lambda: total_variation_from_hidden(*device),
    }
    # Unembeddings and hidden states are read; the products alone also write the logits.
    read = 2 * 4 * width * (contexts + vocab)
    flops = 2 * 2 * contexts * vocab * width
    work = {
        "two products": Work(bytes=read + 2 * 4 * contexts * vocab, flops=flops),
        "icl_sim from hidden states": Work(bytes=read, flops=flops + 12 * contexts * vocab),
    }
    rows = against_roof(measure(calls, rounds=rounds, reference="two products"), work)
    a, w_a, b, w_b = (x.astype(np.float64) for x in host)
    del calls["two products"]
    return _with_errors(rows, calls, _numpy(a[:CHECKED] @ w_a, b[:CHECKED] @ w_b))


def _with_errors(
    rows: list[Row], calls: Mapping[str, Callable[[], Any] | str], expected: np.ndarray
) -> list[Row]:
    for row in rows:
        call = calls.get(row["name"])
        if callable(call):
            found = call()
            found = found.cpu() if hasattr(found, "cpu") else found
            row["error"] = float(np.abs(np.asarray(found)[:CHECKED] - expected).max())
    return rows
