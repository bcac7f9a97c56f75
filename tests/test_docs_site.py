"""The site of docs/ builds without a warning, with a page for every public name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import icl_sim

ROOT = Path(__file__).parent.parent


def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("sphinx")
    site, trees = tmp_path / "site", tmp_path / "trees"
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
    done = subprocess.run(
        [*command, "-d", trees, ROOT / "docs", site],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    pages = {page.stem for page in site.rglob("*.html")}
    names = [name for name in icl_sim.__all__ if not name.startswith("__")]
    assert [name for name in names if not any(p.endswith(f".{name}") for p in pages)] == []
