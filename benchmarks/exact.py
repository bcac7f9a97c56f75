"""The exact P(TV > eps) against sampling it, in one process.

Sampling needs (1 - P)/(P r^2) draws for a relative standard error r, here 1 %. Its time is
measured on a batch and scaled to that number; the exact route is timed as it is, at failures near
1e-2 and at one of 1e-12, which sampling would take years to see.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from fractions import Fraction
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.measure import Row, measure
from icl_sim.bounds import exact_failure_probability, exact_sample_size

CASES = (
    (32, 380, "0.15"),
    (64, 1512, "0.1"),
    (256, 5032, "0.1"),
    (1024, 22384, "0.09"),
    (32, 980, "0.15"),
)
PRECISION = 0.01  # relative standard error

Sampler = Callable[[int, int, int], np.ndarray]  # V, n, draws -> counts [draws, V]


def run(*, rounds: int = 5, draws: int = 2_000, peers: bool = False) -> list[Row]:
    """The rows of `measure`, several a case, then the search for n*.

    Args:
      rounds: of the stopwatch.
      draws: multinomial draws measured per round.
      peers: also sample with SciPy and, on the device, with JAX.

    probability is exact, or the frequency in all the draws; z is their distance in standard errors,
    where at least five failures are expected; answer_s is the time to the answer, of sampling
    that to the relative standard error PRECISION; slower is its ratio to the exact route's.
    """
    samplers: dict[str, Sampler] = {"NumPy": _numpy()}
    if peers:
        samplers |= {"SciPy": _scipy(), "JAX": _jax()}
    rows = [row for case in CASES for row in _case(*case, samplers, rounds, draws)]
    search = partial(exact_sample_size, vocab=32, eps="0.15", delta="0.1")
    return [*rows, *measure({f"search for n* = {search()}, V = 32": search}, rounds=rounds)]


def _case(
    vocab: int, n: int, eps: str, samplers: dict[str, Sampler], rounds: int, draws: int
) -> list[Row]:
    threshold = math.floor(2 * vocab * n * Fraction(eps))
    failures = dict.fromkeys(samplers, 0)
    total = draws * (1 + rounds)

    def sample(name: str) -> None:
        counts = samplers[name](vocab, n, draws)
        # 2 V n TV in integers, so that ties are decided as in the exact route.
        failures[name] += int((np.abs(vocab * counts - n).sum(axis=1) > threshold).sum())

    exact = partial(exact_failure_probability, vocab=vocab, n=n, eps=eps)
    probability = exact()
    rows = measure(
        {"exact": exact, **{name: partial(sample, name) for name in samplers}}, rounds=rounds
    )
    needed = (1 - probability) / (probability * PRECISION**2)
    error = math.sqrt(probability * (1 - probability) / total)
    for row in rows:
        name = row["name"]
        row["name"] = f"V = {vocab:,}, n = {n:,}, eps = {eps}: {name}"
        row["probability"] = probability if name == "exact" else failures[name] / total
        row["answer_s"] = row["median_s"] * (1 if name == "exact" else needed / draws)
        row["slower"] = row["answer_s"] / rows[0]["answer_s"]
        seen = name != "exact" and probability * total >= 5
        row["z"] = (row["probability"] - probability) / error if seen else None
    return rows


def _numpy() -> Sampler:
    rng = np.random.default_rng(0)
    return lambda vocab, n, draws: rng.multinomial(n, np.full(vocab, 1 / vocab), size=draws)


def _scipy() -> Sampler:
    from scipy.stats import multinomial

    rng = np.random.default_rng(1)
    return lambda vocab, n, draws: np.asarray(
        multinomial.rvs(n, np.full(vocab, 1 / vocab), size=draws, random_state=rng)
    )


def _jax() -> Sampler:
    keys = (jax.random.key(i) for i in itertools.count())

    @partial(jax.jit, static_argnums=(1, 2))
    def sample(key: jax.Array, vocab: int, draws: int, n: jax.Array) -> jax.Array:
        # Its argument `shape` means different things in different versions: a vmap over keys.
        law = jnp.full(vocab, 1 / vocab)
        draw = jax.vmap(lambda key: jax.random.multinomial(key, n, law))
        return draw(jax.random.split(key, draws))

    return lambda vocab, n, draws: np.asarray(
        sample(next(keys), vocab, draws, jnp.float32(n)), np.int64
    )
