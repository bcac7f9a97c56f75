"""check_lemma: right verdicts, a controlled false-alarm rate, and trials of a wrong kind."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import binom

from icl_sim import check_lemma
from icl_sim.errors import InputError
from icl_sim.statistics.intervals import clopper_pearson, log_e_values


def uniform(key):
    return jax.random.uniform(key, (), jnp.float32)


def fails_tenth(key):
    return jax.random.bernoulli(key, 0.1).astype(jnp.float32)


def test_a_true_lemma_is_certified_and_a_false_one_refuted():
    assert check_lemma(uniform, bound=0.98, delta=0.05).status == "certified"
    assert check_lemma(uniform, bound=0.9, delta=0.05).status == "refuted"


def test_equality_is_inconclusive_after_all_the_trials():
    found = check_lemma(fails_tenth, bound=0.5, delta=0.1, max_trials=3000)
    assert (found.status, found.trials) == ("inconclusive", 3000)
    assert found.low < found.estimate < found.high


def test_failure_is_strictly_above_the_bound():
    found = check_lemma(lambda key: 0.0 * uniform(key) + 0.5, bound=0.5, delta=0.1)
    assert (found.status, found.estimate) == ("certified", 0)


def test_it_stops_at_the_first_trial_that_decides():
    found = check_lemma(uniform, bound=0.98, delta=0.05, seed=4)
    keys = [jax.random.fold_in(jax.random.key(4), i) for i in range(found.trials)]
    failures = np.cumsum([float(uniform(key)) > 0.98 for key in keys])
    _, certify = log_e_values(failures, np.arange(1, found.trials + 1), delta=0.05)
    assert certify[-1] >= math.log(1000) > certify[:-1].max()
    assert found.estimate == failures[-1] / found.trials
    low, high = clopper_pearson(failures[-1], found.trials, alpha=1e-3)
    assert (found.low, found.high) == (low, high)


@pytest.mark.parametrize("number", [0.1, np.float32(0.1), np.float64(0.1), jnp.float16(0.1)])
def test_an_error_at_the_bound_is_no_failure_in_any_precision(number):
    assert check_lemma(lambda key: number, bound=0.1, delta=0.1).estimate == 0
    above = np.nextafter(np.asarray(number), np.asarray(1, np.asarray(number).dtype))
    assert check_lemma(lambda key: jnp.asarray(above), bound=0.1, delta=0.1).estimate == 1


@pytest.mark.parametrize(
    "number", [1, True, np.bool_(True), np.int8(1), jnp.float32(1), math.inf, math.nan]
)
def test_every_kind_of_number_is_an_error(number):
    found = check_lemma(lambda key: number, bound=0.5, delta=0.1)
    assert (found.status, found.estimate) == ("refuted", 1)


@pytest.mark.parametrize("number", [Fraction(1, 3), Decimal("0.3"), 10**30])
def test_numbers_that_jax_does_not_know_run_one_by_one(number):
    with pytest.warns(RuntimeWarning, match="cannot be jitted"):
        found = check_lemma(lambda key: number, bound=0.5, delta=0.1)
    assert found.estimate == (number > 0.5)


@pytest.mark.parametrize("bound", [Fraction(1, 2), Decimal("0.5"), jnp.float32(0.5), 1e300])
def test_every_kind_of_number_is_a_bound(bound):
    found = check_lemma(uniform, bound=bound, delta=0.7)
    assert found.status == "certified"


def test_few_trials_and_extreme_levels_leave_it_open():
    found = check_lemma(uniform, bound=0.5, delta=0.1, max_trials=1)
    assert (found.status, found.trials) == ("inconclusive", 1)
    assert 0 <= found.low <= found.estimate <= found.high <= 1
    strict = check_lemma(uniform, bound=0.98, delta=0.05, alpha=1e-300, max_trials=1000)
    assert strict.status == "inconclusive"
    assert (strict.low < 1e-15, strict.high) == (True, 1)
    for delta in (1e-12, 1 - 1e-12):
        check_lemma(uniform, bound=0.5, delta=delta, max_trials=64)


def test_the_seed_decides_the_outcome():
    once, again, other = (
        check_lemma(uniform, bound=0.98, delta=0.05, seed=seed) for seed in (0, 0, 1)
    )
    assert once == again
    assert once.trials != other.trials


def test_the_trial_is_compiled_once_for_all_bounds_and_seeds():
    # Four calls: its shape, twice to see that it is pure, and tracing the block; then two more.
    trial = chex.assert_max_traces(uniform, n=6)
    check_lemma(trial, bound=0.98, delta=0.05, seed=0)
    check_lemma(trial, bound=0.9, delta=0.07, seed=1)


def test_a_trial_that_cannot_be_jitted_runs_one_by_one_and_says_so():
    def trial(key):
        return float(np.asarray(uniform(key)))

    with pytest.warns(RuntimeWarning, match="cannot be jitted"):
        slow = check_lemma(trial, bound=0.98, delta=0.3, seed=2)
    assert slow == check_lemma(uniform, bound=0.98, delta=0.3, seed=2)


def test_branching_on_a_value_is_not_jittable_either():
    def trial(key):
        return 1.0 if uniform(key) > 0.98 else 0.0

    with pytest.warns(RuntimeWarning, match="cannot be jitted"):
        found = check_lemma(trial, bound=0.5, delta=0.3)
    assert found.status == "certified"


def test_randomness_from_elsewhere_is_refused():
    generator = np.random.default_rng(0)
    with pytest.raises(InputError, match="function of its key alone"):
        check_lemma(lambda key: jnp.float32(generator.random()), bound=0.5, delta=0.1)


def test_nan_is_a_failure():
    found = check_lemma(lambda key: uniform(key) * jnp.nan, bound=0.5, delta=0.1)
    assert (found.status, found.estimate) == ("refuted", 1)


def test_errors_of_the_trial_are_its_own():
    def trial(key):
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        check_lemma(trial, bound=0.5, delta=0.1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"delta": 0},
        {"delta": 1},
        {"alpha": 0},
        {"bound": math.nan},
        {"max_trials": 0},
        {"max_trials": 1.5},
        {"trial": lambda key: jax.random.uniform(key, (2,), jnp.float32)},
        {"trial": lambda key: {"error": uniform(key)}},
        {"trial": lambda key: None},
        {"trial": lambda key: "small"},
        {"trial": lambda key: uniform(key) + 1j},
        {"trial": lambda key: [float(uniform(key))]},
        {"trial": 3},
        {"bound": "0.5"},
        {"bound": None},
        {"bound": math.inf},
        {"delta": "0.1"},
        {"seed": 1.5},
    ],
)
def test_bad_input_is_one_line(wrong):
    options = {"trial": uniform, "bound": 0.5, "delta": 0.1} | wrong
    with pytest.raises(InputError) as caught:
        check_lemma(options.pop("trial"), **options)
    assert "\n" not in str(caught.value)


def false_alarms(replications, alpha):
    """How often a lemma that holds with equality is refuted, and certified, within 400 trials.

    Certifying it would be right; that it is as rare shows that both directions are tests.
    """
    status = [
        check_lemma(
            fails_tenth, bound=0.5, delta=0.1, alpha=alpha, max_trials=400, seed=seed
        ).status
        for seed in range(replications)
    ]
    return status.count("refuted"), status.count("certified")


def test_false_alarms_at_equality_are_rare():
    refuted, certified = false_alarms(100, 0.2)
    # Exceeding the 1e-6 quantile of Binomial(100, alpha) would mean a rate above alpha.
    assert max(refuted, certified) <= binom.isf(1e-6, 100, 0.2)
    assert refuted + certified >= 3  # else nothing was tested


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_false_alarms_at_equality_over_ten_thousand_replications():
    refuted, certified = false_alarms(10_000, 1e-3)
    assert max(refuted, certified) <= binom.isf(1e-6, 10_000, 1e-3)
