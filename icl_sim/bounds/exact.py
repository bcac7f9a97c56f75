"""P(TV > eps) of the empirical law at the uniform law: exact, without sampling, at any n.

Letters: V symbols; n samples; c_i counts; k = floor(n/V); J = number of c_i > k, that is of
c_i > n/V; A = their total. Then n TV = sum_i (c_i - n/V)_+ = A - n J/V, so TV > eps is the
comparison V A - n J > V n eps of integers with a fraction, and ties are decided exactly.

**Formula.**  The multinomial is V independent Poisson(r) counts given that their sum is n, for any
rate r. Let f- and f+ be the Poisson(r) mass cut to c <= k and to c > k. Then P(TV > eps) is

    sum_j C(V, j) sum_{a: V a - n j > V n eps} [f+^j]_a [f-^(V-j)]_(n-a) / Pois(n; V r)

with convolution powers: sums of products of non-negative numbers, so no cancellation anywhere.

**Tilt.**  f+ is rewritten through a Poisson law of a larger rate r e^t, whose excess weight
e^{t(a - k j)} is divided out again term by term: an identity for every t >= 0. r and t are chosen
so that under the tilted law P* a count's mean is n/V and the mean of n TV is n eps. The event is
then typical, however rare it was, and all that follows stays far from underflow.

**Error.**  Powers are kept on windows; each cut is entered as lost mass (`lattice.Mass`). Let q
be the tilted probability that a count exceeds k. Under P* the terms of a given j weigh
Binomial(V, q)(j), and each misses at most (lost of g+^j) + (lost of g-^(V-j)), g+ and g- the
normalized masses, since the other factor is a probability. Every term carries
e^{-t(n TV - n eps)} <= 1. Hence the exact value lies in

    [computed, computed + B lost],   B = Z^V e^{-t n eps} / Pois(n; V r)  (Chernoff's bound),
    lost = sum_j Binomial(V, q)(j) (lost of g+^j + lost of g-^(V-j)) + the j left out,

with Z the mass of one count before normalization. The ratio B lost/computed is *measured*, and the
cut is lowered until it is below RELATIVE_ERROR/2. Rounding: an entry passes at most V convolutions
of width w, each an inner product of non-negative numbers, and so gathers at most 2 V w 2^-53;
problems too large to keep this below RELATIVE_ERROR/2 are refused (`obstacle`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from functools import partial

import numpy as np
from scipy.special import gammainc, gammaincc

from icl_sim.bounds.arguments import (
    Exact,
    exact_law,
    over_contexts,
    probability,
    whole,
)
from icl_sim.bounds.enclosures import failure_enclosure
from icl_sim.bounds.lattice import Mass, log_binomial, log_poisson, powers, trim, truncated_poisson
from icl_sim.errors import InputError
from icl_sim.execution.memory_guard import require
from icl_sim.execution.signatures import checked

RELATIVE_ERROR = 1e-9
WORK_LIMIT = 1e11  # multiply-adds of one evaluation: about a minute on one core
_CUTS = (1e-22, 1e-44, 1e-88, 1e-176)
_ENCLOSURE_TOLERANCE = 1e-6


@checked
def exact_failure_probability(
    *,
    vocab: int,
    n: int,
    eps: Exact,
    law: Sequence[Exact] | None = None,
    contexts: int = 1,
) -> float:
    """P(TV > eps) between a law and the empirical law of n samples, on some of m contexts.

    1 - (1 - P(TV > eps))^m, with TV = sum_i |c_i/n - p_i| / 2 and m independent contexts of n
    samples each. The uniform law and every law on two symbols: relative accuracy 1e-9, down to the
    smallest float. Any other law: the midpoint of `failure_enclosure`, if that is narrower than
    1e-6 of its midpoint, which holds whenever the n p_i have a small common denominator.

    Args:
      vocab: V >= 2 symbols.
      n: samples per context, at least 1.
      eps: in (0, 1), taken as the decimal number that was written; ">" is strict.
      law: V probabilities; the uniform law by default.
      contexts: m >= 1.

    Returns:
      The probability, in [0, 1].

    Raises:
      InputError: an argument out of range, a computation beyond WORK_LIMIT, or a law for which no
        sufficiently narrow enclosure was found.

    >>> round(exact_failure_probability(vocab=32, n=304, eps=0.15), 6)
    0.095671
    >>> round(exact_failure_probability(vocab=2, n=10, eps="2/5"), 12)  # ten heads or ten tails
    0.001953125

    Source: statement C1.token; the multinomial as conditioned Poissons is classical.
    """
    vocab, n = whole(vocab, name="vocab", least=2), whole(n, name="n", least=1)
    contexts = whole(contexts, name="contexts", least=1)
    eps = probability(eps, name="eps")
    masses = None if law is None else exact_law(law, vocab=vocab)
    if vocab == 2:
        failure = binomial_tail(n, eps, masses[0] if masses else Fraction(1, 2))
    elif masses is None or len(set(masses)) == 1:
        if why := obstacle(vocab, n):
            raise InputError(
                f"n: vocab {vocab}, n {n} is too large for the exact probability, which {why}; "
                "lower n or vocab"
            )
        failure = float(uniform_tails(vocab, range(n, n + 1), eps)[0])
    else:
        found = failure_enclosure(law=masses, n=n, eps=eps)
        if found.high - found.low > _ENCLOSURE_TOLERANCE * (found.high + found.low) / 2:
            raise InputError(
                f"law: expected one whose n p_i have a small common denominator; this one is only "
                f"known to lie in [{found.low:.6g}, {found.high:.6g}]: use failure_enclosure"
            )
        failure = (found.low + found.high) / 2
    return over_contexts(min(failure, 1.0), contexts)


def binomial_tail(n: int, eps: Fraction, p: Fraction) -> float:
    """P(|c/n - p| > eps) for c ~ Binomial(n, p), which is P(TV > eps) on two symbols."""
    above = n * (p + eps).numerator // (p + eps).denominator + 1
    below = n * (1 - p + eps).numerator // (1 - p + eps).denominator + 1  # of n - c
    return _upper_tail(above, n, p) + _upper_tail(below, n, 1 - p)


def _upper_tail(k: int, n: int, p: Fraction) -> float:
    """P(Binomial(n, p) >= k) for k above the mean: the terms fall, by known ratios."""
    if k > n or p == 0:
        return 0.0
    require("an exact tail", partial(_tail_bytes, p), host=True, n=n)
    terms = _tail_terms(p, n)
    c = np.arange(k, min(n, k + terms), dtype=np.float64)
    ratios = (n - c) / (c + 1) * float(p / (1 - p))
    first = log_binomial(k, n, float(p), float(1 - p))
    return math.exp(first) * (1 + float(np.cumprod(ratios).sum()))


def _tail_terms(p: Fraction, n: int) -> int:
    """Terms of a binomial tail: 12 standard deviations."""
    return math.ceil(12 * math.sqrt(n * p * (1 - p))) + 80


def _tail_bytes(p: Fraction, n: int) -> int:
    """Memory of `_upper_tail` at its peak: counts, ratios and their products, and between them."""
    return 40 * min(n, _tail_terms(p, n))


def uniform_tails(vocab: int, sizes: range, eps: Fraction) -> np.ndarray:
    """P(TV > eps) at the uniform law for consecutive n of one floor(n/V): float64 [len(sizes)]."""
    if eps >= 1 - Fraction(1, vocab):
        return np.zeros(len(sizes))  # the largest TV is 1 - 1/V
    require("an exact tail", tails_bytes, host=True, n=sizes[-1], vocab=vocab)
    return _certified(vocab, sizes, eps, aim=eps, hinge=False)


def convex_order_bound(vocab: int, n: int, eps: Fraction) -> float:
    """An upper bound on P(TV > eps) at the uniform law that holds at n *and at every larger n*.

    The empirical law of n + 1 samples is the average of those that leave one out, so TV_n is a
    reversed submartingale and E phi(TV_n) falls with n for every increasing convex phi. With
    phi(x) = (x - b)_+ and Markov's inequality, for every n' >= n and b < eps

        P(TV_n' > eps) <= E (TV_n - b)_+ / (eps - b).

    The best b has E(TV_n | TV_n > b) = eps; an exponential tail of rate t per sample has mean
    excess 1/t, hence b = eps - 1/(t n). In the far tail the bound is about e P(TV_n > eps).
    """
    if eps >= 1 - Fraction(1, vocab):
        return 0.0
    rate, tilted = _tilt(vocab, n, eps)
    tilt = math.log(tilted / rate)
    if tilt <= 0:
        return 1.0  # the mean of TV is eps or more
    gap = min(max(Fraction(1 / (tilt * n)), eps / 10**6), eps)
    excess = _certified(vocab, range(n, n + 1), eps - gap, aim=eps, hinge=True)[0]
    return min(1.0, float(excess) / float(gap) * (1 + RELATIVE_ERROR))


def work(vocab: int, n: int) -> float:
    """About how many multiply-adds one evaluation of `uniform_tails` takes."""
    window = 12 * math.sqrt(n) + 20
    return 2 * min(vocab, 20 * math.sqrt(vocab)) * _count_width(vocab, n) * window


def obstacle(vocab: int, n: int) -> str | None:
    """Which limit an evaluation breaks, on work or, see above, on rounding; None if neither."""
    if (needed := work(vocab, n)) > WORK_LIMIT:
        return f"may take {WORK_LIMIT:.0e} multiply-adds and needs {needed:.0e}"
    rounding = 2 * vocab * _count_width(vocab, n) * 2.0**-53
    if rounding > RELATIVE_ERROR / 2:
        return f"may lose {RELATIVE_ERROR / 2:.0e} of itself to rounding and loses {rounding:.1e}"
    return None


def tails_bytes(vocab: int, n: int) -> int:
    """Memory of an evaluation of `uniform_tails` at its peak.

    The powers of both masses, about 20 sqrt(V) of each on windows of about 9 sqrt(n), which grow
    by a quarter where a cut has to be lowered.
    """
    window = 11 * math.isqrt(n) + 20
    return 16 * min(vocab, 20 * math.isqrt(vocab) + 20) * window


def _count_width(vocab: int, n: int) -> float:
    """About how many values one count takes."""
    return 24 * math.sqrt(n / vocab) + 20


def _certified(
    vocab: int, sizes: range, level: Fraction, *, aim: Fraction, hinge: bool
) -> np.ndarray:
    """`_expectation` with its relative truncation error below RELATIVE_ERROR/2."""
    for cut in _CUTS:
        values, errors = _expectation(vocab, sizes, level, aim, cut, hinge)
        if np.all(errors <= RELATIVE_ERROR / 2):
            return values
    raise InputError(
        f"eps: a tail this far out at vocab {vocab}, n {sizes.start} cannot be summed in floats to "
        f"a relative accuracy of {RELATIVE_ERROR:g}; lower eps, n or vocab, or use a bound"
    )


def _expectation(
    vocab: int, sizes: range, level: Fraction, aim: Fraction, cut: float, hinge: bool
) -> tuple[np.ndarray, np.ndarray]:
    """P(TV > level), or E (TV - level)_+ with `hinge`, and the relative error of truncation.

    The tilt makes TV = aim typical; it decides about speed alone.

    The convolution powers do not depend on n as long as k = floor(n/V) does not, so consecutive
    sizes share them; each costs only its own inner products.
    """
    k = sizes.start // vocab
    rate, tilted = _tilt(vocab, sizes[len(sizes) // 2], aim)
    tilt = math.log(tilted / rate)
    below, log_below = truncated_poisson(rate, 0, k)
    above, log_above = truncated_poisson(tilted, k + 1, None)
    log_above += tilted - rate - tilt * k
    log_total = float(np.logaddexp(log_above, log_below))
    p, q = math.exp(log_above - log_total), math.exp(log_below - log_total)
    chosen = np.exp([log_binomial(j, vocab, p, q) for j in range(vocab + 1)])
    counts = trim(Mass(0, chosen), cut)
    ups = powers(above, counts.first, counts.last, cut)
    downs = powers(below, vocab - counts.last, vocab - counts.first, cut)[::-1]
    lost = counts.lost + sum(
        weight * (up.lost + down.lost)
        for weight, up, down in zip(counts.values, ups, downs, strict=True)
    )

    origin = float(sizes.start * level)  # in samples: least n TV that counts, over these sizes
    terms = np.zeros((len(sizes), len(ups)))
    for column, (up, down) in enumerate(zip(ups, downs, strict=True)):
        j = counts.first + column
        # V a > n j + V n level, over all these sizes: the smallest a that ever counts.
        start = max(up.first, _least_total(vocab, sizes.start, j, level))
        a = np.arange(start, up.last + 1)
        weights = up.values[start - up.first :] * np.exp(-tilt * (a - (k * j + origin)))
        weights *= counts.values[column]
        for row, n in enumerate(sizes):
            first = max(start, n - down.last, _least_total(vocab, n, j, level))
            last = min(up.last, n - down.first)
            if first > last:
                continue
            left = weights[first - start : last + 1 - start]
            right = down.values[n - last - down.first : n - first - down.first + 1][::-1]
            if hinge:
                excess = float(first - Fraction(n * j, vocab) - n * level)
                left = left * (excess + np.arange(len(left)))
            terms[row, column] = left @ right

    sums = terms.sum(axis=1)
    norms = np.array([log_poisson(n, vocab * rate) for n in sizes])
    with np.errstate(divide="ignore"):
        scale = vocab * log_total - tilt * origin - norms
        values = np.exp(scale + np.log(sums))
        # n (TV - level) <= n bounds the hinge.
        errors = lost * (np.array(sizes) if hinge else 1.0) / sums
    return (values / np.array(sizes) if hinge else values), errors


def _least_total(vocab: int, n: int, j: int, level: Fraction) -> int:
    """The smallest integer a with V a - n j > V n level."""
    return (n * j * level.denominator + vocab * n * level.numerator) // (
        vocab * level.denominator
    ) + 1


def _tilt(vocab: int, n: int, eps: Fraction) -> tuple[float, float]:
    """Rates (r, r e^t) below and above n/V under which the means are E c = n/V, E n TV >= n eps.

    Newton's method, with step halving, on the convex function ln Z - (sum of parameter * wanted
    mean) of t and ln r. Any pair gives the same probability: this one only makes it cheap.
    """
    mean, k = n / vocab, n // vocab
    excess = mean * float(eps)  # wanted: E (c - mean) 1{c > k}

    def statistics(t: float, x: float) -> tuple[float, np.ndarray, np.ndarray]:
        rate, tilted = math.exp(x), math.exp(x + t)
        down = [gammaincc(max(k + 1 - i, 0), rate) for i in range(3)]  # P(c <= k - i)
        up = [gammainc(max(k + 1 - i, 0), tilted) for i in range(3)]  # P(c > k - i)
        logs = np.array([rate + math.log(down[0]), tilted - t * mean + math.log(up[0])])
        log_z = np.logaddexp(*logs)
        p, q = np.exp(logs - log_z)
        d1, d2 = rate * down[1] / down[0], rate**2 * down[2] / down[0]  # factorial moments
        u1, u2 = tilted * up[1] / up[0], tilted**2 * up[2] / up[0]
        low, low2 = d1 - mean, d2 + d1 - 2 * mean * d1 + mean**2
        high, high2 = u1 - mean, u2 + u1 - 2 * mean * u1 + mean**2
        gradient = np.array([q * high - excess, q * high + p * low])
        second = np.array([[q * high2, q * high2], [q * high2, q * high2 + p * low2]])
        first = np.array([q * high, q * high + p * low])
        return float(log_z - t * excess - x * mean), gradient, second - np.outer(first, first)

    point = np.array([0.0, math.log(mean)])
    value, gradient, hessian = statistics(*point)
    if gradient[0] >= 0:
        return mean, mean  # TV exceeds eps on average: nothing to tilt
    for _ in range(100):
        step = -np.linalg.solve(hessian + 1e-14 * np.trace(hessian) * np.eye(2), gradient)
        step *= min(1.0, 1.0 / np.abs(step).max())
        while True:
            trial = statistics(*(point + step))
            if trial[0] <= value or np.abs(step).max() < 1e-9:
                break
            step /= 2
        point = point + step
        value, gradient, hessian = trial
        if np.abs(step).max() < 1e-6:
            break
    return math.exp(point[1]), math.exp(point[1] + max(point[0], 0.0))
