"""Plants known bugs one by one in a copy of the repository, and asks the fast tests.

Of each file in scripts/mutants.toml its tests run once without a bug, then once with each. A bug is
killed if a test fails, and has survived if none does; those that change nothing are told as
equivalent and not run. What was found is kept in out/mutants.jsonl and not done again while the
file, its tests and the bug are the same, so that a run may be broken off. The table is written to
out/mutants.md, with the survivors by name; the exit code is 1 if there are any, or tests that fail
without a bug.

    scripts/mutants                                    # all files; an hour or more
    scripts/mutants constructions/blueprint.py         # one of them
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
TABLE = ROOT / "scripts" / "mutants.toml"
KILLED, SURVIVED, EQUIVALENT = "killed", "survived", "equivalent"
LIMIT = 300  # CPU seconds of a file's tests: a bug that makes them run on is noticed


@dataclass(frozen=True)
class Mutant:
    """A bug: the file, its tests, the text replaced, and why it may change nothing."""

    path: str
    tests: tuple[str, ...]
    old: str
    new: str
    reason: str = ""

    def text(self, root: Path) -> str:
        """The file with the bug."""
        return (root / self.path).read_text().replace(self.old, self.new)

    def key(self, root: Path) -> str:
        """What its outcome depends on."""
        tests = sorted({test.split("::")[0] for test in self.tests})
        parts = [self.text(root), *self.tests, *((root / test).read_text() for test in tests)]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def planted() -> Iterator[Mutant]:
    """All bugs of the table."""
    for path, entries in tomllib.loads(TABLE.read_text()).items():
        for entry in entries:
            for old, new, *reason in entry["mutants"]:
                yield Mutant(path, tuple(entry["tests"]), old, new, *reason)


def passes(root: Path, tests: tuple[str, ...]) -> bool:
    """Whether these tests pass there."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    environment = os.environ | {"PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
    environment["ICL_SIM_COMPILED"] = str(root / "compiled")  # kept from one bug to the next
    try:
        done = subprocess.run(  # noqa: S603, of the table alone
            command,
            cwd=root,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (LIMIT, LIMIT)),
            timeout=12 * LIMIT,  # on a machine that is busy, or if they wait for ever
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def copy_tracked(to: Path) -> None:
    """Copies what git tracks, as it stands here."""
    names = subprocess.check_output(["git", "ls-files", "-z"], cwd=ROOT, text=True)  # noqa: S607
    for name in filter(None, names.split("\0")):
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, to / name)


def judged(mutants: list[Mutant], found: dict[str, str]) -> Iterator[tuple[Mutant, str]]:
    """Outcomes of bugs of one file, those known taken over.

    Raises:
      RuntimeError: its tests fail without any bug.
    """
    path, tests = mutants[0].path, mutants[0].tests
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        clean = False
        for mutant in mutants:
            outcome = EQUIVALENT if mutant.reason else found.get(mutant.key(ROOT), "")
            if not outcome:
                if not clean:
                    copy_tracked(copy)
                    if not passes(copy, tests):
                        raise RuntimeError(f"its tests fail without any bug: {', '.join(tests)}")
                    clean = True
                (copy / path).write_text(mutant.text(ROOT))
                outcome = SURVIVED if passes(copy, tests) else KILLED
            yield mutant, outcome


def report(outcomes: list[tuple[Mutant, str]]) -> str:
    """The table, a line for each file, and the survivors."""
    counts: dict[str, Counter[str]] = {}
    for mutant, outcome in outcomes:
        counts.setdefault(mutant.path, Counter())[outcome] += 1
    total = sum(counts.values(), Counter())
    columns = (KILLED, SURVIVED, EQUIVALENT)

    def row(name: str, count: Counter[str]) -> str:
        return f"| {name} | " + " | ".join(str(count[c]) for c in columns) + " |"

    lines = ["| file | killed | survived | equivalent |", "|---|---|---|---|"]
    lines += [row(f"`{path}`", count) for path, count in counts.items()]
    lines += [row("**all**", total), ""]
    tried = total[KILLED] + total[SURVIVED]
    if tried:
        lines += [f"{total[KILLED]} of {tried} killed, {total[KILLED] / tried:.1%}.", ""]
    lines += [
        f"- survived: `{m.path}`: `{m.old}` -> `{m.new}`" for m, o in outcomes if o == SURVIVED
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Judges the bugs asked for, and tells by the exit code whether any survived."""
    parser = argparse.ArgumentParser(description="Do the fast tests notice planted bugs?")
    parser.add_argument("files", nargs="*", help="of these files; all, by default")
    parser.add_argument("--out", type=Path, default=ROOT / "out", help="records and table")
    options = parser.parse_args()
    by_file: dict[str, list[Mutant]] = {}
    for mutant in planted():
        by_file.setdefault(mutant.path, []).append(mutant)
    if unknown := sorted(set(options.files) - set(by_file)):
        raise SystemExit(f"expected files of {TABLE.name}, got {', '.join(unknown)}")
    options.out.mkdir(parents=True, exist_ok=True)
    records = options.out / "mutants.jsonl"
    lines = records.read_text().splitlines() if records.exists() else []
    found = {line["key"]: line["outcome"] for line in map(json.loads, lines)}
    outcomes: list[tuple[Mutant, str]] = []
    broken = 0
    with records.open("a") as file:
        for path in options.files or by_file:
            try:
                for mutant, outcome in judged(by_file[path], found):
                    outcomes.append((mutant, outcome))
                    print(f"{outcome:10} {path}: {mutant.old} -> {mutant.new}", flush=True)
                    key = mutant.key(ROOT)
                    if key not in found and outcome != EQUIVALENT:
                        line = {"key": key, "outcome": outcome, "file": path}
                        file.write(json.dumps(line | {"old": mutant.old, "new": mutant.new}) + "\n")
                        file.flush()
            except RuntimeError as error:
                broken += 1
                print(f"not run    {path}: {error}", flush=True)
            (options.out / "mutants.md").write_text(report(outcomes))
    print(report(outcomes))
    return int(broken > 0 or any(outcome == SURVIVED for _, outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
