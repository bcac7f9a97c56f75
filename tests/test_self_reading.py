"""Laws of several answers: decoded by routes that read their own, chained by those that do not."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tolerances import F32

from icl_sim.comparison import answer_strings, compare
from icl_sim.comparison.answer_strings import AnswerStrings, Decoded, sequence_laws
from icl_sim.data.tasks import Demonstrations, random_table, sample_demonstrations
from icl_sim.predictors import PREDICTORS
from icl_sim.predictors.selected import retrieve
from icl_sim.predictors.self_reading import SelfReading, on_other_data, string_laws, string_scores

M = 3
KEY = jax.random.key(7)
DATA = sample_demonstrations(
    jax.random.key(0), random_table(3, contexts=M, vocab=M).law, per_context=3
)


def with_pair(data, context, output):
    """The data and one demonstration more."""
    return Demonstrations(
        jnp.append(data.contexts, context),
        jnp.append(data.outputs, output),
        data.counts.at[context, output].add(1),
    )


def by_hand(route, length):
    """[m, V^length]: the route asked again after each answer, which is one demonstration more."""
    found = np.zeros((M, M**length))
    for context in range(M):
        for number, string in enumerate(itertools.product(range(M), repeat=length)):
            data, at, probability = DATA, context, 1.0
            for y in string:
                law = np.asarray(route(data, KEY), np.float64)[at]
                probability *= law[y]
                data, at = with_pair(data, at, y), y
            found[context, number] = probability
    return found


def decoded(route, length=2):
    """Compiled: data -> laws of strings."""
    return jax.jit(lambda data: string_laws(route.prompt(data, KEY), length))


@pytest.mark.parametrize("name", ["lookup", pytest.param("in-context", marks=pytest.mark.slow)])
def test_an_answer_is_read_like_one_demonstration_more(name):
    route = PREDICTORS[name].function
    found = decoded(route)(DATA)
    np.testing.assert_allclose(found, by_hand(jax.jit(route), 2), **F32)
    # Read as a chain, the same laws give other strings.
    chain = sequence_laws(np.asarray(route(DATA, KEY)), 2)
    assert np.abs(found - chain).max() > 1e-3


def test_laws_of_strings_begin_with_the_laws_of_one_answer_and_scores_are_their_entries():
    route = PREDICTORS["zero-shot"].function
    strings = np.random.default_rng(0).integers(0, M, (M, 5, 3)).astype(np.int32)

    @jax.jit
    def ask(data, strings):
        prompt = route.prompt(data, KEY)
        return prompt.laws, string_laws(prompt, 3), string_scores(prompt, strings)

    laws, joint, scores = map(np.asarray, ask(DATA, strings))
    np.testing.assert_allclose(joint.reshape(M, M, -1).sum(axis=2), laws, **F32)
    numbers = strings @ [M * M, M, 1]
    np.testing.assert_allclose(scores[..., 2], np.take_along_axis(joint, numbers, axis=1), **F32)
    first = np.take_along_axis(laws, strings[..., 0], axis=1)
    np.testing.assert_allclose(scores[..., 0], first, **F32)


@pytest.mark.slow
def test_a_prompt_of_each_query_is_read_on_by_itself():
    route = PREDICTORS["lookup"].function
    own = on_other_data(route, lambda data, key: (retrieve(data, 4), key))
    assert isinstance(own, SelfReading)
    together, alone = decoded(own)(DATA), decoded(route)
    contexts, outputs, counts = retrieve(DATA, 4)
    for c in range(M):
        shown = Demonstrations(contexts[c], outputs[c], counts)
        np.testing.assert_allclose(together[c], alone(shown)[c], **F32)


def test_what_cannot_read_its_answers_is_a_chain():
    plain = on_other_data(PREDICTORS["bayes"].function, lambda data, key: (data, key))
    assert not isinstance(plain, SelfReading)
    names = ("bayes", "lookup")
    found = compare("tables", sizes=(12,), predictors=names, tasks=2, contexts=M, vocab=M)
    laws = {n: found.lengths[12][1][n].mean - found.matrix[12][n]["truth"].mean for n in names}
    assert max(map(abs, laws.values())) < 1e-6
    for name in names:  # a law of more answers is at least as far
        assert found.lengths[12][1][name].mean <= found.lengths[12][4][name].mean + 1e-6


def test_drawn_strings_estimate_the_distance_that_enumeration_gives(monkeypatch):
    rng = np.random.default_rng(1)
    truth, laws = rng.dirichlet(np.ones(4), (2, 6, 4))
    exact = AnswerStrings(truth).chain(laws)
    monkeypatch.setattr(answer_strings, "STRINGS", 20)
    monkeypatch.setattr(answer_strings, "DRAWN", 4000)
    strings = AnswerStrings(truth)
    assert strings.drawn.shape == (6, 4, 4000, 4)
    found = strings.chain(laws)
    np.testing.assert_allclose(found[:2], exact[:2], atol=1e-12)
    # Terms are in [0, 1], so a mean of 4,000 has a standard deviation of at most .5 / 63.
    error = found[2] - exact[2]
    assert np.abs(error).max() <= 5 * 0.5 / 4000**0.5
    assert abs(error.mean()) <= 5 * 0.5 / (24 * 4000) ** 0.5
    assert np.abs(error).max() > 0


def test_the_drawn_strings_of_later_copies_are_those_that_they_are_scored_at(monkeypatch):
    monkeypatch.setattr(answer_strings, "STRINGS", 3)
    truth = np.random.default_rng(2).dirichlet(np.ones(3), (5, 3))
    strings = AnswerStrings(truth)
    whole = strings.chain(truth)
    assert (whole == 0).all()
    laws = np.random.default_rng(3).dirichlet(np.ones(3), (5, 3))
    found = strings._chain(laws, slice(None))
    part = Decoded(found.laws[3:], found.scores[3:])
    np.testing.assert_array_equal(strings.distances(part, first=3), strings.chain(laws)[:, 3:])
