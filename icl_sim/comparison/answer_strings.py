"""How far the laws of l answers are from the truth's, each output leading to the next context.

The truth is a chain, P(y_1 ... y_l | c) = P(y_1 | c) P(y_2 | y_1) ...; so is a route that answers
every query from the data alone. A route that reads its own answers has the law that it decodes by
(`icl_sim.predictors.self_reading`). Where the strings are too many to enumerate, some are drawn
from the truth P and scored: TV(P, Q) = E max(0, 1 - Q(y)/P(y)) over y from P, without bias.

Letters: R copies, m = V contexts and outputs, l answers, S drawn strings.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple

import jax
import numpy as np

from icl_sim.predictors.self_reading import Prompt, string_laws, string_scores

LENGTHS = (1, 2, 4)
STRINGS = 1 << 14  # more than these are not enumerated
DRAWN = 1024  # S


class Decoded(NamedTuple):
    """What a route says of strings of answers.

    laws: [..., m, V^l] of the longest strings that are enumerated.
    scores: [..., m, S, l], probabilities of the drawn strings' first 1 to l answers; None without.
    """

    laws: Any
    scores: Any = None


def enumerated(vocab: int) -> int:
    """The largest of LENGTHS whose strings are enumerated.

    >>> enumerated(8), enumerated(16)
    (4, 2)
    """
    return max((n for n in LENGTHS if vocab**n <= STRINGS), default=1)


def drawn_shape(vocab: int) -> tuple[int, int, int]:
    """(m, S, l) of the strings drawn for a copy; S = 0 where all are enumerated.

    >>> drawn_shape(8), drawn_shape(16)
    ((8, 0, 4), (16, 1024, 4))
    """
    longest = max(LENGTHS)
    return vocab, 0 if enumerated(vocab) == longest else DRAWN, longest


def decode(prompt: Prompt, drawn: jax.Array) -> Decoded:
    """What a route that reads its own answers says; ``drawn`` int32 [m, S, l], S may be 0."""
    V = len(prompt.outputs)
    laws = string_laws(prompt, enumerated(V))
    return Decoded(laws, string_scores(prompt, drawn) if drawn.shape[1] else None)


def sequence_laws(laws: np.ndarray, length: int) -> np.ndarray:
    """float64 [..., m, V^length]: the law of ``length`` symbols of a chain.

    Args:
      laws: [..., m, V] with m = V.
      length: l.

    >>> sequence_laws(np.array([[0.5, 0.5], [0.0, 1.0]]), 2)
    array([[0.25, 0.25, 0.  , 0.5 ],
           [0.  , 0.  , 0.  , 1.  ]])
    """
    laws = np.asarray(laws, np.float64)
    joint = laws
    for _ in range(length - 1):
        # The first symbol is y; what follows it is the law of the shorter string in context y.
        joint = (laws[..., :, :, None] * joint[..., None, :, :]).reshape(*laws.shape[:-1], -1)
    return joint


class AnswerStrings:
    """The strings at which routes are compared with the truth.

    Args:
      truth: [R, m, V], m = V.
    """

    def __init__(self, truth: np.ndarray) -> None:
        self._truth = np.asarray(truth, np.float64)

    @cached_property
    def drawn(self) -> np.ndarray:
        """int32 [R, m, S, l]: answers that the truth gives; S = 0 where all are enumerated."""
        copies, m, _ = self._truth.shape
        size = drawn_shape(m)[1]
        copy = np.arange(copies)[:, None, None]
        at = np.broadcast_to(np.arange(m)[:, None], (copies, m, size))
        below = self._truth.cumsum(axis=-1)[..., :-1]
        rng, strings = np.random.default_rng(0), []
        for _ in range(max(LENGTHS)):
            at = (rng.random(at.shape)[..., None] >= below[copy, at]).sum(axis=-1)
            strings.append(at)
        return np.stack(strings, axis=-1).astype(np.int32)

    def chain(self, laws: np.ndarray) -> np.ndarray:
        """`distances` of a route that answers every query from the data alone: laws [R, m, V]."""
        return self.distances(self._chain(laws, slice(None)))

    def distances(self, found: Decoded, first: int = 0) -> np.ndarray:
        """float64 [len(LENGTHS), r, m]: total variation to the truth.

        Args:
          found: of copies first, first + 1, ....
          first: number of the first copy.
        """
        copies = slice(first, first + len(found.laws))
        truth = self._chain(self._truth[copies], copies)
        return np.stack([_distance(found, truth, length) for length in LENGTHS])

    def _chain(self, laws: np.ndarray, copies: slice) -> Decoded:
        laws = np.asarray(laws, np.float64)
        drawn = self.drawn[copies]
        r, m, S, _ = drawn.shape
        contexts = np.broadcast_to(np.arange(m)[:, None, None], (r, m, S, 1))
        before = np.concatenate([contexts, drawn[..., :-1]], axis=-1)
        each = laws[np.arange(r)[:, None, None, None], before, drawn]
        return Decoded(sequence_laws(laws, enumerated(m)), each.cumprod(axis=-1))


def _distance(found: Decoded, truth: Decoded, length: int) -> np.ndarray:
    """float64 [r, m]: total variation of the laws of ``length`` answers."""
    m = truth.laws.shape[-2]
    if length <= enumerated(m):
        p, q = (
            np.asarray(route.laws, np.float64).reshape(*truth.laws.shape[:2], m**length, -1).sum(-1)
            for route in (truth, found)
        )
        return np.asarray(np.abs(p - q).sum(axis=-1) / 2)
    p, q = (np.asarray(route.scores[..., length - 1], np.float64) for route in (truth, found))
    return np.asarray(np.maximum(0, 1 - q / p).mean(axis=-1))
