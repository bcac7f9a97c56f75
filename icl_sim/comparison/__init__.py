"""One data set, every route: which predictors agree, how near the truth, and at what cost."""

from __future__ import annotations

from icl_sim.comparison.costs import costs
from icl_sim.comparison.run import compare

__all__ = ["compare", "costs"]
