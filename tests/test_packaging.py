"""What is installed, and what stands beside it: benchmarks and tests are no part of the wheel."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_only_the_benchmarks_own_test_needs_them():
    found = {
        path.relative_to(ROOT).as_posix()
        for folder in ("constructions", "icl_sim", "tests")
        for path in (ROOT / folder).rglob("*.py")
        if re.search(r"^ *(from|import) benchmarks\b", path.read_text(), re.MULTILINE)
    }
    assert found == {"tests/test_benchmarks.py"}
