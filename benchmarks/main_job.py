"""The main job as a whole process, of this checkout and of others: without kept programs and with.

    python -m benchmarks.main_job [CHECKOUT ...]

The checkouts run in turn, each with a new cache of compiled programs, and then again with what it
holds. Seconds on the clock and of processor time; the digests say whether they did the same work.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.measure import Row
from benchmarks.tables import markdown
from icl_sim.errors import InputError
from icl_sim.execution.compilation_cache import VARIABLE

HERE = Path(__file__).parent.parent


def run(checkouts: list[Path]) -> list[Row]:
    """A row for each checkout: name, cold_s, cold_cpu_s, warm_s, warm_cpu_s, digest."""
    rows: dict[Path, Row] = {tree: {"name": tree.resolve().name} for tree in checkouts}
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("cold", "warm"):
            for number, tree in enumerate(checkouts):
                cache = Path(folder) / f"programs-{number}"
                cache.mkdir(mode=0o700, exist_ok=True)
                rows[tree] |= _timed(tree, kind, cache, Path(folder) / f"{kind}-{number}")
    return list(rows.values())


def _timed(tree: Path, kind: str, cache: Path, out: Path) -> Row:
    command = [sys.executable, "-m", "icl_sim", "reproduce", "--profile", "smoke"]
    environment = {**os.environ, "PYTHONPATH": str(tree), VARIABLE: str(cache)}
    before, begun = os.times(), time.monotonic()
    done = subprocess.run(  # noqa: S603
        [*command, "--json", "--out", str(out)],
        cwd=tree,
        env=environment,
        stdout=subprocess.PIPE,
        check=False,
    )
    seconds, after = time.monotonic() - begun, os.times()
    if done.returncode:
        raise InputError(f"{tree}: expected reproduce to end with 0, got {done.returncode}")
    spent = after.children_user + after.children_system
    spent -= before.children_user + before.children_system
    digest = json.loads(done.stdout)["digest"][:12]
    return {f"{kind}_s": seconds, f"{kind}_cpu_s": spent, "digest": digest}


if __name__ == "__main__":
    print(markdown(run([HERE, *map(Path, sys.argv[1:])])))
