"""Confidence limits, verdicts and e-values, checked by enumerating the binomial law."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binom
from tolerances import F64

from icl_sim.errors import InputError
from icl_sim.statistics.intervals import (
    ALPHA,
    CERTIFIED,
    INCONCLUSIVE,
    LOOKS,
    REFUTED,
    clopper_pearson,
    evidence,
    family_verdicts,
    holm,
    log_e_values,
    lower_limit,
    mean_limits,
    upper_limit,
    verdict,
)

SHARE = ALPHA / len(LOOKS)


# Clopper-Pearson


@pytest.mark.parametrize("trials", [1, 7, 40, 300])
@pytest.mark.parametrize("alpha", [0.05, 0.0125])
def test_limits_cover_at_least_as_often_as_they_say(trials, alpha):
    k = np.arange(trials + 1)
    low, high = clopper_pearson(k, trials, alpha=alpha)
    least, most = lower_limit(k, trials, alpha=alpha), upper_limit(k, trials, alpha=alpha)
    # The coverage is least just beside the limits themselves, so these are the places to look.
    places = np.concatenate([low, high, least, most, np.linspace(0, 1, 101)])
    for p in np.unique(np.clip(np.concatenate([places - 1e-9, places, places + 1e-9]), 0, 1)):
        chance = binom.pmf(k, trials, p)
        assert chance[(low <= p) & (p <= high)].sum() >= 1 - alpha - 1e-7
        assert chance[least <= p].sum() >= 1 - alpha - 1e-7
        assert chance[most >= p].sum() >= 1 - alpha - 1e-7


def test_limits_are_where_the_binomial_tail_is_alpha():
    k = np.arange(1, 40)
    np.testing.assert_allclose(binom.sf(k - 1, 40, lower_limit(k, 40, alpha=0.03)), 0.03, **F64)
    np.testing.assert_allclose(binom.cdf(k, 40, upper_limit(k, 40, alpha=0.03))[:-1], 0.03, **F64)
    assert lower_limit(0, 40, alpha=0.03) == 0
    assert upper_limit(40, 40, alpha=0.03) == 1


def test_limits_broadcast():
    low, high = clopper_pearson(np.arange(3)[:, None], np.array([10, 20]))
    assert low.shape == high.shape == (3, 2)


# Verdicts


def most_failures_certified(trials, delta):
    passing = [
        verdict(k, trials, delta=delta, alpha=SHARE) == CERTIFIED for k in range(trials // 5)
    ]
    assert passing == sorted(passing, reverse=True)
    return sum(passing) - 1


def test_the_numbers_of_failures_that_certify():
    assert most_failures_certified(400, 0.05) == 10
    assert most_failures_certified(1000, 0.05) == 34
    assert most_failures_certified(437, 0.01) == 0
    assert most_failures_certified(436, 0.01) == -1


@pytest.mark.parametrize("trials", [50, 400])
def test_verdicts_say_on_which_side_of_delta_the_limits_lie(trials):
    for k in range(trials + 1):
        high = float(upper_limit(k, trials, alpha=SHARE))
        low = float(lower_limit(k, trials, alpha=SHARE))
        want = CERTIFIED if high <= 0.05 else REFUTED if low > 0.05 else INCONCLUSIVE
        assert verdict(k, trials, delta=0.05, alpha=SHARE) == want


def test_evidence_is_the_binomial_tail():
    k = np.arange(61)
    certify, refute = evidence(k, 60, delta=0.2)
    np.testing.assert_allclose(certify, binom.cdf(k, 60, 0.2), **F64)
    np.testing.assert_allclose(refute, binom.sf(k - 1, 60, 0.2), **F64)


@pytest.mark.parametrize("status", [CERTIFIED, REFUTED])
def test_four_looks_err_at_most_alpha(status):
    # Exact: the law of the failures so far among runs that are still undecided, at f = delta.
    delta, first = 0.05, 100
    alive, start, wrong = np.ones(1), 0, 0.0
    for stop in (first * multiple for multiple in LOOKS):
        alive = np.convolve(alive, binom.pmf(np.arange(stop - start + 1), stop - start, delta))
        said = [verdict(k, stop, delta=delta, alpha=SHARE) for k in range(stop + 1)]
        wrong += alive[[s == status for s in said]].sum()
        alive = np.where([s == INCONCLUSIVE for s in said], alive, 0)
        start = stop
    assert 0.005 < wrong <= ALPHA


def test_holm_rejects_step_by_step():
    assert holm([0.01, 0.04, 0.03, 0.005], alpha=0.05) == [True, False, False, True]
    assert holm([0.02, 0.02], alpha=0.05) == [True, True]
    assert holm([0.026, 0.001], alpha=0.05) == [True, True]  # Bonferroni would stop at the first
    assert holm([], alpha=0.05) == []


def test_family_verdicts_are_holms_on_four_times_the_least_p_value():
    looks = [[(0, 200)], [(0, 110), (3, 160)], [(20, 200)], [(10, 200)]]
    deltas = [0.05] * 4
    certify, refute = [], []
    for cell in looks:
        certify.append(min(4 * binom.cdf(k, n, 0.05) for k, n in cell))
        refute.append(min(4 * binom.sf(k - 1, n, 0.05) for k, n in cell))
    assert certify[0] < 0.05 / 4 < certify[1] < 0.05 / 3  # so the second needs Holm's step
    assert refute[2] < 0.05 / 4
    assert family_verdicts(looks, deltas) == [CERTIFIED, CERTIFIED, REFUTED, INCONCLUSIVE]
    alone = [family_verdicts([cell], [0.05])[0] for cell in looks]
    assert alone == [CERTIFIED, CERTIFIED, REFUTED, INCONCLUSIVE]


def test_the_looks_count_in_both_directions():
    # P(Bin(40, .05) >= 6) = .0139 and .95^72 = .0249: below .05, and above it times four looks.
    assert 0.0125 < binom.sf(5, 40, 0.05) < 0.05
    assert family_verdicts([[(6, 40)]], [0.05]) == [INCONCLUSIVE]
    assert 0.0125 < 0.95**72 < 0.05
    assert family_verdicts([[(0, 72)]], [0.05]) == [INCONCLUSIVE]


def test_the_constant_of_maurer_and_pontil_is_seven_thirds():
    # Without variance the second term stands alone; theorem 4 has 7 ln(2/alpha)/(3 (n - 1)).
    low, high = mean_limits(np.full(101, 1.0), top=2.0, alpha=0.05)
    spread = 7 * 2 * math.log(2 / 0.05) / 300
    np.testing.assert_allclose([low, high], [1 - spread, 1 + spread], **F64)


def test_more_cells_need_more_evidence():
    cell = [(0, 100)]  # 4 * .95^100 = .024
    assert family_verdicts([cell], [0.05]) == [CERTIFIED]
    assert family_verdicts([cell] + [[(5, 100)]] * 4, [0.05] * 5)[0] == INCONCLUSIVE


def false_family_verdicts(families, cells, delta, rng):
    """Families at f = delta, four looks: how many have a cell refuted, and how many certified."""
    found = {CERTIFIED: 0, REFUTED: 0}
    for _ in range(families):
        failures = rng.binomial([[100], [100], [200], [400]], delta, (4, cells)).cumsum(axis=0)
        looks = [
            [(int(k), 100 * multiple) for k, multiple in zip(column, LOOKS, strict=True)]
            for column in failures.T
        ]
        verdicts = family_verdicts(looks, [delta] * cells)
        for status in found:
            found[status] += status in verdicts
    return found


@pytest.mark.parametrize(
    "families", [200, pytest.param(4000, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])]
)
def test_families_at_equality_have_a_false_verdict_at_most_alpha_of_the_time(families):
    found = false_family_verdicts(families, 10, 0.05, np.random.default_rng(72))
    for status, count in found.items():
        # Beyond the 1e-6 quantile of Binomial(families, alpha) the rate would be above alpha.
        assert count <= binom.isf(1e-6, families, ALPHA), status
        assert count > 0, status  # else nothing was tested


# Means


@pytest.mark.parametrize("mean", [0.02, 0.3, 0.5, 0.9])
def test_mean_limits_cover_bernoulli_means(mean):
    k = np.arange(201)
    chance = binom.pmf(k, 200, mean)
    limits = np.array([mean_limits(np.arange(200) < j, alpha=0.05) for j in k])
    assert chance[limits[:, 0] > mean].sum() <= 0.05
    assert chance[limits[:, 1] < mean].sum() <= 0.05


def test_mean_limits_profit_from_a_small_spread():
    wide = np.tile([0.0, 1.0], 500)
    narrow = np.tile([0.45, 0.55], 500)
    low, high = mean_limits(narrow, alpha=0.05)
    assert low < 0.5 < high
    assert high - low < (lambda x: x[1] - x[0])(mean_limits(wide, alpha=0.05)) / 3


def test_mean_limits_scale_with_the_support():
    x = np.linspace(0, 1, 300)
    np.testing.assert_allclose(
        mean_limits(7 * x, top=7, alpha=0.1), 7 * np.array(mean_limits(x, alpha=0.1)), **F64
    )


# E-values


@pytest.mark.parametrize("delta", [0.01, 0.05, 0.5])
def test_e_values_have_mean_one_at_equality_and_less_beyond(delta):
    for n in (1, 10, 80):
        k = np.arange(n + 1)
        refute, certify = np.exp(log_e_values(k, n, delta=delta))
        chance = binom.pmf(k, n, delta)
        np.testing.assert_allclose([chance @ refute, chance @ certify], 1, rtol=1e-10)
        assert binom.pmf(k, n, 0.7 * delta) @ refute < 1
        assert binom.pmf(k, n, 1.3 * delta) @ certify < 1


def crossing(delta, truth, alpha, trials):
    """Probabilities that an e-value ever reaches 1/alpha, enumerated: (refute, certify)."""
    alive, crossed = np.ones(1), np.zeros(2)
    for n in range(1, trials + 1):
        alive = np.convolve(alive, [1 - truth, truth])
        logs = log_e_values(np.arange(n + 1), n, delta=delta)
        over = [log >= -math.log(alpha) for log in logs]
        crossed += [alive[o].sum() for o in over]
        alive = np.where(over[0] | over[1], 0, alive)
    return crossed


@pytest.mark.parametrize("delta", [0.05, 0.3])
def test_looking_after_every_trial_errs_at_most_alpha(delta):
    refute, certify = crossing(delta, delta, 0.1, 400)
    assert 0.01 < refute <= 0.1
    assert 0.01 < certify <= 0.1


def test_e_values_find_what_is_true():
    refute, certify = crossing(0.2, 0.4, 1e-3, 400)
    assert refute > 0.999
    assert certify < 1e-3
    refute, certify = crossing(0.2, 0.05, 1e-3, 400)
    assert certify > 0.999
    assert refute < 1e-3


def test_e_values_stay_finite_far_out():
    refute, certify = log_e_values([0, 10**6], 10**6, delta=0.01)
    assert certify[0] > 1e3
    assert refute[1] > 1e6
    assert not np.isnan(refute).any()
    assert not np.isnan(certify).any()


# Bad input


@pytest.mark.parametrize(
    "call",
    [
        lambda: clopper_pearson(5, 4),
        lambda: clopper_pearson(-1, 4),
        lambda: clopper_pearson(0, 0),
        lambda: upper_limit(1, 4, alpha=0),
        lambda: verdict(1, 4, delta=1, alpha=0.05),
        lambda: log_e_values(1, 4, delta=0),
        lambda: mean_limits([0.5], alpha=0.05),
        lambda: mean_limits([0.5, 1.5], alpha=0.05),
        lambda: mean_limits([0.5, float("nan")], alpha=0.05),
    ],
)
def test_bad_input_is_one_line(call):
    with pytest.raises(InputError) as caught:
        call()
    assert "\n" not in str(caught.value)
