"""Strings written through a construction: their law is the oracle's, and samples follow it."""

from __future__ import annotations

import itertools

import jax
import numpy as np
import pytest

from constructions import CONSTRUCTIONS
from icl_sim.decoding import generate, sample_strings, string_law
from icl_sim.errors import InputError
from icl_sim.transformer import load

STREAM = [0, 1, 1, 2, 0, 1, 2, 2, 0, 1, 1, 0, 2, 0, 1]


def oracle_law(construction, stream, length, vocab=3):
    """Chain rule over the oracle's laws, each after the words already written."""
    law = []
    for string in itertools.product(range(vocab), repeat=length):
        probability = 1.0
        for i, symbol in enumerate(string):
            probability *= construction.oracle({"stream": [*stream, *string[:i]]})[symbol]
        law.append(probability)
    return np.array(law)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("lookup", {"order": 2, "smoothing": 0.5}),
        ("hash-lookup", {"order": 3}),
        ("selection", {"order": 2}),
    ],
)
def test_the_law_of_strings_is_the_oracles(name, options):
    construction = CONSTRUCTIONS[name](vocab=3, **options)
    model, params = load(construction)
    prompt = construction.encode({"stream": STREAM})
    law = np.asarray(string_law(model, params, prompt, length=4), np.float64)
    expected = oracle_law(construction, STREAM, 4)
    assert law.shape == (81,)
    assert abs(expected.sum() - 1) < 1e-12
    # By the chain rule the errors of the four laws add up.
    bound = 4 * construction.certificate.error(length=len(prompt) + 4) + 81 * 4 * 2.0**-24
    assert np.abs(law - expected).sum() / 2 <= bound
    once = oracle_law(construction, STREAM, 1)
    np.testing.assert_allclose(expected.reshape(3, 27).sum(axis=1), once, rtol=1e-12)


def test_samples_follow_the_law():
    construction = CONSTRUCTIONS["lookup"](vocab=3, order=2, smoothing=0.5)
    model, params = load(construction)
    prompt = construction.encode({"stream": STREAM})
    n = 4000
    strings = sample_strings(model, params, prompt, length=2, count=n, key=jax.random.key(3))
    counts = np.bincount(np.asarray(strings) @ [3, 1], minlength=9)
    law = oracle_law(construction, STREAM, 2)
    assert (np.abs(counts - n * law) <= 5 * np.sqrt(n * law * (1 - law))).all()
    # Independent tokens would fail this: what was written changes the next law.
    alone = np.outer(oracle_law(construction, STREAM, 1), oracle_law(construction, STREAM, 1))
    off = np.abs(counts - n * alone.reshape(-1))
    assert (off > 5 * np.sqrt(n * law * (1 - law))).any()


def test_greedy_generation_takes_the_oracles_best_symbol():
    construction = CONSTRUCTIONS["hash-lookup"](vocab=3, order=3, length=64)
    model, params = load(construction)
    prompt = construction.encode({"stream": STREAM})
    written = generate(model, params, prompt, steps=6, engine="dense")
    stream = list(STREAM)
    for symbol in written:
        law = construction.oracle({"stream": stream})
        assert law[symbol] == law.max()
        stream.append(int(symbol))


def test_what_cannot_be_written_is_refused():
    model, params = load(CONSTRUCTIONS["lookup"](vocab=4))
    with pytest.raises(InputError, match=r"at most 65,536 strings to enumerate, got 4\^9"):
        string_law(model, params, [4, 0], length=9)
    with pytest.raises(InputError, match="length: expected at least 1"):
        string_law(model, params, [4, 0], length=0)
    with pytest.raises(InputError, match="got inputs vectors"):
        string_law(*load(CONSTRUCTIONS["svm"]()), [0], length=1)
