"""The lookup's weights against counting, at the certificate's limit, beyond it, and broken."""

from __future__ import annotations

import math

import jax
import numpy as np
import pytest
from cases import LOOKUPS

from constructions import CONSTRUCTIONS, Construction, forward
from constructions.learners.lookup import lookup
from icl_sim.transformer import forward as jax_forward
from icl_sim.transformer import load

jitted = jax.jit(jax_forward, static_argnums=0)


def total_variation(p, q):
    return 0.5 * float(np.abs(np.asarray(p, np.float64) - np.asarray(q, np.float64)).sum())


@pytest.mark.parametrize("name", LOOKUPS)
def test_weights_equal_counting_in_every_engine(name):
    options, draw = LOOKUPS[name]
    construction = lookup(**options)
    model, params = load(construction)
    apply = jax.jit(model.apply)
    rng = np.random.default_rng(5)
    for _ in range(6):
        problem = draw(rng)
        expected = construction.oracle(problem)
        inputs = construction.encode(problem)
        bound = construction.certificate.error(length=len(inputs))
        assert bound <= (8e-6 if options.get("smoothing") else 1.3e-7)
        for outputs in (
            forward(construction.spec, construction.params, inputs),
            jitted(construction.spec, params, inputs),
            apply({"params": params}, inputs),
        ):
            assert total_variation(construction.decode(outputs), expected) <= bound


def test_answers_are_right_at_the_certified_length_and_refused_beyond():
    length = 1024
    construction = lookup(vocab=3, contexts=4, length=length)
    _, params = load(construction)
    rng = np.random.default_rng(0)
    n = (length - 2) // 2
    problem = {
        "pairs": np.stack([rng.integers(0, 4, n), rng.integers(0, 3, n)], 1).tolist(),
        "query": 2,
    }
    inputs = construction.encode(problem)
    assert len(inputs) == length
    answer = construction.decode(jitted(construction.spec, params, inputs))
    bound = construction.certificate.error(length=length)
    assert total_variation(answer, construction.oracle(problem)) <= bound
    problem["pairs"].append([0, 0])
    with pytest.raises(ValueError, match="length: expected at most 1024"):
        construction.encode(problem)


def test_one_match_beats_a_prompt_full_of_mismatches():
    construction = lookup(vocab=2, contexts=2, length=2048)
    problem = {"pairs": [(0, 1)] + [(1, 0)] * 1000, "query": 0}
    _, params = load(construction)
    answer = construction.decode(jitted(construction.spec, params, construction.encode(problem)))
    assert total_variation(answer, [0.0, 1.0]) <= construction.certificate.error(length=2003)


def test_a_small_beta_leaks_as_much_as_the_certificate_says():
    beta = 36.0
    construction = lookup(vocab=2, contexts=2, beta=beta, length=1024)
    problem = {"pairs": [(0, 1)] + [(1, 0)] * 500, "query": 0}
    outputs = forward(construction.spec, construction.params, construction.encode(problem))
    leak = total_variation(construction.decode(outputs), [0.0, 1.0])
    start = math.exp(-beta / 2)
    expected = (500 * math.exp(-beta) + start / 2) / (1 + start)
    assert leak == pytest.approx(expected, rel=1e-3)
    assert leak <= construction.certificate.error(length=1003)


def test_a_beta_too_small_for_the_length_is_refused_with_the_numbers():
    with pytest.raises(
        ValueError, match=r"length 4,096 and score gap 10 the leak is .* raise beta"
    ):
        lookup(vocab=2, beta=10.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vocab": 1}, "vocab: expected at least 2, got 1"),
        ({"order": 0}, "order: expected at least 1"),
        ({"contexts": 0}, "contexts: expected at least 1"),
        ({"contexts": 3, "order": 2}, "order: expected 1 with contexts"),
        ({"smoothing": -1.0}, "smoothing: expected a finite number >= 0"),
        ({"beta": 100.0}, "beta: expected 0 < beta <= 80"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        lookup(**options)


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        ({"pairs": [(0, 4)], "query": 0}, "outputs of pairs: expected 0 to 3"),
        ({"pairs": [(3, 0)], "query": 0}, "contexts of pairs: expected 0 to 2"),
        ({"pairs": [], "query": 3}, "query: expected 0 to 2"),
    ],
)
def test_symbols_out_of_range_are_refused(problem, message):
    with pytest.raises(ValueError, match=message):
        lookup(vocab=4, contexts=3).encode(problem)


def mutants(construction: Construction):
    """Weights with one mistake each."""

    def mutant(name, change):
        params = {key: leaf.copy() for key, leaf in construction.params.items()}
        change(params)
        return name, params

    def roll(key, axis):
        return lambda p: p.update({key: np.roll(p[key], 1, axis=axis)})

    def shift_previous(params):
        params["layer_0.bias"] = np.roll(params["layer_0.bias"], 1, axis=1)

    def transpose_query(params):
        w = params["layer_1.w_q"][0]
        side = min(w.shape)
        w[:side, :side] = w[:side, :side].T.copy()

    yield mutant("shifted position", shift_previous)
    yield mutant("transposed query block", transpose_query)
    yield mutant("rolled keys", roll("layer_1.w_k", 2))
    yield mutant("rolled values", roll("layer_1.w_v", 2))
    yield mutant("rolled readout", roll("w_out", 1))
    yield mutant("halved scores", lambda p: p["layer_1.w_q"].__imul__(0.25))
    yield mutant("negated scores", lambda p: p["layer_1.w_k"].__imul__(-1))
    yield mutant("doubled values", lambda p: p["layer_1.w_v"].__imul__(2))


@pytest.mark.parametrize("index", range(8))
def test_every_mutant_is_caught_by_the_certificate_or_by_the_answers(index):
    construction = lookup(vocab=4, contexts=3, length=512)
    name, params = list(mutants(construction))[index]
    try:
        construction.certify(construction.spec, params)
        certified = True
    except ValueError:
        certified = False
    rng = np.random.default_rng(1)
    worst = 0.0
    for _ in range(5):
        pairs = np.stack([rng.integers(0, 3, 100), rng.integers(0, 4, 100)], 1).tolist()
        problem = {"pairs": pairs, "query": int(rng.integers(3))}
        inputs = construction.encode(problem)
        answer = construction.decode(forward(construction.spec, params, inputs))
        worst = max(worst, total_variation(answer, construction.oracle(problem)))
    assert worst > 1e-6, f"{name}: the answers do not show it"
    assert not certified, f"{name}: the certificate does not show it"


def test_explain_names_every_part():
    text = CONSTRUCTIONS["lookup"]().explain()
    for word in ("symbol", "law", "layer_1 head 0", "Edelman", "certificate: float32"):
        assert word in text
