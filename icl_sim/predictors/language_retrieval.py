"""Routes of kind ``language`` whose prompts hold few of many demonstrations, chosen for each query.

The best stands last, next to the query. Where prompts repeat, recall and precision say which share
of the demonstrations of the query's own context is shown, and which share of those shown they are.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import numpy as np

from icl_sim.data.rankings import bm25_scores, cosine_scores, precision_at, recall_at, retrieve
from icl_sim.data.text_pairs import equal_prompts
from icl_sim.predictors.kinds import first_line
from icl_sim.predictors.language_asking import ask
from icl_sim.predictors.language_model import Answer, Question

SHOWN = 8  # K

# question -> scores of each demonstration for each query [m, N]
Score = Callable[[Question], np.ndarray]


def retrieved(score: Score) -> Callable[[Question, jax.Array], Answer]:
    """The route that shows each query the ``SHOWN`` demonstrations of the largest scores."""

    def predict(question: Question, key: jax.Array) -> Answer:
        del key
        if not question.data.demonstrations:
            return ask(question)
        return _shown(question, retrieve(score(question), SHOWN)[:, ::-1])

    told = first_line(score).rstrip(".")
    predict.__doc__ = f"For each query the {SHOWN} demonstrations that score best: {told}."
    return predict


def random_choice(question: Question, key: jax.Array) -> Answer:
    """``SHOWN`` of the demonstrations at random, the same for every query, in their order."""
    N, m = len(question.data.demonstrations), len(question.data.queries)
    if not N:
        return ask(question)
    rows = np.sort(np.asarray(jax.random.permutation(key, N))[:SHOWN])
    return _shown(question, np.tile(rows, (m, 1)))


def by_words(question: Question) -> np.ndarray:
    """BM25 of the prompts."""
    data = question.data
    return bm25_scores(data.queries, [pair.prompt for pair in data.demonstrations])


def by_embeddings(question: Question) -> np.ndarray:
    """Cosines of the model's own embeddings: its last hidden state behind each prompt alone.

    The mean over all prompts is taken off first: hidden states of one model have much in common.
    """
    data = question.data
    texts = [pair.prompt for pair in data.demonstrations]
    distinct = tuple(dict.fromkeys([*data.queries, *texts]))
    bare = data._replace(demonstrations=(), queries=distinct, choices=())
    states = np.asarray(ask(question._replace(data=bare)).hidden)
    place = {text: i for i, text in enumerate(distinct)}
    centered = states - states.mean(axis=0)
    queries, shown = ([place[text] for text in names] for names in (data.queries, texts))
    return cosine_scores(centered[queries], centered[shown])


def _shown(question: Question, chosen: np.ndarray) -> Answer:
    """The answer with the demonstrations of these numbers [m, K], and what retrieval missed."""
    pairs = question.data.demonstrations
    shown = [[pairs[i] for i in row] for row in chosen]
    relevant = equal_prompts(question.data)
    figures = {"shown": float(chosen.shape[1])}
    if relevant.any():
        recall = recall_at(chosen, relevant)
        figures["recall"] = float(recall[~np.isnan(recall)].mean())
        figures["precision"] = float(precision_at(chosen, relevant).mean())
    return ask(question, shown=shown, figures=figures)
