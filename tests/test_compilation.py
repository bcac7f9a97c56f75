"""Each jitted kernel is compiled once a shape: never again for other seeds, data or weights."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from cases_machines import random_case
from program_training import SPEC

from constructions import CONSTRUCTIONS
from icl_sim import load
from icl_sim.decoding import string_law, strings, verification, verify_trace
from icl_sim.divergence import distances, hidden, total_variation_from_hidden
from icl_sim.divergence import total_variation_from_logits as from_logits
from icl_sim.training import (
    Examples,
    TrainConfig,
    copies,
    fine_tune,
    fine_tune_copies,
    fine_tuning,
    pretraining,
)
from icl_sim.transformer import Transformer, init

MODEL = Transformer(SPEC)
CONFIG = TrainConfig(steps=3)
LOOKUP = CONSTRUCTIONS["lookup"](vocab=2)
UNIVERSAL = CONSTRUCTIONS["universal"](states=2, steps=1000, cells=200)


def tune(seed, size):
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 9, (size, 16)).astype(np.float32)
    inputs = rng.integers(0, 16, (size, 1)).astype(np.int32)
    params = init(MODEL, jax.random.key(seed))
    fine_tune(MODEL, params, Examples(inputs, counts), config=CONFIG, key=jax.random.key(seed))


def tune_copies(seed, size):
    """Two blocks of copies and more: their number is data, their examples are a shape."""
    rng = np.random.default_rng(seed)
    number = 5 + seed
    counts = rng.integers(1, 9, (number, size, 16)).astype(np.float32)
    inputs = rng.integers(0, 16, (number, size, 1)).astype(np.int32)
    keys = jax.random.split(jax.random.key(seed), number)
    params = init(MODEL, jax.random.key(seed))
    fine_tune_copies(MODEL, params, Examples(inputs, counts), config=CONFIG, keys=keys)


def pretrain(seed, size):
    pretraining.pretrain(SPEC, seed=seed, length=8 * size, config=CONFIG)


def verify(seed, size):
    """The trace of another machine on another tape each time."""
    machine, tape = random_case(np.random.default_rng(seed), states=2, symbols=2, cells=20)
    trace = machine.run(tape, 100)
    verify_trace(UNIVERSAL, trace, tape=tape, engine="cached", block=64 * size)


def strings_after(seed, size):
    prompt = LOOKUP.encode({"stream": np.random.default_rng(seed).integers(0, 2, 5).tolist()})
    string_law(*load(LOOKUP), prompt, length=size)


def normal(seed, *shapes):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


def rows(seed, size):
    from_logits(*normal(seed, (size, 30), (size, 30)))


def states(seed, size):
    total_variation_from_hidden(*normal(seed, (size, 3), (3, 30), (size, 5), (5, 30)))


# kernel, what calls it
KERNELS = {
    "fine-tuning": (fine_tuning._train_jit, tune),
    "steps of copies": (copies._advance, tune_copies),
    "gradients of pretraining": (pretraining._gradients, pretrain),
    "verification": (verification._check, verify),
    "strings": (strings._enumerate, strings_after),
    "distances": (distances.of_rows, rows),
    "distances from hidden states": (hidden._blockwise, states),
}


@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_is_compiled_once_a_shape(name):
    kernel, call = KERNELS[name]
    kernel.clear_cache()
    call(0, 2)
    once = kernel._cache_size()
    assert once == (2 if name == "steps of copies" else 1)  # each device has its own
    for seed in (1, 2):
        call(seed, 2)
        assert kernel._cache_size() == once
    call(0, 3)  # so that the count above can fail
    assert kernel._cache_size() == 2 * once
