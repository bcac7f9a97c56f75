"""Composed constructions: the same functions, certificates composed, mistakes refused."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from tolerances import F64

from constructions import CONSTRUCTIONS, forward
from constructions.composition import one_after_another, side_by_side, unroll
from constructions.learners.least_squares import least_squares, ridge
from icl_sim.transformer import forward as jax_forward

jitted = jax.jit(jax_forward, static_argnums=0)
d, n, m = 3, 12, 2


def draw(seed):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n + m, d))
    z /= np.linalg.norm(z, axis=1).max()
    y = z[:n] @ rng.normal(size=d)
    return {"features": z[:n], "targets": y / np.abs(y).max(), "queries": z[n:]}


def classes(problem):
    labels = (problem["targets"] > 0).astype(int)
    return {"features": problem["features"], "labels": labels, "queries": problem["queries"]}


def run(built, problem, engine=jitted):
    inputs = built.encode(problem)
    np.testing.assert_array_equal(jax.jit(built.fill)(**built.parse(problem)), inputs)
    return built.decode(np.asarray(engine(built.spec, built.params, inputs)))


@pytest.mark.parametrize(
    ("name", "options", "pose"),
    [
        ("softmax-head", {"steps": 4, "schedule": "cosine", "momentum": 0.5}, classes),
        ("newton-schulz", {"steps": 3}, dict),
        ("logistic", {"steps": 4}, lambda p: classes(p) | {"labels": np.sign(p["targets"])}),
    ],
)
def test_unrolled_weights_compute_the_same(name, options, pose):
    looped = CONSTRUCTIONS[name](features=d, queries=m, **options)
    flat = unroll(looped)
    assert flat.spec.loops == 1
    assert len(flat.spec.layers) == looped.spec.loops * len(looped.spec.layers)
    problem = pose(draw(0))
    np.testing.assert_allclose(run(flat, problem, forward), run(looped, problem, forward), **F64)
    error = np.abs(run(flat, problem) - flat.oracle(problem)).max()
    assert error <= flat.certificate.error(length=40)
    assert flat.certificate.error(length=40) == looped.certificate.error(length=40)
    assert flat.explain().count("head 0: ") == sum(layer.heads > 0 for layer in flat.spec.layers)


def test_unrolled_layers_must_be_equal():
    flat = unroll(least_squares(features=d, queries=m, steps=3))
    params = {name: leaf.copy() for name, leaf in flat.params.items()}
    params["layer_2.w_v"] *= 2
    with pytest.raises(ValueError, match="expected layer 2 to be layer 0"):
        flat.certify(flat.spec, params)


@pytest.mark.parametrize("flat", [False, True])
def test_side_by_side_each_answers_as_alone(flat):
    first = least_squares(features=d, queries=m, steps=6)
    second = CONSTRUCTIONS["newton-schulz"](features=d, queries=m, steps=6)
    if flat:
        first, second = unroll(first), unroll(second)
    both = side_by_side(first, second)
    problem, other = draw(1), draw(2)
    # Newton's prompt has d more tokens, so the other one gets as many more examples.
    more = {
        key: np.concatenate([problem[key], problem[key][:d]]) for key in ("features", "targets")
    }
    posed = {"first": problem | more, "second": other}
    for engine in (forward, jitted):
        answer = run(both, posed, engine)
        bound = both.certificate.error(length=n + m + d)
        for part, built in (("first", first), ("second", second)):
            gap = np.abs(answer[part] - built.oracle(posed[part])).max()
            assert gap <= min(bound, 1e-5 if engine is jitted else 1e-6)
            alone = run(built, posed[part], forward)
            if engine is forward:
                np.testing.assert_allclose(answer[part], alone, **F64)
    parts = (first.certificate, second.certificate)
    assert bound == max(part.error(length=n + m + d) for part in parts)
    assert both.certificate.limits == {"length": 512}
    with pytest.raises(ValueError, match=r"prompts of one length for both, got 14 and 17 tokens"):
        both.encode({"first": problem, "second": other})


def test_two_lookups_read_one_prompt():
    first = CONSTRUCTIONS["lookup"](vocab=3, smoothing=0.5)
    second = CONSTRUCTIONS["lookup"](vocab=3, smoothing=1.0)
    both = side_by_side(first, second)
    problem = {"stream": [0, 1, 2, 0, 1, 2, 0, 1]}
    posed = {"first": problem, "second": problem}
    answer, expected = run(both, posed), both.oracle(posed)
    for part in ("first", "second"):
        assert np.abs(answer[part] - expected[part]).sum() / 2 <= both.certificate.error(length=9)
    assert np.abs(expected["first"] - expected["second"]).max() > 0.01
    with pytest.raises(ValueError, match="one prompt for both, got 9 and 8"):
        both.encode({"first": problem, "second": {"stream": problem["stream"][:-1]}})


def two_phases():
    """Gradient descent at rate 1, then from there on the ridge objective at rate 1/2."""
    first = least_squares(features=d, queries=m, steps=5, learning_rate=1.0)
    second = ridge(features=d, queries=m, steps=7, learning_rate=0.5, penalty=0.2)

    def oracle(problem):
        x, y = problem["features"], problem["targets"]
        w = np.zeros(d)
        for steps, rate, penalty in ((5, 1.0, 0.0), (7, 0.5, 0.2)):
            for _ in range(steps):
                w = w - rate * (x.T @ (x @ w - y) / n + penalty * w)
        return problem["queries"] @ w

    # Errors o of the start move a prediction by o + <x, A>, and |A| grows by rate |o| a step.
    return one_after_another(
        first,
        second,
        wires={("prediction", "prediction"): 1.0},
        oracle=lambda posed: oracle(posed["first"]),
        lipschitz=1 + 7 * 0.5,
    )


def test_one_after_another_the_second_starts_where_the_first_ended():
    chained = two_phases()
    problem = draw(3)
    posed = {"first": problem, "second": problem}
    expected = chained.oracle(posed)
    bound = chained.certificate.error(length=n + m)
    assert np.abs(run(chained, posed, forward) - expected).max() <= 1e-7
    assert np.abs(run(chained, posed) - expected).max() <= min(bound, 1e-6)
    alone = ridge(features=d, queries=m, steps=7, learning_rate=0.5, penalty=0.2)
    assert np.abs(run(alone, problem) - expected).max() > 0.01, "the wire carries nothing"
    first = least_squares(features=d, queries=m, steps=5, learning_rate=1.0).certificate
    parts = alone.certificate.error(length=14) + 4.5 * first.error(length=14)
    assert bound == pytest.approx(parts)
    assert "layer_5 mlp: wires" in chained.explain()


@pytest.mark.parametrize("build", [two_phases, lambda: side_by_side(least_squares(), ridge())])
def test_every_small_change_of_a_weight_is_refused(build):
    built = build()
    rng = np.random.default_rng(0)
    for leaf, weights in built.params.items():
        for used in (True, False):
            where = np.argwhere((weights != 0) == used)
            if not len(where) or (not used and leaf.endswith(("w_q", "w_k", "w_v", "w_o"))):
                continue
            params = {key: value.copy() for key, value in built.params.items()}
            params[leaf][tuple(rng.permutation(where)[0])] += np.float32(2.0**-10)
            with pytest.raises(ValueError, match="expected"):
                built.certify(built.spec, params)


def test_two_computers_run_side_by_side():
    parts = [CONSTRUCTIONS["looped"](words=16, bits=bits, loops=5) for bits in (6, 8)]
    built = side_by_side(*parts)
    problem = {
        "first": {"memory": [9, 11, 3, 11, 10, 6, 11, 11, -1, 30, 12, 0]},
        "second": {"memory": list(range(12)), "counter": 3},
    }
    found = run(built, problem, engine=forward)
    assert found == built.oracle(problem)
    assert found["first"]["memory"][10] == -22


def test_parts_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="loops: expected the same of both, got 32 and 8"):
        side_by_side(least_squares(), CONSTRUCTIONS["newton-schulz"]())
    with pytest.raises(ValueError, match="inputs: expected the same of both, got vectors and tok"):
        side_by_side(least_squares(), CONSTRUCTIONS["lookup"]())
    with pytest.raises(ValueError, match="readout: expected the same"):
        side_by_side(least_squares(), CONSTRUCTIONS["softmax-head"](steps=32))
    with pytest.raises(ValueError, match="kind: expected learners"):
        side_by_side(CONSTRUCTIONS["single"](), CONSTRUCTIONS["single"]())
    with pytest.raises(ValueError, match="expected slices of one size, got 4 and 1"):
        one_after_another(
            least_squares(),
            ridge(),
            wires={("x", "prediction"): 1.0},
            oracle=len,
            lipschitz=1.0,
        )
