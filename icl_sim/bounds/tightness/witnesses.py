"""Exact values in the cases where a bound is as tight as is known; see `bounds.tightness`."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
from scipy.stats import binom, hypergeom

from icl_sim.bounds import tokens
from icl_sim.bounds.classification import basis_failure


def coin_size(delta: str) -> int:
    """The least n from which on a fair coin's frequency is within .1 with probability 1 - delta.

    From the binomial law, up to twice the size that Hoeffding's inequality proves.
    """
    n = np.arange(1, math.ceil(math.log(2 / float(delta)) / 0.01))
    fails = 2 * binom.sf(6 * n // 10, n, 0.5) > float(delta)
    return int(n[fails][-1]) + 1


def told_apart_size(bias: float, delta: str) -> int:
    """The least n at which coins 1/2 +- bias are told apart with error at most delta."""
    return tokens.least_size(lambda n: majority_error(n, bias) <= float(delta))


def majority_error(n: int, bias: float) -> float:
    """P(majority errs), a tie by a fair coin, from the binomial law."""
    below = binom.cdf((n - 1) // 2, n, 0.5 + bias)
    return float(below + (binom.pmf(n // 2, n, 0.5 + bias) / 2 if n % 2 == 0 else 0))


def least_mean_size(mean: Callable[[int], float], eps: float) -> int:
    """The least n with mean(n) <= eps, mean falling."""
    return tokens.least_size(lambda n: n > 0 and mean(n) <= eps)


def add_one_error(n: int) -> float:
    """E TV of add-one smoothing on a fair coin."""
    k = np.arange(n + 1)
    return float(binom.pmf(k, n, 0.5) @ np.abs((k + 1) / (n + 2) - 0.5))


def average_divergence(n: int) -> float:
    """KL of the average of n sequential add-one predictors on a sure symbol out of two."""
    return -math.log(np.mean([(j + 1) / (j + 2) for j in range(n)]))


def subset_tail(pool: int, n: int, eps: float) -> float:
    """P(|frequency - 1/2| > eps) in a random subset of a pool of two equal halves."""
    most = math.floor(n * (0.5 + eps) + 1e-9)
    return float(2 * hypergeom.sf(most, pool, pool // 2, n))


def subset_needed(pool: int, eps: float, delta: float) -> int:
    """The least n from which on random subsets are within eps, two equal halves."""
    n = pool
    while n > 1 and subset_tail(pool, n - 1, eps) <= delta:
        n -= 1
    return n


def allotted_size(n0: int, delta: float) -> int:
    """The least n that gives each of two contexts n0 with probability 1 - delta."""
    return tokens.least_size(lambda n: n >= 2 * n0 and 2 * binom.cdf(n0 - 1, n, 0.5) <= delta)


def hardest_basis_size(dim: int, eps: float) -> int:
    """The least n at which E err <= eps on every heavy/light basis law with random labels."""

    def worst(n: int) -> float:
        lights = [*np.linspace(0.01, 1, 100), min(1.0, (dim - 1) / (n + 1))]
        return max(dim_error(light, n) for light in lights)

    def dim_error(light: float, n: int) -> float:
        masses = np.array([1 - light] + [light / (dim - 1)] * (dim - 1))
        return float(masses @ (1 - masses) ** n) / 2

    return tokens.least_size(lambda n: worst(n) <= eps)


def rounded_distance(vocab: int, b: int) -> float:
    """TV of a law of V (even) symbols, each inner step of which nearly lies between two units."""
    unit = Fraction(1, 2**b)
    ends = [
        Fraction(i + 1, vocab) + (-1) ** i * unit * Fraction(499, 1000) for i in range(vocab - 1)
    ]
    near = [round(end / unit) * unit for end in ends]
    law, drawn = (np.diff([Fraction(0), *steps, Fraction(1)]) for steps in (ends, near))
    return float(sum(abs(law - drawn)) / 2)


def least_eps(n: int, delta: float) -> float:
    """The least eps with P(|frequency - 1/2| > eps) <= delta, n tosses of a fair coin."""
    most = tokens.least_size(lambda k: 2 * binom.sf(k, n, 0.5) <= delta)
    return most / n - 0.5


def leaked_weight(gap: float, total: int, matching: int) -> float:
    """What a softmax gives to scores 0 beside `matching` scores of `gap`."""
    scores = np.exp(np.where(np.arange(total) < matching, gap, 0.0))
    return float(scores[matching:].sum() / scores.sum())


def atoms_needed(atoms: int, eps: str, delta: float) -> int:
    """The least n at which k equal atoms have P(err > eps) <= delta, ties counted as errors."""
    return tokens.least_size(
        lambda n: basis_failure(light=atoms, light_mass=1, n=n, eps=eps, miss=1.0) <= delta
    )


def hidden_bias(n: int, delta: float) -> float:
    """The largest b at which the majority of n tosses of 1/2 + b errs with probability > delta."""
    low, high = 0.0, 0.5
    while high - low > 1e-12:
        middle = (low + high) / 2
        low, high = (
            (middle, high) if float(tokens.hidden_coin(n, middle)) > delta else (low, middle)
        )
    return low
