"""Routes of kind ``language`` that leave the model as it is: prompts of many sorts, and counts."""

from __future__ import annotations

from dataclasses import replace

import jax
import numpy as np

from icl_sim.data.text_pairs import choice_counts
from icl_sim.predictors.language_asking import ask
from icl_sim.predictors.language_model import Answer, Question
from icl_sim.predictors.language_retrieval import (
    by_embeddings,
    by_words,
    random_choice,
    retrieved,
)
from icl_sim.predictors.language_tuning import Route, adapted, distilled, prefix, soft_prompt

RANKS = (1, 8, 32)
# Queries without content, whose law is what the prompt says of itself (Zhao et al.,
# arXiv:2102.09690).
EMPTY = ("N/A", "[MASK]", "...")


def zero_shot(question: Question, key: jax.Array) -> Answer:
    """The query alone."""
    del key
    return ask(question._replace(data=question.data._replace(demonstrations=())))


def in_context(question: Question, key: jax.Array) -> Answer:
    """All demonstrations in the prompt, in their order."""
    del key
    return ask(question)


def calibrated(question: Question, key: jax.Array) -> Answer:
    """`in_context`, divided by the law of queries without content, and normalized."""
    del key
    asked = question.data.queries
    both = ask(question._replace(data=question.data._replace(queries=(*asked, *EMPTY))))
    m = len(asked)
    prior = both.laws[m:].mean(axis=0, dtype=np.float64)
    laws = both.laws[:m] / np.maximum(prior, 1e-12)
    laws = (laws / laws.sum(axis=1, keepdims=True)).astype(np.float32)
    # Calibration is of the choices alone: nothing is said of other tokens.
    return replace(both, laws=laws, hidden=None)


def counts(question: Question, key: jax.Array) -> Answer:
    """The empirical law of each query's own context; uniform where there is no demonstration."""
    del key
    return Answer(_shares(question, 0.0))


def smoothed(question: Question, key: jax.Array) -> Answer:
    """Half a count added to every choice (Krichevsky and Trofimov)."""
    del key
    return Answer(_shares(question, 0.5))


def _shares(question: Question, more: float) -> np.ndarray:
    data = question.data
    known = set(data.choices)  # free completions that are no choice are left out
    pairs = tuple(pair for pair in data.demonstrations if pair.completion in known)
    each = choice_counts(data._replace(demonstrations=pairs)) + more
    total = each.sum(axis=1, keepdims=True)
    even = np.full(each.shape, 1 / each.shape[1])
    return np.where(total > 0, each / np.maximum(total, 1e-300), even).astype(np.float32)


# Name -> route, and what moves its law beside the data: the order of the demonstrations, the
# template, the key.
LANGUAGE_ROUTES: dict[str, tuple[Route, tuple[str, ...]]] = {
    "calibrated": (calibrated, ("order", "template")),
    "counts": (counts, ()),
    "distilled": (distilled(8), ("order", "template", "seed")),
    "full": (adapted("full"), ("seed", "template")),
    "head": (adapted("head"), ("seed", "template")),
    "in-context": (in_context, ("order", "template")),
    "in-context-random": (random_choice, ("order", "template", "seed")),
    "retrieved-bm25": (retrieved(by_words), ("order", "template")),
    "retrieved-embeddings": (retrieved(by_embeddings), ("order", "template")),
    **{f"lora-{r}": (adapted("lora", r), ("seed", "template")) for r in RANKS},
    "lora-in-context": (adapted("lora", 8, in_context=True), ("order", "template", "seed")),
    "prefix": (prefix, ("order", "template", "seed")),
    "smoothed": (smoothed, ()),
    "soft-prompt": (soft_prompt, ("order", "template", "seed")),
    "zero-shot": (zero_shot, ("template",)),
}
