"""Joint laws of l output tokens (metric E2), and the weaker metrics that stay cheap (E3).

Letters: V symbols; l output tokens; m contexts, each prefix of an output being one; n
demonstrations per context; N trajectories; K candidates; L = ln(m/delta). Logarithms are natural.

Add-one smoothing is (N_i + 1)/(n + V). For one context and N_i ~ Binomial(n, p_i),
E 1/(N_i + 1) = (1 - (1 - p_i)^(n+1))/((n+1) p_i), so by Jensen's inequality

    E KL(p || add-one) <= ln sum_i p_i^2 (n + V) E[1/(N_i + 1)]/p_i <= ln(1 + (V-1)/(n+1))
                       <= (V-1)/(n+1).                                                         (*)
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import gammaln, xlogy

from icl_sim.bounds.arguments import (
    Exact,
    exact_law,
    probability,
    require_table,
    symbols_and_tokens,
    whole,
)
from icl_sim.errors import InputError


def prefix_mean_error(*, vocab: int, length: int, n: int) -> float:
    """Upper bound on E TV over l tokens: n demonstrations of every prefix context, add-one (S1).

    sqrt(l ln(1 + (V-1)/(n+1)) / 2). The chain rule adds (*) over l tokens, each averaged over
    prefixes under the true law; then Pinsker's and Jensen's inequalities. (Adding TV token by
    token instead costs a factor l, not sqrt(l).)

    Args:
      vocab: V >= 2.
      length: l >= 1.
      n: demonstrations per prefix context, n >= 0.

    Returns:
      The bound; above 1 it says nothing.

    >>> round(prefix_mean_error(vocab=4, length=3, n=449), 4)
    0.0998

    Source: statement C1.prefixes; (*) is Krichevsky and Trofimov's argument with add-one.
    """
    V, length = symbols_and_tokens(vocab, length)
    n = whole(n, name="n", least=0)
    return math.sqrt(length * math.log1p((V - 1) / (n + 1)) / 2)


def prefix_size(*, vocab: int, length: int, eps: Exact) -> int:
    """Demonstrations per prefix context for E TV <= eps over l tokens, by add-one smoothing (S1).

    n = ceil(l (V-1)/(2 eps^2)), by `prefix_mean_error` and ln(1 + x) <= x.

    Args:
      vocab: V >= 2.
      length: l >= 1.
      eps: in (0, 1).

    >>> prefix_size(vocab=4, length=3, eps=0.1)
    450

    Source: statement C1.prefixes.
    """
    V, length = symbols_and_tokens(vocab, length)
    return math.ceil(length * (V - 1) / (2 * probability(eps, name="eps") ** 2))


def prefix_tail_size(*, vocab: int, length: int, contexts: int, eps: Exact, delta: Exact) -> int:
    """Demonstrations per prefix context for TV <= eps over l tokens with probability 1 - delta.

    n = ceil(l (sqrt(V-1) + sqrt(L))^2/(2 eps^2)), for the plain empirical law of each context.

    Proof. The empirical law lives where the true one does, so the chain rule runs in the other
    direction: KL(Phat || P) <= l max_c KL(phat_c || p_c), and TV <= sqrt(KL/2). For one context
    with k = V - 1, E exp(lambda n KL(phat || p)) <= (1 - lambda)^-k for 0 <= lambda < 1: for V = 2
    bound (i/n)^lambda p^(1-lambda) by lambda i/n + (1 - lambda) p, likewise the other symbol, and
    sum by Abel's binomial identity to sum_j n!/(n-j)! (lambda/n)^j; for V > 2 peel off one symbol
    at a time. Hence P(n KL >= x) <= (e x/k)^k e^-x for x > k, which at x = (sqrt(k) + sqrt(L))^2
    is at most e^-L, since x - k - k ln(x/k) = L + 2 k (s - ln(1 + s)) with s = sqrt(L/k). Union
    over m contexts.

    Args:
      vocab: V >= 2.
      length: l >= 1.
      contexts: m >= 1, all prefix contexts counted.
      eps, delta: in (0, 1).

    >>> prefix_tail_size(vocab=4, length=3, contexts=21, eps=0.1, delta=0.05)
    2634

    Source: tail of Agrawal, IEEE Trans. Inf. Theory 66 (2020), arXiv:1904.02291; C1.prefixes
    gives l (sqrt((V-1)/2) + 2 sqrt(L))^2/eps^2, which is larger.
    """
    V, length = symbols_and_tokens(vocab, length)
    L = _log(contexts, delta, name="contexts")
    eps = float(probability(eps, name="eps"))
    return math.ceil(length * (math.sqrt(V - 1) + math.sqrt(L)) ** 2 / (2 * eps**2))


def trajectory_size(*, vocab: int, contexts: int, eps: Exact) -> int:
    """On-policy trajectories for E TV <= eps of the whole output, by add-one smoothing (S2).

    N = ceil(M (V-1)/(2 eps^2)), M the reachable prefix contexts; l enters only through M. Context
    c is visited Binomial(N, P(c)) times, and P(c) E 1/(visits + 1) <= 1/(N + 1): by (*) each
    context costs at most (V-1)/(N+1), however rare it is.

    Args:
      vocab: V >= 2.
      contexts: M >= 1; the full tree has (V^l - 1)/(V - 1).
      eps: in (0, 1).

    >>> trajectory_size(vocab=2, contexts=7, eps=0.1)
    350

    Source: statement C1.prefixes.
    """
    V, M = whole(vocab, name="vocab", least=2), whole(contexts, name="contexts", least=1)
    return math.ceil(M * (V - 1) / (2 * probability(eps, name="eps") ** 2))


def tied_mean_divergence(*, vocab: int, contexts: int, trajectories: int, length: int) -> float:
    """Upper bound on E KL over l tokens when m contexts are reused at all positions (order k).

    m (V-1) ln(e (1 + N l/(m (V-1))))/N, for the average of the N sequential add-one predictors (the
    j-th predicts trajectory j from those before it and goes on counting within it). Add-one spends
    at most ln C(n + V - 1, V - 1) <= (V-1) ln(e (1 + n/(V-1))) nats more than the best fixed law on
    any n symbols of a context; this is concave in n, and KL is convex in the average.

    Args:
      vocab: V >= 2.
      contexts: m >= 1.
      trajectories: N >= 1.
      length: l >= 1.

    >>> round(tied_mean_divergence(vocab=2, contexts=3, trajectories=10, length=1000), 2)
    2.73

    Source: C1.prefixes; regret of Laplace's rule, Cesa-Bianchi and Lugosi 2006, section 9.6.
    """
    V, m = whole(vocab, name="vocab", least=2), whole(contexts, name="contexts", least=1)
    N = whole(trajectories, name="trajectories", least=1)
    length = whole(length, name="length", least=1)
    return m * (V - 1) * (1 + math.log1p(N * length / (m * (V - 1)))) / N


def add_one_mean_divergence(*, law: Sequence[Exact], n: int, visited: float = 1.0) -> float:
    """E KL(p || add-one) exactly, where each of n trajectories visits the context with chance q.

    sum_i p_i (ln p_i - E ln(N_i + 1)) + E ln(N + V), N_i ~ Binomial(n, q p_i), N ~ Binomial(n, q).

    Args:
      law: p, V >= 2 probabilities.
      n: trajectories, n >= 0.
      visited: q in [0, 1]; 1 when each is a demonstration of this context.

    >>> add_one_mean_divergence(law=["1/2", "1/2"], n=0)
    0.0

    Source: the definition.
    """
    p = np.array([float(mass) for mass in exact_law(law)])
    n = whole(n, name="n", least=0)
    if not 0 <= visited <= 1:
        raise InputError(f"visited: expected a probability, got {visited}")
    seen = [_mean_log(n, visited * mass, shift=1) for mass in p]
    return float(np.sum(xlogy(p, p) - p * seen)) + _mean_log(n, visited, shift=len(p))


def absorbing_mean_divergence(*, trajectories: int, length: int, escape: float) -> float:
    """E KL over l tokens of plain add-one on a chain with two absorbing states, exactly.

    V = 2, order 1, m = 3 contexts (start, after 0, after 1): the first token is 1 with chance q and
    all further ones repeat it. Plain add-one, counting N finished trajectories, may never have
    seen state 1 and then pays ln 2 for each of its l - 1 tokens: it breaks `tied_mean_divergence`,
    which is why that bound is stated for the average of sequential predictors.

    Args:
      trajectories: N >= 1.
      length: l >= 1.
      escape: q in [0, 1].

    >>> round(absorbing_mean_divergence(trajectories=10, length=1000, escape=1 / 11), 1)
    24.4

    Source: statement C1.prefixes.
    """
    N = whole(trajectories, name="trajectories", least=1)
    length = whole(length, name="length", least=1)
    start = add_one_mean_divergence(law=[1 - escape, escape], n=N)
    visits = np.arange(N + 1)
    cost = np.log1p(1 / (visits * (length - 1) + 1.0))  # ln((c + 2)/(c + 1)) after c sure tokens
    later = sum(q * float(_binomial(N, q) @ cost) for q in (escape, 1 - escape))
    return start + (length - 1) * later


def abstract_sequence_size(*, vocab: int, length: int, eps: Exact, delta: Exact) -> int:
    """The size that the abstract gives for bounded contexts, with constant 1.

    ceil((l ln V/eps^2) ln(1/delta)): too small for total variation (`bounds.hash_bit`), loose for
    the metrics below.

    Args:
      vocab: V >= 2.
      length: l >= 1.
      eps, delta: in (0, 1).

    >>> abstract_sequence_size(vocab=4, length=8, eps=0.1, delta=0.05)
    3323

    Source: abstract of arXiv:2506.08060.
    """
    V, length = symbols_and_tokens(vocab, length)
    eps = float(probability(eps, name="eps"))
    return math.ceil(length * math.log(V) * _log(1, delta) / eps**2)


def dkw_size(*, eps: Exact, delta: Exact) -> int:
    """Samples for sup_y |Phat(y) - P(y)| <= eps over any number of outputs, with prob. 1 - delta.

    ceil(2 ln(2/delta)/eps^2). Order the outputs: a mass is a difference of two values of the
    distribution function, each within eps/2 by Dvoretzky, Kiefer, Wolfowitz and Massart.

    Args:
      eps, delta: in (0, 1).

    >>> dkw_size(eps=0.1, delta=0.05)
    738

    Source: Massart, Ann. Probab. 18 (1990); statement C2.sup.
    """
    eps = float(probability(eps, name="eps"))
    return math.ceil(2 * (math.log(2) + _log(1, delta)) / eps**2)


def sup_norm_size(*, eps: Exact, delta: Exact) -> int:
    """Samples for sup_y |Phat(y) - P(y)| <= eps, fewer than `dkw_size` at every eps and delta.

    ceil(((1 + sqrt(ln(1/delta)/2))/eps)^2). E sup <= E ||Phat - P||_2 <= sqrt(sum P (1-P)/n) <=
    1/sqrt(n), and changing one sample moves sup by at most 1/n (McDiarmid).

    Args:
      eps, delta: in (0, 1).

    >>> sup_norm_size(eps=0.1, delta=0.05)
    495

    Source: statement C2.sup.
    """
    L = _log(1, delta)
    return math.ceil(((1 + math.sqrt(L / 2)) / float(probability(eps, name="eps"))) ** 2)


def events_size(*, events: int, eps: Exact, delta: Exact) -> int:
    """Samples for |Phat(A) - P(A)| <= eps on K given events at once, with probability 1 - delta.

    ceil((ln K + ln(2/delta))/(2 eps^2)), Hoeffding and a union. The same holds for K means of
    statistics in [0, 1], hence for choosing among K classifiers by their empirical error.

    Args:
      events: K >= 1.
      eps, delta: in (0, 1).

    >>> events_size(events=4**8, eps=0.1, delta=0.05)
    739

    Source: Hoeffding 1963; statement C2.events, C4.statistic (K = 1).
    """
    eps = float(probability(eps, name="eps"))
    return math.ceil((math.log(2) + _log(events, delta, name="events")) / (2 * eps**2))


def deterministic_size(*, maps: int, eps: Exact, delta: Exact) -> int:
    """Samples after which every fitting map of a class of K errs on at most eps, w.p. 1 - delta.

    ceil((ln K + ln(1/delta))/eps): a map with error above eps fits n samples with probability below
    (1 - eps)^n <= exp(-n eps).

    Args:
      maps: K >= 1, V^l for prompts of l tokens.
      eps, delta: in (0, 1).

    >>> deterministic_size(maps=4**8, eps=0.1, delta=0.05)
    141

    Source: Occam's razor, Blumer et al. 1987; statement C2.
    """
    return math.ceil(_log(maps, delta, name="maps") / float(probability(eps, name="eps")))


def _log(count: int, delta: Exact, *, name: str = "") -> float:
    """ln(count/delta)."""
    count = whole(count, name=name, least=1)
    return math.log(count) - math.log(probability(delta, name="delta"))


def _binomial(n: int, q: float) -> np.ndarray:
    """Probabilities of Binomial(n, q), float64 [n + 1]."""
    require_table("a binomial law", n)
    k = np.arange(n + 1)
    choose = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
    return np.exp(choose + xlogy(k, q) + xlogy(n - k, 1 - q))


def _mean_log(n: int, q: float, *, shift: int) -> float:
    """E ln(B + shift), B ~ Binomial(n, q)."""
    return float(_binomial(n, q) @ np.log(np.arange(n + 1) + shift))
