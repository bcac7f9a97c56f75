"""The house: what may import what, how long a file may be, and what may not stand in one."""

from __future__ import annotations

import ast
import configparser
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NUMERIC_ONLY = {"numpy"}

# A module imports only from lines above its own; files of one folder may import each other.
CONSTRUCTION_FLOORS = [
    "argument_types",  # knows NumPy alone; every type and function may ask it
    "rotary",
    "spec",
    "support",
    "residual",
    "fields",
    "programs",
    "vocabulary",
    "token_names",
    "stock_vocabulary",
    "pairs_vocabulary",
    "single_vocabulary",
    "reference",
    "certificate",
    "blueprint",
    "gadgets",
    "construction",
    "machines",
    "learners",
    "rasp",
    "composition",
    "catalog",
]
# The folders of icl_sim from the ground up, each with what it needs from below.
FLOORS = [
    "errors",  # what every floor may raise
    "execution",  # devices, processes, memory: knows errors alone
    "transformer",  # its passes are estimated by execution's memory guard before they allocate
    "storage",  # the first of execution's processes writes for all
    "data",  # tables and corpora: pure functions of an index, they refuse by errors alone
    "statistics",  # sweeps run in execution's blocks and record in storage
    "bounds",  # formulas: errors, and the memory guard where they enumerate
    "halfspaces",  # learners and laws for points in R^d; peers of bounds
    "decoding",  # token by token through the transformer
    "divergence",  # distances between laws of two transformers; recorded in storage
    "training",  # moves a transformer's weights; measures itself by divergence; checkpoints
    "pretrained",  # stock checkpoints into and out of the transformer
    "emulation",  # machines through decoding
    "predictors",  # data to laws, by training, by a transformer's prompt or by emulation
    "claims",  # statements judged by statistics against bounds, with all of the above as means
    "comparison",  # every predictor on the same data, measured by divergence
    "report",  # pages about claims, comparisons and training
    "reproduction",  # runs claims, comparisons and training, and gathers what report shows
    "cli",  # calls one function of the floors below, and alone prints
    "__main__",  # calls cli
]
# Two modules of one name are twins: the same thing in two forms.
TWINS = {
    "agnostic": "the bound, and the experiment of the statement",
    "elicitation": "the bound, and the experiment of the claim",
    "looped": "the weights, and the run through them",
    "retrieval": "the learner's weights, and what retrieval gains",
    "turing": "the interpreter, and the run through weights",
    "weights": "how a machine's are written, and how all are stored",
}
ROOM = 6  # modules at the root of icl_sim
LINES = {"constructions": 350, "icl_sim": 350, "benchmarks": 350, "tests": 350}


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
    for name, path in modules("constructions"):
        for target in imports(path):
            top = target.split(".")[0]
            allowed = top in sys.stdlib_module_names | NUMERIC_ONLY | {"constructions"}
            assert allowed, f"{name} imports {target}"


def test_the_root_of_icl_sim_is_small():
    names = sorted(path.stem for path in (ROOT / "icl_sim").glob("*.py"))
    assert len(names) <= ROOM, names


def test_two_modules_of_one_name_are_twins():
    names = Counter(
        path.stem
        for package in ("constructions", "icl_sim")
        for _, path in modules(package)
        if path.stem != "__init__"
    )
    assert {name for name, count in names.items() if count > 1} == set(TWINS)


HEAVY = {"jax", "flax", "optax", "scipy", "sklearn", "matplotlib", "numpy", "rich", "constructions"}


def test_the_command_line_starts_without_heavy_imports():
    command_line = ["__init__.py", "__main__.py", *sorted((ROOT / "icl_sim" / "cli").glob("*.py"))]
    assert len(command_line) > 10
    for path in command_line:
        name = ROOT / "icl_sim" / path
        heavy = {t.split(".")[0] for t in imports(name, top_level_only=True)} & HEAVY
        assert not heavy, f"{name} imports {heavy} at the top"


def import_graph():
    """Module -> modules of this repository that it imports."""
    graph = {}
    for package in ("constructions", "icl_sim"):
        names = {name for name, _ in modules(package)}
        for name, path in modules(package):
            if "." in name:
                # `from package import sibling` names the package as well: no dependence on it.
                graph[name] = {
                    t for t in imports(path) if t in names and not name.startswith(f"{t}.")
                }
    return graph


def of_folders(graph):
    folder = lambda name: ".".join(name.split(".")[:2])
    found = {}
    for name, targets in graph.items():
        found.setdefault(folder(name), set()).update(map(folder, targets))
    return found


@pytest.mark.parametrize("view", [dict, of_folders], ids=["modules", "folders"])
def test_no_import_cycle(view):
    graph = view(import_graph())
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


@pytest.mark.parametrize(("package", "limit"), LINES.items())
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
            assert "print" not in calls or name.startswith("icl_sim.cli."), name
            assert not re.search(r"\bimport (pickle|dill|cloudpickle|joblib)\b", text), name
            assert "allow_pickle=True" not in text, name


@pytest.mark.parametrize("package", ["constructions", "icl_sim", "icl_sim.bounds"])
def test_public_names_exist_and_are_sorted(package):
    import importlib

    module = importlib.import_module(package)
    # Constants, types, functions, as ruff sorts the other lists.
    kind = lambda name: (name.startswith("_"), not name.isupper(), not name[0].isupper(), name)
    assert module.__all__ == sorted(module.__all__, key=kind)
    for name in module.__all__:
        assert getattr(module, name) is not None


def test_type_checkers_see_the_lazy_names_where_they_live():
    import icl_sim

    nodes = ast.parse((ROOT / "icl_sim" / "__init__.py").read_text()).body
    (block,) = (node for node in nodes if isinstance(node, ast.If))
    seen = {alias.asname: node.module for node in block.body for alias in node.names}
    assert seen == {name: f"icl_sim.{home}" for name, home in icl_sim._HOME.items()}


def test_the_version_is_the_metadata_s_and_needs_no_framework():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    program = "import sys, icl_sim; print(icl_sim.__version__); assert 'jax' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == config["metadata"]["version"], done.stderr
    assert done.returncode == 0


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
