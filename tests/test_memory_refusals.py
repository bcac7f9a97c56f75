"""Requests that would not fit are refused in one line and allocate nothing; others are not."""

from __future__ import annotations

import itertools
import re
from fractions import Fraction
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from constructions import CONSTRUCTIONS, TuringMachine
from constructions.machines.looped import looped
from constructions.machines.weights import build_bytes
from constructions.spec import Layer, TransformerSpec, param_shapes
from icl_sim import (
    InputError,
    exact_failure_probability,
    fine_tune,
    forward,
    generate,
    load,
    total_variation,
    total_variation_from_logits,
    verify_trace,
)
from icl_sim.bounds import failure_enclosure
from icl_sim.bounds.classification import basis_failure
from icl_sim.bounds.enclosures import enclosure_bytes
from icl_sim.bounds.partial import subset_expected_total_variation
from icl_sim.bounds.sequences import absorbing_mean_divergence
from icl_sim.cli import exit_code, run
from icl_sim.cli.doctor import examine
from icl_sim.comparison import compare
from icl_sim.comparison.run import comparison_bytes
from icl_sim.decoding import generate_batch, sample_strings
from icl_sim.divergence import total_variation_from_hidden
from icl_sim.divergence.distances import BLOCK
from icl_sim.emulation.looped import looped_bytes
from icl_sim.emulation.machine_files import find_machine
from icl_sim.emulation.turing import build
from icl_sim.execution.memory_guard import VARIABLE, at_peak, budget
from icl_sim.execution.trials import run_blocks
from icl_sim.storage.store import Store
from icl_sim.storage.weights import load_weights
from icl_sim.training import Examples, TrainConfig, fine_tune_copies
from icl_sim.training.adapters import trainable, trainable_size
from icl_sim.training.base_model import RECIPE
from icl_sim.training.fine_tuning import training_bytes
from icl_sim.training.pretraining import pretrain, pretraining_bytes
from icl_sim.training.runs import train_sft
from icl_sim.transformer import Transformer, forward_bytes, init, load_params

GIB = 2**30
LAYER = Layer(heads=4, key_size=16, value_size=16, hidden=96, gate="silu", window=32)
SPEC = TransformerSpec(16, 64, 16, (LAYER, LAYER), norm="rms")


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def on_device():
    return sum(array.nbytes for array in jax.live_arrays())


def refused(call, *words, grown=16 * 2**20):
    """The message of a call that is refused without a trace in memory."""
    arrays, before = on_device(), resident()
    with pytest.raises(InputError) as refusal:
        call()
    assert resident() - before < grown
    assert on_device() - arrays < 2**20  # the weights of a decoder at most
    message = str(refusal.value)
    assert "\n" not in message
    assert all(word in message for word in (*words, "2.0 GiB", VARIABLE)), message
    return message


def test_a_forward_pass_is_refused(two_gib):
    params = init(Transformer(SPEC), jax.random.key(0))
    inputs = np.zeros((64, 4096), np.int32)
    message = refused(lambda: forward(SPEC, params, inputs), "forward pass", "tokens 4,096")
    batch = int(re.search(r"batch (\d+) fits", message)[1])
    cost = partial(forward_bytes, SPEC, tokens=4096)
    assert at_peak(cost(batch=batch)) <= 2 * GIB < at_peak(cost(batch=batch + 1))
    refused(lambda: jax.jit(forward, static_argnums=0)(SPEC, params, inputs), "forward pass")
    refused(lambda: forward(SPEC, params, np.zeros(2**17, np.int32)), "batch 1, tokens")


def test_the_cost_of_a_forward_pass_rises_with_each_size():
    for layer in (LAYER, Layer(hidden=7), Layer(heads=1, key_size=1, value_size=1)):
        spec = TransformerSpec(3, 5, 7, (layer,))
        for batch, tokens in itertools.product((1, 2, 9), repeat=2):
            cost = forward_bytes(spec, batch=batch, tokens=tokens)
            assert cost < forward_bytes(spec, batch=batch + 1, tokens=tokens)
            assert cost < forward_bytes(spec, batch=batch, tokens=tokens + 1)


def test_fine_tuning_is_refused(two_gib):
    model = Transformer(SPEC)
    params = init(model, jax.random.key(0))
    inputs, counts = np.zeros((2**16, 8), np.int32), np.ones((2**16, 16), np.int8)
    key = jax.random.key(1)
    refused(
        lambda: fine_tune(model, params, Examples(inputs, counts), key=key),
        "fine-tuning",
        "examples 65,536, tokens 8",
    )
    copies = Examples(*(field.reshape(2**13, 8, -1) for field in (inputs, counts)))
    keys = jax.random.split(key, 2**13)
    message = refused(
        lambda: fine_tune_copies(model, params, copies, keys=keys), "copies 8,192, examples 8"
    )
    copies = int(re.search(r": copies ([\d,]+) fits", message)[1].replace(",", ""))
    cost = partial(training_bytes, SPEC, TrainConfig(), 8, 8, at_once=4 * len(jax.devices()))
    assert at_peak(cost(copies=copies)) <= 2 * GIB < at_peak(cost(copies=copies + 1))


@pytest.mark.parametrize("adapt", ["full", "lora", "head"])
def test_trained_numbers_are_counted(adapt):
    config = TrainConfig(adapt=adapt, rank=3)
    leaves = trainable(init(Transformer(SPEC), jax.random.key(0)), config, jax.random.key(1))
    assert trainable_size(SPEC, config) == sum(leaf.size for leaf in leaves.values())


def test_pretraining_is_refused(two_gib):
    refused(lambda: pretrain(SPEC, seed=0, length=4096, config=RECIPE), "pretraining", "length")


def test_machines_and_their_runs_are_refused(two_gib):
    states = tuple(f"q{i}" for i in range(200))
    symbols = tuple(chr(ord("A") + i) for i in range(60))
    rules = {(q, a): (q, a, 1) for q in states for a in symbols}
    monster = TuringMachine("monster", states, symbols, "A", "q0", rules)
    refused(lambda: build(monster, construction="single", steps=None), "states 200, symbols 60")
    built = CONSTRUCTIONS["universal"](states=2, steps=1000, cells=100)
    model, params = load(built)
    prompt = built.encode({"machine": find_machine("1RB1LB_1LA1RZ"), "tape": ""})
    with_room = partial(generate, model, params, prompt, stop=built.machine.stop)
    assert built.decode(with_room(steps=1000))["tape"] == [1] * 4
    refused(lambda: with_room(steps=2**24, engine="dense"), "dense decoding", "steps")
    endless = partial(generate, model, params, prompt, engine="specialised")
    refused(lambda: endless(steps=10**12), "specialised decoding", "steps 1,000,000,000,000")
    refused(lambda: generate_batch(model, params, [prompt] * 10**6, steps=1000), "lanes")
    trace = find_machine("1RB1LB_1LA1RZ").run("", 1000)
    refused(lambda: verify_trace(built, trace, block=2**30), "verification", "block")
    lookup = CONSTRUCTIONS["lookup"](vocab=2)
    sample = partial(sample_strings, *load(lookup), np.array([0, 1]), key=jax.random.key(0))
    refused(lambda: sample(length=1000, count=1000), "a sample of strings", "count")


def test_exact_tails_are_refused(two_gib, monkeypatch):
    with monkeypatch.context() as less:
        less.setenv(VARIABLE, "100MiB")  # the limit on work keeps them below half a GiB
        with pytest.raises(
            InputError, match="an exact tail: .* got n 1,000,000, vocab 4,096, .* fits"
        ):
            exact_failure_probability(vocab=2**12, n=10**6, eps="0.1")
    with pytest.raises(InputError, match="multiply-adds"):
        exact_failure_probability(vocab=10**13, n=10, eps="0.1")
    with pytest.raises(InputError, match="rounding"):  # of work it needs half of what it may
        exact_failure_probability(vocab=10**12, n=10, eps="0.1")
    law = ["1/2", "1/3", "1/6"]
    message = refused(lambda: failure_enclosure(law=law, n=10**6, eps="1e-4"), "an enclosure")
    n = int(re.search(r": n ([\d,]+) fits", message)[1].replace(",", ""))
    masses, rise = [Fraction(p) for p in law], Fraction("1e-4")
    cost = partial(enclosure_bytes, masses, rise)
    assert at_peak(cost(n)) <= 2 * GIB < at_peak(cost(n + 1))
    refused(
        lambda: absorbing_mean_divergence(trajectories=10**12, length=5, escape=0.5),
        "a binomial law",
    )
    refused(lambda: basis_failure(light=9, light_mass="0.5", n=10**12, eps="0.1"), "n 1,000")
    refused(lambda: subset_expected_total_variation(pool=[10**12, 10**12], n=10**11), "hyper")


def normals(key, shape):
    return jax.random.normal(key, shape, jnp.float32)


def test_trials_are_refused(two_gib):
    key = jax.random.key(0)
    many = partial(run_blocks, partial(normals, shape=(1000,)), key=key, trials=10**6)
    with pytest.raises(InputError, match="results: .* trials 1,000,000, .* trials 238,609 fits"):
        many()
    wide = partial(run_blocks, partial(normals, shape=(2**20,)), key=key, trials=10)
    refused(wide, "a dispatch of trials", "block 64", "fits")
    assert wide(block=2, trials=2).shape == (2, 2**20)


def test_comparisons_are_refused(two_gib, tmp_path):
    with Store(tmp_path, config={}) as store:
        asked = partial(compare, "tables", key=jax.random.key(0), store=store)
        refused(lambda: asked(seeds=10**8), "the comparison", "seeds 100,000,000")
        refused(lambda: asked(sizes=[8, 10**9]), "demonstrations 1,000,000,000")
        refused(lambda: asked(contexts=10**5, vocab=10**5, predictors=["counts"]), "contexts 1")
        lookup = partial(asked, tasks=1, predictors=["lookup"])
        for size in (5001, 5002, 5000):  # modules and traces stay in memory
            refused(lambda n=size: lookup(sizes=[n]), "predictor lookup", grown=2**27)
        message = refused(lambda: lookup(sizes=[5000]), "predictor lookup")
        most = int(re.search(r": demonstrations ([\d,]+) fits", message)[1].replace(",", ""))
        with pytest.raises(InputError, match="predictor lookup"):
            lookup(sizes=[most + 1])
        assert not store.records()


def test_distances_are_refused(two_gib):
    laws = np.broadcast_to(np.float32(1), (10**5, 2**15))
    for distance in (total_variation, total_variation_from_logits):
        message = refused(lambda f=distance: f(laws, laws), "the distances", "contexts 100,000")
    most = int(re.search(r": contexts ([\d,]+) fits", message)[1].replace(",", ""))
    assert at_peak(8 * BLOCK + (3 * 4 * 2**15 + 8) * most) <= 2 * GIB
    assert at_peak(8 * BLOCK + (3 * 4 * 2**15 + 8) * (most + 1)) > 2 * GIB
    hidden, head = laws[:, :64], np.zeros((64, 8), np.float32)
    wide = np.broadcast_to(np.float32(1), (10**7, 64))
    refused(lambda: total_variation_from_hidden(wide, head, hidden[:1], head), "the distances")
    assert total_variation_from_hidden(hidden[:9], head, hidden[:1], head).shape == (9,)


def test_large_files_are_not_read(tmp_path, two_gib):
    path = tmp_path / "weights"
    with open(f"{path}.safetensors", "wb") as file:
        file.truncate(2**33)  # a hole: eight GiB by its length
    (tmp_path / "weights.json").write_text("{}")
    refused(lambda: load_weights(path), "loading", "8,589,934,594", "which takes 18.0 GiB")


def test_fine_tuning_on_tables_is_refused(two_gib):
    with pytest.raises(InputError, match="prompt: expected at most 287 demonstrations"):
        train_sft(sizes=[10**9])
    refused(lambda: train_sft(tasks=10**6), "fine-tuning", "copies 2,000,000")


def test_the_doctor_tells_the_budget(two_gib):
    assert examine()["memory of a request"] == "2.0 GiB"


@pytest.mark.parametrize(
    ("memory", "words"),
    [
        ("2GiB", "compare --seeds 100000000"),
        ("2GiB", "train sft --tasks 1000000"),
        ("4MiB", "emulate parity --tape 101 --engine dense --max-steps 16000"),
        ("1KiB", "emulate parity --tape 101"),
        ("1MiB", "emulate add --construction looped"),
        ("lots", "compare"),
    ],
)
def test_the_command_line_refuses_in_one_line(memory, words, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv(VARIABLE, memory)
    monkeypatch.chdir(tmp_path)
    assert run(["icl-sim", *words.split()]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert VARIABLE in err
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize(
    "error", [MemoryError("no 9 GiB"), RuntimeError("RESOURCE_EXHAUSTED: no 9 GiB")]
)
def test_memory_that_runs_out_is_one_line_too(error, capsys):
    def fail():
        raise error

    assert exit_code("icl-sim", fail) == 2
    assert "more memory than there is" in capsys.readouterr().err
    with pytest.raises(RuntimeError, match="another"):
        exit_code("icl-sim", lambda: (_ for _ in ()).throw(RuntimeError("another")))


def test_weights_are_refused(two_gib):
    wide = TransformerSpec(2, 2**16, 2, (Layer(hidden=2**16),))
    refused(lambda: init(Transformer(wide), jax.random.key(0)), "initial weights")
    shapes = param_shapes(wide).items()
    params = {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes}
    refused(lambda: load_params(wide, params), "weights")


def test_what_fits_is_not_refused(two_gib, tmp_path):
    """No false alarm at the sizes that commands and functions have by default."""
    budgeted = budget()
    assert at_peak(forward_bytes(SPEC, batch=64, tokens=576)) < budgeted
    assert at_peak(training_bytes(SPEC, TrainConfig(), 8, 1, copies=256)) < budgeted
    assert at_peak(pretraining_bytes(SPEC, 192, devices=8)) < budgeted
    assert at_peak(comparison_bytes(6, 12, 3, 4096, 8, 8)) < budgeted
    assert at_peak(build_bytes(128, 8)) < budgeted
    assert at_peak(looped_bytes(looped(words=1024).spec, 1024)) < budgeted
