"""Retrieval: BM25 against its formula written out, and what a ranking finds and misses."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from icl_sim.data.rankings import (
    bm25_scores,
    cosine_scores,
    equal_labels,
    precision_at,
    recall_at,
    retrieve,
)
from icl_sim.data.text_pairs import equal_prompts
from icl_sim.data.text_tasks import text_task
from icl_sim.errors import InputError

TEXT = st.lists(st.sampled_from(["a", "B", "b", "cat", "?", "é"]), max_size=6).map(" ".join)


def oracle(query, texts):
    words = [re.findall(r"\w+|[^\w\s]", text.lower()) for text in texts]
    mean = sum(map(len, words)) / len(words)
    for document in words:
        score = 0.0
        for word in re.findall(r"\w+|[^\w\s]", query.lower()):
            f, having = document.count(word), sum(word in other for other in words)
            if f:
                idf = math.log(1 + (len(words) - having + 0.5) / (having + 0.5))
                score += idf * f * 2.2 / (f + 1.2 * (0.25 + 0.75 * len(document) / mean))
        yield score


@given(queries=st.lists(TEXT, min_size=1, max_size=3), texts=st.lists(TEXT, min_size=1, max_size=5))
def test_bm25_is_its_formula(queries, texts):
    expected = [list(oracle(query, texts)) for query in queries]
    np.testing.assert_allclose(bm25_scores(queries, texts), expected, rtol=1e-12, atol=1e-12)


@given(
    scores=st.lists(st.lists(st.integers(-2, 2), min_size=4, max_size=4), min_size=1, max_size=3),
    k=st.integers(0, 6),
)
def test_a_ranking_is_sorted_by_score_and_then_by_place(scores, k):
    expected = [sorted(range(4), key=lambda i: (-row[i], i))[:k] for row in scores]
    assert retrieve(np.array(scores, float), k).tolist() == expected


def test_words_find_their_own_context_and_recall_says_so():
    data, truth = text_task("tables", contexts=6, vocab=4).split(60)
    own, queries = equal_prompts(data), data.queries
    scores = bm25_scores(queries, [pair.prompt for pair in data.demonstrations])
    n = own.sum(axis=1)
    for k in (1, 5, 60):
        chosen = retrieve(scores, k)
        np.testing.assert_allclose(recall_at(chosen, own), np.minimum(k, n) / n)
        np.testing.assert_allclose(precision_at(chosen, own), np.minimum(k, n) / k)
    # At random a share K/N is found.
    at_random = retrieve(np.random.default_rng(0).random((6, 60)), 30)
    assert 0.3 < recall_at(at_random, own).mean() < 0.7
    same = equal_labels(data, truth)
    assert same.shape == (6, 60)
    assert same[0].tolist() == [pair.completion in truth.labels[0] for pair in data.demonstrations]


def test_embeddings_rank_by_the_angle():
    rng = np.random.default_rng(1)
    texts = rng.standard_normal((20, 5))
    scores = cosine_scores(texts[:3] * 7, texts * rng.uniform(1, 9, (20, 1)))
    assert retrieve(scores, 1).ravel().tolist() == [0, 1, 2]
    np.testing.assert_allclose(scores[:, :3].diagonal(), 1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: retrieve(np.array([[math.nan]]), 1), "without NaN"),
        (lambda: retrieve(np.zeros(3), 1), r"expected \[m, N\]"),
        (lambda: retrieve(np.zeros((1, 3)), -1), "0 or more"),
        (lambda: cosine_scores(np.zeros((1, 2)), np.zeros((1, 3))), r"got \(1, 2\) and \(1, 3\)"),
    ],
)
def test_scores_that_are_none(call, message):
    with pytest.raises(InputError, match=message):
        call()
