"""The shipped base: its files, its conventions at the edges, and that it estimates in context."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_sim.data.bayes import posterior_predictive
from icl_sim.data.tasks import random_table, sample_demonstrations
from icl_sim.divergence import total_variation
from icl_sim.errors import InputError
from icl_sim.storage.weights import SEAL, sealed
from icl_sim.training import base_model as bases
from icl_sim.training.pretraining_sequences import CONTEXTS

BASE = bases.load_base()


def demonstrations(N, *, seed=0, index=0, contexts=8, vocab=8):
    law = random_table(index, contexts=contexts, vocab=vocab).law
    return sample_demonstrations(jax.random.key(seed), law, total=N)


def test_it_estimates_in_context_on_tables_that_it_never_saw():
    def distance(key, law):
        data = sample_demonstrations(key, law, total=64)
        bayes = posterior_predictive(data.counts, most=64)
        return total_variation(bases.in_context_laws(BASE, BASE.params, data), bayes).mean()

    laws = jnp.asarray(np.stack([random_table(500 + i).law for i in range(12)]), jnp.float32)
    keys = jax.random.split(jax.random.key(5), 12)
    assert jax.jit(jax.vmap(distance))(keys, laws).mean() < bases.LIMIT


@pytest.mark.slow
def test_the_sidecar_states_what_the_gate_measures():
    found, stated = bases.gate(BASE), BASE.about["gate"]
    assert found.passed
    assert stated["passed"]
    for size, distances in found.sizes.items():
        for name, value in vars(distances).items():
            assert abs(value - stated["sizes"][str(size)][name]) <= 2e-4


def test_another_seed_passed_the_gate_as_well():
    replicas = BASE.about["replicas"]
    assert replicas
    assert all(one["passed"] for one in replicas.values())


@pytest.mark.slow
def test_a_network_that_learnt_nothing_fails_the_gate(monkeypatch):
    monkeypatch.setattr(bases, "GATE_SIZES", (16,))
    monkeypatch.setattr(bases, "GATE_TABLES", 4)
    params = BASE.params | {"w_out": jnp.zeros_like(BASE.params["w_out"])}
    assert not bases.gate(bases.Base(BASE.spec, params, BASE.window, {})).passed
    assert bases.gate(BASE).passed


def test_save_and_load_are_inverse(tmp_path):
    bases.save_base(BASE, tmp_path / "copy")
    again = bases.load_base(tmp_path / "copy")
    assert again.spec == BASE.spec
    assert again.window == BASE.window
    for name, leaf in BASE.params.items():
        np.testing.assert_array_equal(again.params[name], leaf)


def damaged(directory, change):
    bases.save_base(BASE, directory / "copy")
    change(directory / "copy.safetensors", directory / "copy.json")
    bases.load_base.__wrapped__.cache_clear()
    return directory / "copy"


def flip(weights, sidecar):
    raw = bytearray(weights.read_bytes())
    raw[-1000] ^= 4
    weights.write_bytes(raw)


def edit(**fields):
    def change(weights, sidecar):
        about = json.loads(sidecar.read_text()) | fields
        # Sealed, so that the seal is not what catches the change.
        sidecar.write_text(json.dumps(about | {SEAL: sealed(about)}))

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (flip, "SHA-256"),
        (edit(sha256="0" * 64), "SHA-256"),
        (edit(window="wide"), "a window of at least one token"),
        (edit(spec={"layers": []}), "KeyError"),
        (lambda weights, sidecar: weights.unlink(), "FileNotFoundError"),
        (lambda weights, sidecar: sidecar.write_text("{"), "JSONDecodeError"),
    ],
)
def test_damaged_files_are_refused_in_one_line(tmp_path, change, message):
    with pytest.raises(InputError, match=message) as caught:
        bases.load_base(damaged(tmp_path, change))
    assert "\n" not in str(caught.value)


def test_weights_of_another_shape_are_refused(tmp_path):
    spec = edit(spec=json.loads(json.dumps(BASE.about["spec"])) | {"width": 32})
    with pytest.raises(InputError, match="embed"):
        bases.load_base(damaged(tmp_path, spec))


def test_prompts_are_pairs_and_then_each_context():
    data = demonstrations(3)
    prompts = np.asarray(bases.table_prompts(BASE, data))
    assert prompts.shape == (8, 7)
    np.testing.assert_array_equal(prompts[:, -1], np.arange(8))
    np.testing.assert_array_equal(prompts[5, :-1:2], data.contexts)
    np.testing.assert_array_equal(prompts[5, 1:-1:2], np.asarray(data.outputs) + CONTEXTS)


def test_without_data_the_prompted_base_is_the_bare_base():
    data = demonstrations(0)
    prompted = bases.in_context_laws(BASE, BASE.params, data)
    np.testing.assert_array_equal(prompted, bases.bare_laws(BASE, BASE.params, 8, 8))


def test_the_window_is_the_limit():
    most = (BASE.window - 1) // 2
    assert np.isfinite(bases.in_context_laws(BASE, BASE.params, demonstrations(most))).all()
    with pytest.raises(InputError, match=f"at most {most} demonstrations"):
        bases.in_context_laws(BASE, BASE.params, demonstrations(most + 1))


@pytest.mark.parametrize(("contexts", "vocab"), [(9, 8), (8, 9)])
def test_a_table_beyond_the_vocabulary_is_refused(contexts, vocab):
    data = demonstrations(4, contexts=contexts, vocab=vocab)
    for refused in (
        lambda: bases.in_context_laws(BASE, BASE.params, data),
        lambda: bases.bare_laws(BASE, BASE.params, contexts, vocab),
        lambda: bases.table_examples(data.counts),
    ):
        with pytest.raises(InputError, match=r"expected a table of at most 8 contexts"):
            refused()


def test_smaller_tables_are_laws_too():
    laws = bases.in_context_laws(BASE, BASE.params, demonstrations(10, contexts=3, vocab=4))
    assert laws.shape == (3, 4)
    np.testing.assert_allclose(laws.sum(axis=1), 1, atol=1e-6)
