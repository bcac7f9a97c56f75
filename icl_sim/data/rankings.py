"""Retrieval that scores: which demonstrations are shown for which query, and what is missed.

Letters: m queries, N demonstrations, K of them shown, D width of an embedding.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from icl_sim.data.text_pairs import HeldOut, LanguageData
from icl_sim.errors import InputError
from icl_sim.execution.signatures import checked

# BM25's saturation of repeated words, and its correction for length, as in Lucene.
K1, B = 1.2, 0.75
WORDS = r"\w+|[^\w\s]"


@checked
def bm25_scores(queries: Sequence[str], texts: Sequence[str]) -> np.ndarray:
    """Okapi BM25 of each text for each query, float64 [m, N].

    The sum over the query's words w of ln(1 + (N - N_w + 1/2)/(N_w + 1/2)) times
    f (K1 + 1)/(f + K1 (1 - B + B length/mean length)), where f is how often w stands in the text
    and N_w how many texts have it. A word that stands twice in the query counts twice.

    Args:
      queries, texts: words are letters and digits in a row, or one other character; case is
        ignored.

    >>> scores = bm25_scores(["the red hat"], ["a red coat", "the hat", "the sea", "blue"])
    >>> scores.argmax(), scores[0, 3]
    (np.int64(1), np.float64(0.0))

    Source: Robertson and Zaragoza, The probabilistic relevance framework, 2009; the logarithm that
    is never negative is Lucene's.
    """
    from sklearn.feature_extraction.text import CountVectorizer  # which takes a second

    words = CountVectorizer(token_pattern=WORDS)
    try:
        found = words.fit_transform(texts).astype(np.float64).tocsr()
    except ValueError:  # no word in any text
        return np.zeros((len(queries), len(texts)))
    N = found.shape[0]
    having = np.bincount(found.indices, minlength=found.shape[1])
    weight = np.log1p((N - having + 0.5) / (having + 0.5))
    length = np.asarray(found.sum(axis=1)).ravel()
    longer = K1 * (1 - B + B * length / length.mean())
    f = found.data
    found.data = f * (K1 + 1) / (f + longer.repeat(np.diff(found.indptr)))
    found.data *= weight[found.indices]
    scores: np.ndarray = (words.transform(queries) @ found.T).toarray()
    return scores


def cosine_scores(queries: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """Cosine of each query's embedding and each text's, float64 [m, N]; 0 for a vector of zeros.

    Args:
      queries: [m, D].
      texts: [N, D].

    >>> cosine_scores(np.array([[3.0, 4.0]]), np.array([[6.0, 8.0], [0.0, 0.0]])).tolist()
    [[1.0, 0.0]]
    """
    pair = [np.asarray(rows, np.float64) for rows in (queries, texts)]
    if any(rows.ndim != 2 for rows in pair) or pair[0].shape[1] != pair[1].shape[1]:
        raise InputError(
            f"embeddings: expected [m, D] and [N, D], got {pair[0].shape} and {pair[1].shape}"
        )
    unit = []
    for rows in pair:
        norm = np.linalg.norm(rows, axis=1, keepdims=True)
        unit.append(rows / np.where(norm > 0, norm, 1))
    return unit[0] @ unit[1].T


@checked
def retrieve(scores: np.ndarray, k: int) -> np.ndarray:
    """The K demonstrations of the largest scores for each query, int64 [m, K], the best first.

    Among equals the earlier one is first. K is the lesser of ``k`` and N.

    Args:
      scores: [m, N], no NaN.
      k: demonstrations that are shown, k >= 0.

    >>> retrieve(np.array([[0.0, 2.0, 1.0, 2.0]]), 3).tolist()
    [[1, 3, 2]]
    """
    scores = np.asarray(scores)
    if scores.ndim != 2 or np.isnan(scores).any():
        raise InputError(f"scores: expected [m, N] without NaN, got {scores.shape}")
    if k < 0:
        raise InputError(f"k: expected 0 or more demonstrations, got {k}")
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]


def recall_at(chosen: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """The share of the relevant demonstrations that are shown, float64 [m]; NaN if there are none.

    Args:
      chosen: int [m, K], distinct numbers in a row, as of `retrieve`.
      relevant: bool [m, N], as of `icl_sim.data.text_pairs.equal_prompts` or `equal_labels`.

    >>> relevant = np.array([[True, False, True], [False, False, False]])
    >>> recall_at(np.array([[0], [1]]), relevant).tolist()
    [0.5, nan]
    """
    return _share(chosen, relevant, relevant.sum(axis=1))


def precision_at(chosen: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """The share of what is shown that is relevant, float64 [m]; one minus the contamination.

    Args:
      chosen, relevant: see `recall_at`.

    >>> precision_at(np.array([[0, 1]]), np.array([[True, False, True]])).tolist()
    [0.5]
    """
    return _share(chosen, relevant, np.full(len(chosen), chosen.shape[1]))


def equal_labels(data: LanguageData, truth: HeldOut) -> np.ndarray:
    """Whether a demonstration's completion is one of the query's held-out ones: bool [m, N]."""
    return np.array(
        [[pair.completion in labels for pair in data.demonstrations] for labels in truth.labels],
        dtype=bool,
    ).reshape(len(truth.labels), len(data.demonstrations))


def _share(chosen: np.ndarray, relevant: np.ndarray, of: np.ndarray) -> np.ndarray:
    hits = np.take_along_axis(relevant, chosen, axis=1).sum(axis=1)
    return np.where(of > 0, hits / np.maximum(of, 1), np.nan)
