"""Distances from hidden states: against float64 logits, in bounded memory, over many contexts."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle_distances import js, kl, log_softmax, softmax, tv

from icl_sim.divergence import (
    distances_over,
    hidden,
    jensen_shannon_from_hidden,
    kl_from_hidden,
    top1_from_hidden,
    total_variation_from_hidden,
)
from icl_sim.errors import InputError
from icl_sim.storage.store import Store

ABSOLUTE = 2e-6  # the logits themselves are rounded products here
DISTANCES = [
    total_variation_from_hidden,
    kl_from_hidden,
    jensen_shannon_from_hidden,
    top1_from_hidden,
]


def models(m, V, widths=(16, 24), seed=0):
    """Hidden states and unembeddings of two models: a, w_a, b, w_b."""
    rng = np.random.default_rng(seed)
    return [
        (rng.standard_normal(shape) * scale).astype(np.float32)
        for D in widths
        for shape, scale in (((m, D), 3 / np.sqrt(D)), ((D, V), 1))
    ]


def expected(a, w_a, b, w_b):
    """The four distances, from logits in float64."""
    left, right = (x.astype(np.float64) @ w.astype(np.float64) for x, w in ((a, w_a), (b, w_b)))
    p, q = softmax(left), softmax(right)
    top1 = (left.argmax(-1) != right.argmax(-1)).astype(float)
    return tv(p, q), kl(p, log_softmax(left), log_softmax(right)), js(p, q), top1


def assert_right(arguments):
    for distance, want in zip(DISTANCES, expected(*arguments), strict=True):
        np.testing.assert_allclose(distance(*arguments), want, rtol=2e-6, atol=ABSOLUTE)


@pytest.mark.parametrize(
    ("m", "V"),
    [(1, 1), (5, 7), (600, 9000), (40, 140_000)],
    ids=["one", "small", "blocks", "cut"],
)
def test_distances_agree_with_float64_logits(m, V):
    assert (V * hidden._FEWEST > hidden.LOGITS) == (V == 140_000)
    assert_right(models(m, V))


def test_one_narrow_context_of_many_outputs():
    assert_right(models(1, 140_000, (8, 5)))


def test_half_precision_is_computed_in_float32():
    short = [jnp.asarray(x, jnp.bfloat16) for x in models(9, 50)]
    got = total_variation_from_hidden(*short)
    assert got.dtype == jnp.float32
    want = expected(*(np.asarray(x, np.float32) for x in short))[0]
    np.testing.assert_allclose(got, want, rtol=0, atol=ABSOLUTE)


@pytest.mark.parametrize("V", [300, 384, 1000])
def test_outputs_cut_into_parts_of_any_number_are_counted_once(monkeypatch, V):
    monkeypatch.setattr(hidden, "_FEWEST", hidden.LOGITS)
    monkeypatch.setattr(hidden, "_CUT", 128 * hidden._ROWS)
    hidden._blockwise.clear_cache()
    assert_right(models(270, V))  # also a short last block of contexts
    hidden._blockwise.clear_cache()


@pytest.mark.parametrize("V", [1000, 140_000])
def test_a_model_is_at_distance_zero_from_itself_and_nan_stays_in_its_context(V):
    a, w, _, _ = models(3, V)
    for distance in DISTANCES:
        np.testing.assert_array_equal(distance(a, w, a, w), 0)
    b = a.copy()
    b[1, 0] = np.nan
    for distance in DISTANCES:
        assert np.isnan(distance(a, w, b, w)).tolist() == [False, True, False]


@pytest.mark.parametrize(
    "change",
    [
        *({"a": (3, 4)}, {"w_b": (24, 8)}, {"b": (4, 24)}, {"w_a": (16,)}, {"a": ()}),
        *({"a": (3, 0), "w_a": (0, 7)}, {"w_a": (16, 0), "w_b": (24, 0)}),
    ],
)
def test_shapes_that_do_not_fit_are_refused(change):
    shapes = {"a": (3, 16), "w_a": (16, 7), "b": (3, 24), "w_b": (24, 7)} | change
    with pytest.raises(InputError, match=r"expected hidden states \[..., m, D\]"):
        total_variation_from_hidden(*(np.zeros(shape, np.float32) for shape in shapes.values()))


def test_axes_before_the_last_broadcast():
    a, w_a, b, w_b = models(6, 50)
    got = total_variation_from_hidden(a.reshape(2, 3, 16), w_a, b[:3], w_b)
    want = total_variation_from_hidden(a, w_a, np.tile(b[:3], (2, 1)), w_b)
    np.testing.assert_allclose(got.reshape(6), want, rtol=0, atol=1e-6)


# Many contexts


def pair(keys, scale):
    x = jax.vmap(lambda key: jax.random.normal(key, (8,), jnp.float32))(keys)
    return x, x * scale


def over(directory, contexts, **options):
    arguments = {"key": jax.random.key(1), "args": (np.float32(1.5),)} | options
    _, w_a, _, w_b = models(1, 30, (8, 8))
    with Store(directory, config={}) as store:
        found = distances_over("x", pair, w_a, w_b, contexts=contexts, store=store, **arguments)
        return found, len(store.records())


def test_distances_over_contexts_are_those_of_each_context(tmp_path):
    found, _ = over(tmp_path, 2500)
    _, w_a, _, w_b = models(1, 30, (8, 8))
    keys = jax.vmap(lambda i: jax.random.split(jax.random.fold_in(jax.random.key(1), i), 1024))
    a, b = pair(keys(jnp.arange(3)).reshape(-1)[:2500], np.float32(1.5))
    want = expected(*(np.asarray(x) for x in (a, w_a, b, w_b)))[0]
    np.testing.assert_allclose(found, want, rtol=0, atol=ABSOLUTE)


def test_a_stopped_run_goes_on_from_its_records(tmp_path):
    whole, records = over(tmp_path / "whole", 140_000)
    assert records == 3

    def stop(label, done, total):
        assert (label, total) == ("x", 140_000)
        if done >= 100_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        over(tmp_path / "part", 140_000, progress=stop)
    shown = []
    found, records = over(
        tmp_path / "part", 140_000, progress=lambda label, done, total: shown.append(done)
    )
    np.testing.assert_array_equal(found, whole)
    assert records == 3
    assert shown[0] == 65_536  # from the record
    assert shown == sorted(shown)
    assert shown[-1] == 140_000


def test_another_distance_key_or_argument_is_computed_anew(tmp_path):
    changes = [{}, {"key": jax.random.key(2)}, {"args": (np.float32(2),)}]
    changes.append({"distance": jensen_shannon_from_hidden})
    found = [over(tmp_path, 5, **change)[0].tolist() for change in changes]
    assert len(set(map(tuple, found))) == 4
    assert over(tmp_path, 5) == (pytest.approx(found[0], abs=0), 4)


def test_no_contexts_and_nan_are_refused(tmp_path):
    with pytest.raises(InputError, match="at least one context"):
        over(tmp_path / "none", 0)
    with pytest.raises(FloatingPointError, match="context 0 is NaN"):
        over(tmp_path / "nan", 10, args=(np.float32(np.nan),))


def test_one_compilation_serves_every_number_of_contexts_key_and_argument(tmp_path):
    over(tmp_path / "first", 3000)
    compiled = hidden._blockwise._cache_size()
    over(tmp_path / "second", 5000, key=jax.random.key(2), args=(np.float32(0.5),))
    assert hidden._blockwise._cache_size() == compiled
