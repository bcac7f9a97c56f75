"""``python -m icl_sim`` and the console script ``icl-sim``."""

import sys

from icl_sim.cli import run


def main() -> None:
    """Runs the command line and exits with its code."""
    sys.exit(run(sys.argv))


if __name__ == "__main__":
    main()
