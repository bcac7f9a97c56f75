"""One data set, every route: which predictors agree, how near the truth, and at what cost."""

from __future__ import annotations

from icl_sim.comparison.costs import Cost, costs
from icl_sim.comparison.result import Comparison, Distance, MeanInterval, Rate
from icl_sim.comparison.run import compare

__all__ = ["Comparison", "Cost", "Distance", "MeanInterval", "Rate", "compare", "costs"]
