"""Order-k lookup as a stock Llama: laws in an independent Llama, the certificate, refusals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy_llama import NumpyLlama

from constructions import CONSTRUCTIONS
from constructions.learners.lookup import law_after
from constructions.learners.stock_lookup import LookupNumbers, build, read_back
from icl_sim import from_pretrained, to_pretrained

NUMBERS = LookupNumbers(ballast=2.0**20, beta=64.0, slope=1.0, gap=64.0, sharp=1024.0)


@pytest.mark.parametrize(("vocab", "order", "length"), [(5, 1, 500), (4, 2, 400), (3, 3, 400)])
def test_laws_in_an_independent_llama_are_the_counts(tmp_path, vocab, order, length):
    built = CONSTRUCTIONS["stock-lookup"](vocab=vocab, order=order)
    llama = NumpyLlama(to_pretrained(built, tmp_path))
    stream = np.random.default_rng(0).choice(
        vocab, length, p=np.arange(1, vocab + 1) / vocab / (vocab + 1) * 2
    )
    logits = llama.logits(built.encode({"stream": stream}))
    for t in (order, 7, 50, length - 1):
        expected = law_after(stream[: t + 1].tolist(), order, vocab)
        found = logits[order + t, :vocab] / 64
        assert np.abs(found - expected).sum() / 2 <= built.certificate.error(length=length)
    card = (tmp_path / "README.md").read_text()
    assert f'words("{" ".join(["<start>"] * order)} 0 1' in card
    words = from_pretrained(tmp_path)[2]
    assert list(words.encode("<start> 0 1 1")) == [vocab, 0, 1, 1]


def test_the_most_frequent_continuation_is_generated(tmp_path):
    built = CONSTRUCTIONS["stock-lookup"](vocab=3, order=2)
    prompt = built.encode({"stream": [0, 1, 2, 0, 1, 2, 0, 1]})
    llama = NumpyLlama(to_pretrained(built, tmp_path))
    llama.config["eos_token_id"] = None
    assert llama.generate(prompt, 7) == [2, 0, 1, 2, 0, 1, 2]


def test_a_sign_flip_of_any_weight_is_refused():
    spec, params = build(3, 2, NUMBERS)
    for leaf in params:
        for place in map(tuple, np.argwhere(params[leaf])):
            wrong = params | {leaf: params[leaf].copy()}
            wrong[leaf][place] *= -1
            with pytest.raises(ValueError, match="stock: "):
                read_back(spec, wrong, 3, 2)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"vocab": 16, "order": 2}, "vocab x order: expected at most 31, got 16 x 2"),
        ({"dtype": "bfloat16"}, r"the one looked back at leads by -\d+"),
        ({"dtype": "float16"}, "beyond the largest float16"),
        ({"length": 2**18}, "expected at most 131,072 tokens"),
        ({"sharp": 64.0}, "the one looked back at leads by"),
        ({"beta": 48.0}, "beta 48 is no power of two"),
        ({"gap": 3.0}, "gap 3 is no power of two"),
    ],
)
def test_what_cannot_be_certified_is_refused(options, reason):
    with pytest.raises(ValueError, match=reason):
        CONSTRUCTIONS["stock-lookup"](**options)


def test_weights_of_another_ballast_are_refused():
    built = CONSTRUCTIONS["stock-lookup"]()
    with pytest.raises(ValueError, match="change the norm"):
        built.certify(*build(4, 1, replace(NUMBERS, ballast=2.0**8)))
