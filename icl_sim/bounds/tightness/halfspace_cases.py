"""Cases of halfspaces (claims C3 and C4)."""

from __future__ import annotations

import math
from fractions import Fraction

from icl_sim.bounds import agnostic, angles, classification, tokens
from icl_sim.bounds.tightness.case import COIN, TINY, Case
from icl_sim.bounds.tightness.witnesses import (
    atoms_needed,
    coin_size,
    hardest_basis_size,
    hidden_bias,
    least_mean_size,
)

CASES: dict[str, Case] = {
    "agnostic_mean_bound": (
        "upper",
        "one noisy atom, n = 1000, its bias the hardest",
        lambda: (
            agnostic.agnostic_mean_bound(dim=1, n=1000),
            agnostic.noisy_basis_excess(dim=1, n=1000, bias=0.375 / math.sqrt(1000)),
        ),
    ),
    "agnostic_tail_bound": (
        "upper",
        f"one noisy atom, n = 10^5, delta = {TINY}: twice the largest bias that stays hidden",
        lambda: (
            agnostic.agnostic_tail_bound(dim=1, n=10**5, delta=TINY),
            2 * hidden_bias(10**5, float(TINY)),
        ),
    ),
    "halfspace_mean_bound": (
        "upper",
        "two equal atoms, one example, a tie counted as an error",
        lambda: (
            classification.halfspace_mean_bound(dim=2, n=1),
            classification.basis_mean_error(masses=["1/2", "1/2"], n=1, miss=1.0),
        ),
    ),
    "halfspace_mean_size": (
        "sufficient",
        "twenty equal atoms, a tie counted as an error, eps = .3",
        lambda: (
            classification.halfspace_mean_size(dim=20, eps="0.3"),
            least_mean_size(lambda n: (1 - 1 / 20) ** n, 0.3),
        ),
    ),
    "halfspace_tail_size": (
        "sufficient",
        f"two points, a tie counted as an error, eps = .05, delta = {TINY}",
        lambda: (
            classification.halfspace_tail_size(dim=2, eps="0.05", delta=TINY),
            math.log(float(TINY)) / math.log1p(-0.05),
        ),
    ),
    "halfspace_necessary_mean": (
        "necessary",
        "the best learner on basis laws, d = 20, eps = .05",
        lambda: (
            classification.halfspace_necessary_mean(dim=20, eps="0.05"),
            hardest_basis_size(20, 0.05),
        ),
    ),
    "halfspace_necessary_tail": (
        "necessary",
        "the best learner on two points, eps = .05, delta = .01",
        lambda: (
            classification.halfspace_necessary_tail(eps="0.05", delta="0.01"),
            tokens.least_size(lambda n: 0.95**n / 2 <= 0.01),
        ),
    ),
    "perceptron_updates": (
        "upper",
        "nine orthogonal examples: each is an update",
        lambda: (classification.perceptron_updates(radius=1.0, margin=1 / 3), 9),
    ),
    "abstract_fixed_context_size": (
        "sufficient",
        f"one statistic, {COIN}, delta = {TINY}",
        lambda: (
            classification.abstract_fixed_context_size(eps="0.1", delta=TINY),
            coin_size(TINY),
        ),
    ),
    "statistic_size": (
        "sufficient",
        f"{COIN}, delta = {TINY}",
        lambda: (classification.statistic_size(eps="0.1", delta=TINY), coin_size(TINY)),
    ),
    "margin_size": (
        "sufficient",
        "25 equal atoms, a tie counted as an error, eps = .1, delta = .1",
        lambda: (
            classification.margin_size(radius=1, margin=0.2, eps="0.1", delta="0.1"),
            atoms_needed(25, "0.1", 0.1),
        ),
    ),
    "margin_mean_bound": (
        "upper",
        "25 equal atoms, a tie counted as an error, n = 24",
        lambda: (
            classification.margin_mean_bound(dim=100, radius=1, margin=0.2, n=24),
            classification.basis_mean_error(masses=[Fraction(1, 25)] * 25, n=24, miss=1.0),
        ),
    ),
    "margin_markov_size": (
        "sufficient",
        "25 equal atoms, a tie counted as an error, eps = .1, delta = .1",
        lambda: (
            classification.margin_markov_size(
                dim=100, radius=1, margin=0.2, eps="0.1", delta="0.1"
            ),
            atoms_needed(25, "0.1", 0.1),
        ),
    ),
    "one_step_error": (
        "upper",
        "the exact mean, d = 20, n = 10,000",
        lambda: (
            angles.one_step_error(dim=20, n=10_000),
            angles.one_step_mean_error(dim=20, n=10_000),
        ),
    ),
}
