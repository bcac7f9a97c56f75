"""Largest deviation over all outputs or over K events (metric E3): tails, in formulas and exactly.

Letters: V outputs; n samples; N_i counts; K events.

**Exact.**  The multinomial is V independent Poisson(n p_i) counts given that their sum is n, and
sup_i |N_i/n - p_i| <= eps cuts each count to a window of integers. So

    P(sup <= eps) = [f_1 * ... * f_V]_n / Pois(n; n),    f_i the Poisson(n p_i) mass in its window:

convolutions of non-negative numbers. Outputs of equal mass share one convolution power.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from fractions import Fraction

from icl_sim.bounds.arguments import Exact, exact_law, probability, whole
from icl_sim.bounds.exact import exact_failure_probability
from icl_sim.bounds.lattice import POINT, convolve, log_poisson, power, truncated_poisson
from icl_sim.errors import InputError

DISTINCT_LIMIT = 512  # masses that differ: each costs a convolution
_CUT = 1e-24


def sup_norm_failure(*, n: int, eps: Exact, outputs: int | None = None) -> float:
    """Upper bound on P(sup_y |Phat(y) - P(y)| > eps): the least of three.

    exp(-2 (eps sqrt(n) - 1)^2) for eps sqrt(n) > 1 (mean 1/sqrt(n) and McDiarmid);
    2 exp(-n eps^2/2) (Dvoretzky, Kiefer, Wolfowitz; Massart); and, for k outputs, a union
    2 k exp(-2 n eps^2) (Hoeffding).

    Args:
      n: samples, n >= 0.
      eps: in (0, 1).
      outputs: k >= 2, or None for any number.

    Returns:
      The bound, at most 1.

    >>> round(sup_norm_failure(n=495, eps=0.1), 4)
    0.0498

    Source: `bounds.sequences.sup_norm_size`, `dkw_size`, `events_size`; statement C2.sup.
    """
    n, eps = whole(n, name="n", least=0), float(probability(eps, name="eps"))
    excess = max(0.0, eps * math.sqrt(n) - 1)
    logs = [0.0, -2 * excess**2, math.log(2) - n * eps**2 / 2]
    if outputs is not None:
        k = whole(outputs, name="outputs", least=2)
        logs.append(math.log(2 * k) - 2 * n * eps**2)
    return math.exp(min(logs))


def sup_norm_failure_probability(
    *,
    outputs: int,
    n: int,
    eps: Exact,
    law: Sequence[Exact] | Mapping[Fraction, int] | None = None,
) -> float:
    """P(sup_y |Phat(y) - P(y)| > eps) of n samples, exactly (to 1e-10, absolutely).

    Args:
      outputs: k >= 2, V^l for sequences of l tokens.
      n: samples, n >= 1.
      eps: in (0, 1), taken as the decimal number that was written; ">" is strict.
      law: k probabilities, of at most DISTINCT_LIMIT different values, or how many outputs have
        each of them; uniform by default.

    Raises:
      InputError: an argument out of range, or too many different masses.

    >>> round(sup_norm_failure_probability(outputs=2, n=60, eps=0.1), 4)  # two coins
    0.0925

    Source: the module's formula; statement C2.sup.
    """
    k, n = whole(outputs, name="outputs", least=2), whole(n, name="n", least=1)
    eps = probability(eps, name="eps")
    masses = _masses(k, law)
    if len(masses) > DISTINCT_LIMIT:
        raise InputError(
            f"law: expected at most {DISTINCT_LIMIT} different masses, got {len(masses)}"
        )
    log_mass, total = -log_poisson(n, n), POINT
    for p, count in masses.items():
        if p == 0:
            continue
        least = max(0, math.ceil(n * (p - eps)))
        most = min(n, math.floor(n * (p + eps)))
        if least > most:
            return 1.0
        window, log_window = truncated_poisson(float(n * p), least, most)
        log_mass += count * log_window
        total = convolve(total, power(window, count, _CUT), _CUT)
    if not total.first <= n <= total.last:
        return 1.0
    inside = float(total.values[n - total.first])
    return max(0.0, -math.expm1(log_mass + math.log(inside))) if inside > 0 else 1.0


def _masses(k: int, law: Sequence[Exact] | Mapping[Fraction, int] | None) -> Mapping[Fraction, int]:
    """How many of the k outputs have each mass."""
    if law is None:
        return {Fraction(1, k): k}
    if not isinstance(law, Mapping):
        return Counter(exact_law(law, vocab=k))
    total = sum((p * count for p, count in law.items()), Fraction(0))
    if total != 1 or sum(law.values()) != k or min(law) < 0 or min(law.values()) < 1:
        raise InputError(f"law: expected masses of {k} outputs that sum to 1, got {dict(law)}")
    return law


def independent_events_failure(*, events: int, n: int, eps: Exact) -> float:
    """P(some |Phat(A) - 1/2| > eps) for K independent events of probability 1/2, exactly.

    1 - (1 - f)^K, f the binomial tail of one. Outputs that are K fair bits have such events: what
    the union over K events costs is then lost nowhere.

    Args:
      events: K >= 1.
      n: samples, n >= 1.
      eps: in (0, 1).

    >>> round(independent_events_failure(events=1, n=60, eps=0.1), 4)
    0.0925

    Source: statement C2.events.
    """
    return exact_failure_probability(vocab=2, n=n, eps=eps, contexts=events)
