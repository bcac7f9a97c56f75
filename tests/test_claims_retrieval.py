"""C6.scored and C6.misses: what a retriever that ranks by a score keeps, and what it may miss."""

from __future__ import annotations

import numpy as np
import pytest

from icl_sim.bounds.retrieval import certified_error, missed_error, retrieval_error
from icl_sim.claims import scored_retrieval as scored
from icl_sim.claims.claim import FALSE, HOLDS, OPEN


def test_what_scores_best_keeps_its_bound_at_the_measured_precision(run):
    outcome = scored.scored_experiment(run)
    assert outcome.verdict == HOLDS
    found = {(row["retriever"], row["store"], row["K"]): row for row in outcome.figures["scored"]}
    for (name, store, K), row in found.items():
        best, worst = found["oracle", store, K], found["random", store, K]
        assert worst["recall"] < row["recall"] <= best["recall"] or name == "random"
        assert row["oracle"] == best["tv"]
        if store / scored.m >= K:  # else what fills up may be near to the query's law, or far
            assert best["tv"] - 0.01 <= row["tv"] <= worst["tv"] + 0.01
        # Own demonstrations fill the prompt as far as they go.
        assert best["precision"] == min(1, store / scored.m / K)


def test_a_precision_that_is_pretended_is_refuted(run):
    # The oracle's, whatever was chosen.
    pretended = lambda chosen, relevant: np.minimum(1, relevant.sum(axis=1) / chosen.shape[1])
    random = {"random": scored.RETRIEVERS["random"]}
    assert scored.scored_experiment(run, retrievers=random).verdict == HOLDS
    outcome = scored.scored_experiment(run, retrievers=random, precision=pretended)
    assert outcome.verdict == FALSE


def test_half_the_bound_is_refuted_by_the_oracle_itself(run):
    wrong = lambda **options: retrieval_error(**options) / 3
    oracle = {"oracle": scored.RETRIEVERS["oracle"]}
    assert scored.scored_experiment(run, retrievers=oracle, bound=wrong).verdict == FALSE


def test_recall_alone_says_little_and_one_minus_recall_is_what_it_costs(run):
    outcome = scored.misses_experiment(run)
    assert outcome.verdict == FALSE
    attained = [row for row in outcome.figures["exact"] if row["p"] == row["recall"]]
    assert max(row["mean_tv"] / (1 - row["recall"]) for row in attained) > 0.99


@pytest.mark.parametrize("factor", [0.9, 0.5])
def test_less_than_one_minus_recall_is_not_enough(run, factor):
    def less(*, vocab, stored, recall, delta):
        return certified_error(vocab=vocab, n=stored, delta=delta) + factor * (1 - recall)

    assert scored.misses_experiment(run, corrected=less).verdict == OPEN


def test_misses_that_do_not_see_labels_refute_nothing(run):
    # Of N_0 times output 0 the share r, to the nearest: what a fair choice shows in the mean.
    fair = lambda n, K: np.rint(np.arange(n + 1) * K / n)
    assert scored.misses_experiment(run, shown=fair).verdict == OPEN


def test_one_minus_recall_covers_every_choice():
    rng = np.random.default_rng(0)
    for _ in range(200):
        n, law = int(rng.integers(4, 60)), rng.dirichlet(np.ones(3))
        outputs = rng.choice(3, n, p=law)
        shown = rng.permutation(n)[: int(rng.integers(1, n + 1))]
        if rng.random() < 0.5:
            shown = np.argsort(outputs, kind="stable")[: len(shown)]
        share = lambda rows: np.bincount(rows, minlength=3) / len(rows)
        distance = np.abs(share(outputs[shown]) - share(outputs)).sum() / 2
        bound = missed_error(vocab=3, stored=n, delta=0.1, recall=len(shown) / n)
        assert distance <= 1 - len(shown) / n + 1e-12
        assert distance <= bound
