"""The table of planted bugs: each is where it says, and the tests that should notice exist."""

from __future__ import annotations

import ast
import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
spec = importlib.util.spec_from_file_location("mutants", ROOT / "scripts" / "mutants.py")
mutants = importlib.util.module_from_spec(spec)
sys.modules["mutants"] = mutants
spec.loader.exec_module(mutants)
PLANTED = list(mutants.planted())


def test_there_are_enough_over_both_packages():
    assert len(PLANTED) - sum(bool(m.reason) for m in PLANTED) >= 120
    folders = {m.path.rsplit("/", 1)[0] for m in PLANTED}
    assert {"constructions", "constructions/programs"} <= folders
    for folder in ("divergence", "decoding", "halfspaces", "training", "claims", "bounds"):
        assert f"icl_sim/{folder}" in folders


@pytest.mark.parametrize("path", sorted({m.path for m in PLANTED}))
def test_every_bug_changes_one_place_and_leaves_a_program(path):
    text = (ROOT / path).read_text()
    for mutant in (m for m in PLANTED if m.path == path):
        assert text.count(mutant.old) == 1, mutant.old
        assert mutant.text(ROOT) != text
        ast.parse(mutant.text(ROOT))
        for test in mutant.tests:
            name, _, function = test.partition("::")
            assert f"def {function}(" in (ROOT / name).read_text() or not function, test


def test_the_table_counts_and_names_survivors():
    first, second = PLANTED[1:3]
    text = mutants.report([(first, "killed"), (second, "survived")])
    assert "1 of 2 killed, 50.0%." in text
    assert f"`{second.old}` -> `{second.new}`" in text
    assert f"`{first.old}`" not in text


@pytest.mark.parametrize(("noticed", "outcome"), [(True, "killed"), (False, "survived")])
def test_a_bug_is_judged_by_the_tests_in_a_copy_and_what_is_known_is_not_done_again(
    monkeypatch, noticed, outcome
):
    first, second = [m for m in PLANTED if m.path == "icl_sim/bounds/hash_bit.py"]
    original = (ROOT / first.path).read_text()

    def copy_one(to):
        (to / first.path).parent.mkdir(parents=True)
        (to / first.path).write_text(original)

    ran = []

    def passes(root, tests):
        assert root != ROOT
        ran.append(tests)
        return (root / first.path).read_text() == original or not noticed

    monkeypatch.setattr(mutants, "copy_tracked", copy_one)
    monkeypatch.setattr(mutants, "passes", passes)
    assert [o for _, o in mutants.judged([first, second], {})] == [outcome] * 2
    assert len(ran) == 3  # without a bug first
    known = {m.key(ROOT): "killed" for m in (first, second)}
    assert [o for _, o in mutants.judged([first, second], known)] == ["killed"] * 2
    assert len(ran) == 3
    monkeypatch.setattr(mutants, "passes", lambda root, tests: False)
    with pytest.raises(RuntimeError, match="fail without any bug"):
        list(mutants.judged([first], {}))
    assert (ROOT / first.path).read_text() == original
