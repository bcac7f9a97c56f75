"""``python -m icl_sim`` and the console script ``icl-sim``."""

from __future__ import annotations

import gc
import sys
import traceback

from icl_sim.cli import open_streams, run
from icl_sim.execution import hosts


def main() -> None:
    """Runs the command line and exits with its code."""
    open_streams()
    # Traces are trees of many small objects without cycles: a collector that looks at them again
    # and again takes a twentieth of a run.
    gc.set_threshold(100_000, 20, 100)
    if not hosts.is_worker():
        sys.exit(run(sys.argv))
    try:
        code = run(sys.argv)
    except BaseException:
        traceback.print_exc()
        code = 1
    hosts.exit_worker(code)


if __name__ == "__main__":
    main()
