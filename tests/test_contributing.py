"""What CONTRIBUTING.md says is so: the floors are those of the imports, the files exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
FLOORS = re.findall(r"^\| `(\w+)` \|", TEXT, re.MULTILINE)


def floors_imported(folder):
    """The parts of icl_sim that the files of one part import, but itself."""
    home = ROOT / "icl_sim" / folder
    for path in home.rglob("*.py") if home.is_dir() else [home.with_suffix(".py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            modules = []
            if isinstance(node, ast.ImportFrom):
                modules = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            elif isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            for module in modules:
                package, _, rest = module.partition(".")
                if package == "icl_sim" and rest and rest.split(".")[0] != folder:
                    yield rest.split(".")[0]


def test_every_folder_has_a_floor():
    folders = {path.parent.name for path in (ROOT / "icl_sim").glob("*/__init__.py")}
    assert folders <= set(FLOORS)
    for name in FLOORS:
        assert name in folders or (ROOT / "icl_sim" / f"{name}.py").exists(), name


def test_a_folder_imports_only_from_those_above_it():
    faults = [
        f"{folder} imports {other}"
        for i, folder in enumerate(FLOORS)
        for other in floors_imported(folder)
        if other in FLOORS[i:]
    ]
    assert not faults, faults


def test_the_files_that_are_named_exist():
    paths = re.findall(r"`([\w./*]+/[\w.*]*)`", TEXT)
    assert len(paths) > 20
    for path in paths:
        first = path.replace("NAME", "lookup").replace("cN", "c1")
        assert list(ROOT.glob(first)), path
