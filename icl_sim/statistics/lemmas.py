"""Unit tests for lemmas: "P(error > bound) <= delta", with a controlled false-alarm rate."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from numbers import Integral
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from icl_sim.errors import InputError
from icl_sim.execution.seeds import checked_seed
from icl_sim.execution.signatures import checked
from icl_sim.execution.trials import iter_blocks
from icl_sim.statistics.intervals import (
    CERTIFIED,
    INCONCLUSIVE,
    REFUTED,
    Verdict,
    clopper_pearson,
    log_e_values,
)

_NOT_JITTABLE = (
    jax.errors.ConcretizationTypeError,
    jax.errors.NonConcreteBooleanIndexError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
    jax.errors.UnexpectedTracerError,
)


@checked
def check_lemma(
    trial: Callable[[jax.Array], Any],
    *,
    bound: float,
    delta: float,
    alpha: float = 1e-3,
    max_trials: int = 10**6,
    seed: int = 0,
) -> Verdict:
    """Judge "P(error > bound) <= delta" from as few trials as the evidence needs.

    After every trial two Beta-mixture e-processes weigh the failures so far. The first to reach
    1/alpha decides; if neither does within `max_trials`, the verdict is inconclusive. A true lemma
    is refuted with probability at most alpha, and a false one certified with probability at most
    alpha, however long it runs. At exact equality it is, rightly, almost always inconclusive.

    Args:
      trial: trial(key) -> error, a scalar; a pure function of a typed JAX key. Jitted and run in
        fixed blocks, trial i with the key fold_in(key(seed), i). If it cannot be jitted, it is
        called one by one with the same keys, under a RuntimeWarning.
      bound: a trial fails if error > bound; NaN fails as well. As everywhere in JAX, the bound is
        rounded to the precision of the error: float32(0.1) does not exceed 0.1.
      delta: the failure probability that the lemma allows.
      alpha: probability of error allowed in each direction.
      max_trials: trials at most.
      seed: of the root key.

    Returns:
      Verdict(status, estimate, low, high, trials). low and high are the two-sided Clopper-Pearson
      interval at level alpha for the trials used; the status, not they, allows for the stopping.

    Raises:
      InputError: an argument out of range, an error that is not a scalar, or a trial whose result
        does not depend on its key alone.

    >>> verdict = check_lemma(lambda key: jax.random.uniform(key), bound=0.9, delta=0.5)
    >>> verdict.status, verdict.trials < 100
    ('certified', True)
    """
    if not callable(trial):
        raise InputError(f"trial: expected a function of one JAX key, got {trial!r}")
    bound, delta, alpha = (
        _number(value, name)
        for name, value in (("bound", bound), ("delta", delta), ("alpha", alpha))
    )
    if not 0 < delta < 1 or not 0 < alpha < 1:
        raise InputError(f"delta, alpha: expected numbers in (0, 1), got {delta} and {alpha}")
    if not isinstance(max_trials, Integral) or not 1 <= max_trials < 2**32:
        raise InputError(f"max_trials: expected an integer in [1, 2^32), got {max_trials!r}")
    seed = checked_seed(seed)

    failures = trials = 0
    status = INCONCLUSIVE
    for errors in _errors(trial, seed, int(max_trials)):
        k = failures + np.cumsum(~(errors <= _rounded(bound, errors.dtype)))
        n = trials + np.arange(1, len(errors) + 1)
        against, in_favor = log_e_values(k, n, delta=delta)
        decided = np.flatnonzero(np.maximum(against, in_favor) >= -np.log(alpha))
        last = decided[0] if len(decided) else len(errors) - 1
        failures, trials = int(k[last]), int(n[last])
        if len(decided):
            status = REFUTED if against[last] > in_favor[last] else CERTIFIED
            break
    low, high = clopper_pearson(failures, trials, alpha=alpha)
    return Verdict(status, failures / trials, float(low), float(high), trials)


def _number(value: Any, name: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if isinstance(value, str) or not math.isfinite(number):
        raise InputError(f"{name}: expected a finite number, got {value!r}")
    return number


def _rounded(bound: float, dtype: np.dtype) -> np.ndarray:
    """The bound in the precision of floating errors, beyond its range the last number within."""
    if not jnp.issubdtype(dtype, jnp.floating):
        return np.asarray(bound)
    largest = float(jnp.finfo(dtype).max)
    return np.asarray(min(max(bound, -largest), largest)).astype(dtype)


def _errors(trial: Callable, seed: int, max_trials: int) -> Iterator[np.ndarray]:
    """The errors of trials 0, 1, ..., in pieces [piece], in the trial's own dtype."""
    try:
        shape = jax.eval_shape(trial, jax.random.key(seed))
    except (*_NOT_JITTABLE, TypeError, OverflowError) as error:
        _one_error(
            trial, seed, 0
        )  # a mistake of the trial itself, or of what it returns, ends here
        warnings.warn(
            f"trial cannot be jitted ({type(error).__name__}); calling it one by one",
            RuntimeWarning,
            stacklevel=3,
        )
        _expect_pure(trial, seed)
        for i in range(max_trials):
            yield np.array([_one_error(trial, seed, i)])
        return
    if not isinstance(shape, jax.ShapeDtypeStruct):
        raise InputError(f"trial: expected one number as its error, got {shape!r}")
    real = jnp.issubdtype(shape.dtype, np.bool_) or jnp.issubdtype(shape.dtype, jnp.number)
    if shape.shape != () or not real or jnp.issubdtype(shape.dtype, jnp.complexfloating):
        got = f"{shape.dtype} of shape {shape.shape}"
        raise InputError(f"trial: expected one real number as its error, got {got}")
    _expect_pure(trial, seed)
    for batch in iter_blocks(trial, key=jax.random.key(seed), trials=max_trials):
        yield np.asarray(batch.values)


def _one_error(trial: Callable, seed: int, number: int) -> float:
    error = trial(jax.random.fold_in(jax.random.key(seed), number))
    if isinstance(error, str | complex) or np.shape(error) != ():
        raise InputError(f"trial: expected one real number as its error, got {error!r}")
    try:
        return float(error)
    except (TypeError, ValueError, OverflowError):
        raise InputError(
            f"trial: expected one real number as its error, got {type(error).__name__}"
        ) from None


def _expect_pure(trial: Callable, seed: int) -> None:
    """Randomness from elsewhere (numpy.random) would be frozen by jit and repeat in every trial."""
    first, second = _one_error(trial, seed, 0), _one_error(trial, seed, 0)
    if first != second and not (np.isnan(first) and np.isnan(second)):
        raise InputError(
            f"trial: expected a function of its key alone, but the same key gave {first} and "
            f"{second}; draw all randomness from jax.random with the key"
        )
