"""The house: what may import what, how long a file may be, and what may not stand in one."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NUMERIC_ONLY = {"numpy"}

# A module imports only from lines above its own; names on one line are one package or peers that
# do not import each other unless they are files of one package.
CONSTRUCTION_FLOORS = [
    "rotary",
    "spec",
    "residual",
    "programs",
    "reference",
    "certificate",
    "blueprint",
    "construction",
    "machines",
    "learners",
    "composition",
    "catalog",
]
FLOORS = [
    "errors",
    "execution",
    "transformer",
    "storage",
    "data",
    "statistics",
    "bounds",
    "halfspaces",
    "decoding",
    "emulation",
    "divergence",
    "training",
    "pretrained",
    "predictors",
    "comparison",
    "claims",
    "reproduction",
    "inventory",
    "report",
    "exports",
    "commands",
    "cli",
    "__main__",
]


def modules(package):
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts[-1] == "__init__":
            parts = parts[:-1]
        yield ".".join(parts), path


def imports(path, *, top_level_only=False):
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def floor_of(name, floors):
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in floors else None


@pytest.mark.parametrize(
    ("package", "floors"), [("constructions", CONSTRUCTION_FLOORS), ("icl_sim", FLOORS)]
)
def test_imports_go_up_the_floors_only(package, floors):
    faults = []
    for name, path in modules(package):
        if "." not in name:
            continue  # the package's own __init__ gathers its names
        mine = floor_of(name, floors)
        if mine is None:
            faults.append(f"{name} stands on no floor: give it a line")
            continue
        for target in imports(path):
            theirs = floor_of(target, floors) if target.split(".")[0] == package else None
            if theirs and theirs != mine and floors.index(theirs) >= floors.index(mine):
                faults.append(f"{name} imports {target}")
    assert not faults, "\n".join(faults)


def test_constructions_need_numpy_and_the_standard_library_only():
    import sys

    for name, path in modules("constructions"):
        for target in imports(path):
            top = target.split(".")[0]
            allowed = top in sys.stdlib_module_names | NUMERIC_ONLY | {"constructions"}
            assert allowed, f"{name} imports {target}"


def test_the_command_line_starts_without_heavy_imports():
    for name in (
        "icl_sim/__init__.py",
        "icl_sim/__main__.py",
        "icl_sim/cli.py",
        "icl_sim/commands.py",
    ):
        tops = {t.split(".")[0] for t in imports(ROOT / name, top_level_only=True)}
        heavy = tops & {"jax", "flax", "optax", "scipy", "sklearn", "matplotlib", "numpy", "rich"}
        assert not heavy, f"{name} imports {heavy} at the top"


def test_no_import_cycle():
    graph = {}
    for package in ("constructions", "icl_sim"):
        names = {name for name, _ in modules(package)}
        for name, path in modules(package):
            if "." in name:
                # `from package import sibling` names the package as well: no dependence on it.
                graph[name] = {
                    t for t in imports(path) if t in names and not name.startswith(f"{t}.")
                }
    state = {}

    def visit(node, trail):
        if state.get(node) == "done":
            return
        assert state.get(node) != "open", " -> ".join([*trail, node])
        state[node] = "open"
        for target in graph.get(node, ()):
            if target != node:
                visit(target, [*trail, node])
        state[node] = "done"

    for node in graph:
        visit(node, [])


@pytest.mark.parametrize(
    ("package", "limit"),
    [("constructions", 400), ("icl_sim", 400), ("benchmarks", 400), ("tests", 550)],
)
def test_files_are_short(package, limit):
    long = {
        name: count
        for name, path in modules(package)
        if (count := len(path.read_text().splitlines())) > limit
    }
    assert not long, long


def test_only_the_command_line_prints_and_nothing_unpickles():
    for package in ("constructions", "icl_sim"):
        for name, path in modules(package):
            text = path.read_text()
            tree = ast.parse(text)
            calls = {
                node.func.id
                for node in ast.walk(tree)
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
            }
            assert "print" not in calls or name in ("icl_sim.cli", "icl_sim.commands"), name
            assert not re.search(r"\bimport (pickle|dill|cloudpickle|joblib)\b", text), name
            assert "allow_pickle=True" not in text, name


@pytest.mark.parametrize("package", ["constructions", "icl_sim", "icl_sim.bounds"])
def test_public_names_exist_and_are_sorted(package):
    import importlib

    module = importlib.import_module(package)
    assert module.__all__ == sorted(module.__all__)
    for name in module.__all__:
        assert getattr(module, name) is not None


def docstrings():
    for package in ("constructions", "icl_sim", "benchmarks"):
        for name, path in modules(package):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                    yield name, ast.get_docstring(node) or ""


def test_docstrings_have_one_style():
    # What ruff's rules leave open: two columns of indent in a section, one space after a sentence.
    sections = re.compile(r"^(Args|Attributes|Returns|Raises):\n( *)(?=\S)", re.MULTILINE)
    for name, text in docstrings():
        for section, indent in sections.findall(text):
            assert len(indent) == 2, f"{name}, {section}: expected an indent of 2 in {text!r}"
        prose = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith(">>>"))
        assert not re.search(r"[a-z][.?!]  [A-Z]", prose), f"{name}: two spaces in {prose!r}"
