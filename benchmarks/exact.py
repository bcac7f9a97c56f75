"""The exact P(TV > eps) against sampling it with numpy.random.multinomial, in one process.

Sampling needs (1 - P)/(P r^2) draws for a relative standard error r, here 1 %.  Its time is
measured on a batch and scaled to that number; the exact route is timed as it is, at failures near
1e-2 and at one of 1e-12, which sampling would take years to see.
"""

from __future__ import annotations

import math
import statistics
import time
from fractions import Fraction

import numpy as np

from icl_sim.bounds import exact_failure_probability, exact_sample_size

CASES = (
    (32, 380, "0.15"),
    (64, 1512, "0.1"),
    (256, 5032, "0.1"),
    (1024, 22384, "0.09"),
    (32, 980, "0.15"),
)
PRECISION = 0.01  # relative standard error


def run(*, repeats: int = 5, draws: int = 2_000) -> list[dict]:
    """One row a case: vocab, n, eps, probability, exact_s, sampling_s, speedup, z.

    Args:
        repeats: rounds; times are medians.
        draws: multinomial draws measured per round.

    sampling_s is the time of sampling to the relative standard error PRECISION, scaled from the
    batch; z is the deviation of all the draws' frequency from the exact value in standard errors.
    A last row times the search for n* at V = 32, eps = .15, delta = .1.
    """
    rng = np.random.default_rng(0)
    rows = []
    for vocab, n, eps in CASES:
        threshold = math.floor(2 * vocab * n * Fraction(eps))
        exact_times, sampling_times, failures = [], [], 0
        for _ in range(repeats):
            start = time.perf_counter()
            probability = exact_failure_probability(vocab=vocab, n=n, eps=eps)
            exact_times.append(time.perf_counter() - start)
            start = time.perf_counter()
            counts = rng.multinomial(n, np.full(vocab, 1 / vocab), size=draws)
            # 2 V n TV in integers, so that ties are decided as in the exact route.
            failures += int((np.abs(vocab * counts - n).sum(axis=1) > threshold).sum())
            sampling_times.append(time.perf_counter() - start)
        needed = (1 - probability) / (probability * PRECISION**2)
        total = repeats * draws
        error = math.sqrt(probability * (1 - probability) / total)
        exact_s = statistics.median(exact_times)
        sampling_s = statistics.median(sampling_times) * needed / draws
        rows.append(
            {
                "vocab": vocab,
                "n": n,
                "eps": eps,
                "probability": probability,
                "exact_s": exact_s,
                "sampling_s": sampling_s,
                "speedup": sampling_s / exact_s,
                "z": (failures / total - probability) / error,
            }
        )
    start = time.perf_counter()
    size = exact_sample_size(vocab=32, eps="0.15", delta="0.1")
    rows.append({"vocab": 32, "n": size, "eps": "0.15", "search_s": time.perf_counter() - start})
    return rows


if __name__ == "__main__":
    for row in run():
        print(row)
