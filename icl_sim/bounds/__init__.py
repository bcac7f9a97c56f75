"""Sample sizes and failure probabilities: formulas, exact values and certified enclosures.

NumPy and SciPy only; nothing here samples. Every argument is checked: for one outside the range
that the function states, `InputError` is raised.
"""

from __future__ import annotations

from icl_sim.bounds.enclosures import Enclosure, failure_enclosure
from icl_sim.bounds.exact import (
    convex_order_bound,
    exact_failure_probability,
)
from icl_sim.bounds.sizes import SampleSize, exact_sample_size, sample_size
from icl_sim.bounds.tokens import (
    abstract,
    assouad,
    assouad_failure,
    de_moivre,
    expected_total_variation,
    hidden_coin,
    lower,
    mcdiarmid,
    random_allotment,
    two_coins,
    uniform_mean_size,
    weissman,
)

__all__ = [
    "Enclosure",
    "SampleSize",
    "abstract",
    "assouad",
    "assouad_failure",
    "convex_order_bound",
    "de_moivre",
    "exact_failure_probability",
    "exact_sample_size",
    "expected_total_variation",
    "failure_enclosure",
    "hidden_coin",
    "lower",
    "mcdiarmid",
    "random_allotment",
    "sample_size",
    "two_coins",
    "uniform_mean_size",
    "weissman",
]
