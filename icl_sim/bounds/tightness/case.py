"""What a case is, and what several of them share."""

from __future__ import annotations

from collections.abc import Callable

TINY = "1e-30"  # a delta at which constant terms no longer hide the leading one
TINIEST = "1e-100"
COIN = "a fair coin, eps = .1"

Case = tuple[str, str, Callable[[], tuple[float, float]]]  # kind, case, () -> (stated, exact)
