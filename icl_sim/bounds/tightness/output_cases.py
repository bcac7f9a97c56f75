"""Cases of whole outputs, and of the choice among prompts (claim C2)."""

from __future__ import annotations

import math

import numpy as np

from icl_sim.bounds import elicitation, hash_bit, sequences, suprema
from icl_sim.bounds.exact import exact_failure_probability
from icl_sim.bounds.tightness.case import COIN, TINIEST, TINY, Case
from icl_sim.bounds.tightness.witnesses import coin_size, majority_error, told_apart_size

_DISTANT = "two prompts, coins 1/2 +- eps/2"

CASES: dict[str, Case] = {
    "dkw_size": (
        "sufficient",
        f"{COIN}, delta = {TINY}",
        lambda: (sequences.dkw_size(eps="0.1", delta=TINY), coin_size(TINY)),
    ),
    "sup_norm_size": (
        "sufficient",
        f"{COIN}, delta = {TINIEST}",
        lambda: (sequences.sup_norm_size(eps="0.1", delta=TINIEST), coin_size(TINIEST)),
    ),
    "sup_norm_failure": (
        "tail",
        f"{COIN}, n = 3000",
        lambda: (
            suprema.sup_norm_failure(n=3000, eps="0.1", outputs=2),
            exact_failure_probability(vocab=2, n=3000, eps="0.1"),
        ),
    ),
    "events_size": (
        "sufficient",
        f"one event, {COIN}, delta = {TINY}",
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
}
