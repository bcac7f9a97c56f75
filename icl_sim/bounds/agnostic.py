"""Halfspaces with label noise (claim C3): sizes of order d/eps^2, and laws that need them.

err is the probability of a wrong label on a fresh example, err* its least value over halfspaces;
what is learned is the excess err - err*.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.stats import binom

from icl_sim.bounds.arguments import Exact, probability, whole
from icl_sim.bounds.tokens import hidden_coin
from icl_sim.errors import InputError


def log_growth(*, dim: int, n: int) -> float:
    """Logarithm of the most labelings that halfspaces through the origin give n points of R^d.

    2 sum_(k<d) C(n-1, k), which is 2^n while n <= d.

    Args:
      dim: d >= 1.
      n: points, n >= 1.

    >>> round(math.exp(log_growth(dim=2, n=5)))
    10

    Source: Cover 1965.
    """
    d, n = whole(dim, name="dim", least=1), whole(n, name="n", least=1)
    if n <= d:
        return n * math.log(2)
    terms = [math.lgamma(n) - math.lgamma(k + 1) - math.lgamma(n - k) for k in range(d)]
    return math.log(2) + float(np.logaddexp.reduce(terms))


def agnostic_mean_bound(*, dim: int, n: int) -> float:
    """Upper bound sqrt(2 ln Pi(n)/n) on the mean excess of a halfspace of least training error.

    Its excess is at most sup(err - err_n), as E err_n(w*) = err*. The supremum has mean at most
    twice the Rademacher average of the losses, which is that of the labelings, R; and R <=
    sqrt(2 ln Pi(n)/n) for Pi(n) sign vectors of norm sqrt(n) (Massart's finite class lemma).

    Args:
      dim: d >= 1.
      n: examples, n >= 1.

    >>> round(agnostic_mean_bound(dim=2, n=10_000), 3)
    0.045

    Source: Shalev-Shwartz and Ben-David 2014, chapter 26; statement C3.agnostic.
    """
    return math.sqrt(2 * log_growth(dim=dim, n=n) / whole(n, name="n", least=1))


def agnostic_tail_bound(*, dim: int, n: int, delta: Exact) -> float:
    """`agnostic_mean_bound` with probability 1 - delta: + sqrt(2 ln(1/delta)/n).

    One example moves sup(err - err_n) + err_n(w*) - err* by at most 2/n (McDiarmid).

    Args:
      dim: d >= 1.
      n: examples, n >= 1.
      delta: in (0, 1).

    >>> round(agnostic_tail_bound(dim=2, n=10_000, delta=0.05), 3)
    0.069

    Source: McDiarmid 1989; statement C3.agnostic.
    """
    d = float(probability(delta, name="delta"))
    return agnostic_mean_bound(dim=dim, n=n) + math.sqrt(-2 * math.log(d) / n)


def noisy_basis_excess(*, dim: int, n: int, bias: float) -> float:
    """Least possible mean excess of any learner on d noisy atoms, attained by majorities.

    Inputs e_1..e_d equally often, labels with chance 1/2 + b or 1/2 - b by a fair secret sign each.
    Given N visits of an atom its sign is that of a coin tossed N times, and a wrong one costs 2 b
    of the atom's mass: 2 b E hidden_coin(N, b), N ~ Binomial(n, 1/d).

    Args:
      dim: d >= 1.
      n: examples, n >= 0.
      bias: b in (0, 1/2].

    >>> round(noisy_basis_excess(dim=1, n=1, bias=0.5), 3), noisy_basis_excess(dim=1, n=0, bias=0.5)
    (0.0, 0.5)

    Source: Assouad 1983; statement C3.agnostic.
    """
    d, n = whole(dim, name="dim", least=1), whole(n, name="n", least=0)
    if not 0 < bias <= 0.5:
        raise InputError(f"bias: expected a number in (0, 1/2], got {bias}")
    # Visits farther than 12 standard deviations from their mean have no mass in float64.
    spread = 12 * math.sqrt(n / d) + 40
    visits = np.arange(max(0, math.floor(n / d - spread)), min(n, math.ceil(n / d + spread)) + 1)
    return float(2 * bias * (binom.pmf(visits, n, 1 / d) @ hidden_coin(visits, bias)))
