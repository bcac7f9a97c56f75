"""Learning curves of the halfspace learners: on Gaussian inputs with exponents, and on real data.

All learners of a replicate see the same examples, so their curves may be compared closely.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from icl_sim.bounds.angles import bayes_error, least_squares_error, one_step_mean_error
from icl_sim.bounds.classification import halfspace_mean_bound
from icl_sim.claims.claim import Run
from icl_sim.data.vectors import real_data
from icl_sim.execution.trials import run_blocks
from icl_sim.halfspaces import SOLVERS, Law, Solver, gaussian
from icl_sim.statistics.slopes import measured_slopes

# Dimension, examples and replicates of the curves on Gaussian inputs.
GAUSSIAN = {
    "smoke": (5, (80, 160, 320), 320),
    "standard": (10, (80, 160, 320, 640), 1000),
    "full": (20, (160, 320, 640, 1280), 4000),
}
# The exponent of the error in n that theory gives on Gaussian inputs, and how near is near enough.
EXPONENTS = {
    "least-squares": (-0.5, 0.05),
    "one-step": (-0.5, 0.05),
    "perceptron": (-1.0, 0.1),
    "svm": (-1.0, 0.1),
}
# Real data that a halfspace labels; each learner is trained on 2 d and on 4 d of them.
POOLS = (
    "breast-cancer",
    "digits-1-7",
    "digits-3-8",
    "digits-4-9",
    "iris-0-1",
    "iris-0-2",
    "wine-0-1",
    "wine-1-2",
)
POOL_ROWS = 240
# Rows of the sampled tails on real data, and the eps that d allows there.
POOL_TAILS: dict[str, tuple[int, dict[str, str]]] = {
    "smoke": (
        POOL_ROWS,
        {"iris-0-1": "0.1", "iris-0-2": "0.1", "wine-0-1": "0.3", "wine-1-2": "0.3"},
    ),
    "standard": (
        700,
        {"iris-0-1": "0.05", "iris-0-2": "0.05", "wine-0-1": "0.1", "wine-1-2": "0.1"}
        | {"breast-cancer": "0.2", "digits-1-7": "0.3", "digits-3-8": "0.3", "digits-4-9": "0.3"},
    ),
}
POOL_TAILS["full"] = POOL_TAILS["standard"]
POOL_REPLICATES = {"smoke": 64, "standard": 320, "full": 10_000}

Rows = list[dict[str, Any]]


@lru_cache
def paired_trial(law: Law, learners: tuple[str, ...], rows: int) -> Callable[..., Any]:
    """The trial (key, n) -> {learner: risk} after the same n <= rows examples, n traced."""

    def trial(key: jax.Array, n: jax.Array) -> dict[str, jax.Array]:
        with jax.default_matmul_precision("highest"):
            inputs, labels, target = law.sample(key, rows)
            labels = jnp.where(jnp.arange(rows) < n, labels, 0)
            return {name: law.risk(SOLVERS[name](inputs, labels), target) for name in learners}

    return trial


def gaussian_curves(run: Run, first: str, *, alpha: float) -> tuple[Rows, Rows]:
    """Mean errors over n, and exponents: of the learner named first, then of the others.

    Args:
      run: spends alpha.
      first: the learner that is judged.
      alpha: error probability of its interval; each of the others has its own.

    Returns:
      curves: a row a learner and size, beside what is known in closed form.
      slopes: a row a learner.
    """
    dim, sizes, replicates = GAUSSIAN[run.profile]
    learners = (first, *(name for name in sorted(SOLVERS) if name != first))
    found = measured_slopes(
        f"gaussian(d={dim})",
        paired_trial(gaussian(dim), tuple(sorted(SOLVERS)), max(sizes)),
        sizes,
        key=run.key,
        replicates=replicates,
        alpha=run.spend(alpha),
        store=run.store,
        progress=run.progress,
    )
    known = {"least-squares": least_squares_error, "one-step": one_step_mean_error}
    curves: Rows = []
    slopes: Rows = []
    for name in learners:
        slope = asdict(found[name])
        means = slope.pop("means")
        expected, tolerance = EXPONENTS.get(name, (None, None))
        within = expected is not None and abs(slope["exponent"] - expected) <= tolerance
        slopes.append(
            {"learner": name, "dim": dim}
            | slope
            | {"expected": expected, "tolerance": tolerance, "within": within if expected else None}
        )
        for n, mean in zip(sizes, means, strict=True):
            curves.append(
                {
                    "learner": name,
                    "dim": dim,
                    "n": n,
                    "mean": mean,
                    "n err/d": n * mean / dim,
                    "theory": known[name](dim=dim, n=n) if name in known else None,
                    "bayes": bayes_error(dim=dim, n=n),
                    "bound": halfspace_mean_bound(dim=dim, n=n),
                }
            )
    return curves, slopes


@lru_cache
def padded_pool(name: str) -> tuple[np.ndarray, np.ndarray, int]:
    """A real data set padded to the shape of the largest: inputs, labels (0: padding), and d.

    One shape, so that all data sets share their learners' compiled code. A constant zero
    coordinate changes no learner's other weights.
    """
    sets = [real_data(each)[0].shape for each in POOLS]
    inputs, labels = real_data(name)
    padded = np.zeros((max(N for N, _ in sets), max(d for _, d in sets)), np.float32)
    padded[: len(inputs), : inputs.shape[1]] = inputs
    return (
        padded,
        np.pad(labels, (0, len(padded) - len(labels))).astype(np.float32),
        inputs.shape[1],
    )


@lru_cache
def pool_trial(learners: tuple[Solver, ...], rows: int) -> Callable[..., Any]:
    """The trial (key, n, inputs, labels) -> each learner's mistakes after n draws.

    Draws are uniform with replacement: the law is the pool's. Mistakes are counted on all of it.
    """

    def trial(key: jax.Array, n: jax.Array, inputs: jax.Array, labels: jax.Array) -> Any:
        with jax.default_matmul_precision("highest"):
            size = jnp.sum(labels != 0, dtype=jnp.int32)
            drawn = jax.random.randint(key, (rows,), 0, size, jnp.int32)
            seen = jnp.where(jnp.arange(rows) < n, labels[drawn], 0)
            return tuple(
                jnp.sum(
                    (labels != 0) & (labels * (inputs @ learner(inputs[drawn], seen)) <= 0),
                    dtype=jnp.int32,
                )
                for learner in learners
            )

    return trial


@lru_cache
def pool_error(learner: Solver, rows: int) -> Callable[..., jax.Array]:
    """`pool_trial` of one learner, as an error in [0, 1]."""

    def trial(key: jax.Array, n: jax.Array, inputs: jax.Array, labels: jax.Array) -> jax.Array:
        (mistakes,) = pool_trial((learner,), rows)(key, n, inputs, labels)
        return mistakes / jnp.sum(labels != 0, dtype=jnp.int32).astype(jnp.float32)

    return trial


def real_data_rows(run: Run, learners: Sequence[str]) -> Rows:
    """Mean errors of the learners on real data after 2 d and 4 d draws."""
    trial = pool_trial(tuple(SOLVERS[name] for name in learners), POOL_ROWS)
    replicates = POOL_REPLICATES[run.profile]

    def errors(key: jax.Array, args: tuple[Any, ...]) -> list[float]:
        found = run_blocks(trial, key=key, trials=replicates, args=args)
        size = np.count_nonzero(args[2])
        return [int(mistakes.sum()) / (len(mistakes) * size) for mistakes in found]

    rows: Rows = []
    for place, name in enumerate(POOLS):
        inputs, labels, d = padded_pool(name)
        for multiple in (2, 4):
            n = multiple * d
            key = jax.random.fold_in(run.key, 2 * place + multiple // 4)
            means = run.store.result(
                f"real data/{name}/{n}/{replicates}",
                partial(errors, key, (np.int32(n), inputs, labels)),
            )
            rows.append(
                {"data": name, "examples": int((labels != 0).sum()), "dim": d, "n": n}
                | dict(zip(learners, means, strict=True))
                | {"bound": halfspace_mean_bound(dim=d, n=n)}
            )
            run.progress("real data", len(rows), 2 * len(POOLS))
    return rows
