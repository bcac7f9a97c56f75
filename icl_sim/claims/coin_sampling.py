"""Sampling by prompt: coins from a transformer's own softmax, and laws rounded to b coins.

Letters: V outputs, b coins an output, l outputs in a sequence.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import partial

import jax
import numpy as np

from constructions.construction import Construction
from constructions.machines.universal import universal
from icl_sim.transformer import forward

Law = Sequence[Fraction]
Rounding = Callable[[Law, int], list[int]]


def universal_with_coins() -> Construction:
    """The universal transformer of 128 states and 8 symbols whose tape tokens foretell a coin."""
    return universal(states=128, symbols=8, steps=2**26, cells=2**15, coins=True)


def coin_error(construction: Construction, prefix: np.ndarray, coins: np.ndarray) -> float:
    """Total variation from b fair coins, given in turn by the model's own softmax after a prefix.

    Args:
      construction: the transformer.
      prefix: tokens [T], the last of them on the tape.
      coins: int [2^b, b], all strings of coin tokens.

    Returns:
      sum over strings of |P(string) - 2^-b| / 2, and half of the mass of all other strings.
    """
    b = coins.shape[1]
    params = {name: jax.numpy.asarray(leaf) for name, leaf in construction.params.items()}
    last = jax.jit(partial(_last_laws, construction, b))
    # A string's chance takes the laws after each of its coins but the last.
    starts = sorted({tuple(string[:-1].tolist()) for string in coins})
    laws = {
        start: np.asarray(last(params, np.array([*prefix, *start], np.int32)), np.float64)
        for start in starts
    }
    chance = np.array([laws[tuple(s[:-1].tolist())][np.arange(b), s].prod() for s in coins])
    return float(np.abs(chance - 2.0**-b).sum() + abs(1 - chance.sum())) / 2


def _last_laws(
    construction: Construction, b: int, params: dict[str, jax.Array], prompt: jax.Array
) -> jax.Array:
    return jax.nn.softmax(forward(construction.spec, params, prompt)[-b:], axis=-1)


def rounded(law: Law, b: int) -> list[int]:
    """A law in units of 2^-b: the cumulative law rounded to the nearest unit.

    Each of the V - 1 inner steps of the cumulative law moves by at most half a unit, and a move
    changes two probabilities, so the total variation is at most (V - 1) 2^-(b+1).

    Returns:
      Integers [V] of sum 2^b.

    >>> rounded([Fraction(1, 3)] * 3, 2)
    [1, 2, 1]
    """
    ends = [int(2**b * sum(law[: y + 1], Fraction(0)) + Fraction(1, 2)) for y in range(len(law))]
    return [end - start for start, end in itertools.pairwise([0, *ends])]


def sequence_error(laws: Sequence[Law], b: int, length: int, rounding: Rounding) -> Fraction:
    """Total variation in V^l between a Markov law and its rounding, by enumeration.

    Args:
      laws: row 0 of the first output, row y + 1 of what follows y.
      b: coins an output.
      length: l.
      rounding: law, b -> units.
    """
    near = [[Fraction(units, 2**b) for units in rounding(law, b)] for law in laws]
    total = Fraction(0)
    for outputs in itertools.product(range(len(laws[0])), repeat=length):
        exact = drawn = Fraction(1)
        row = 0
        for y in outputs:
            exact, drawn, row = exact * laws[row][y], drawn * near[row][y], y + 1
        total += abs(exact - drawn)
    return total / 2
