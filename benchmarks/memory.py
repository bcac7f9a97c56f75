"""Memory at the peak: what the guard's formulas say, against what the process was seen to take.

Each case runs in a process of its own, where a small case of the same kind has been run before, so
that imports and most of the compiler's own memory are not counted.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks.measure import Row
from constructions.spec import Layer, TransformerSpec
from icl_sim.transformer import Transformer, forward, forward_bytes, init


class Case(NamedTuple):
    """One request: its estimated bytes, a small one of the same kind, and the request itself."""

    estimate: int
    small: Callable[[], Any]
    call: Callable[[], Any]


def run() -> list[Row]:
    """One row a case: name, estimated_MiB, measured_MiB, ratio (estimated over measured)."""
    if not Path("/proc/self/clear_refs").exists():
        return [{"name": "memory", "note": "not measured: the peak is read from Linux's /proc"}]
    return [measure(name) for name in CASES]


def measure(name: str) -> Row:
    """The row of one case, from a process of its own."""
    command = [sys.executable, "-m", "benchmarks.memory", name]
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    done = subprocess.run(  # noqa: S603
        command, capture_output=True, text=True, check=True, env=environment
    )
    estimated, measured = json.loads(done.stdout.splitlines()[-1])
    mib = 2.0**20
    return {
        "name": name,
        "estimated_MiB": estimated / mib,
        "measured_MiB": measured / mib,
        "ratio": estimated / measured,
    }


def _peak(case: Case) -> tuple[int, int]:
    """Estimated and measured bytes of a case, in this process."""
    jax.block_until_ready(case.small())
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the high-water mark becomes what is resident now
    before = _status("VmHWM")
    found = case.call()  # kept alive, as the caller would keep it
    jax.block_until_ready(found)
    return case.estimate, _status("VmHWM") - before


def _status(field: str) -> int:
    """A field of the process's status, in bytes."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(field)) * 2**10


def _spec(hidden: int = 96, outputs: int = 16, **options: Any) -> TransformerSpec:
    layer = Layer(
        heads=4, key_size=16, value_size=16, hidden=hidden, gate="silu", scale=0.25, **options
    )
    return TransformerSpec(16, 64, outputs, (layer, layer), norm="rms")


def _forward(spec: TransformerSpec, batch: int, tokens: int, *, jitted: bool) -> Case:
    params = init(Transformer(spec), jax.random.key(0))
    call = partial(jax.jit(forward, static_argnums=0) if jitted else forward, spec, params)
    inputs = np.zeros((batch, tokens), np.int32)
    return Case(
        forward_bytes(spec, batch=batch, tokens=tokens),
        partial(call, inputs[:1, :8]),
        partial(call, inputs),
    )


CASES: dict[str, Callable[[], Case]] = {
    "forward, softmax [4, 2048]": partial(_forward, _spec(), 4, 2048, jitted=True),
    "forward, op by op [4, 2048]": partial(_forward, _spec(), 4, 2048, jitted=False),
    "forward, bias, hardmax [4, 2048]": partial(
        _forward, _spec(window=32, attend="hardmax"), 4, 2048, jitted=True
    ),
    "forward, linear [4, 2048]": partial(_forward, _spec(attend="linear"), 4, 2048, jitted=True),
    "forward, short prompts [65536, 8]": partial(_forward, _spec(), 65536, 8, jitted=True),
    "forward, short, op by op [65536, 8]": partial(_forward, _spec(), 65536, 8, jitted=False),
    "forward, wide MLP [4096, 8]": partial(_forward, _spec(hidden=2048), 4096, 8, jitted=True),
    "forward, V = 8192 [2048, 8]": partial(_forward, _spec(outputs=8192), 2048, 8, jitted=True),
}

if __name__ == "__main__":
    print(json.dumps(_peak(CASES[sys.argv[1]]())))
