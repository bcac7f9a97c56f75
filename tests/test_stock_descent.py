"""Gradient descent as a stock Llama: its softmax is the law of the model trained directly."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy_llama import NumpyLlama

from constructions import CONSTRUCTIONS
from constructions.learners.stock_descent import Descent, build, train
from icl_sim import to_pretrained


def some_pairs(rng, contexts, vocab, n):
    return [(int(rng.integers(contexts)), int(rng.integers(vocab))) for _ in range(n)]


def test_the_oracle_is_gradient_descent_by_automatic_differentiation():
    rng = np.random.default_rng(0)
    contexts, outputs = rng.integers(0, 3, 20), rng.integers(0, 4, 20)

    def loss(table):
        return -jax.nn.log_softmax(table)[contexts, outputs].mean()

    @jax.jit
    def step(table):
        return table - 1.5 * jax.grad(loss)(table)

    table = jnp.zeros((3, 4))
    for _ in range(5):
        table = step(table)
    for query in range(3):
        found = train(
            Descent(3, 4, 5, 1.5), contexts=contexts, outputs=outputs, queries=np.array([query])
        )
        np.testing.assert_allclose(found, jax.nn.softmax(table)[query], rtol=1e-5)


@pytest.mark.parametrize(
    "options", [{}, {"contexts": 3, "vocab": 4, "steps": 6, "learning_rate": 2.0}]
)
def test_the_softmax_of_an_independent_llama_is_the_trained_law(tmp_path, options):
    built = CONSTRUCTIONS["stock-descent"](**options)
    llama, rng = NumpyLlama(to_pretrained(built, tmp_path)), np.random.default_rng(1)
    card = (tmp_path / "README.md").read_text()
    assert f"{built.certificate.weights}" in card
    assert "context0 output1 context0" in card
    lines = [line for line in card.splitlines() if "<start> class" not in line]
    assert max(map(len, lines)) <= 100
    m, V = built.residual.sizes["context"], built.residual.sizes["output"]
    for n in (0, 1, 7, 60):
        problem = {"pairs": some_pairs(rng, m, V, n), "query": int(rng.integers(m))}
        prompt = built.encode(problem)
        logits = llama.logits(prompt)[-1].astype(np.float64)
        law = np.exp(logits - logits.max())
        law /= law.sum()  # over all tokens: those that are no outputs have next to nothing
        expected = np.zeros(len(law))
        expected[built.fields["output"]] = built.oracle(problem)
        distance = np.abs(law - expected).sum() / 2
        assert distance <= built.certificate.error(length=len(prompt)) < 1e-3


def test_several_queries_behind_one_copy_of_the_data_are_answered_as_alone(tmp_path):
    built, rng = CONSTRUCTIONS["stock-descent"](contexts=3), np.random.default_rng(2)
    llama = NumpyLlama(to_pretrained(built, tmp_path))
    contexts, outputs = np.array(some_pairs(rng, 3, 2, 9)).T
    together = llama.logits(built.fill(contexts=contexts, outputs=outputs, queries=np.arange(3)))
    for query in range(3):
        alone = built.fill(contexts=contexts, outputs=outputs, queries=np.array([query]))
        found = llama.logits(alone)[-1]
        np.testing.assert_allclose(together[query - 3], found, atol=1e-5)


def test_a_sign_flip_of_any_weight_is_refused():
    built = CONSTRUCTIONS["stock-descent"](steps=1)
    spec, params = build(built.fields, Descent(2, 2, 1, 1.0))
    for leaf in params:
        for place in map(tuple, np.argwhere(params[leaf])):
            wrong = params | {leaf: params[leaf].copy()}
            wrong[leaf][place] *= -1
            with pytest.raises(ValueError, match="stock: "):
                built.certify(spec, wrong)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"vocab": 16, "contexts": 5}, "vocab x contexts: expected at most 64"),
        ({"learning_rate": 5.0}, "learning_rate: expected above 0, up to 4"),
        ({"steps": 40}, "up to 32 / steps, got 1 for 40 steps"),
        ({"length": 2**18}, "the one before leads by"),
    ],
)
def test_what_cannot_be_certified_is_refused(options, reason):
    with pytest.raises(ValueError, match=reason):
        CONSTRUCTIONS["stock-descent"](**options)
