"""What is installed, and what stands beside it: benchmarks and tests are no part of the wheel."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
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


def test_what_is_installed_is_the_two_packages_whole(tmp_path):
    source, built = tmp_path / "source", tmp_path / "built"
    caches = shutil.ignore_patterns("__pycache__")
    for name in ("constructions", "icl_sim", "benchmarks", "tests", "docs"):
        shutil.copytree(ROOT / name, source / name, ignore=caches)
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    setup = [sys.executable, "-c", "import setuptools; setuptools.setup()", "-q"]
    subprocess.run([*setup, "build_py", "--build-lib", str(built)], cwd=source, check=True)
    files, installed = (
        {path.relative_to(root) for path in root.rglob("*") if path.is_file()}
        for root in (source, built)
    )
    assert installed == {f for f in files if f.parts[0] in ("constructions", "icl_sim")}
    for name in ("constructions/py.typed", "icl_sim/py.typed", "icl_sim/data/base.safetensors"):
        assert Path(name) in installed


def test_what_is_locked_is_installed_by_its_hashes():
    lock = (ROOT / "requirements.lock").read_text()
    pinned = [text for text in re.split(r"\n(?=\S)", lock) if not text.startswith("#")]
    assert len(pinned) > 50
    assert all("==" in requirement and "--hash=sha256:" in requirement for requirement in pinned)
    assert (
        "install -q --require-hashes -r requirements.lock"
        in (ROOT / "scripts" / "environment").read_text()
    )
