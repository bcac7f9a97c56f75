from __future__ import annotations

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from oracle_distances import js, kl, kl_of_laws, log_softmax, softmax, tv
from tolerances import F64

from icl_sim.divergence import (
    jensen_shannon,
    jensen_shannon_from_logits,
    kl_divergence,
    kl_from_logits,
    summarize,
    top1_disagreement,
    total_variation,
    total_variation_from_logits,
)
from icl_sim.divergence.distances import of_rows
from icl_sim.divergence.kernel import kernels, run
from icl_sim.divergence.measures import JENSEN_SHANNON, KULLBACK_LEIBLER, TOTAL_VARIATION
from icl_sim.errors import InputError

ABSOLUTE = 1e-6  # what float32 distances promise against float64
FROM_LAWS = [total_variation, kl_divergence, jensen_shannon, top1_disagreement]
FROM_LOGITS = [total_variation_from_logits, kl_from_logits, jensen_shannon_from_logits]
inf, nan = np.inf, np.nan


def logits(*shape, seed=0, scale=3.0, dtype=np.float32):
    return (scale * np.random.default_rng(seed).standard_normal(shape)).astype(dtype)


# Many rows


@pytest.mark.parametrize(
    ("m", "V"),
    [(1, 1), (7, 2), (3, 1000), (70, 32768), (130, 4099), (3, 300_000), (1, 2**18)],
    ids=["one-output", "coins", "one-block", "blocks", "short-last-block", "long-rows", "long-row"],
)
def test_distances_of_float32_logits_agree_with_float64(m, V):
    a, b = logits(m, V), logits(m, V, seed=1)
    p, q = softmax(a), softmax(b)
    np.testing.assert_allclose(total_variation_from_logits(a, b), tv(p, q), rtol=0, atol=ABSOLUTE)
    np.testing.assert_allclose(jensen_shannon_from_logits(a, b), js(p, q), rtol=0, atol=ABSOLUTE)
    expected = kl(p, log_softmax(a), log_softmax(b))
    np.testing.assert_allclose(kl_from_logits(a, b), expected, rtol=1e-6, atol=ABSOLUTE)
    assert total_variation_from_logits(a, b).dtype == jnp.float32


@pytest.mark.parametrize("m", [9, 700])
def test_distances_of_float64_logits_are_float64(m):
    a, b = logits(m, 1000, dtype=np.float64), logits(m, 1000, seed=1, dtype=np.float64)
    p, q = softmax(a), softmax(b)
    np.testing.assert_allclose(total_variation_from_logits(a, b), tv(p, q), **F64)
    np.testing.assert_allclose(jensen_shannon_from_logits(a, b), js(p, q), **F64)
    np.testing.assert_allclose(kl_from_logits(a, b), kl_of_laws(p, q), **F64)


@pytest.mark.parametrize(("dtype", "atol"), [(np.float32, ABSOLUTE), (np.float64, 1e-12)])
def test_distances_of_laws_agree_with_their_definitions(dtype, atol):
    a = logits(50, 300, scale=2.0)
    a[:, :20] = -inf
    p, q = softmax(a).astype(dtype), softmax(logits(50, 300, seed=1)).astype(dtype)
    expected = [f(p.astype(np.float64), q.astype(np.float64)) for f in (tv, kl_of_laws, js)]
    for measure, value in zip(FROM_LAWS, expected, strict=False):
        assert measure(p, q).dtype == dtype
        np.testing.assert_allclose(measure(p, q), value, rtol=0, atol=atol)


def test_top1_disagreement_is_the_comparison_of_argmaxes_of_laws_and_of_logits():
    a, b = logits(400, 5), logits(400, 5, seed=1)
    expected = (a.argmax(-1) != b.argmax(-1)).astype(np.float32)
    assert 0 < expected.mean() < 1
    np.testing.assert_array_equal(top1_disagreement(a, b), expected)
    p, q = softmax(a).astype(np.float32), softmax(b).astype(np.float32)
    np.testing.assert_array_equal(top1_disagreement(p, q), expected)


@pytest.mark.parametrize("measure", FROM_LOGITS)
def test_a_row_has_the_same_distance_to_the_last_bit_wherever_it_lies(measure):
    a, b = logits(200, 4096), logits(200, 4096, seed=1)
    values = np.asarray(measure(a, b))
    order = np.random.default_rng(2).permutation(200)
    np.testing.assert_array_equal(measure(a[order], b[order]), values[order])


@pytest.mark.parametrize("measure", [*FROM_LOGITS, top1_disagreement])
def test_nan_stays_in_its_context(measure):
    a, b = logits(130, 4096), logits(130, 4096, seed=1)
    clean = np.asarray(measure(a, b))
    a[5, 7], b[129, 0] = nan, nan
    values = np.asarray(measure(a, b))
    assert np.isnan(values[[5, 129]]).all()
    keep = ~np.isin(np.arange(130), [5, 129])
    np.testing.assert_array_equal(values[keep], clean[keep])


@pytest.mark.parametrize("measure", FROM_LAWS)
def test_nan_in_a_law_is_nan_in_the_distance(measure):
    half = [0.5, 0.5]
    assert np.isnan(measure([[nan, 0.5], half, [1.0, 0.0]], [half, [0.5, nan], [1.0, nan]])).all()


# Rows at the edge


@pytest.mark.parametrize("copies", [1, 2**18], ids=["piece", "blocks"])
@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ([0, 0], [0, 0], 0),
        ([1e4, -1e4], [1e4, -1e4], 0),
        ([1e4, -1e4], [-1e4, 1e4], 1),
        ([1e4, 1e4], [-1e4, -1e4], 0),
        ([-inf, 0], [0, -inf], 1),
        ([-inf, 0], [0, 0], 0.5),
        ([-inf, -inf], [3, 3], 0),
        ([-inf, -inf], [0, -inf], 0.5),
        ([inf, 0], [5, -inf], 0),
        ([inf, inf], [0, 0], 0),
        ([inf, -inf], [-inf, inf], 1),
        ([3e38, -3e38], [0, 0], 0.5),
        ([-inf, -3e38], [0, 0], 0.5),
    ],
)
def test_total_variation_at_the_edges_is_exact(a, b, expected, copies):
    a, b = (np.tile(np.array(x, np.float32), (copies, 1)) for x in (a, b))
    assert (np.asarray(total_variation_from_logits(a, b)) == expected).all()


def test_log_counts_give_the_law_that_counting_gives():
    counts = np.array([[3, 1], [0, 0], [0, 2]])
    with np.errstate(divide="ignore"):
        a = np.log(counts).astype(np.float32)
    law = np.array([[0.75, 0.25], [0.5, 0.5], [0, 1]])
    for q in ([1.0, 0.0], [0.0, 1.0], [0.25, 0.75]):
        with np.errstate(divide="ignore"):
            b = np.log(np.array([q], np.float32))
        np.testing.assert_allclose(
            total_variation_from_logits(a, b), tv(law, np.array(q)), atol=ABSOLUTE
        )


def test_kl_is_infinite_only_where_an_output_is_impossible():
    assert kl_from_logits([[0.0, -inf]], [[0.0, -inf]]).tolist() == [0]
    assert kl_from_logits([[0.0, 0.0]], [[0.0, -inf]]).tolist() == [inf]
    assert kl_from_logits([[0.0, 0.0]], [[0.0, -1e4]]).tolist() == pytest.approx(
        [5000 - np.log(2)], rel=1e-6
    )
    assert kl_from_logits([[-inf, -inf]], [[2.0, 2.0]]).tolist() == [0]
    assert kl_divergence([[0.5, 0.5]], [[1.0, 0.0]]).tolist() == [inf]
    assert kl_divergence([[1.0, 0.0]], [[1.0, 0.0]]).tolist() == [0]


EDGE = st.sampled_from([0.0, -0.0, 1.0, -1.0, 1e4, -1e4, 1e-30, 3e38, -3e38, inf, -inf])
ROWS = hnp.arrays(
    np.float32,
    (3, 5),
    elements=EDGE | st.floats(-1e4, 1e4, width=32, allow_subnormal=False),
)


@given(ROWS, ROWS)
def test_any_rows_have_distances_in_range_near_the_oracle(a, b):
    p, q = softmax(a), softmax(b)
    values = np.asarray(total_variation_from_logits(a, b))
    np.testing.assert_allclose(values, tv(p, q), rtol=0, atol=ABSOLUTE)
    assert ((values >= 0) & (values <= 1)).all()
    values = np.asarray(jensen_shannon_from_logits(a, b))
    np.testing.assert_allclose(values, js(p, q), rtol=0, atol=ABSOLUTE)
    assert ((values >= 0) & (values <= np.float32(np.log(2)))).all()
    assert (np.asarray(kl_from_logits(a, b)) >= 0).all()
    np.testing.assert_array_equal(total_variation_from_logits(a, a), 0)
    np.testing.assert_array_equal(kl_from_logits(a, a), 0)


@given(ROWS, ROWS)
def test_pinsker_holds_between_the_two_distances(a, b):
    distance = np.asarray(total_variation_from_logits(a, b), np.float64)
    price = np.asarray(kl_from_logits(a, b), np.float64)
    assert (2 * distance**2 <= price * (1 + 1e-5) + 1e-5).all()


# Types and shapes


@pytest.mark.parametrize("measure", [*FROM_LAWS, *FROM_LOGITS])
def test_axes_before_the_last_broadcast(measure):
    p, q = softmax(logits(2, 1, 3, 4)), softmax(logits(5, 1, 4, seed=1))
    got = measure(p, q)
    assert got.shape == (2, 5, 3)
    np.testing.assert_allclose(got[1, 4, 2], measure(p[1, 0, 2], q[4, 0]), **F64)
    assert measure(p[0, 0, 0], q[0, 0]).shape == ()
    assert measure(np.zeros((0, 3)), np.zeros((0, 3))).shape == (0,)


@pytest.mark.parametrize("measure", [*FROM_LAWS, *FROM_LOGITS])
@pytest.mark.parametrize("shapes", [((2, 3), (2, 4)), ((2, 3), (5, 3)), ((), ()), ((2, 0), (2, 0))])
def test_shapes_that_do_not_fit_are_refused_with_both_shapes(measure, shapes):
    with pytest.raises(InputError) as refusal:
        measure(*map(np.zeros, shapes))
    message = str(refusal.value)
    assert "\n" not in message
    assert all(str(shape) in message for shape in shapes)


def test_half_precision_is_measured_in_float32():
    a, b = logits(130, 4096), logits(130, 4096, seed=1)
    a, b = (jnp.asarray(x, jnp.bfloat16) for x in (a, b))
    got = total_variation_from_logits(a, b)
    assert got.dtype == jnp.float32
    p, q = (softmax(np.asarray(x, np.float64)) for x in (a, b))
    np.testing.assert_allclose(got, tv(p, q), rtol=0, atol=ABSOLUTE)
    assert total_variation(jnp.asarray(p, jnp.bfloat16), q).dtype == jnp.float64


def test_float32_stays_float32_without_x64():
    a, b = logits(130, 4096), logits(130, 4096, seed=1)
    with_x64 = np.asarray(total_variation_from_logits(a, b))
    with jax.enable_x64(False):
        without = total_variation_from_logits(a, b)
        assert without.dtype == jnp.float32
        np.testing.assert_array_equal(without, with_x64)


def test_distances_work_under_jit_and_vmap():
    a, b = logits(3, 130, 4096), logits(3, 130, 4096, seed=1)
    expected = np.asarray(total_variation_from_logits(a, b))
    for transform in (jax.jit, jax.vmap):
        got = transform(total_variation_from_logits)(a, b)
        np.testing.assert_allclose(got, expected, rtol=0, atol=ABSOLUTE)


def test_a_shape_is_compiled_once():
    for seed in range(3):
        total_variation_from_logits(logits(131, 4099, seed=seed), logits(131, 4099, seed=9))
        if seed == 0:
            compiled = of_rows._cache_size()
    assert of_rows._cache_size() == compiled


# The kernel of GPUs and TPUs

MEASURES = {
    TOTAL_VARIATION: total_variation_from_logits,
    KULLBACK_LEIBLER: kl_from_logits,
    JENSEN_SHANNON: jensen_shannon_from_logits,
}


@pytest.mark.parametrize("way", [{"rows": 1, "triton": True}, {"rows": 8}], ids=["GPU", "TPU"])
@pytest.mark.parametrize("measure", MEASURES, ids=lambda m: MEASURES[m].__name__)
def test_the_kernel_agrees_with_the_plain_distance(measure, way):
    for m, V in [(3, 1), (9, 130), (5, 2500)]:
        a, b = logits(m, V), logits(m, V, seed=1)
        got = run(measure, jnp.asarray(a), jnp.asarray(b), interpret=True, **way)
        np.testing.assert_allclose(got, MEASURES[measure](a, b), rtol=1e-6, atol=ABSOLUTE)


def test_the_kernel_reads_rows_at_the_edge_as_the_plain_distance_does():
    big = 1e4
    a = np.array([[0, 0, 0], [-inf, -inf, -inf], [inf, 0, inf], [big, -big, 0], [0, nan, 0]], "f4")
    b = np.array([[7, 7, 7], [0, 0, -inf], [inf, inf, inf], [-big, big, 0], [0, 0, 0]], "f4")
    for measure, plain in MEASURES.items():
        got = run(measure, jnp.asarray(a), jnp.asarray(b), rows=1, interpret=True)
        np.testing.assert_allclose(got, plain(a, b), rtol=1e-6, atol=1e-7)


@pytest.mark.filterwarnings("ignore:The Pallas Triton backend is deprecated")
@pytest.mark.parametrize(("platform", "call"), [("tpu", "tpu_custom_call"), ("cuda", "triton")])
@pytest.mark.parametrize("measure", MEASURES, ids=lambda m: MEASURES[m].__name__)
def test_the_kernel_is_what_other_backends_are_given(monkeypatch, measure, platform, call):
    monkeypatch.setattr(jax, "default_backend", lambda: platform)
    assert set(kernels(measure, (16, 1000), jnp.float32)) == {"cuda", "tpu"}
    assert set(kernels(measure, (16, 10**6), jnp.float32)) == {"cuda"}  # more than a TPU holds
    assert not kernels(measure, (16, 1000), jnp.float64)
    with jax.enable_x64(False):
        a, b = jnp.asarray(logits(16, 1000)), jnp.asarray(logits(16, 1000, seed=1))
        lowered = jax.jit(lambda a, b: of_rows.__wrapped__(measure, a, b)).trace(a, b)
        assert "custom_call" not in lowered.lower(lowering_platforms=("cpu",)).as_text()
        try:
            assert call in lowered.lower(lowering_platforms=(platform,)).as_text()
        except RuntimeError as error:  # JAX 0.12 asks for the GPU itself
            assert platform == "cuda"
            pytest.skip(str(error))


def test_a_jax_without_triton_leaves_gpus_the_plain_way(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "cuda")
    monkeypatch.setitem(sys.modules, "jax.experimental.pallas.triton", None)
    monkeypatch.delattr("jax.experimental.pallas.triton", raising=False)
    assert set(kernels(TOTAL_VARIATION, (16, 1000), jnp.float32)) == {"tpu"}
    assert not kernels(TOTAL_VARIATION, (16, 10**6), jnp.float32)


# Summaries


def test_a_summary_does_not_depend_on_order():
    values = np.random.default_rng(0).random((40, 25)).astype(np.float32)
    expected = summarize(values, bound=0.9)
    shuffled = np.random.default_rng(1).permutation(values.ravel())
    assert summarize(shuffled, bound=0.9) == expected
    assert expected.contexts == 1000
    assert expected.max == values.max()
    assert expected.failures == (values > 0.9).sum()
    assert expected.mean == pytest.approx(values.astype(np.float64).mean(), rel=1e-14)


def test_quantiles_are_order_statistics_and_the_bound_itself_is_no_failure():
    got = summarize(np.arange(1, 101), bound=99, quantiles=[0, 0.5, 0.99, 1])
    assert got.quantiles == {0: 1, 0.5: 50, 0.99: 99, 1: 100}
    assert got.failures == 1
    assert summarize([0.5]).failures is None


@pytest.mark.parametrize("bad", [{"distances": []}, {"distances": [0.1, nan]}])
def test_a_summary_of_nothing_or_of_nan_is_refused(bad):
    with pytest.raises(InputError):
        summarize(**bad)
    with pytest.raises(InputError, match=r"\[0, 1\]"):
        summarize([0.1], quantiles=[50])
