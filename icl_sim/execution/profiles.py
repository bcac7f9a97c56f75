"""How much a run computes: the profiles that a user may name."""

from __future__ import annotations

PROFILES = ("smoke", "standard", "full")  # seconds, minutes, hours a statement
