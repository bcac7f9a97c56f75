"""The cases of `experiments.tightness`: formula -> kind, case, (stated, exact)."""

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from icl_sim.bounds import (
    angles,
    classification,
    coins,
    elicitation,
    hash_bit,
    partial,
    retrieval,
    sequences,
    suprema,
    tokens,
)
from icl_sim.bounds.exact import exact_failure_probability
from icl_sim.bounds.sizes import exact_sample_size
from icl_sim.experiments.witnesses import (
    add_one_error,
    allotted_size,
    atoms_needed,
    average_divergence,
    coin_size,
    hardest_basis_size,
    leaked_weight,
    least_eps,
    least_mean_size,
    majority_error,
    rounded_distance,
    subset_needed,
    subset_tail,
    told_apart_size,
)

TINY = "1e-30"  # a delta at which constant terms no longer hide the leading one
TINIEST = "1e-100"

Case = tuple[str, str, Callable[[], tuple[float, float]]]
_COIN = "a fair coin, eps = .1"
_TWO: dict[str, Any] = {"vocab": 2, "eps": "0.1"}
_DISTANT = "two prompts, coins 1/2 +- eps/2"
_HALVES = "a pool of two equal halves"

CASES: dict[str, Case] = {
    "mcdiarmid": (
        "sufficient",
        f"{_COIN}, delta = {TINIEST}",
        lambda: (tokens.mcdiarmid(**_TWO, delta=TINIEST), coin_size(TINIEST)),
    ),
    "weissman": (
        "sufficient",
        f"{_COIN}, delta = {TINY}",
        lambda: (tokens.weissman(**_TWO, delta=TINY), coin_size(TINY)),
    ),
    "abstract": (
        "sufficient",
        f"{_COIN}, delta = {TINY}",
        lambda: (tokens.abstract(**_TWO, delta=TINY), coin_size(TINY)),
    ),
    "de_moivre": (
        "sufficient",
        "uniform on 256 symbols, eps = .1, delta = .5",
        lambda: (
            tokens.de_moivre(law=[1 / 256] * 256, eps="0.1", delta="0.5"),
            exact_sample_size(vocab=256, eps="0.1", delta="0.5") or math.nan,
        ),
    ),
    "two_coins": (
        "necessary",
        "majority of tosses, eps = .1, delta = .01",
        lambda: (tokens.two_coins(eps="0.1", delta="0.01"), told_apart_size(0.1, "0.01")),
    ),
    "lower": (
        "necessary",
        "majority of tosses, V = 2, eps = .1, delta = .01",
        lambda: (tokens.lower(**_TWO, delta="0.01"), told_apart_size(0.1, "0.01")),
    ),
    "assouad": (
        "necessary",
        "the least proved size, V = 1024, eps = .1, delta = .1",
        lambda: (
            tokens.assouad(vocab=1024, eps="0.1", delta="0.1"),
            tokens.mcdiarmid(vocab=1024, eps="0.1", delta="0.1"),
        ),
    ),
    "assouad_failure": (
        "lower",
        "the empirical law, uniform, V = 256, eps = .1, n = 30",
        lambda: (
            tokens.assouad_failure(vocab=256, eps="0.1", n=30),
            exact_failure_probability(vocab=256, eps="0.1", n=30),
        ),
    ),
    "random_allotment": (
        "sufficient",
        "two contexts, n0 = 304, delta = .1",
        lambda: (
            tokens.random_allotment(per_context_size=304, delta="0.1", contexts=2),
            allotted_size(304, 0.05),
        ),
    ),
    "prefix_mean_error": (
        "upper",
        "one token, a fair coin, n = 1000",
        lambda: (sequences.prefix_mean_error(vocab=2, length=1, n=1000), add_one_error(1000)),
    ),
    "prefix_size": (
        "sufficient",
        _COIN,
        lambda: (sequences.prefix_size(**_TWO, length=1), least_mean_size(add_one_error, 0.1)),
    ),
    "prefix_tail_size": (
        "sufficient",
        f"one token, {_COIN}, delta = {TINIEST}",
        lambda: (
            sequences.prefix_tail_size(**_TWO, length=1, contexts=1, delta=TINIEST),
            coin_size(TINIEST),
        ),
    ),
    "trajectory_size": (
        "sufficient",
        f"one token, {_COIN}",
        lambda: (
            sequences.trajectory_size(**_TWO, contexts=1),
            least_mean_size(add_one_error, 0.1),
        ),
    ),
    "tied_mean_divergence": (
        "upper",
        "one token, a sure symbol out of two, N = 10^6",
        lambda: (
            sequences.tied_mean_divergence(vocab=2, contexts=1, trajectories=10**6, length=1),
            average_divergence(10**6),
        ),
    ),
    "dkw_size": (
        "sufficient",
        f"{_COIN}, delta = {TINY}",
        lambda: (sequences.dkw_size(eps="0.1", delta=TINY), coin_size(TINY)),
    ),
    "sup_norm_size": (
        "sufficient",
        f"{_COIN}, delta = {TINIEST}",
        lambda: (sequences.sup_norm_size(eps="0.1", delta=TINIEST), coin_size(TINIEST)),
    ),
    "sup_norm_failure": (
        "tail",
        f"{_COIN}, n = 3000",
        lambda: (
            suprema.sup_norm_failure(n=3000, eps="0.1", outputs=2),
            exact_failure_probability(vocab=2, n=3000, eps="0.1"),
        ),
    ),
    "events_size": (
        "sufficient",
        f"one event, {_COIN}, delta = {TINY}",
        lambda: (sequences.events_size(events=1, eps="0.1", delta=TINY), coin_size(TINY)),
    ),
    "deterministic_size": (
        "sufficient",
        f"two maps that differ on eps = .01, delta = {TINY}",
        lambda: (
            sequences.deterministic_size(maps=2, eps="0.01", delta=TINY),
            math.log(float(TINY)) / math.log1p(-0.01),
        ),
    ),
    "elicitation_size": (
        "sufficient",
        f"{_DISTANT}, eps = .1, delta = {TINY}",
        lambda: (
            elicitation.elicitation_size(prompts=2, eps="0.1", delta=TINY),
            told_apart_size(0.05, TINY),
        ),
    ),
    "elicitation_failure": (
        "tail",
        f"{_DISTANT}, eps = .1, n = 10,000",
        lambda: (
            elicitation.elicitation_failure(prompts=2, n=10_000, eps="0.1"),
            majority_error(10_000, 0.05),
        ),
    ),
    "misspecified_size": (
        "sufficient",
        f"{_DISTANT}, tau = 0, eps = .1, delta = {TINY}",
        lambda: (
            elicitation.misspecified_size(prompts=2, eps="0.1", delta=TINY),
            told_apart_size(0.05, TINY),
        ),
    ),
    "elicitation_necessary": (
        "necessary",
        "the likeliest of 256 prompts, eps = .1, delta = .05",
        lambda: (
            elicitation.elicitation_necessary(prompts=256, eps="0.1", delta="0.05"),
            elicitation.elicitation_size(prompts=256, eps="0.1", delta="0.05"),
        ),
    ),
    "hash_bit_risk": (
        "lower",
        "Bayes' rule by occupancy, V = 4, l = 3, n = 40",
        lambda: (
            hash_bit.hash_bit_risk(vocab=4, length=3, n=40),
            float(hash_bit.occupancy_law(bins=32, n=40) @ (32 - np.arange(33))) / 64,
        ),
    ),
    "hash_bit_failure": (
        "lower",
        "Bayes' rule exactly, V = 4, l = 5, n = 384, eps = .1",
        lambda: (
            hash_bit.hash_bit_failure(vocab=4, length=5, n=384, eps="0.1"),
            hash_bit.hash_bit_bayes_failure(vocab=4, length=5, n=384, eps="0.1"),
        ),
    ),
    "empirical_sequence_floor": (
        "lower",
        "40 different outputs out of 64",
        lambda: (
            hash_bit.empirical_sequence_floor(vocab=4, length=3, n=40),
            (40 * (1 / 40 - 1 / 64) + 24 / 64) / 2,
        ),
    ),
    "subset_mean_error": (
        "upper",
        "one of a pool of two different symbols",
        lambda: (
            partial.subset_mean_error(vocab=2, pool=2, n=1),
            partial.subset_expected_total_variation(pool=[1, 1], n=1),
        ),
    ),
    "subset_failure_mcdiarmid": (
        "tail",
        f"{_HALVES}, 8000 of 40,000, eps = .1",
        lambda: (
            partial.subset_failure_mcdiarmid(vocab=2, pool=40_000, n=8000, eps="0.1"),
            subset_tail(40_000, 8000, 0.1),
        ),
    ),
    "subset_failure_serfling": (
        "tail",
        f"{_HALVES}, 8000 of 40,000, eps = .1",
        lambda: (
            partial.subset_failure_serfling(vocab=2, pool=40_000, n=8000, eps="0.1"),
            subset_tail(40_000, 8000, 0.1),
        ),
    ),
    "subset_size": (
        "sufficient",
        f"{_HALVES} of 5000, eps = .1, delta = {TINY}",
        lambda: (
            partial.subset_size(vocab=2, pool=5000, eps="0.1", delta=TINY),
            subset_needed(5000, 0.1, float(TINY)),
        ),
    ),
    "missing_error": (
        "upper",
        "all of one symbol is missing, a tenth",
        lambda: (partial.missing_error(vocab=2, missing=0.1), (abs(0.9 - 1) + 0.1) / 2),
    ),
    "certified_error": (
        "upper",
        f"a fair coin, n = 3489, delta = {TINY}: the least eps that n certifies",
        lambda: (
            retrieval.certified_error(vocab=2, n=3489, delta=TINY),
            least_eps(3489, float(TINY)),
        ),
    ),
    "retrieval_error": (
        "upper",
        "half of the prompt belongs to a context with other symbols, the rest exact",
        lambda: (
            retrieval.retrieval_error(vocab=2, retrieved=10**6, delta="0.1", contaminated=0.5),
            0.5,
        ),
    ),
    "softmax_leak": (
        "upper",
        "all others score exactly the gap below",
        lambda: (
            retrieval.softmax_leak(gap=5.0, total=400, matching=50),
            leaked_weight(5.0, 400, 50),
        ),
    ),
    "window_error": (
        "upper",
        f"a fair coin, 3489 demonstrations fit, delta = {TINY}",
        lambda: (
            retrieval.window_error(vocab=2, window=3489, overhead=0, tokens=1, delta=TINY),
            least_eps(3489, float(TINY)),
        ),
    ),
    "rounding_error": (
        "upper",
        "one token of 16, every inner step moved by nearly half a unit, b = 12",
        lambda: (coins.rounding_error(vocab=16, length=1, coins=12), rounded_distance(16, 12)),
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
        f"one statistic, {_COIN}, delta = {TINY}",
        lambda: (
            classification.abstract_fixed_context_size(eps="0.1", delta=TINY),
            coin_size(TINY),
        ),
    ),
    "statistic_size": (
        "sufficient",
        f"{_COIN}, delta = {TINY}",
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
