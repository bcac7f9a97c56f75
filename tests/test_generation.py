"""Sampling from a language model: greedy, with a temperature, cut, stopped, behind a prefix."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import ARCHITECTURES

from icl_sim.decoding.token_sampling import BLOCK, Sampling, next_tokens, sample_tokens
from icl_sim.errors import InputError
from icl_sim.transformer import Transformer, forward, init

SPEC = ARCHITECTURES["gemma"].spec
MODEL = Transformer(SPEC)
PARAMS = init(MODEL, jax.random.key(5))
PROMPTS = [[1, 4, 2], [3], [0, 0, 2, 1, 4]]


ROOM = 12  # tokens of the pass below: attention is causal, so what stands behind changes nothing


def by_hand(prompt, steps):
    whole = jax.jit(partial(forward, SPEC))
    tokens = list(prompt)
    for _ in range(steps):
        padded = np.array(tokens + [0] * (ROOM - len(tokens)))
        tokens.append(int(whole(PARAMS, padded)[len(tokens) - 1].argmax()))
    return tokens[len(prompt) :]


def test_greedy_tokens_are_those_of_a_forward_pass_over_everything():
    found = sample_tokens(MODEL, PARAMS, PROMPTS, steps=6)
    assert [row.tolist() for row in found] == [by_hand(prompt, 6) for prompt in PROMPTS]


def test_a_prefix_is_as_good_as_longer_prompts():
    prefix = [2, 2, 0, 1]
    key = jax.random.key(0)
    arguments = {"steps": BLOCK + 3, "key": key, "sampling": Sampling(temperature=1.0)}
    found = sample_tokens(MODEL, PARAMS, PROMPTS, prefix=prefix, **arguments)
    longer = sample_tokens(MODEL, PARAMS, [prefix + prompt for prompt in PROMPTS], **arguments)
    assert [len(row) for row in found] == [BLOCK + 3] * 3
    assert all(np.array_equal(a, b) for a, b in zip(found, longer, strict=True))


def test_a_row_draws_the_same_tokens_in_any_company():
    arguments = {"steps": 9, "key": jax.random.key(1), "sampling": Sampling(temperature=2.0)}
    together = sample_tokens(MODEL, PARAMS, PROMPTS, **arguments)
    alone = sample_tokens(MODEL, PARAMS, PROMPTS[:1], **arguments)
    assert np.array_equal(together[0], alone[0])
    assert not np.array_equal(together[0], together[1])


def test_a_row_ends_with_its_stop_token_or_when_its_caller_says_so():
    free = sample_tokens(MODEL, PARAMS, PROMPTS, steps=12)
    stop = int(free[0][3])
    found = sample_tokens(MODEL, PARAMS, PROMPTS, steps=12, stop=[stop])
    for row, whole in zip(found, free, strict=True):
        place = np.flatnonzero(whole == stop)
        assert row.tolist() == whole[: place[0] + 1].tolist() if place.size else whole.tolist()
    looks = []
    sample_tokens(MODEL, PARAMS, PROMPTS[:1], steps=10**4, done=lambda row: looks.append(1) or True)
    assert len(looks) == 1


def test_frequencies_are_the_softmax_of_logits_over_temperature():
    n, temperature = 40_000, 0.5
    logits = jnp.log(jnp.array([0.5, 0.3, 0.15, 0.05]))
    rows = jnp.broadcast_to(logits, (n, 4))
    cases = {
        Sampling(temperature): np.array([0.5, 0.3, 0.15, 0.05]) ** 2,
        Sampling(temperature, top_k=2): np.array([0.25, 0.09, 0, 0]),
        # The two largest hold .25 + .09 of .365, that is .93: the third is needed for .95.
        Sampling(temperature, top_p=0.95): np.array([0.25, 0.09, 0.0225, 0]),
        Sampling(1.0, top_k=3, top_p=0.8): np.array([0.5, 0.3, 0, 0]),
    }
    for seed, (sampling, weights) in enumerate(cases.items()):
        keys = jax.random.split(jax.random.key(seed), n)
        law = weights / weights.sum()
        counts = np.bincount(next_tokens(rows, keys, sampling), minlength=4) / n
        assert (np.abs(counts - law) <= 5 * np.sqrt(law * (1 - law) / n)).all(), sampling
    greedy = next_tokens(rows, jax.random.split(jax.random.key(9), n), Sampling())
    assert set(np.asarray(greedy).tolist()) == {0}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prompts": [[]]}, "prompt 0: expected one or more tokens"),
        ({"prompts": [[1], [9]]}, "prompt 1: expected tokens from 0 to 4, got 9"),
        ({"prompts": []}, "1 or more prompts"),
        ({"steps": 0}, "1 or more prompts and steps"),
        ({"prefix": [-1]}, "prefix: expected tokens"),
        ({"sampling": Sampling(temperature=1.0)}, "key: expected a random key"),
    ],
)
def test_what_cannot_be_written_is_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        sample_tokens(MODEL, PARAMS, **{"prompts": PROMPTS, "steps": 3} | arguments)


@pytest.mark.parametrize("bad", [{"temperature": -1}, {"top_k": -1}, {"top_p": 0}, {"top_p": 1.5}])
def test_samplings_out_of_range_are_refused(bad):
    with pytest.raises(InputError, match=next(iter(bad))):
        Sampling(**bad)
