"""Scaling exponents: the interval holds the true one, and what is recorded is not drawn again."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_sim.claims.claim import FALSE, HOLDS, LOOSE, OPEN
from icl_sim.claims.evidence import tell, trials, upheld, uphold
from icl_sim.errors import InputError
from icl_sim.statistics.slopes import measured_slopes
from icl_sim.statistics.sweep import CellVerdict
from icl_sim.storage.store import Store

SIZES = (20, 40, 80, 160)


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "records", config={}) as store:
        yield store


def power(exponent):
    """A trial of mean n^exponent and relative deviation 1."""

    def trial(key, n):
        noise = jax.random.exponential(key, (), jnp.float32)
        return {"law": noise * n.astype(jnp.float32) ** exponent}

    return trial


def test_the_interval_covers_the_exponent_as_often_as_it_says(store):
    trial, inside, widths = power(-0.7), 0, []
    for seed in range(40):
        found = measured_slopes(
            f"s{seed}", trial, SIZES, key=jax.random.key(seed), replicates=64, store=store
        )["law"]
        inside += found.low <= -0.7 <= found.high
        widths.append(found.high - found.low)
    assert inside >= 31  # Binomial(40, .95) is below 31 with probability 1e-4
    # sum (ln n - mean)^2 = 2.40, so the standard error is 1/sqrt(64 * 2.40) = .081
    # and the width at 95 % is .31; at 90 % it would be .26.
    assert 0.285 < np.median(widths) < 0.4


def test_means_and_exponent_are_those_of_the_errors(store):
    def trial(key, n):
        del key
        return {"one": 3.0 / n.astype(jnp.float32), "two": n.astype(jnp.float32) ** -2}

    both = measured_slopes("s", trial, SIZES, key=jax.random.key(0), replicates=8, store=store)
    found = both["one"]
    np.testing.assert_allclose(both["two"].exponent, -2, rtol=1e-6)
    np.testing.assert_allclose(found.means, [3 / n for n in SIZES], rtol=1e-6)
    np.testing.assert_allclose([found.exponent, found.low, found.high], -1, rtol=1e-6)
    assert found.trials == 32


def test_recorded_errors_are_not_drawn_again(store):
    options = {"key": jax.random.key(0), "replicates": 16, "store": store}
    first = measured_slopes("s", power(-1.0), SIZES, **options)

    def broken(key, n):
        raise AssertionError

    assert measured_slopes("s", broken, SIZES, **options) == first


@pytest.mark.parametrize(
    ("sizes", "replicates", "trial", "words"),
    [
        ((20, 20), 8, power(-1.0), "two sizes"),
        ((20, 40), 1, power(-1.0), "two replicates"),
        ((20, 40), 8, lambda key, n: {"none": 0.0 * n}, "positive mean errors"),
    ],
)
def test_what_has_no_slope_is_refused(store, sizes, replicates, trial, words):
    with pytest.raises(InputError, match=words):
        measured_slopes(
            "s", trial, sizes, key=jax.random.key(0), replicates=replicates, store=store
        )


def cell(verdict):
    return CellVerdict("a", verdict, 100, 0.1, 0.0, 0.2)


def test_a_bound_is_upheld_only_if_every_cell_is_certified():
    good, bad, unclear = cell("certified"), cell("refuted"), cell("inconclusive")
    assert uphold(sampled=[good, good]) == HOLDS
    assert uphold(sampled=[good, good], loose=True) == LOOSE
    assert uphold(sampled=[good, unclear], loose=True) == OPEN
    assert uphold(sampled=[good, unclear, bad]) == FALSE
    assert uphold(broken=["case"], sampled=[good]) == FALSE
    assert tell([good, bad]) == "1 of 2 sampled cells certified; refuted: a"
    assert trials([good], [bad, unclear]) == 300


def test_the_outcome_of_a_bound_counts_all_sweeps():
    good, unclear = cell("certified"), cell("inconclusive")
    sampled = upheld([good], [good, unclear], why="because", figures={"rows": []})
    assert (sampled.verdict, sampled.replicates) == (OPEN, 300)
    exact = upheld(broken=["case"], why="because", figures={})
    assert (exact.verdict, exact.replicates) == (FALSE, 0)
