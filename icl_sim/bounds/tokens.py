"""Claim C1, one token: how many demonstrations per context suffice, and how many are necessary.

V symbols; m contexts with n demonstrations each, drawn from the fine-tuned law of the context;
failure: the total variation between that law and the estimate exceeds eps on some context; delta:
the failure probability allowed; L = ln(m/delta). The sufficient sizes hold for the empirical law,
whatever the laws are, and for every larger n too. The necessary ones hold for every estimator:
below them some m laws make it fail with probability above delta.

Source: claim C1 of the abstract of arXiv:2506.08060; definitions and proofs: docs/c1.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy.special import betainc

from icl_sim.bounds.arguments import (
    Exact,
    exact_law,
    over_contexts,
    per_context,
    probability,
    whole,
)
from icl_sim.bounds.lattice import log_binomial


def _numbers(vocab: int, eps: Exact, delta: Exact, contexts: int) -> tuple[int, float, float]:
    """V, eps and L = ln(m/delta), checked."""
    V, m = whole(vocab, name="vocab", least=2), whole(contexts, name="contexts", least=1)
    return (
        V,
        float(probability(eps, name="eps")),
        math.log(m / probability(delta, name="delta")),
    )


# Errors below which necessary sizes come from Le Cam's closed form alone.
TINY = 1e-4


def least_size(good: Callable[[int], bool]) -> int:
    """The smallest n >= 0 with good(n), where good stays true once it is true."""
    if good(0):
        return 0
    high = 1
    while not good(high):
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if good(middle) else (middle, high)
    return high


def mcdiarmid(*, vocab: int, eps: Exact, delta: Exact, contexts: int = 1) -> int:
    """Sufficient size n = ceil( ((sqrt(V-1)/2 + sqrt(L/2))/eps)^2 ) per context.

    E TV <= sqrt((V-1)/n)/2 by Jensen and Cauchy-Schwarz; one sample moves TV by at most 1/n, so
    P(TV >= E TV + t) <= exp(-2 n t^2), McDiarmid's inequality; a union bound over contexts.

    >>> mcdiarmid(vocab=32, eps=0.15, delta=0.1)
    662
    """
    V, e, L = _numbers(vocab, eps, delta, contexts)
    return math.ceil(((math.sqrt(V - 1) / 2 + math.sqrt(L / 2)) / e) ** 2)


def weissman(*, vocab: int, eps: Exact, delta: Exact, contexts: int = 1) -> int:
    """Sufficient size n = ceil( (ln(2^V - 2) + L)/(2 eps^2) ) per context.

    TV is the largest deviation over the 2^V - 2 events that are neither empty nor certain, each of
    which deviates by eps or more with probability at most exp(-2 n eps^2) (Hoeffding).

    >>> weissman(vocab=32, eps=0.15, delta=0.1)
    545

    Source: Weissman et al. (2003); Bretagnolle, Huber and Carol (1979).
    """
    V, e, L = _numbers(vocab, eps, delta, contexts)
    return math.ceil((log_events(V) + L) / (2 * e**2))


def log_events(vocab: int) -> float:
    """ln(2^V - 2), of the events that are neither empty nor certain.

    >>> round(log_events(3), 6) == round(math.log(6), 6)
    True
    """
    return vocab * math.log(2) + math.log1p(-(2.0 ** (1 - vocab)))


def abstract(*, vocab: int, eps: Exact, delta: Exact, contexts: int = 1) -> int:
    """The abstract's size with constant 1, ceil( V L/eps^2 ) per context.

    It is at least McDiarmid's size before rounding when L >= 1/2, hence sufficient then: that size
    is at most ((V-1)/2 + L)/eps^2, and V L - (V-1)/2 - L = (V-1)(L - 1/2).

    >>> abstract(vocab=32, eps=0.15, delta=0.1)
    3275
    """
    V, e, L = _numbers(vocab, eps, delta, contexts)
    return math.ceil(V * L / e**2)


def expected_total_variation(*, law: Sequence[Exact], n: int) -> float:
    """The exact mean of TV between a law and the empirical law of n samples.

    (1/n) sum_i v_i C(n, v_i) p_i^v_i (1 - p_i)^(n - v_i + 1), v_i = floor(n p_i) + 1.

    >>> round(expected_total_variation(law=[0.5, 0.5], n=2), 12)
    0.25

    Source: A. de Moivre's formula for the mean absolute deviation of a binomial.
    """
    masses, n = exact_law(law), whole(n, name="n", least=1)
    total = 0.0
    for p in masses:
        if 0 < p < 1:  # a certain or impossible symbol does not deviate
            v = n * p.numerator // p.denominator + 1
            log_term = log_binomial(v, n, float(p), float(1 - p)) + math.log(v * (1 - p))
            total += math.exp(log_term)
    return total / n


def de_moivre(*, law: Sequence[Exact], eps: Exact, delta: Exact, contexts: int = 1) -> int:
    """Sufficient size for one known law: the least n with E TV + sqrt(L/(2n)) <= eps.

    McDiarmid's inequality around the exact mean. The mean falls with n (the empirical law is a
    reversed martingale and TV is convex in it), so every larger n suffices too.

    >>> de_moivre(law=[1/32] * 32, eps=0.15, delta=0.1)
    480
    """
    masses = exact_law(law)
    _, e, L = _numbers(len(masses), eps, delta, contexts)

    def suffices(n: int) -> bool:
        return n > 0 and expected_total_variation(law=masses, n=n) + math.sqrt(L / (2 * n)) <= e

    return least_size(suffices)


def hidden_coin(tosses: np.ndarray | int, bias: np.ndarray | float) -> np.ndarray:
    """The least error probability in telling a coin of heads 1/2 + bias from one of 1/2 - bias.

    Both are equally likely. The majority errs with I_{1/2 - bias}(k, k), k = ceil(tosses/2): one
    more toss after an odd number of them does not help. It is at least (1 - 4 bias^2)^tosses / 4,
    Le Cam's bound.

    >>> float(hidden_coin(0, 0.1)), round(float(hidden_coin(3, 0.25)), 6)
    (0.5, 0.15625)
    """
    # In floats, for sizes beyond int64.
    k = np.floor((np.asarray(tosses, np.float64) + 1) / 2)
    return np.where(k > 0, betainc(np.maximum(k, 1), np.maximum(k, 1), 0.5 - bias), 0.5)


def two_coins(*, eps: Exact, delta: Exact, contexts: int = 1) -> int:
    """Necessary size: no estimator keeps the failure probability at delta below it.

    Take laws 1/2 +- eps' on two symbols, eps' > eps, with a fair secret sign per context. They are
    2 eps' apart, so being within eps of the truth reveals the sign, and a context fails with
    probability at least f = hidden_coin(n, eps'). Contexts and signs are independent, so all m
    succeed with probability at most (1 - f)^m. Let eps' fall to eps. 0 if eps >= 1/2.

    >>> two_coins(eps=0.15, delta=0.1)
    17
    """
    _, bias, _ = _numbers(2, eps, delta, contexts)
    allowed = float(probability(delta, name="delta"))
    if bias >= 0.5:
        return 0
    if bias < TINY:  # Le Cam's bound, which needs no table of a law on more counts than floats tell
        fails = per_context(allowed, contexts)
        return max(0, math.floor(math.log(1 / (4 * fails)) / -math.log1p(-4 * bias**2)))
    return least_size(lambda n: over_contexts(float(hidden_coin(n, bias)), contexts) <= allowed)


def assouad_failure(*, vocab: int, eps: Exact, n: int) -> float:
    """A lower bound on the failure probability of every estimator, for some law on V symbols.

    Take K = floor(V/2) pairs of symbols, each of mass 1/K, split 1/2 +- g/2 by a fair secret sign.
    Guess each sign by which member the estimate favours: a wrong guess costs at least g/(2K) in
    total variation, so W wrong guesses cost g W/(2K). The number of visits N of a pair tells
    nothing about signs, and given N the pair is a coin tossed N times. Hence E W/K >= e =
    E hidden_coin(N, g/2), N ~ Binomial(n, 1/K). With x = 2 eps/g, failure contains W/K > x, and as
    W/K <= 1, P(W/K > x) >= (e - x)/(1 - x). The best of a grid of g. For large V it is positive
    while n is below about V/(280 eps^2), more where pairs are visited rarely.

    Source: P. Assouad (1983), conditioned on the pairs' counts.
    """
    pairs, n = whole(vocab, name="vocab", least=2) // 2, whole(n, name="n", least=0)
    e = float(probability(eps, name="eps"))
    if e >= 0.5:
        return 0.0
    ratios = np.geomspace(2 * e, 1, 18)[:-1, None]
    spread = 9 * math.sqrt(n / pairs) + 9
    visits = np.arange(max(0, int(n / pairs - spread)), min(n, int(n / pairs + spread)) + 1)
    # Visits outside the window only add to e.
    weights = (
        np.exp([log_binomial(v, n, 1 / pairs, 1 - 1 / pairs) for v in visits.tolist()])
        if n
        else 1.0
    )
    hidden = (weights * hidden_coin(visits, np.minimum(e / ratios, 0.5))).sum(axis=1)
    x = ratios[:, 0]
    return max(0.0, float(((hidden - x) / (1 - x)).max()))


def assouad(*, vocab: int, eps: Exact, delta: Exact, contexts: int = 1) -> int:
    """Necessary size by Assouad's method over pairs of symbols, of order V/eps^2.

    >>> assouad(vocab=1024, eps=0.1, delta=0.1)
    299
    """
    V, e, _ = _numbers(vocab, eps, delta, contexts)
    allowed = float(probability(delta, name="delta"))
    if probability(eps, name="eps") < TINY:
        return 0  # true of any size; see `TINY`
    return least_size(
        lambda n: over_contexts(assouad_failure(vocab=V, eps=e, n=n), contexts) <= allowed
    )


def lower(*, vocab: int, eps: Exact, delta: Exact, contexts: int = 1) -> int:
    """The best necessary size: the larger of `two_coins` and `assouad`."""
    return max(
        two_coins(eps=eps, delta=delta, contexts=contexts),
        assouad(vocab=vocab, eps=eps, delta=delta, contexts=contexts),
    )


def uniform_mean_size(*, vocab: int, eps: Exact) -> float:
    """Samples at which E TV is about eps at the uniform law: (V-1)/(2 pi eps^2).

    By the central limit theorem E|c_i/n - 1/V| ~ sqrt(2 (1/V)(1 - 1/V)/(pi n)); summed over V
    symbols and halved, E TV ~ sqrt((V-1)/(2 pi n)), the best constant of any estimator's mean on
    the worst law, as n grows with V fixed.

    >>> round(uniform_mean_size(vocab=32, eps=0.15))
    219

    Source: Kamath, Orlitsky, Pichapati and Suresh, COLT 2015.
    """
    V, e, _ = _numbers(vocab, eps, "1/2", 1)
    return (V - 1) / (2 * math.pi * e**2)


def random_allotment(*, per_context_size: int, delta: Exact, contexts: int) -> int:
    """Demonstrations in all, of contexts drawn uniformly, that give each context n0 of its own.

    The least n with n/m >= n0 + sqrt(2 n0 L2) + 2 L2, L2 = ln(2m/delta); then all m contexts have
    n0 with probability 1 - delta/2. A count has mean mu = n/m and P(count < n0) <=
    exp(-(mu - n0)^2/(2 mu)) (Chernoff), which is at most delta/(2m) once mu >= n0 + L2 +
    sqrt(L2^2 + 2 n0 L2), and the condition implies that.

    >>> random_allotment(per_context_size=304, delta=0.1, contexts=10)
    3714
    """
    n0 = whole(per_context_size, name="per_context_size", least=1)
    m, allowed = whole(contexts, name="contexts", least=2), probability(delta, name="delta")
    log_term = math.log(2 * m / allowed)
    return math.ceil(m * (n0 + math.sqrt(2 * n0 * log_term) + 2 * log_term))
