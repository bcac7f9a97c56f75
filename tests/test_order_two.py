"""Fine-tuning the shipped base on a task of order 2: attention must move, the head is not enough.

A prompt is eight contexts, and its answer a fixed function of the last two: 64 cells of a random
table, six symbols of noise before them. Held-out prompts are other strings.
"""

from __future__ import annotations

import jax
import numpy as np
import pytest

from icl_sim.training import TrainConfig, completions, score, tune_sequences
from icl_sim.training.base_model import load_base
from icl_sim.training.pretraining_sequences import ALPHABET, CONTEXTS
from icl_sim.transformer import Transformer

BASE = load_base()
MODEL = Transformer(BASE.spec)
RNG = np.random.default_rng(0)
TABLE = RNG.integers(CONTEXTS, ALPHABET, (CONTEXTS, CONTEXTS))


def rows(number):
    prompts = RNG.integers(0, CONTEXTS, (number, 8))
    return completions([(prompt, [TABLE[prompt[-2], prompt[-1]]]) for prompt in prompts])


SHOWN, HELD_OUT = rows(2048), rows(1024)


def tuned(**options):
    config = TrainConfig(batch=64, warmup=10, **options)
    found = tune_sequences(MODEL, BASE.params, SHOWN, config=config, key=jax.random.key(1))
    right = score(MODEL, found.params, HELD_OUT, batch=512)[1].mean()
    return found.params, float(right)


def moved(params):
    return {name: float(np.abs(params[name] - leaf).max()) for name, leaf in BASE.params.items()}


def test_fine_tuning_all_leaves_moves_all_of_them_and_learns_the_table():
    params, right = tuned(learning_rate=2e-3, steps=250)
    assert right >= 0.99
    assert min(moved(params).values()) > 1e-3


@pytest.mark.parametrize("rank", [4])
def test_low_rank_corrections_learn_the_table(rank):
    params, right = tuned(learning_rate=1e-2, steps=200, adapt="lora", rank=rank)
    assert right >= 0.99
    matrices = {n: d for n, d in moved(params).items() if n.rpartition(".")[2].startswith("w_")}
    assert min(matrices.values()) > 1e-3
    assert sum(d > 0 for d in moved(params).values()) == len(matrices)


def test_the_head_alone_does_not_learn_the_table():
    params, right = tuned(learning_rate=5e-2, steps=150, adapt="head")
    assert 0.2 < right < 0.6
    assert {name for name, distance in moved(params).items() if distance} == {"w_out"}
