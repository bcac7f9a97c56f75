"""Total variation from logits against naive JAX, and PyTorch if asked.

The stream is the time to read both arrays once: no exact method can be faster.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.measure import Row, measure, peer
from benchmarks.roofline import Work, against_roof
from icl_sim.divergence import total_variation_from_logits


@jax.jit
def naive(a: jax.Array, b: jax.Array) -> jax.Array:
    """What one writes first: both softmaxes, then the sum."""
    return jnp.sum(jnp.abs(jax.nn.softmax(a, axis=-1) - jax.nn.softmax(b, axis=-1)), axis=-1) / 2


@jax.jit
def stream(a: jax.Array, b: jax.Array) -> jax.Array:
    """Both arrays read once, next to no arithmetic."""
    return jnp.sum(jnp.abs(a - b), axis=-1)


def _torch_functions(a: np.ndarray, b: np.ndarray) -> Mapping[str, Callable[[], Any]]:
    import torch

    tensors = torch.from_numpy(a), torch.from_numpy(b)

    def eager(a: Any, b: Any) -> Any:
        return (torch.softmax(a, -1) - torch.softmax(b, -1)).abs().sum(-1) / 2

    compiled = torch.compile(eager)
    return {"torch eager": lambda: eager(*tensors), "torch.compile": lambda: compiled(*tensors)}


def run(
    *, contexts: int = 2048, vocab: int = 32_768, rounds: int = 9, peers: bool = False
) -> list[Row]:
    """The rows of `measure` and `roofline`, the speedup over naive, and error.

    Args:
        contexts, vocab: shape [m, V] of the float32 logits.
        rounds: of the stopwatch.
        peers: also time PyTorch.

    error is the largest absolute difference from NumPy float64 over the first contexts, None for
    the stream.
    """
    rng = np.random.default_rng(0)
    a, b = (3 * rng.standard_normal((contexts, vocab), np.float32) for _ in range(2))
    device = jnp.asarray(a), jnp.asarray(b)
    calls: dict[str, Callable[[], Any] | str] = {
        "naive": lambda: naive(*device),
        "icl_sim": lambda: total_variation_from_logits(*device),
        "stream": lambda: stream(*device),
        **peer("torch", lambda: _torch_functions(a, b), asked=peers),
    }
    # Of each logit: maximum, difference, exponential and sum; then a difference, a product, an
    # absolute value and a sum of each pair.
    entries = 2 * a.size
    work = {name: Work(bytes=4 * entries, flops=6 * entries) for name in calls}
    work["stream"] = Work(bytes=4 * entries, flops=1.5 * entries)
    rows = against_roof(measure(calls, rounds=rounds, reference="naive"), work)
    expected = _oracle(a[:64], b[:64])
    for row in rows:
        call = calls[row["name"]]
        if row["name"] != "stream" and callable(call):
            row["error"] = float(np.abs(np.asarray(call())[:64] - expected).max())
    return rows


def _oracle(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = (np.exp(np.asarray(x, np.float64)) for x in (a, b))
    return np.abs(a / a.sum(-1, keepdims=True) - b / b.sum(-1, keepdims=True)).sum(-1) / 2
