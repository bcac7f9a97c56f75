"""Decoding with keys and values kept: the same outputs as a forward pass over everything."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import ARCHITECTURES
from tolerances import F64

from icl_sim.decoding.kv_cache import cache_bytes, empty_cache, extend, share
from icl_sim.errors import InputError
from icl_sim.transformer import forward, stack_layers

# One case for each switch that attention or positions read.
CAUSAL = (
    "hardmax",
    "linear",
    "relative bias",
    "positions",
    "loops",
    "mixed layers",
    "rotary yarn",
    "grouped heads",
    "reach",
    "learned positions",
    "equal layers",
    "gpt2",
    "gemma",
)
step = jax.jit(extend, static_argnums=0)


def of(name):
    case = ARCHITECTURES[name]
    return case, {n: jnp.asarray(leaf, jnp.float64) for n, leaf in case.params().items()}


@pytest.mark.parametrize("name", CAUSAL)
def test_cached_outputs_are_those_of_the_whole_prompt(name):
    case, params = of(name)
    rows = np.stack([case.inputs(8, seed) for seed in range(3)])
    expected = jax.jit(forward, static_argnums=0)(case.spec, params, rows)
    cache = empty_cache(case.spec, batch=3, room=8, dtype=jnp.float64)
    out, cache = step(case.spec, params, rows[:, :5], cache)
    np.testing.assert_allclose(out, expected[:, 4], **F64)
    for t in range(5, 8):
        out, cache = step(case.spec, params, rows[:, t : t + 1], cache)
        np.testing.assert_allclose(out, expected[:, t], **F64)
    assert cache.place.tolist() == [8, 8, 8]


@pytest.mark.parametrize("name", ["gemma", "gpt2", "relative bias", "loops"])
def test_rows_of_different_lengths_do_not_see_what_fills_them_up(name):
    case, params = of(name)
    rows, lengths = np.stack([case.inputs(6, seed) for seed in range(3)]), np.array([2, 6, 3])
    cache = empty_cache(case.spec, batch=3, room=9, dtype=jnp.float64)
    out, cache = step(case.spec, params, rows, cache, lengths=jnp.asarray(lengths))
    more = np.array([[1, 2], [3, 0], [4, 1]])
    for t in range(2):
        out, cache = step(case.spec, params, more[:, t : t + 1], cache)
    for row, length, tail, found in zip(rows, lengths, more, out, strict=True):
        alone = forward(case.spec, params, np.concatenate([row[:length], tail]))
        np.testing.assert_allclose(found, alone[-1], **F64)


@pytest.mark.parametrize("name", ["gemma", "gpt2", "equal layers", "relative bias"])
def test_a_shared_prefix_is_read_once_and_seen_by_all(name):
    case, params = of(name)
    prefix = case.inputs(5, 1)
    rows = np.stack([case.inputs(3, seed) for seed in (4, 5)])
    one = empty_cache(case.spec, batch=1, room=5, dtype=jnp.float64)
    _, one = step(case.spec, params, prefix[None], one)
    cache = share(one, batch=2, room=3)
    assert cache.prefix == 5
    out, cache = step(case.spec, stack_layers(case.spec, params), rows, cache)
    for row, found in zip(rows, out, strict=True):
        alone = forward(case.spec, params, np.concatenate([prefix, row]))
        np.testing.assert_allclose(found, alone[-1], **F64)
    with pytest.raises(InputError, match="a cache of one row, got 2"):
        share(cache, batch=2, room=3)


def test_what_does_not_decode_is_refused():
    make = partial(empty_cache, batch=1, room=4)
    with pytest.raises(InputError, match="got inputs vectors"):
        make(ARCHITECTURES["vectors"].spec)
    with pytest.raises(InputError, match="layer 0: mask prefix"):
        make(ARCHITECTURES["prefix mask"].spec)


def test_bytes_are_those_of_the_arrays():
    spec = ARCHITECTURES["gemma"].spec
    cache = empty_cache(spec, batch=3, room=7)
    held = sum(x.nbytes for run in cache.runs for x in run)
    assert cache_bytes(spec, batch=3, room=7) == held
