"""Every engine lists the switches that it computes, and refuses the rest by name."""

from __future__ import annotations

import filecmp
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from cases import BASE

from constructions import (
    CONSTRUCTIONS,
    Layer,
    TransformerSpec,
    TuringMachine,
    blank,
    param_shapes,
    reference,
)
from constructions import spec as spec_module
from constructions.certificate import bilinear
from constructions.spec import GATES
from constructions.support import unsupported
from icl_sim.decoding import Decoder, attention, matrices, string_law, verify_trace
from icl_sim.decoding.plan import make_plan
from icl_sim.errors import InputError
from icl_sim.transformer import Transformer, embed, forward, forward_bytes, gradient_bytes
from icl_sim.transformer import switches as switches_module

ROOT = Path(__file__).parent.parent
LAYER = BASE.layers[0]

# A value that the spec may come to allow: what allows it, and the spec that asks for it.
UNLISTED: dict[str, tuple[str, Callable[[], TransformerSpec]]] = {
    "attend sparse": ("ATTEND", lambda: with_layer(attend="sparse")),
    "mask sliding": ("MASKS", lambda: with_layer(mask="sliding")),
    "gate tanh": ("GATES", lambda: with_layer(gate="tanh")),
    "norm batch": ("NORMS", lambda: replace(BASE, norm="batch")),
    "inputs patches": ("INPUTS", lambda: replace(BASE, inputs="patches")),
    "readout odds": ("READOUTS", lambda: replace(BASE, readout="odds")),
    "positions angle": ("FEATURES", lambda: replace(BASE, positions=("index", "angle"))),
}


@dataclass(frozen=True)
class Twisted(Layer):
    """A layer with a field that no engine has heard of."""

    twist: int = 0


def with_layer(**changes):
    return replace(BASE, layers=(replace(LAYER, **changes),))


def twisted(twist):
    return replace(BASE, layers=(Twisted(**vars(LAYER), twist=twist),))


def decode(engine):
    return lambda spec, params, tokens: Decoder(Transformer(spec), params, engine=engine)


def verify(engine):
    """Verification of a trace by a machine whose weights are others."""

    def run(spec, params, tokens):
        machine = TuringMachine.from_bbchallenge("1RB1LB_1LA1RZ")
        built = CONSTRUCTIONS["universal"](states=2, steps=1000, cells=100)
        other = replace(built, spec=spec, params=params)
        return verify_trace(other, machine.run("", 100), engine=engine)

    return run


# What computes with a spec, and the name under which it refuses one.
ENGINES: dict[str, tuple[str, Callable[[Any, Any, Any], Any]]] = {
    "reference": ("reference", reference.forward),
    "forward": ("forward pass", forward),
    "jit": ("forward pass", jax.jit(forward, static_argnums=0)),
    "flax": ("forward pass", lambda spec, p, x: Transformer(spec).apply({"params": p}, x)),
    "step by step": ("forward pass", embed),
    "memory": ("forward pass", lambda spec, *_: forward_bytes(spec, batch=1, tokens=1)),
    "gradient": ("forward pass", lambda spec, *_: gradient_bytes(spec, batch=1, tokens=1)),
    "strings": (
        "strings",
        lambda spec, p, x: string_law(Transformer(replace(spec, output_size=5)), p, x, length=1),
    ),
    "dense": ("dense decoding", decode("dense")),
    "cached": ("cached decoding", decode("cached")),
    "specialised": ("specialised decoding", decode("specialised")),
    "verification, cached": ("cached decoding", verify("cached")),
    "verification, specialised": ("specialised decoding", verify("specialised")),
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("value", UNLISTED)
def test_a_value_that_is_not_listed_is_refused_by_name(engine, value, monkeypatch):
    allowed, build = UNLISTED[value]
    monkeypatch.setattr(spec_module, allowed, (*getattr(spec_module, allowed), value.split()[1]))
    spec = build()
    name, run = ENGINES[engine]
    with pytest.raises(ValueError, match=f"^{name}: .*{value.split()[1]}") as caught:
        run(spec, blank(spec), np.array([1, 0]))
    message = str(caught.value)
    assert "\n" not in message
    assert f"{value} (known: " in message
    assert message.rpartition("): ")[2], "what to do instead"
    assert isinstance(caught.value, InputError) or engine == "reference"


@pytest.mark.parametrize("engine", ENGINES)
def test_a_field_that_an_engine_never_heard_of_is_refused_unless_it_has_its_default(engine):
    name, run = ENGINES[engine]
    params, tokens = blank(BASE), np.array([1, 0])
    with pytest.raises(ValueError, match=rf"^{name}: .*layer 0: twist 4 \(known: 0\)"):
        run(twisted(4), params, tokens)
    if engine in ("reference", "forward"):
        np.testing.assert_array_equal(run(twisted(0), params, tokens), run(BASE, params, tokens))


def test_proofs_about_bilinear_scores_refuse_it_too():
    params = blank(BASE)
    assert bilinear(twisted(0), params, 0, 0).shape == (BASE.width, BASE.width)
    with pytest.raises(ValueError, match="^bilinear scores: .*twist 4"):
        bilinear(twisted(4), params, 0, 0)


def test_fractions_know_rational_switches_only(monkeypatch):
    monkeypatch.setattr(spec_module, "GATES", (*GATES, "tanh"))
    monkeypatch.setitem(reference.GATES, "tanh", np.tanh)
    spec = with_layer(gate="tanh", attend="hardmax")
    params = blank(spec)
    assert reference.forward(spec, params, np.array([1])).shape == (1, 4)
    with pytest.raises(ValueError, match="^rational arithmetic: .*gate tanh .known: hard_sigmoid"):
        reference.forward(spec, params, np.array([1]), exact=True)


def test_a_head_under_a_switch_that_the_plan_does_not_list_is_dense(monkeypatch):
    # With no query, the scores are equal and the head is a mean: of a layer like this one.
    spec, params = twisted(0), blank(BASE)
    assert [head.kind for head in make_plan(spec, params, None).heads[0]] == ["mean"] * 2
    spec = twisted(4)
    assert [head.kind for head in make_plan(spec, params, None).heads[0]] == ["dense"] * 2
    monkeypatch.setattr(spec_module, "ATTEND", (*spec_module.ATTEND, "sparse"))
    monkeypatch.setitem(attention.WEIGHTS, "sparse", attention.WEIGHTS["linear"])
    spec = with_layer(attend="sparse")
    reason = "not specialised but cached: .*layer 0: attend sparse .known: softmax, hardmax"
    with pytest.warns(UserWarning, match=reason):
        assert Decoder(Transformer(spec), params, engine="specialised").engine == "cached"


def test_what_only_matrices_know_is_not_specialised(monkeypatch):
    monkeypatch.setattr(spec_module, "NORMS", (*spec_module.NORMS, "batch"))
    monkeypatch.setitem(switches_module.NORMS, "batch", switches_module.NORMS["rms"])
    spec = replace(BASE, norm="batch")
    with pytest.warns(UserWarning, match="not specialised but cached: norm batch .known: none"):
        decoder = Decoder(Transformer(spec), blank(spec), engine="specialised")
    assert decoder.engine == "cached"
    monkeypatch.setattr(matrices, "KNOWN", {**matrices.KNOWN, "norm": ("none", "rms")})
    with pytest.raises(InputError, match="^specialised decoding: .*norm batch .known: none, rms"):
        Decoder(Transformer(spec), blank(spec), engine="specialised")


def test_switches_of_absent_parts_do_not_count():
    spec = replace(BASE, layers=(Layer(hidden=3, mask="prefix"), Layer(gate="silu")))
    assert unsupported(spec, known={}) == []
    assert unsupported(replace(spec, positions=("bits3",)), known={}) == [
        "positions bits (known: none)"
    ]
    # Nor does one layer's lack hide another's switch, in this call or a later one.
    spec = replace(BASE, layers=(Layer(), Layer(hidden=3, gate="silu")))
    for _ in range(2):
        assert unsupported(spec, known={}) == ["layer 1: gate silu (known: hard_sigmoid)"]


@pytest.mark.parametrize("gate", GATES)
def test_every_gate_is_decoded_by_every_engine(gate):
    """With heads of a known kind, so that nothing but the gate could keep it from specialising."""
    spec = TransformerSpec(5, 6, 5, (Layer(1, 1, 6), Layer(hidden=9, gate=gate)))
    rng = np.random.default_rng(3)
    params = {
        name: rng.normal(size=shape).astype(np.float32)
        for name, shape in param_shapes(spec).items()
    }
    params["embed"][:, 4:] = -0.7  # columns known beforehand, and units that read no other
    params["layer_0.w_q"][:] = params["layer_0.w_o"][:, :, 4:] = 0
    params["layer_1.w_gate"][:4, :3] = params["layer_1.w_up"][:4, :2] = 0
    tokens = [1, 0, 3]
    for _ in range(8):
        tokens.append(int(np.argmax(reference.forward(spec, params, np.array(tokens))[-1])))
    for engine in ("dense", "cached", "specialised"):
        decoder = Decoder(Transformer(spec), params, engine=engine)
        assert decoder.engine == engine
        _, found = decoder.advance(decoder.start(tokens[:3], room=16), 8)
        assert found.tolist() == tokens[3:], engine


# A gate more: all that has to be written, by file. CONTRIBUTING.md promises at most five.
TANH = {
    "constructions/spec.py": ('"relu", "silu", "gelu"', '"relu", "tanh", "silu", "gelu"'),
    "constructions/reference.py": (
        '    "silu": lambda',
        '    "tanh": np.tanh,\n    "silu": lambda',
    ),
    "icl_sim/transformer/switches.py": (
        '    "silu": jax.nn.silu',
        '    "tanh": jnp.tanh,\n    "silu": jax.nn.silu',
    ),
    "tests/cases.py": (
        "ARCHITECTURES = {\n",
        'ARCHITECTURES = {\n    "tanh": Architecture(_with_layer(gate="tanh")),\n',
    ),
}


@pytest.fixture
def copy(tmp_path):
    for folder in ("constructions", "icl_sim", "tests"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignored)
    shutil.copy(ROOT / "setup.cfg", tmp_path)
    return tmp_path


def add(copy, files):
    for file in files:
        old, new = TANH[file]
        text = (copy / file).read_text()
        assert text.count(old) == 1, f"{file}: expected {old!r} once"
        (copy / file).write_text(text.replace(old, new))


def failing(copy):
    """The tests that fail, of those that know of a gate by its being in the spec or a case."""
    names = [f"tests/test_{name}.py" for name in ("transformer", "decoding", "switches")]
    chosen = "every_switch or (tanh and not gelu_tanh and not refused)"
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", chosen, *names],
        cwd=copy,
        env={**env, "PYTHONPATH": str(copy)},
        capture_output=True,
        text=True,
    )
    failed = {line.split("::")[1] for line in result.stdout.splitlines() if "FAILED" in line}
    return {name.split()[0] for name in failed}, result.stdout


def test_a_gate_more_touches_at_most_five_files(copy):
    add(copy, ["constructions/spec.py"])
    failed, output = failing(copy)
    assert failed == {
        "test_every_switch_has_a_case",
        "test_every_gate_is_decoded_by_every_engine[tanh]",
    }
    assert "reference: expected switches that it computes, got layer 1: gate tanh" in output
    add(copy, [file for file in TANH if file != "constructions/spec.py"])
    failed, output = failing(copy)
    assert not failed, output
    assert "9 passed" in output, output
    changed = [
        path
        for path in copy.rglob("*.py")
        if not filecmp.cmp(path, ROOT / path.relative_to(copy), shallow=False)
    ]
    assert len(changed) == len(TANH) <= 5
