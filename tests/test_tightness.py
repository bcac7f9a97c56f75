"""Tightness: every bound holds in its tightest case, and where it is tight, 20 % less does not."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from icl_sim.bounds import (
    agnostic,
    angles,
    classification,
    coins,
    elicitation,
    exact,
    hash_bit,
    partial,
    prompts,
    retrieval,
    sequences,
    sizes,
    suprema,
    tokens,
)
from icl_sim.bounds.tightness import CASES
from icl_sim.bounds.tightness.table import LIMITS, tightness

MODULES = (
    *(agnostic, angles, classification, coins, elicitation, exact, hash_bit, partial, prompts),
    *(retrieval, sequences, sizes, suprema, tokens),
)
# Not bounds: equalities, limits, inverses of a bound, sizes that a claim is judged by, and tools.
# tests/test_bounds*.py and tests/test_exact.py compare them with enumeration or sampling.
OTHERS = {
    "absorbing_mean_divergence",
    "abstract_sequence_size",
    "add_one_mean_divergence",
    "basis_failure",
    "basis_mean_error",
    "bayes_error",
    "binomial_tail",
    "coins_needed",
    "convex_order_bound",
    "exact_failure_probability",
    "exact_sample_size",
    "expected_total_variation",
    "gibbs_error",
    "hadamard_signs",
    "hash_bit_bayes_failure",
    "hash_bit_length",
    "hash_bit_outputs",
    "hidden_coin",
    "independent_events_failure",
    "least_size",
    "least_squares_error",
    "log_events",
    "log_growth",
    "noisy_basis_excess",
    "obstacle",
    "occupancies",
    "occupancy_law",
    "one_step_failure",
    "one_step_mean_error",
    "sample_size",
    "subset_expected_total_variation",
    "sup_norm_failure_probability",
    "tails_bytes",
    "uniform_mean_size",
    "uniform_tails",
    "window_fit",
    "work",
}
ROWS = {row.formula: row for row in tightness()}
TIGHT = [name for name, row in ROWS.items() if row.caught]


def test_every_formula_has_its_row_or_is_no_bound():
    defined = {
        name
        for module in MODULES
        for name, value in vars(module).items()
        if inspect.isfunction(value)
        and value.__module__ == module.__name__
        and not name.startswith("_")
    }
    assert defined == set(CASES) | OTHERS
    assert not set(CASES) & OTHERS


@pytest.mark.parametrize("name", CASES)
def test_every_bound_holds_in_its_tightest_case(name):
    assert ROWS[name].ratio >= 1 - 1e-9


@pytest.mark.parametrize("name", TIGHT)
def test_a_change_by_20_percent_in_the_unsafe_direction_is_caught(name, monkeypatch):
    kind = ROWS[name].kind
    (module,) = (module for module in MODULES if getattr(module, name, None) and owns(module, name))
    original = getattr(module, name)

    def changed(**options):
        value = original(**options)
        if kind == "tail":
            return value**1.2
        factor = 0.8 if kind in ("sufficient", "upper") else 1.2
        return factor * value

    monkeypatch.setattr(module, name, changed)
    (row,) = (row for row in tightness(name) if row.formula == name)
    assert row.ratio < 1


def owns(module, name):
    return getattr(module, name).__module__ == module.__name__


def test_the_list_of_loose_bounds_in_the_docs_is_the_computed_one():
    text = (Path(__file__).parent.parent / "docs" / "tightness.md").read_text()
    listed = {
        match[1]: float(match[2])
        for match in re.finditer(r"^\| `(\w+)` \|.*\| ([\d.]+) \|$", text, re.M)
    }
    loose = {name: row.ratio for name, row in ROWS.items() if not row.caught}
    assert listed == {name: pytest.approx(ratio, rel=0.01) for name, ratio in loose.items()}
    assert f"{len(TIGHT)} of the {len(ROWS)} formulas" in text


def test_limits_are_those_of_20_percent():
    assert LIMITS["upper"] == 1 / 0.8
    assert LIMITS["necessary"] == 1.2
