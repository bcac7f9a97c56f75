"""Routes of a language model: prompts, choices, counts, and what is trained."""

from __future__ import annotations

from dataclasses import replace

import jax
import numpy as np
import pytest
from small_language_model import CHOICES, PAIRS, WORDS, data_of, model, question
from tolerances import F32

from icl_sim.data.text_pairs import Template
from icl_sim.errors import InputError
from icl_sim.predictors import get_predictor
from icl_sim.predictors.language_asking import ask
from icl_sim.predictors.language_model import Question
from icl_sim.predictors.language_prompts import prompts
from icl_sim.training import TrainConfig
from icl_sim.transformer import forward

STEPS = TrainConfig(learning_rate=3e-2, steps=60, schedule="constant", batch=16)


def answer(name, shown):
    return get_predictor(name, "language")(shown, jax.random.key(0))


def law_by_hand(text, choices):
    """Each choice's probability by whole forward passes over prompt and choice."""
    base, logs = model(), []
    begin = len(base.tokenizer.encode(text))
    for choice in choices:
        tokens = base.tokenizer.encode(f"{text} {choice}")
        logits = read(tokens)
        places = range(begin, len(tokens))
        logs.append(sum(float(jax.nn.log_softmax(logits[i - 1])[tokens[i]]) for i in places))
    return np.exp(logs) / np.exp(logs).sum()


def read(tokens):
    """Logits at each token; always of one length, so that it compiles once."""
    filled = np.array([*tokens, *[0] * (16 - len(tokens))])
    return forward(model().model.spec, model().params, filled)[: len(tokens)]


def total_variation(a, b):
    return float(np.abs(np.asarray(a) - np.asarray(b)).sum(axis=-1).mean() / 2)


@pytest.mark.parametrize("choices", [CHOICES, ("red", "not red", "very not red")])
def test_a_choice_has_the_probability_of_its_tokens(choices):
    data = data_of([("a", choices[1]), ("b", choices[0])], ("a", "c"), choices)
    found = ask(Question(data, model()))
    text = f"Pairs a {choices[1]} b {choices[0]} "
    for law, query in zip(found.laws, data.queries, strict=True):
        np.testing.assert_allclose(law, law_by_hand(text + query, choices), **F32)
    assert (found.shared, found.own) == (len(text.split()), 1)
    whole = jax.nn.softmax(found.hidden @ model().params["embed"].T)
    last = jax.nn.softmax(read(model().tokenizer.encode(text + "c"))[-1])
    np.testing.assert_allclose(whole[1], last, **F32)


def test_where_a_choice_begins_another_all_are_followed_by_the_end():
    template = Template("{prompt} {completion} ->", header="Pairs ")
    data = data_of([], ("a",), ("red", "red green"), template)
    read = prompts(model(), data)
    end = [WORDS.index(word) for word in ("red", "green", "->")]
    assert read.choices == [[[end[0], end[2]], end]]


def test_counts_are_of_the_query_s_own_context():
    shown = question(**data_of([("a", "red"), ("a", "red"), ("b", "blue")], ("a", "c"))._asdict())
    assert np.asarray(answer("counts", shown)).tolist() == [
        [1, 0, 0],
        pytest.approx([1 / 3] * 3),
    ]
    smooth = np.asarray(answer("smoothed", shown))[0]
    assert smooth.tolist() == pytest.approx([2.5 / 3.5, 0.5 / 3.5, 0.5 / 3.5])


@pytest.mark.parametrize(
    ("name", "rate", "left"),
    [
        ("lora-8", 0.03, 0.5),
        ("full", 1.5, 0.5),
        ("head", 0.1, 0.5),
        ("prefix", 0.01, 0.9),
        ("soft-prompt", 0.01, 0.9),
    ],
)
def test_what_is_trained_goes_to_the_counts(name, rate, left):
    shown = question(24, tuning=replace(STEPS, learning_rate=rate))
    counts, bare, tuned = (answer(n, shown) for n in ("counts", "zero-shot", name))
    assert total_variation(tuned, counts) < left * total_variation(bare, counts)
    assert tuned.trained > 0
    readout = model().params["embed"].T if tuned.readout is None else tuned.readout
    logits = np.asarray(tuned.hidden @ readout)[:, [WORDS.index(c) for c in CHOICES]]
    np.testing.assert_allclose(jax.nn.softmax(logits), tuned.laws, rtol=1e-4, atol=1e-6)


def test_distillation_goes_to_what_the_prompt_says():
    shown = question(8, tuning=STEPS)
    teacher, bare, found = (answer(n, shown) for n in ("in-context", "zero-shot", "distilled"))
    assert total_variation(found, teacher) < 0.5 * total_variation(bare, teacher)


def test_without_demonstrations_every_trained_route_is_the_bare_model():
    shown = question(0)
    bare = np.asarray(answer("zero-shot", shown))
    for name in ("lora-8", "distilled", "prefix", "soft-prompt", "lora-in-context"):
        found = answer(name, shown)
        np.testing.assert_array_equal(np.asarray(found), bare, err_msg=name)


def test_calibration_divides_by_the_law_of_empty_queries():
    shown = question(8)
    found = answer("calibrated", shown)
    both = ask(shown._replace(data=shown.data._replace(queries=("a", "N/A", "[MASK]", "..."))))
    law = both.laws[0] / both.laws[1:].mean(axis=0)
    np.testing.assert_allclose(found.laws[0], law / law.sum(), rtol=1e-4)
    assert found.hidden is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"choices": ("red", "nowhere", "unknown")}, "the same for 'unknown' and 'nowhere'"),
        ({"template": replace(PAIRS, header="a " * 60)}, "at most 64 tokens, the window of tiny"),
    ],
)
def test_what_the_model_cannot_be_asked_is_one_line(changes, message):
    with pytest.raises(InputError, match=message):
        prompts(model(), question(8, **changes).data)


@pytest.mark.parametrize("name", ["retrieved-bm25", "retrieved-embeddings"])
def test_retrieval_shows_a_query_its_own_demonstrations(name):
    pairs = [(c, "red" if c == "a" else "blue") for c in "abcd" for _ in range(12)]
    shown = Question(data_of(pairs, ("a", "c")), model())
    found = answer(name, shown)
    assert found.figures == {"shown": 8, "recall": pytest.approx(8 / 12), "precision": 1}
    for row, (query, choice) in enumerate((("a", "red"), ("c", "blue"))):
        own = data_of([(query, choice)] * 8, (query,))
        np.testing.assert_allclose(found.laws[row], ask(Question(own, model())).laws[0], **F32)


def test_random_demonstrations_are_the_key_s_and_the_same_for_all():
    shown = question(24)
    found, again = (answer("in-context-random", shown) for _ in range(2))
    np.testing.assert_array_equal(found.laws, again.laws)
    other = get_predictor("in-context-random", "language")(shown, jax.random.key(1))
    assert total_variation(found, other) > 0
    assert found.shared == 1 + 2 * 8
