"""A sweep that test_sweep.py runs in fresh processes, to kill, interrupt and resume them.

Arguments: directory, samples per replicate; then, for one of two processes, its index and port.
Acknowledged keys go to stdout, one a line.
"""

from __future__ import annotations

import sys
from fractions import Fraction

import jax
import numpy as np

from icl_sim.data.sampling import multinomial_counts, scaled_total_variation
from icl_sim.statistics.cells import TailCell
from icl_sim.statistics.sweep import sweep
from icl_sim.storage.records import digest
from icl_sim.storage.store import Store


def deviation(key, n, law):
    """2 V n times the total variation between n samples' frequencies and the uniform law."""
    return scaled_total_variation(multinomial_counts(key, n, law), np.ones(law.shape, np.int32))


def cells(n):
    """Six cells that four looks hardly decide, two that hold and two that do not."""
    law = np.full(4, 0.25, np.float32)
    settings = [("0.85", 0.27)] * 6 + [("5", 0.2)] * 2 + [("0.1", 0.2)] * 2
    return [
        TailCell(f"{i}", deviation, (np.int32(n - i), law), 8 * round(n**0.5) * Fraction(c), delta)
        for i, (c, delta) in enumerate(settings)
    ]


def run(directory, n, acknowledge=None):
    """The sweep's verdicts and the digest of its records."""
    with Store(directory, config={"n": n}) as store:
        append = store.append

        def append_and_tell(record):
            append(record)
            acknowledge(record.key)

        if acknowledge is not None:
            store.append = append_and_tell
        verdicts = sweep("demo", cells(n), key=jax.random.key(5), replicates=100, store=store)
        return verdicts, digest(store.records())


def tell(key):
    sys.stdout.write(key + "\n")
    sys.stdout.flush()


def main(directory, n, process=None, port=None):
    if process is None:
        run(directory, int(n), tell)
    else:
        jax.distributed.initialize(f"127.0.0.1:{port}", 2, int(process))
        run(directory, int(n), tell)
        jax.distributed.shutdown()


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(130)
