from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from program_training import LENGTH, SPEC, digest
from program_training import pretraining as run
from tolerances import F32

from icl_sim.errors import InputError
from icl_sim.execution.trials import device_mesh
from icl_sim.storage.checkpoints import Checkpoints
from icl_sim.training import TrainConfig
from icl_sim.training.pretraining import BLOCKS, pretrain, sequence_loss, start
from icl_sim.training.pretraining_sequences import (
    ALPHABET,
    CONTEXTS,
    folded_text,
    long_block,
    markov_stream,
    pairs,
    random_law,
    short_block,
    streams,
    text_stream,
)

PROGRAM = Path(__file__).parent / "program_training.py"


def launch(kind, output, directory, steps, *process, devices=1, **variables):
    flags = f"--xla_force_host_platform_device_count={devices}"
    return subprocess.Popen(
        [sys.executable, PROGRAM, kind, output, directory, *map(str, (steps, *process))],
        env=os.environ | {"XLA_FLAGS": flags, "PYTHONPATH": str(PROGRAM.parent.parent)} | variables,
        stderr=subprocess.PIPE,
    )


def finish(process, output):
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors.decode()[-2000:]
    return output.read_text()


# Sequences.


def test_pairs_alternate_contexts_and_outputs():
    tokens = np.asarray(pairs(jax.random.key(0), 31))
    assert tokens.shape == (31,)
    assert tokens.dtype == np.int32
    assert set(tokens[::2]) <= set(range(CONTEXTS))
    assert set(tokens[1::2]) <= set(range(CONTEXTS, ALPHABET))


def test_random_laws_have_the_moments_of_their_prior():
    laws = np.exp(
        jax.vmap(lambda k: random_law(k, 1, 8))(jax.random.split(jax.random.key(0), 4000))
    )
    np.testing.assert_allclose(laws.sum(axis=-1), 1, atol=1e-5)
    # Dirichlet(a, ..., a) on V: E sum p^2 = (a + 1) / (V a + 1), averaged over log-uniform a.
    a = np.exp(np.linspace(np.log(0.1), np.log(2), 20_001))
    expected = np.mean((a + 1) / (8 * a + 1))
    found = (laws**2).sum(axis=-1).ravel()
    assert abs(found.mean() - expected) <= 5 * found.std() / np.sqrt(len(found))


def test_the_walk_is_a_walk_of_its_chain():
    # With one hot rows the walk is determined by the chain alone.
    tokens = np.asarray(markov_stream(jax.random.key(1), 2000))
    assert tokens.min() >= 0
    assert tokens.max() < ALPHABET
    chain_key, _, _ = jax.random.split(jax.random.key(1), 3)
    law = np.exp(random_law(chain_key, ALPHABET, ALPHABET))
    counts = np.zeros((ALPHABET, ALPHABET))
    np.add.at(counts, (tokens[:-1], tokens[1:]), 1)
    n = counts.sum(axis=1, keepdims=True)
    sigma = np.sqrt(n * law * (1 - law)) + 1e-3
    # A standardized count beyond 5 is allowed for where less than one is expected.
    assert (np.abs(counts - n * law) <= 5 * sigma + 1).all()


def test_text_streams_are_passages_under_a_permutation():
    text = folded_text()
    assert text.min() == 0
    assert text.max() == ALPHABET - 1
    tokens = np.asarray(text_stream(jax.random.key(0), 300))
    first = {symbol: np.flatnonzero(tokens == symbol)[0] for symbol in np.unique(tokens)}
    pattern = np.array([first[symbol] for symbol in tokens])
    windows = np.lib.stride_tricks.sliding_window_view(text, 300)
    ahead = np.flatnonzero((windows == windows[:, pattern]).all(axis=1))
    distinct = [i for i in ahead if len(np.unique(windows[i])) == len(first)]
    assert len(distinct) == 1


def determined(kind, tokens, t):
    """What token t + 1 must be by those before it; None where they leave it open."""
    if kind == "copies":
        fits = [d for d in range(4, 25) if (tokens[d : t + 1] == tokens[: max(t + 1 - d, 0)]).all()]
        found = {tokens[t + 1 - d] if d <= t + 1 else None for d in fits}
        return found.pop() if len(found) == 1 else None  # else several periods are possible
    if kind == "echoes":
        return tokens[t - 2]
    a, b = tokens[t - 1], tokens[t]
    if kind == "sums":
        return CONTEXTS + (a + b) % CONTEXTS
    seen = [i for i in range(2, t, 3) if (tokens[i - 2], tokens[i - 1]) == (a, b)]
    return tokens[seen[0]] if seen else None


@pytest.mark.parametrize(("kind", "least"), [("copies", 60), ("echoes", 47), ("triples", 14)])
def test_earlier_tokens_determine_what_streams_are_judged_on(kind, least):
    for seed in (5, 6, 7):
        tokens, judged = map(np.asarray, streams(96)[kind](jax.random.key(seed)))
        assert tokens.dtype == np.int32
        assert len(np.unique(tokens)) > 4
        answers = {t: determined(kind, tokens, t) for t in np.flatnonzero(judged)}
        known = {t: answer for t, answer in answers.items() if answer is not None}
        assert len(known) >= least
        assert all(tokens[t + 1] == answer for t, answer in known.items())
        # The last token alone does not: it stands before different answers.
        assert any(
            tokens[s] == tokens[t] and known[s] != known[t] for s in known for t in known if s < t
        )


def test_sums_are_judged_on_sums_and_one_alphabet_serves_all_of_them():
    for seed in range(4):
        tokens, judged = map(np.asarray, streams(96)["sums"](jax.random.key(seed)))
        assert np.flatnonzero(judged).tolist() == list(range(1, 95, 3))
        assert all(tokens[t + 1] == determined("sums", tokens, t) for t in np.flatnonzero(judged))


def test_alphabets_are_permuted_from_stream_to_stream():
    def alphabet(kind, seed):
        return frozenset(np.unique(streams(96)[kind](jax.random.key(seed))[0][0::3]).tolist())

    for kind in ("echoes", "triples"):
        assert len({alphabet(kind, seed) for seed in range(6)}) > 3


def test_blocks_are_functions_of_their_key_and_weigh_each_sequence_alike():
    for make in (lambda k: short_block(k, jnp.int32(1), 24), lambda k: long_block(k, 72)):
        one, two, other = (make(jax.random.key(seed)) for seed in (0, 0, 1))
        np.testing.assert_array_equal(one.tokens, two.tokens)
        assert (one.tokens != other.tokens).any()
        np.testing.assert_allclose(one.weights.sum(axis=1), 1, **F32)
    weights = np.asarray(short_block(jax.random.key(0), jnp.int32(0), 24).weights)
    assert (weights[:2, 1::2] == 0).all()
    assert (weights[2] > 0).all()


# The loop.


def test_training_lowers_the_loss_and_reports_progress():
    calls = []
    result = run(40, progress=lambda *call: calls.append(call))
    assert result.losses.shape == (40,)
    assert result.losses[-8:].mean() < result.losses[:4].mean() - 0.05
    assert [call[1:] for call in calls] == [(done, 40) for done in range(4, 41, 4)]
    assert calls[0][0].startswith("pretraining, loss ")


def test_one_step_is_that_of_the_mean_gradient_over_all_blocks():
    config = TrainConfig(optimizer="sgd", learning_rate=0.1, steps=1, schedule="constant")
    result = pretrain(SPEC, seed=3, length=LENGTH, config=config)
    params = start(SPEC, 3)
    key = jax.random.fold_in(jax.random.key(3), 1)

    slope = jax.jit(jax.value_and_grad(partial(sequence_loss, SPEC)))
    keys = [jax.random.fold_in(key, number) for number in range(BLOCKS)]
    short = jax.jit(short_block, static_argnums=2)
    batches = [short(keys[i], jnp.int32(i), LENGTH) for i in range(6)]
    batches += [long_block(keys[i], 3 * LENGTH) for i in (6, 7)]
    values, gradients = zip(*(slope(params, batch) for batch in batches), strict=True)
    gradient = {name: sum(g[name] for g in gradients) / jnp.float32(BLOCKS) for name in params}
    np.testing.assert_allclose(result.losses[0], np.mean(values), **F32)
    for name in params:
        expected = params[name] - jnp.float32(0.1) * gradient[name]
        np.testing.assert_allclose(result.params[name], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "counts"),
    [
        ("pretraining", (1,)),
        pytest.param("fine-tuning", (1,), marks=pytest.mark.slow),
        pytest.param("pretraining", (2, 3, 8), marks=pytest.mark.slow),
        pytest.param("fine-tuning", (2, 4, 8), marks=pytest.mark.slow),
    ],
)
def test_the_bits_do_not_depend_on_devices_and_processes(tmp_path, kind, counts):
    """Some numbers of devices in one process, and two processes of two devices over gloo."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    outputs = [tmp_path / name for name in ("left", "right", *map(str, counts))]
    runs = [
        launch(kind, outputs[i], tmp_path / "c" / str(i), 10, i, port, devices=2) for i in (0, 1)
    ]
    runs += [
        launch(kind, output, "-", 10, devices=count)
        for count, output in zip(counts, outputs[2:], strict=True)
    ]
    digests = {finish(process, output) for process, output in zip(runs, outputs, strict=True)}
    assert len(digests) == 1
    assert not (tmp_path / "c" / "1").exists()  # the first process keeps the checkpoints


def test_a_run_that_stopped_goes_on_to_the_same_bits(tmp_path):
    whole = digest(run(12))
    config = {"steps": 12}

    class Stop(Exception):  # noqa: N818
        pass

    def stop(label, done, total):
        if done == 8:
            raise Stop

    with (
        Checkpoints(tmp_path / "c", config=config) as checkpoints,
        pytest.raises(Stop),
    ):
        run(12, checkpoints, progress=stop)
    resumed = []
    with Checkpoints(tmp_path / "c", config=config) as checkpoints:
        again = run(12, checkpoints, progress=lambda *call: resumed.append(call[1]))
    assert resumed == [12]
    assert digest(again) == whole


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", ["pretraining", "fine-tuning"])
def test_killed_at_twenty_five_moments_and_still_the_same_bits(tmp_path, kind):
    """Kills fall within .3 s of the first checkpoint that a resumed run writes."""
    steps, kills = 400, 25
    cache = {
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    whole = tmp_path / "whole"
    expected = finish(launch(kind, whole, "-", steps, **cache), whole)
    moments, cut, finished, resumed = random.Random(0), 0, 0, set()
    while cut < kills or not finished:
        output, directory = tmp_path / f"{finished}", tmp_path / f"c{finished}"
        process = launch(kind, output, directory, steps, **cache)
        before = newest(directory)
        while cut < kills and process.poll() is None and newest(directory) == before:
            time.sleep(0.01)
        if cut < kills:
            time.sleep(moments.uniform(0, 0.3))
            if process.poll() is None:
                process.kill()
                cut += 1
                resumed.add((finished, newest(directory)))
        _, errors = process.communicate(timeout=600)
        assert process.returncode in (0, -9), errors.decode()[-2000:]
        if output.exists():
            assert output.read_text() == expected
            finished += 1
    assert len(resumed) > kills // 2


def newest(directory):
    names = os.listdir(directory) if directory.exists() else []
    return max((int(name) for name in names if name.isdecimal()), default=0)


def test_a_fault_names_step_and_leaf(monkeypatch):
    from icl_sim.training import pretraining

    honest = pretraining.start

    def poisoned(spec, seed):
        params = honest(spec, seed)
        params["layer_0.w_up"] = params["layer_0.w_up"].at[0, 0].set(jnp.nan)
        return params

    monkeypatch.setattr(pretraining, "start", poisoned)
    with pytest.raises(FloatingPointError, match=r"stopped at step 0: [\w.]+ or the loss"):
        run(4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"config": TrainConfig(adapt="head")}, "all leaves"),
        ({"config": TrainConfig(batch=3)}, "batches of its own"),
        ({"seed": -1}, "seed: expected an integer from 0"),
        ({"spec": SPEC.__class__(16, 8, 15, SPEC.layers)}, "16 symbols"),
    ],
)
def test_bad_requests_are_one_line(change, message):
    arguments = {"spec": SPEC, "seed": 0, "length": 16, "config": TrainConfig(steps=1)} | change
    with pytest.raises(InputError, match=message):
        pretrain(arguments.pop("spec"), **arguments)


def test_the_mesh_may_be_given():
    assert digest(run(4, mesh=device_mesh())) == digest(run(4))
