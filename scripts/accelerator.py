"""Checks of whatever device JAX finds, then every suite of the benchmarks while time is left.

Each check is a line: passed, FAILED, or skipped with the reason. The exit code is 1 if one failed.
On a CPU the kernel runs in Pallas's interpreter, and all else as on any device.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from constructions import CONSTRUCTIONS
from icl_sim import emulate, find_machine, load
from icl_sim.cli.doctor import examine
from icl_sim.decoding.decoder import check_arithmetic
from icl_sim.divergence import kernel
from icl_sim.divergence.measures import JENSEN_SHANNON, KULLBACK_LEIBLER, TOTAL_VARIATION
from icl_sim.training import TrainConfig, completions, tune_sequences
from icl_sim.transformer import CERTIFIED, HALF, Transformer, init

MINUTES = 8
AROUND = 5  # seconds of them to import all this, and to stop a suite
# Statements that are quick, exact and sampled, and go through weights.
STATEMENTS = ("C1.sum", "C0.universal", "C2.sequence")
MEASURES = {
    "total variation": TOTAL_VARIATION,
    "Kullback-Leibler": KULLBACK_LEIBLER,
    "Jensen-Shannon": JENSEN_SHANNON,
}
SUITES = (
    "divergence",
    "training",
    "contexts",
    "vocabulary",
    "emulation",
    "learners",
    "sharding",
    "constructions",
    "exact",
    "memory",
    "slopes",
    "tightness",
    "language",
)


class SkippedError(Exception):
    """A check that this machine cannot make, and why."""


def _require(condition: object, found: object) -> None:
    """Raises AssertionError with what was found unless the condition holds."""
    if not condition:
        raise AssertionError(found)


def precision() -> str:
    """Products of float32 keep 24 bits, which hand-written weights need."""
    check_arithmetic()
    _require(examine()["exact products"], "products are rounded to fewer bits")
    return "products of float32 keep 24 bits"


def machines() -> str:
    """Machines through weights, token for token, in the engines for accelerators."""
    for engine in ("dense", "cached", "specialised", "verify"):
        found = emulate(find_machine("bb4"), engine=engine, max_steps=200)
        _require(found.agrees, engine)
        _require(found.steps == 107, engine)
    return "BB(4) token for token, dense, cached, specialised and verified"


def learners() -> str:
    """A construction's forward pass on this device is within its certified error."""
    construction = CONSTRUCTIONS["lookup"](contexts=2)
    model, params = load(construction)
    problem = {"pairs": [(0, 1), (0, 1), (0, 2)], "query": 0}
    outputs = np.asarray(model.apply({"params": params}, construction.encode(problem)))
    error = float(np.abs(construction.decode(outputs) - construction.oracle(problem)).max())
    _require(error < 1e-6, error)
    return f"lookup within {error:.1e} of counting"


def compiled_kernel() -> str:
    """The Pallas kernel, compiled where there is a compiler, against NumPy in float64."""
    platform = jax.default_backend()
    interpret = platform == "cpu"
    triton = platform in ("gpu", "cuda") and kernel.has_triton()
    if platform in ("gpu", "cuda") and not triton:
        raise SkippedError("this version of JAX has no Triton: GPUs take the plain way")
    rng, worst = np.random.default_rng(0), 0.0
    for m, V in ((5, 130), (9, 2500)) if interpret else ((64, 32768), (33, 128256)):
        a, b = (3 * rng.standard_normal((m, V)) for _ in range(2))
        for name, measure in MEASURES.items():
            rows = jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32)
            found = kernel.run(
                measure, *rows, rows=1 if triton else 8, triton=triton, interpret=interpret
            )
            error = float(np.abs(np.asarray(found, np.float64) - exact(name, a, b)).max())
            worst = max(worst, error)
            _require(error < 1e-5, (name, V, error))
    how = "in Pallas's interpreter" if interpret else f"compiled for {platform}"
    return f"three distances {how}, within {worst:.1e} of float64"


def exact(name: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """A distance of softmaxes in float64, of the logits as float32 has them."""
    a, b = (x.astype(np.float32).astype(np.float64) for x in (a, b))
    log_p, log_q = (x - np.logaddexp.reduce(x, axis=1, keepdims=True) for x in (a, b))
    p, q = np.exp(log_p), np.exp(log_q)
    if name == "total variation":
        return np.abs(p - q).sum(1) / 2
    if name == "Kullback-Leibler":
        return (p * (log_p - log_q)).sum(1)
    log_s = np.logaddexp(log_p, log_q) - np.log(2)
    return ((p * (log_p - log_s)).sum(1) + (q * (log_q - log_s)).sum(1)) / 2


def verdicts() -> str:
    """The same verdicts here and on the CPU; the digests, which are of one kind of device each."""
    found = {}
    for name, settings in (("here", {}), ("cpu", {"JAX_PLATFORMS": "cpu"})):
        command = [sys.executable, "-m", "icl_sim", "verify", *STATEMENTS, "--json", "--no-cache"]
        environment = os.environ | settings
        done = subprocess.run(command, capture_output=True, text=True, env=environment)  # noqa: S603
        _require(done.returncode == 0, done.stderr)
        found[name] = json.loads(done.stdout)
    here, cpu = ({s["id"]: s["verdict"] for s in found[name]["statements"]} for name in found)
    _require(here == cpu, (here, cpu))
    digests = [found[name]["digest"][:12] for name in ("here", "cpu")]
    same = "equal" if digests[0] == digests[1] else "not equal"
    return f"{', '.join(STATEMENTS)}: verdicts equal; digests {same}: {', '.join(digests)}"


def half_precision() -> str:
    """Fine-tuning in bfloat16 over float32 masters ends where float32 does."""
    from benchmarks.training import SPEC

    model = Transformer(SPEC)
    params = init(model, jax.random.key(0))
    rng = np.random.default_rng(0)
    rows = [(p, np.roll(p, 1)[:4]) for p in rng.integers(0, SPEC.input_size, (16, 24))]
    examples = completions([(p.astype(np.int32), c.astype(np.int32)) for p, c in rows])
    config = TrainConfig(learning_rate=3e-3, steps=30)
    losses = {}
    for name, how in (("float32", CERTIFIED), ("bfloat16", HALF)):
        tuned = tune_sequences(
            model, params, examples, config=config, key=jax.random.key(1), how=how
        )
        losses[name] = tuned.losses
        _require(np.isfinite(tuned.losses).all(), name)
        _require(tuned.losses[-1] < 0.7 * tuned.losses[0], (name, tuned.losses[[0, -1]]))
    ends = {name: float(loss[-1]) for name, loss in losses.items()}
    _require(abs(ends["bfloat16"] - ends["float32"]) < 0.1 * losses["float32"][0], ends)
    return ", ".join(f"{name}: loss {x:.3f}" for name, x in ends.items())


CHECKS: tuple[Callable[[], str], ...] = (
    precision,
    machines,
    learners,
    compiled_kernel,
    half_precision,
    verdicts,
)


def benchmarks(file: Path, end: float) -> list[str]:
    """Runs suite after suite until the time is over; what was not finished, by name."""
    left = []
    for suite in SUITES:
        command = [sys.executable, "-m", "benchmarks", "--suite", suite, "--json", str(file)]
        seconds = end - time.monotonic()
        if seconds <= 0:
            left.append(suite)
            continue
        try:
            done = subprocess.run(command, timeout=seconds)  # noqa: S603
            left += [] if done.returncode == 0 else [f"{suite} (exit {done.returncode})"]
        except subprocess.TimeoutExpired:
            left.append(suite)
    return left


def main() -> int:
    """Runs the checks and the benchmarks, and returns the exit code."""
    parser = argparse.ArgumentParser(prog="scripts/accelerator")
    parser.add_argument("--json", type=Path, default=Path("out/accelerator.jsonl"))
    parser.add_argument("--minutes", type=float, default=MINUTES, help="in all")
    parser.add_argument("--checks", action="store_true", help="no benchmarks")
    arguments = parser.parse_args()
    end = time.monotonic() + 60 * arguments.minutes - AROUND
    for name, value in examine().items():
        print(f"{name}: {value}")
    failed = 0
    for check in CHECKS:
        start = time.monotonic()
        try:
            verdict, told = "passed", check()
        except SkippedError as reason:
            verdict, told = "skipped", str(reason)
        except Exception as error:
            verdict, told = "FAILED", f"{type(error).__name__}: {error}"
            failed += 1
        seconds = time.monotonic() - start
        print(f"{check.__name__:16} {verdict:8} {seconds:5.1f} s  {told}", flush=True)
    if not arguments.checks:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        left = benchmarks(arguments.json, end)
        print(f"benchmarks: {arguments.json}; not finished in time: {', '.join(left) or 'none'}")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
