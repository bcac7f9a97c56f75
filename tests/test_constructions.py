"""One test that every construction passes: what its weights answer, and what guards them."""

from __future__ import annotations

import math
from functools import partial

import jax
import numpy as np
import pytest
from cases_learners import CASES
from tolerances import F64

from constructions import CONSTRUCTIONS, Residual, TuringMachine, forward, param_shapes
from constructions.certificate import digest
from icl_sim.storage.weights import load_weights, save_weights
from icl_sim.transformer import forward as jax_forward
from icl_sim.transformer import load

TWO_STATES = TuringMachine.from_bbchallenge("1RB1LB_1LA1RZ")  # the default of "single"
jitted = jax.jit(jax_forward, static_argnums=0)
members = pytest.mark.parametrize(
    ("name", "case"),
    [
        pytest.param(name, case, id=f"{name}-{i}")
        for name, cases in CASES.items()
        for i, case in enumerate(cases)
    ],
)


@partial(jax.jit, static_argnums=0)
def with_gradients(spec, params, inputs):
    """Outputs, and the gradient of their sum of squares in every leaf."""

    def loss(params):
        outputs = jax_forward(spec, params, inputs)
        return (outputs**2).sum(), outputs

    gradients, outputs = jax.grad(loss, has_aux=True)(params)
    return outputs, gradients


def build(name, case):
    return CONSTRUCTIONS[name](**case.options)


def posed(built, problem):
    """The tokens to run, and the length of the prompt among them.

    Of a machine that writes its run, prompt and run: teacher forcing proves by induction what
    decoding would yield.
    """
    inputs = built.encode(problem)
    if built.machine is None:
        return inputs, len(inputs)
    machine = problem.get("machine") or TWO_STATES
    run = built.machine.transcribe(machine.run(problem["tape"], problem["steps"]))
    return np.concatenate([inputs, run]), len(inputs)


def answer(built, outputs, inputs, prompt):
    if built.machine is None:
        return built.decode(outputs)
    predicted = np.asarray(outputs)[prompt - 1 : -1].argmax(axis=1)
    return built.decode(np.concatenate([inputs[:prompt], predicted]))


def distance(built, found, expected):
    """In the unit of the certificate; infinite if a discrete part differs."""
    if not isinstance(expected, dict):
        found, expected = {"": found}, {"": expected}
    assert found.keys() == expected.keys()
    worst = 0.0
    for key, right in expected.items():
        if np.asarray(right).dtype.kind in "iuUOb":
            worst = max(worst, 0.0 if np.array_equal(found[key], right) else math.inf)
        else:
            gap = np.abs(np.asarray(found[key], np.float64) - right)
            law = built.certificate.unit.startswith("total variation")
            worst = max(worst, float((gap.sum(axis=-1) / 2 if law else gap).max()))
    return worst


def bound(built, inputs):
    sizes = {"length": len(inputs)} if "length" in built.certificate.limits else {}
    return built.certificate.error(**(sizes or built.certificate.limits))


def test_every_member_of_the_catalog_has_cases():
    assert sorted(CASES) == sorted(CONSTRUCTIONS)


@members
def test_the_weights_answer_as_the_oracle(name, case):
    built = build(name, case)
    rng = np.random.default_rng(1)
    for n in np.linspace(case.least, min(case.most(built), 60), 6).astype(int):
        problem = case.draw(rng, int(n))
        inputs, prompt = posed(built, problem)
        outputs = forward(built.spec, built.params, inputs)
        assert outputs.shape == (len(inputs), built.spec.output_size)
        found = answer(built, outputs, inputs, prompt)
        assert distance(built, found, built.oracle(problem)) <= bound(built, inputs)


@members
def test_all_engines_answer_as_the_oracle_at_the_limit(name, case):
    built = build(name, case)
    problem = case.draw(np.random.default_rng(2), case.most(built))
    inputs, prompt = posed(built, problem)
    model, params = load(built)
    in_float32 = jitted(built.spec, params, inputs)
    in_flax = jax.jit(model.apply)({"params": params}, inputs)
    doubles = {leaf: np.asarray(value, np.float64) for leaf, value in params.items()}
    in_float64, gradients = with_gradients(built.spec, doubles, inputs)
    reference = forward(built.spec, built.params, inputs)
    assert (in_float32.dtype, in_float64.dtype) == (np.float32, np.float64)
    np.testing.assert_array_equal(in_float32, in_flax)
    np.testing.assert_allclose(in_float64, reference, **F64)
    for outputs in (reference, in_float32, in_float64):
        found = answer(built, outputs, inputs, prompt)
        assert distance(built, found, built.oracle(problem)) <= bound(built, inputs)
    for leaf, gradient in gradients.items():
        assert np.isfinite(gradient).all(), leaf


def same_arrays(found, expected):
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


@members
def test_a_prompt_is_filled_by_numpy_as_under_jit_and_vmap(name, case):
    built = build(name, case)
    rng = np.random.default_rng(4)
    problems = [case.draw(rng, max(case.least, 8)) for _ in range(3)]
    prompts = [built.encode(problem) for problem in problems]
    data = [built.parse(problem) for problem in problems]
    for prompt, arrays in zip(prompts, data, strict=True):
        same_arrays(built.fill(**arrays), prompt)
        same_arrays(jax.jit(built.fill)(**arrays), prompt)
    batch = jax.tree.map(lambda *parts: np.stack(parts), *data)
    same_arrays(jax.jit(jax.vmap(lambda arrays: built.fill(**arrays)))(batch), np.stack(prompts))


@members
def test_the_fields_name_every_input(name, case):
    built = build(name, case)
    vectors = built.spec.inputs == "vectors"
    width = built.fields.width if vectors else built.fields.size
    assert width == built.spec.input_size
    assert isinstance(built.fields, Residual) == vectors


@members
def test_one_more_is_refused_with_the_numbers(name, case):
    built = build(name, case)
    most = case.most(built)
    problem = case.draw(np.random.default_rng(3), most + 1)
    with pytest.raises(ValueError, match=r"expected .*\d.*got .*\d"):
        built.encode(problem)


@members
def test_one_wrong_weight_is_refused_or_changes_nothing(name, case):
    built = build(name, case)
    assert built.certificate.weights == digest(built.spec, built.params)
    assert built.certify(built.spec, built.params).weights == built.certificate.weights
    rng = np.random.default_rng(5)
    inputs, _ = posed(built, case.draw(rng, 12))
    right = forward(built.spec, built.params, inputs)
    for leaf, values in built.params.items():
        for used in (True, False):
            places = np.argwhere((values != 0) == used)
            if not len(places):
                continue
            params = dict(built.params)
            params[leaf] = values.copy()
            params[leaf][tuple(places[rng.integers(len(places))])] += 0.5
            try:
                built.certify(built.spec, params)
            except ValueError:
                continue
            # A factor of a head that meets only zeros, or a margin that is still wide enough.
            np.testing.assert_allclose(forward(built.spec, params, inputs), right, **F64)


@members
def test_explain_names_every_slice_and_every_part(name, case):
    built = build(name, case)
    text = built.explain()
    parts = list(built.residual.sizes)
    for i, layer in enumerate(built.spec.layers):
        parts += [f"layer_{i} head {h}: " for h in range(layer.heads)]
        parts += [f"layer_{i} mlp: "] * bool(layer.hidden)
    assert [part for part in parts if part not in text] == []
    for words in (built.name, built.source, built.proof, built.certificate.summary()):
        assert words in text
    assert built.name == name


@members
def test_weights_come_back_from_disk_bit_for_bit(name, case, tmp_path):
    built = build(name, case)
    assert {leaf: value.shape for leaf, value in built.params.items()} == param_shapes(built.spec)
    save_weights(tmp_path / name, built.spec, built.params)
    spec, params, _ = load_weights(tmp_path / name)
    assert spec == built.spec
    assert params.keys() == built.params.keys()
    for leaf, value in params.items():
        np.testing.assert_array_equal(value.view(np.int32), built.params[leaf].view(np.int32))
    assert built.certify(spec, params) == built.certificate
