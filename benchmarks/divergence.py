"""Total variation from logits against naive JAX, and PyTorch if asked: one process, one table.

Every function is compiled before it is timed; the rounds interleave the functions, so that a busy
machine slows all of them; the figure is the median over rounds.  The stream is the time to read
both arrays once: no exact method can be faster.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from icl_sim.divergence import total_variation_from_logits


@jax.jit
def naive(a: jax.Array, b: jax.Array) -> jax.Array:
    """What one writes first: both softmaxes, then the sum."""
    return jnp.sum(jnp.abs(jax.nn.softmax(a, axis=-1) - jax.nn.softmax(b, axis=-1)), axis=-1) / 2


@jax.jit
def stream(a: jax.Array, b: jax.Array) -> jax.Array:
    """Both arrays read once, next to no arithmetic."""
    return jnp.sum(jnp.abs(a - b), axis=-1)


def _torch_functions(a: np.ndarray, b: np.ndarray) -> dict[str, Callable[[], Any]]:
    import torch

    tensors = torch.from_numpy(a), torch.from_numpy(b)

    def eager(a: Any, b: Any) -> Any:
        return (torch.softmax(a, -1) - torch.softmax(b, -1)).abs().sum(-1) / 2

    compiled = torch.compile(eager)
    return {"torch eager": lambda: eager(*tensors), "torch.compile": lambda: compiled(*tensors)}


def run(
    *, contexts: int = 2048, vocab: int = 32_768, repeats: int = 9, peers: bool = False
) -> list[dict]:
    """One row a function: name, compile_s, median_s, spread_s, speedup (over naive), error.

    Args:
        contexts, vocab: shape [m, V] of the float32 logits.
        repeats: rounds.
        peers: also time PyTorch, which must be installed (extra `peers`).

    spread_s is the distance between the quartiles; error is the largest absolute difference from
    NumPy float64 over the first contexts, None for the stream.
    """
    rng = np.random.default_rng(0)
    a, b = (3 * rng.standard_normal((contexts, vocab), np.float32) for _ in range(2))
    device = jnp.asarray(a), jnp.asarray(b)
    functions: dict[str, Callable[[], Any]] = {
        "naive": lambda: jax.block_until_ready(naive(*device)),
        "icl_sim": lambda: jax.block_until_ready(total_variation_from_logits(*device)),
        "stream": lambda: jax.block_until_ready(stream(*device)),
    }
    if peers:
        functions |= _torch_functions(a, b)

    first = {name: _seconds(function) for name, function in functions.items()}
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            times[name].append(_seconds(function))

    head = min(contexts, 64)
    expected = _oracle(a[:head], b[:head])
    rows = []
    for name, function in functions.items():
        low, median, high = np.quantile(times[name], [0.25, 0.5, 0.75])
        error = np.abs(np.asarray(function())[:head] - expected).max()
        rows.append(
            {
                "name": name,
                "compile_s": first[name] - median,
                "median_s": median,
                "spread_s": high - low,
                "speedup": np.median(times["naive"]) / median,
                "error": None if name == "stream" else error,
            }
        )
    return rows


def _oracle(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = (np.exp(np.asarray(x, np.float64)) for x in (a, b))
    return np.abs(a / a.sum(-1, keepdims=True) - b / b.sum(-1, keepdims=True)).sum(-1) / 2


def _seconds(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="total variation from logits")
    parser.add_argument("--contexts", type=int, default=2048)
    parser.add_argument("--vocab", type=int, default=32_768)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--peers", action="store_true", help="time PyTorch as well")
    for row in run(**vars(parser.parse_args())):
        error = "-" if row["error"] is None else f"{row['error']:.1e}"
        print(
            f"{row['name']:14s} {1e3 * row['median_s']:8.1f} ms +- {1e3 * row['spread_s']:6.1f}"
            f"   x{row['speedup']:5.2f}   error {error}   compile {row['compile_s']:.2f} s"
        )
