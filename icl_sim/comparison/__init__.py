"""One data set, every route: which predictors agree, how near the truth, and at what cost."""

from __future__ import annotations

from icl_sim.comparison.costs import Cost, costs
from icl_sim.comparison.language_result import LanguageComparison
from icl_sim.comparison.result import Comparison, Distance, MeanInterval, Rate
from icl_sim.comparison.run import compare
from icl_sim.comparison.texts import compare_language

__all__ = [
    "Comparison",
    "Cost",
    "Distance",
    "LanguageComparison",
    "MeanInterval",
    "Rate",
    "compare",
    "compare_language",
    "costs",
]
