"""Feeds random inputs to every reader and to the command line, and counts what they did.

Of each target in tests/fuzz_targets.py: inputs, how many were refused, the slowest one. The first
input that ends in a traceback, takes too long, or is accepted though it was changed is printed, and
the exit code is 1. Failing inputs are kept in .hypothesis and tried first the next time.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections import Counter
from pathlib import Path

import hypothesis
from hypothesis.database import DirectoryBasedExampleDatabase

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
import fuzz_targets

ROOT = Path(__file__).parent.parent


def fuzz(name: str, examples: int, seed: int) -> tuple[Counter, float]:
    """Counts of a target's outcomes, and the seconds of its slowest input."""
    target, counts, slowest = fuzz_targets.TARGETS[name], Counter(), [0.0]

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=examples,
        deadline=None,
        database=DirectoryBasedExampleDatabase(ROOT / ".hypothesis" / "fuzz"),
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(target.inputs)
    def each(drawn):
        start = time.process_time()
        counts[target.check(drawn)] += 1
        slowest[0] = max(slowest[0], time.process_time() - start)

    each()
    return counts, slowest[0]


def main() -> int:
    """Runs the targets and returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--inputs", type=int, default=2000, help="all together (2000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--targets", nargs="+", default=list(fuzz_targets.TARGETS))
    arguments = parser.parse_args()
    shares = {name: fuzz_targets.TARGETS[name].share for name in arguments.targets}
    total = failed = 0
    for name, share in shares.items():
        examples = max(int(arguments.inputs * share / sum(shares.values())), 1)
        start = time.process_time()
        try:
            counts, slowest = fuzz(name, examples, arguments.seed)
        except Exception:
            traceback.print_exc()
            print(f"{name}: FAILED", flush=True)
            failed += 1
            continue
        total += sum(counts.values())
        seconds = time.process_time() - start
        print(
            f"{name:>28}: {sum(counts.values()):7,} inputs, {counts['refused']:7,} refused, "
            f"slowest {slowest:.2f} s, all in {seconds:.0f} s",
            flush=True,
        )
    print(f"{total:,} inputs, {failed} targets failed")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
