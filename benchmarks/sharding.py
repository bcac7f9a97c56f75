"""Pretraining of 10 M weights on 1, 2 and 8 virtual devices, each run in a process of its own.

`tune_sequences` trains all leaves from random weights on the sequences of the base's pretraining,
200 steps of eight rows. With whole leaves on every device the parts of a step are added in their
order: the same bits on any number of devices, as promised. With leaves and moments shared out over
a mesh the sums are XLA's, and only nearness is: `moved` is the largest distance of a weight from
that of the first run, beside the largest distance that training moved one. `peak_MiB` is of all
virtual devices together, which share this machine's memory and cores.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.measure import Row
from constructions.spec import Layer, TransformerSpec
from icl_sim.execution.trials import device_mesh
from icl_sim.training import Completions, TrainConfig, tune_sequences
from icl_sim.training.pretraining_sequences import ALPHABET, short_block
from icl_sim.transformer import FAST, Transformer, init

DEVICES = (1, 2, 8)
STEPS, ROWS, LENGTH = 200, 8, 32
_LAYER = Layer(
    heads=8, key_size=40, value_size=40, hidden=864, gate="silu", scale=40**-0.5, window=32
)
SPEC = TransformerSpec(ALPHABET, 320, ALPHABET, (_LAYER,) * 8, norm="rms")


def run() -> list[Row]:
    """One row a run: name, step_s, peak_MiB, loss, digest and same_bits, moved, by_training."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for shared in (False, True):
            for count in DEVICES:
                name = f"{'shared out' if shared else 'whole'}, {count} devices"
                rows.append({"name": name} | _apart(Path(folder), count, shared))
    return [
        row | {"same_bits": "yes" if row["digest"] == rows[0]["digest"] else "no"} for row in rows
    ]


def _apart(folder: Path, count: int, shared: bool) -> Row:
    command = [sys.executable, "-m", "benchmarks.sharding", str(folder), str(int(shared))]
    flags = f"--xla_force_host_platform_device_count={count}"
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)  # noqa: S603
    if done.returncode:
        return {"digest": "", "note": done.stderr.strip().splitlines()[-1]}
    row: Row = json.loads(done.stdout.splitlines()[-1])
    return row


def sequences(steps: int) -> Completions:
    """ROWS sequences a step, of the kinds that the base is pretrained on."""
    blocks = -(-steps * ROWS // 3)
    keys = jax.random.split(jax.random.key(0), blocks)
    short = jax.jit(partial(jax.lax.map, lambda block: short_block(block[0], block[1], LENGTH)))
    found = jax.tree.map(np.asarray, short((keys, jnp.arange(blocks))))
    tokens = found.tokens.reshape(-1, LENGTH)[: steps * ROWS]
    weights = found.weights.reshape(-1, LENGTH - 1)[: steps * ROWS]
    return Completions(tokens, weights, np.ones_like(tokens))


def trained(
    spec: TransformerSpec, *, steps: int, shared: bool
) -> tuple[dict[str, jax.Array], dict[str, jax.Array], np.ndarray]:
    """The leaves before and after, and the losses."""
    start = init(Transformer(spec), jax.random.key(1))
    places = {"mesh": device_mesh()} if shared else {"parts": ROWS}
    config = TrainConfig(learning_rate=1e-3, steps=steps, warmup=min(20, steps), batch=ROWS)
    tuned = tune_sequences(
        Transformer(spec),
        start,
        sequences(steps),
        config=config,
        key=jax.random.key(2),
        how=FAST,
        **places,
    )
    return start, tuned.params, tuned.losses


def _measured(folder: Path, shared: bool) -> Row:
    begun = time.perf_counter()
    start, leaves, losses = trained(SPEC, steps=STEPS, shared=shared)
    wall = time.perf_counter() - begun
    now: dict[str, Any] = {name: np.asarray(leaf) for name, leaf in sorted(leaves.items())}
    first = folder / "first.npz"
    if not first.exists():
        np.savez(first, **now)
    reference = np.load(first)
    with open("/proc/self/status") as file:
        peak = next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 1024
    return {
        "step_s": wall / STEPS,
        "peak_MiB": peak,
        "loss": float(losses[-20:].mean()),
        "digest": hashlib.sha256(b"".join(leaf.tobytes() for leaf in now.values())).hexdigest()[:8],
        "moved": max(float(np.abs(now[name] - reference[name]).max()) for name in now),
        "by_training": max(float(np.abs(now[n] - np.asarray(start[n])).max()) for n in now),
        "weights": sum(leaf.size for leaf in now.values()),
    }


if __name__ == "__main__":
    print(json.dumps(_measured(Path(sys.argv[1]), sys.argv[2] == "1")))
