"""The hash-bit family: sequence laws that no estimator learns from few samples.

k = V^l outputs, V even, in k/2 pairs that share all but the last token's low bit; P_s puts mass 2/k
on one member of each pair, chosen by a secret bit s. Autoregressively: a uniform prefix, the last
token's upper bits uniform, its low bit a hash of all that precedes it. So every prefix context is
simple, and the joint law has k/2 free bits.

With U pairs unseen, whoever puts masses a, b on an unseen pair pays on average over its bit (|2/k -
a| + b + |2/k - b| + a)/4 >= 1/k, and equality at a = b = 1/k is Bayes' answer for fair bits: its
total variation is U/k exactly.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice

import numpy as np

from icl_sim.bounds.arguments import Exact, probability, symbols_and_tokens, whole
from icl_sim.errors import InputError

OCCUPANCY_LIMIT = 10**9  # bins times samples: some seconds
_NEGLIGIBLE = 1e-290


def hash_bit_outputs(*, vocab: int, length: int) -> int:
    """K = V^l, the outputs of the family.

    Args:
      vocab: V >= 2, even.
      length: l >= 1.

    Raises:
      InputError: an argument out of range, an odd V, or V^l above 2^1000.

    >>> hash_bit_outputs(vocab=4, length=8)
    65536
    """
    V, length = symbols_and_tokens(vocab, length)
    if V % 2:
        raise InputError(f"vocab: expected an even number of symbols to pair them, got {V}")
    if length * math.log2(V) > 1000:
        raise InputError(f"length: expected at most 2^1000 outputs, got {V}^{length}; lower it")
    return V**length


def hash_bit_risk(*, vocab: int, length: int, n: int) -> float:
    """Least possible E TV of any estimator on the family, attained by Bayes' rule with fair bits.

    E U/k = (1 - 2/k)^n / 2.

    Args:
      vocab: V >= 2, even.
      length: l >= 1.
      n: samples of the sequence law, n >= 0.

    >>> round(hash_bit_risk(vocab=4, length=8, n=3323), 3)
    0.452

    Source: statement C2.sequence.
    """
    k = hash_bit_outputs(vocab=vocab, length=length)
    return (1 - 2 / k) ** whole(n, name="n", least=0) / 2


def empirical_sequence_floor(*, vocab: int, length: int, n: int) -> float:
    """Least TV of the empirical law of n samples at the uniform law on sequences: 1 - n/k.

    At most n of the k = V^l outputs have been seen, and the others hold the rest of the mass.

    Args:
      vocab: V >= 2.
      length: l >= 1.
      n: samples, n >= 0.

    >>> round(empirical_sequence_floor(vocab=4, length=8, n=3323), 3)
    0.949

    Source: statement C2.sequence.
    """
    V, length = symbols_and_tokens(vocab, length)
    n = whole(n, name="n", least=0)
    logarithm = length * math.log(V)
    return max(0.0, 1 - n * math.exp(-logarithm)) if logarithm < 700 else 1.0


def hash_bit_failure(*, vocab: int, length: int, n: int, eps: Exact) -> float:
    """Lower bound on P(TV > eps) of every estimator, for some member of the family.

    The larger of 1 - exp(-(u - eps k)^2/(2 u)), with u = k/2 - n > eps k unseen pairs at least, and
    ((1 - 2/k)^n / 2 - eps)/(1 - eps).

    Proof. Given the data, the costs of the unseen pairs are independent over their fair bits; each
    has mean >= 1/k and takes two values at most 2/k apart (x -> |x - a| - a moves within [-x, x]).
    Hoeffding: P(TV <= eps) <= exp(-2 (U/k - eps)^2/(4 U/k^2)), which falls in U >= u. The second
    is E TV <= eps + (1 - eps) P(TV > eps). Averages over s are at most the worst s.

    Args:
      vocab: V >= 2, even.
      length: l >= 1.
      n: samples, n >= 0.
      eps: in (0, 1).

    Returns:
      The bound; 0 where it says nothing. For n <= k/8 it is at least (3/8 - eps)/(1 - eps).

    >>> hash_bit_failure(vocab=4, length=8, n=3323, eps=0.1)
    1.0

    Source: statement C2.sequence (the second bound).
    """
    k = hash_bit_outputs(vocab=vocab, length=length)
    n, eps = whole(n, name="n", least=0), float(probability(eps, name="eps"))
    unseen = k / 2 - n
    tail = -math.expm1(-((unseen - eps * k) ** 2) / (2 * unseen)) if unseen > eps * k else 0.0
    mean = (hash_bit_risk(vocab=vocab, length=length, n=n) - eps) / (1 - eps)
    return max(tail, mean, 0.0)


def hash_bit_bayes_failure(*, vocab: int, length: int, n: int, eps: Exact) -> float:
    """P(TV > eps) of Bayes' rule with fair bits, exactly: P(U > eps k).

    Args:
      vocab: V >= 2, even.
      length: l >= 1.
      n: samples, n >= 0.
      eps: in (0, 1); ">" is strict.

    Raises:
      InputError: an argument out of range, or k n beyond OCCUPANCY_LIMIT where it would matter.

    >>> hash_bit_bayes_failure(vocab=2, length=2, n=2, eps=0.1)  # two pairs; both seen with 1/2
    0.5

    Source: occupancy of k/2 equally likely pairs.
    """
    k = hash_bit_outputs(vocab=vocab, length=length)
    n, eps = whole(n, name="n", least=0), probability(eps, name="eps")
    if k // 2 - n > eps * k:
        return 1.0
    missing = k // 2 - np.arange(k // 2 + 1)
    least = math.floor(eps * k) + 1
    return float(occupancy_law(bins=k // 2, n=n)[missing >= least].sum())


def hash_bit_length(*, vocab: int, scale: float) -> int:
    """The length from which on scale * l <= V^l / 8, so that the claim's size is far too small.

    l/V^l falls with l when V >= 2, so what holds at one length holds at all longer ones. At
    scale = C ln V ln(1/delta)/eps^2 this refutes the abstract's order with constant C.

    Args:
      vocab: V >= 2, even.
      scale: samples per output token, > 0.

    >>> [hash_bit_length(vocab=2, scale=C * 207.6) for C in (1, 2, 4, 8)]
    [15, 16, 17, 18]

    Source: statement C2.sequence.
    """
    if not 0 < scale < math.inf:
        raise InputError(f"scale: expected a positive number of samples per token, got {scale}")
    length = 1
    while 8 * scale * length > hash_bit_outputs(vocab=vocab, length=length):
        length += 1
    return length


def occupancy_law(*, bins: int, n: int) -> np.ndarray:
    """Law of the number of distinct bins hit by n uniform draws: float64 [bins + 1].

    One draw at a time, masses below 1e-290 dropped: P_(t+1)(d) = P_t(d) d/bins + P_t(d - 1) (bins -
    d + 1)/bins, non-negative terms.

    Args:
      bins: at least 1.
      n: draws, n >= 0.

    Raises:
      InputError: an argument out of range, or bins * n above OCCUPANCY_LIMIT.

    >>> occupancy_law(bins=2, n=2).tolist()
    [0.0, 0.5, 0.5]
    """
    bins, n = whole(bins, name="bins", least=1), whole(n, name="n", least=0)
    if bins * n > OCCUPANCY_LIMIT:
        raise InputError(f"n: expected bins * n of at most {OCCUPANCY_LIMIT}, got {bins * n}")
    return next(islice(occupancies(bins), n, None)).copy()


def occupancies(bins: int) -> Iterator[np.ndarray]:
    """`occupancy_law` for n = 0, 1, 2, ..., each array valid until the next is asked for."""
    distinct = np.arange(bins + 1)
    law = np.zeros(bins + 1)
    law[0] = 1.0
    low = high = 0  # law is zero outside
    while True:
        yield law
        here = slice(low, high + 1)
        moved = law[here] * ((bins - distinct[here]) / bins)
        law[here] *= distinct[here] / bins
        law[low + 1 : high + 2] += moved[: bins - low]  # from `bins` nothing moves on
        high = min(high + 1, bins)
        while law[low] < _NEGLIGIBLE:  # before the numbers become denormal, and slow
            law[low] = 0.0
            low += 1
        while law[high] < _NEGLIGIBLE:
            law[high] = 0.0
            high -= 1
