"""How tight each formula of the bounds is: a known case beside it."""

from __future__ import annotations

from icl_sim.bounds.tightness.table import CASES, Tightness, tightness

__all__ = ["CASES", "Tightness", "tightness"]
