"""Choosing among K prompts of one base model: what l log V really buys (statement C2.elicitation).

The target is the base under some prompt, M_ft(.|x) = M_base(.|z*, x), z* of l_z tokens, K = V^l_z.
Joint laws P_z of (input, whole output) are compared in total variation; h^2 = 1 - sum sqrt(P Q).
Here l_z is the *prompt's* length; the outputs may be as long as they like.
"""

from __future__ import annotations

import math

import numpy as np

from icl_sim.bounds.arguments import Exact, probability, whole
from icl_sim.errors import InputError


def elicitation_size(*, prompts: int, eps: Exact, delta: Exact) -> int:
    """Samples after which the likeliest of K prompts has TV <= eps, with probability 1 - delta.

    n = ceil(2 (ln K + ln(1/delta))/eps^2). A prompt z at TV > eps beats z* in likelihood with
    probability at most E sqrt(prod P_z/P_z*) = (1 - h^2)^n (Markov), and h^2 >= TV^2/2. Union.

    Args:
      prompts: K >= 1, V^l_z for prompts of l_z tokens.
      eps, delta: in (0, 1).

    >>> elicitation_size(prompts=4**4, eps=0.1, delta=0.05)
    1709

    Source: statement C2.elicitation.
    """
    K, eps, delta = _arguments(prompts, eps, delta)
    return math.ceil(2 * (math.log(K) - math.log(delta)) / eps**2)


def elicitation_failure(*, prompts: int, n: int, eps: Exact) -> float:
    """Upper bound on P(TV > eps) of the likeliest of K prompts: (K - 1) (1 - eps^2)^(n/2).

    As `elicitation_size`, with 1 - h^2 <= sqrt(1 - TV^2) (Cauchy-Schwarz on P +- Q).

    Args:
      prompts: K >= 1.
      n: samples, n >= 0.
      eps: in (0, 1).

    >>> elicitation_failure(prompts=256, n=1709, eps=0.1) < 0.05
    True

    Source: statement C2.elicitation.
    """
    K, eps, _ = _arguments(prompts, eps, "1/2")
    return min(1.0, (K - 1) * (1 - eps**2) ** (whole(n, name="n", least=0) / 2))


def misspecified_size(*, prompts: int, eps: Exact, delta: Exact) -> int:
    """Samples for TV <= 3 tau + eps, where no prompt is nearer to the target than tau.

    n = ceil(2 (ln K(K-1) + ln(1/delta))/eps^2), for the minimum-distance choice over the K(K-1)/2
    Scheffe sets A_ij = {P_i > P_j}, i < j: take the z with the least W(z) = max_A |P_z(A) -
    Phat(A)|.

    Proof. With Delta = max_A |P(A) - Phat(A)|, the best prompt has W <= tau + Delta, hence so has
    the chosen one; their distance is the difference of their masses on one of the sets (TV is
    attained on {P_i > P_j} and on its complement), at most the sum of the two W; so TV <= 3 tau + 2
    Delta. Hoeffding: P(Delta > eps/2) <= K(K-1) exp(-n eps^2/2).

    Args:
      prompts: K >= 2.
      eps, delta: in (0, 1).

    >>> misspecified_size(prompts=4**4, eps=0.1, delta=0.05)
    2817

    Source: Yatracos 1985; Devroye and Lugosi 2001, theorem 6.3. statement rounds K(K-1) up to K^2.
    """
    K, eps, delta = _arguments(prompts, eps, delta)
    if K < 2:
        raise InputError("prompts: expected at least 2 prompts to compare, got 1")
    return math.ceil(2 * (math.log(K * (K - 1)) - math.log(delta)) / eps**2)


def elicitation_necessary(*, prompts: int, eps: Exact, delta: Exact, proper: bool = True) -> float:
    """Samples that every rule needs for TV <= eps with probability 1 - delta, on some family of K.

    n >= ((1 - delta) ln K - ln 2)/(s ln((1 + 2 s)/(1 - 2 s))), where s = eps for rules that answer
    with one of the prompts and s = 2 eps for all rules.

    Proof. The family of `hadamard_signs`: x uniform, y = +-1 with mean g c_z(x), codewords
    agreeing on half of the x. Then TV = g/2, and KL = (g/2) ln((1 + g)/(1 - g)). For every g > 2
    s, a rule that is within eps identifies z, so Fano: 1 - delta <= (n KL + ln 2)/ln K. Let g fall
    to 2 s.

    Args:
      prompts: K >= 2.
      eps: in (0, 1/2), or (0, 1/4) for all rules.
      delta: in (0, 1).
      proper: whether only rules that answer with a prompt of the family are meant.

    >>> round(elicitation_necessary(prompts=256, eps=0.1, delta=0.05), 1)
    112.8

    Source: statement C2.elicitation has a Varshamov code (agreement up to 3/4) for the equidistant
    one, hence about 8 times less: (1 - 16 eps^2)((1 - delta) ln K - ln 2)/(32 eps^2).
    """
    K, eps, delta = _arguments(prompts, eps, delta)
    separation = eps if proper else 2 * eps
    if K < 2 or separation >= 0.5:
        limit = "1/2" if proper else "1/4"
        raise InputError(f"expected at least 2 prompts and eps below {limit}, got {K} and {eps}")
    divergence = separation * math.log((1 + 2 * separation) / (1 - 2 * separation))
    return max(0.0, ((1 - delta) * math.log(K) - math.log(2)) / divergence)


def hadamard_signs(*, prompts: int) -> np.ndarray:
    """K equidistant codewords: rows of Sylvester's matrix, any two of which agree on half of it.

    Args:
      prompts: K >= 2.

    Returns:
      int8 [K, X] of +-1, X = 2^r inputs, the least power of two >= K.

    >>> hadamard_signs(prompts=3)
    array([[ 1,  1,  1,  1],
           [ 1, -1,  1, -1],
           [ 1,  1, -1, -1]], dtype=int8)
    """
    signs = np.ones((1, 1), dtype=np.int8)
    while len(signs) < whole(prompts, name="prompts", least=2):
        signs = np.block([[signs, signs], [signs, -signs]])
    return signs[:prompts]


def _arguments(prompts: int, eps: Exact, delta: Exact) -> tuple[int, float, float]:
    K = whole(prompts, name="prompts", least=1)
    return K, float(probability(eps, name="eps")), float(probability(delta, name="delta"))
