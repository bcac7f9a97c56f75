"""What a user brings: constructions, claims, routes and plugins; what a pass held on its way."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from cases import ARCHITECTURES

from constructions import CONSTRUCTIONS, forward, register_construction
from icl_sim import (
    CLAIMS,
    Claim,
    InputError,
    Statement,
    compare,
    load,
    load_weights,
    register_claim,
    register_predictor,
    save_weights,
)
from icl_sim.cli import run
from icl_sim.execution import plugins
from icl_sim.predictors import PREDICTORS
from icl_sim.transformer import Transformer

PLUGIN = '''
import jax.numpy as jnp
from icl_sim import register_predictor

def even(data, key):
    """Every output alike."""
    return jnp.full(data.counts.shape, 1 / data.counts.shape[-1])

register_predictor("even", even)
'''


@pytest.fixture
def plugin(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(PLUGIN)
    yield path
    PREDICTORS.pop("even", None)
    plugins.LOADED.clear()


def test_a_plugin_s_route_is_compared_and_listed(plugin, capsys, tmp_path):
    arguments = ["compare", "--task", "tables", "--sizes", "16", "--tasks", "1"]
    out = ("--out", str(tmp_path / "run"), "--plugin", str(plugin))
    assert run(["icl-sim", *arguments, "--predictors", "even", "counts", *out]) == 0
    assert "even" in capsys.readouterr().out
    # The same file again is no second registration; the records know which file it was.
    plugins.load_plugins([str(plugin)])
    assert PREDICTORS["even"].about == "Every output alike."
    assert '"plugins":{"mine.py":"' in (tmp_path / "run" / "records-0.jsonl").read_text()
    assert run(["icl-sim", "report", str(tmp_path / "run")]) == 0


def test_a_predictor_in_numpy_is_told_of_host():
    def even(data, key):
        return np.full(np.asarray(data.counts).shape, 0.125, np.float32)

    register_predictor("even", even)
    try:
        with pytest.raises(InputError, match="even: .*register it with host=True"):
            compare("tables", sizes=(16,), tasks=1, predictors=("even",))
    finally:
        del PREDICTORS["even"]


def test_weights_are_read_by_the_name_of_their_file(tmp_path):
    built = CONSTRUCTIONS["lookup"]()
    save_weights(tmp_path / "mine", built.spec, built.params)
    assert load_weights(tmp_path / "mine.safetensors")[0] == load_weights(tmp_path / "mine")[0]


@pytest.mark.parametrize(
    ("text", "words"),
    [("x = 1\n1/0", "line 2"), ("def (", "line 1"), (None, "cannot be read")],
)
def test_a_plugin_that_fails_is_one_line(text, words, tmp_path, capsys):
    path = tmp_path / "bad.py"
    if text is not None:
        path.write_text(text)
    assert run(["icl-sim", "list", "--plugin", str(path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line


def test_a_construction_is_registered_once_under_a_name_for_files():
    with pytest.raises(ValueError, match="exists already"):
        register_construction("lookup", CONSTRUCTIONS["lookup"])
    for name in ("../x", "Mine", "", "a b"):
        with pytest.raises(ValueError, match="expected a name such as"):
            register_construction(name, CONSTRUCTIONS["lookup"])
    with pytest.raises(ValueError, match="expected a function"):
        register_construction("mine", 3)


def claim(**changes):
    fields = {"id": "Z1.a", "statement": "", "reading": "", "basis": "", "derived": "HOLDS"}
    statement = Statement(**fields | {"sources": "", "experiment": lambda run: None} | changes)
    return Claim("Z1", "title", "abstract", (statement,))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (3, "expected a Claim"),
        (Claim("C1", "", "", ()), "exists already"),
        (claim(id="Z2.a"), "distinct statements"),
        (claim(derived="TRUE"), "derived verdict"),
    ],
)
def test_a_claim_of_another_form_is_refused(wrong, words):
    with pytest.raises(InputError, match=words):
        register_claim(wrong)
    assert "Z1" not in CLAIMS


def test_constructions_are_compared_shown_and_signed():
    build = CONSTRUCTIONS["lookup"]
    assert build() == build()
    assert build() != build(vocab=3)
    assert build() != CONSTRUCTIONS["svm"]()
    assert len({build(), build()}) == 1
    assert repr(build()) == build().explain()
    assert "<td" in build()._repr_html_()
    assert "vocab" in inspect.signature(build).parameters
    assert build.__doc__.strip()
    with pytest.raises(ValueError, match="expected a problem with 'stream', got the keys x"):
        build().encode({"x": 1})


@pytest.mark.parametrize(
    "name", ["gpt2", "hardmax", "loops", "relative bias and prefix", "softmax", "vectors"]
)
def test_what_a_pass_holds_is_what_it_computes(name):
    case = ARCHITECTURES[name]
    spec, options, inputs, params = case.spec, case.arguments, case.inputs(), case.params()
    model = Transformer(spec)
    plain = model.apply({"params": params}, inputs, **options)
    outputs, held = model.apply({"params": params}, inputs, capture=True, **options)
    np.testing.assert_array_equal(outputs, plain)
    scores = {}
    forward(
        spec, params, inputs, **options, watch=lambda i, h, s: scores.setdefault(i, []).append(s)
    )
    for i, layer in enumerate(spec.layers):
        assert held["resid_post", i].shape == (len(inputs), spec.width)
        if i:
            np.testing.assert_array_equal(held["resid_pre", i], held["resid_post", i - 1])
        if layer.heads and layer.attend == "softmax" and spec.loops == 1:
            weights = np.exp(scores[i] - np.max(scores[i], axis=-1, keepdims=True))
            wanted = weights / weights.sum(axis=-1, keepdims=True)
            np.testing.assert_allclose(held["pattern", i], wanted, rtol=1e-4, atol=1e-6)


def test_a_slice_of_the_stream_is_found_by_its_name():
    built = CONSTRUCTIONS["lookup"](vocab=3)
    model, params = load(built)
    prompt = built.encode({"stream": [0, 2, 0, 1]})
    _, held = model.apply({"params": params}, prompt, capture=built.residual)
    before = np.asarray(held["resid_post", 0, "previous_1"]).argmax(axis=-1)[-3:]
    assert before.tolist() == [0, 2, 0]
    with pytest.raises(InputError, match="did you mean pattern"):
        held["patern", 0]
    with pytest.raises(ValueError, match="residual slice: expected one of"):
        held["resid_post", 0, "nothing"]
    _, unnamed = model.apply({"params": params}, prompt, capture=True)
    with pytest.raises(InputError, match="capture=construction.residual"):
        unnamed["resid_post", 0, "previous_1"]
