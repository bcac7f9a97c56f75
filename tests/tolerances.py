"""The three tolerances of the test suite. Exact claims are compared with ``==``."""

from __future__ import annotations

F64 = {"rtol": 1e-10, "atol": 1e-12}
F32 = {"rtol": 1e-5, "atol": 1e-6}
