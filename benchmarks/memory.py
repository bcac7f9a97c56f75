"""Memory at the peak: what the guard's formulas say, against what the process was seen to take.

Each case runs in a process of its own, where a small case of the same kind has been run before, so
that imports and most of the compiler's own memory are not counted.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.measure import Row
from constructions.machines.universal import universal
from constructions.machines.weights import build_bytes
from constructions.programs.turing import TuringMachine
from constructions.spec import Layer, TransformerSpec
from icl_sim.bounds import exact_failure_probability, failure_enclosure
from icl_sim.bounds.enclosures import enclosure_bytes
from icl_sim.bounds.exact import tails_bytes
from icl_sim.decoding import Decoder, generate, generate_batch, verify_trace
from icl_sim.decoding.verification import verification_bytes
from icl_sim.divergence import total_variation_from_hidden, total_variation_from_logits
from icl_sim.divergence.hidden import LOGITS
from icl_sim.execution.memory_guard import at_peak, sharing
from icl_sim.execution.trials import device_mesh, run_blocks
from icl_sim.storage.weights import load_weights, save_weights
from icl_sim.training import Examples, TrainConfig, fine_tune, fine_tune_copies
from icl_sim.training.base_model import RECIPE, SPEC
from icl_sim.training.copies import BLOCK
from icl_sim.training.fine_tuning import training_bytes
from icl_sim.training.pretraining import pretrain, pretraining_bytes
from icl_sim.transformer import Transformer, forward, forward_bytes, init, load

MACHINE = TuringMachine.from_bbchallenge("1RB0RB_1LA1RA")  # runs for ever


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
    before = status("VmHWM")
    found = case.call()  # kept alive, as the caller would keep it
    jax.block_until_ready(found)
    return at_peak(case.estimate), status("VmHWM") - before


def status(field: str) -> int:
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


def _dense(steps: int) -> Case:
    layer = Layer(heads=16, key_size=64, value_size=64)
    spec = TransformerSpec(16, 64, 16, (layer, layer))
    model, params, prompt = Transformer(spec), init(Transformer(spec), jax.random.key(0)), [1, 2]
    call = partial(generate, model, params, prompt, engine="dense")
    # The first token stops it: one step is what all cost in memory, and all would take long.
    stop = int(call(steps=1)[0])
    room = 1 << (len(prompt) + steps - 1).bit_length()
    return Case(
        Decoder(model, params, engine="dense").bytes(room=room, tokens=steps),
        partial(call, steps=30, stop=stop),
        partial(call, steps=steps, stop=stop),
    )


def _lanes(lanes: int) -> Case:
    built = universal()
    model, params = load(built)
    prompt = built.encode({"machine": MACHINE, "tape": ""})
    call = partial(generate_batch, model, params, steps=8)
    return Case(
        Decoder(model, params, engine="specialised").bytes(lanes=lanes, tokens=8),
        partial(call, [prompt]),
        partial(call, [prompt] * lanes),
    )


def _verification(engine: str, states: int, symbols: int, block: int) -> Case:
    built = universal(states=states, symbols=symbols)
    trace = MACHINE.run("", 1000)
    decoder = Decoder(*load(built), engine=engine)
    call = partial(verify_trace, built, trace, engine=engine)
    return Case(
        verification_bytes(decoder, block), partial(call, block=64), partial(call, block=block)
    )


def _fine_tuning(spec: TransformerSpec, examples: int, tokens: int) -> Case:
    model, config = Transformer(spec), TrainConfig(steps=2)
    params, key = init(model, jax.random.key(0)), jax.random.key(1)

    def call(examples: int, tokens: int) -> Any:
        counts = np.ones((examples, spec.output_size), np.float32)
        data = Examples(np.zeros((examples, tokens), np.int32), counts)
        return fine_tune(model, params, data, config=config, key=key)

    estimate = training_bytes(spec, config, examples, tokens)
    return Case(estimate, partial(call, 1, 8), partial(call, examples, tokens))


def _copies(copies: int, examples: int, tokens: int) -> Case:
    spec, config = _spec(), TrainConfig(steps=2)
    model, params = Transformer(spec), init(Transformer(spec), jax.random.key(0))

    def call(copies: int) -> Any:
        counts = np.ones((copies, examples, spec.output_size), np.float32)
        data = Examples(np.zeros((copies, examples, tokens), np.int32), counts)
        keys = jax.random.split(jax.random.key(1), copies)
        return fine_tune_copies(model, params, data, config=config, keys=keys, chunk=1).losses

    at_once = BLOCK * sharing(device_mesh())
    estimate = training_bytes(spec, config, examples, tokens, copies, at_once)
    return Case(estimate, partial(call, 1), partial(call, copies))


def _pretraining(length: int) -> Case:
    call = partial(pretrain, SPEC, seed=0, config=replace(RECIPE, steps=1, warmup=0))
    return Case(
        pretraining_bytes(SPEC, length), partial(call, length=16), partial(call, length=length)
    )


def _distances(contexts: int, outputs: int) -> Case:
    logits = np.ones((contexts, outputs), np.float32)
    call = total_variation_from_logits
    return Case(
        3 * logits.nbytes, lambda: call(logits[:1], logits[:1]), lambda: call(logits, logits)
    )


def _hidden(contexts: int, outputs: int, width: int) -> Case:
    """Beyond the arrays, which are on the device: the logits of a block and their distance."""
    states, weights = jnp.ones((contexts, width)), jnp.ones((width, outputs))
    call = total_variation_from_hidden
    return Case(
        16 * LOGITS,
        lambda: call(states[:1], weights[:, :9], states[:1], weights[:, :9]),
        lambda: call(states, weights, states, weights),
    )


def _tail(vocab: int, n: int) -> Case:
    call = partial(exact_failure_probability, eps="0.03")
    small = partial(call, vocab=8, n=20)
    return Case(tails_bytes(vocab, n), small, partial(call, vocab=vocab, n=n))


def _enclosure(n: int) -> Case:
    law = [Fraction(5, 9), Fraction(3, 9), Fraction(1, 9)]
    call = partial(failure_enclosure, law=law, eps="0.05", steps=1)
    estimate = enclosure_bytes(law, Fraction("0.05"), n)
    return Case(estimate, partial(call, n=10), partial(call, n=n))


def _normals(key: jax.Array) -> jax.Array:
    return jax.random.normal(key, (1000,), np.float32)


def _trials(trials: int) -> Case:
    call = partial(run_blocks, _normals, key=jax.random.key(0))
    return Case(2 * 4000 * trials, partial(call, trials=64), partial(call, trials=trials))


def _machine(states: int, symbols: int) -> Case:
    call = partial(universal, states=states, symbols=symbols)
    return Case(build_bytes(states, symbols), partial(universal, states=1), call)


def _file(hidden: int) -> Case:
    layer = Layer(hidden=hidden)
    spec = TransformerSpec(2, 64, 2, (layer,))
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    # Normal numbers, which no file system can leave out.
    params = init(Transformer(spec), jax.random.key(0))
    path = folder / "weights"
    file, _ = save_weights(path, spec, params)
    save_weights(folder / "small", SPEC, init(Transformer(SPEC), jax.random.key(0)))
    return Case(
        2 * file.stat().st_size,
        lambda: load_weights(folder / "small")[1],
        lambda: load_weights(path)[1],
    )


CASES: dict[str, Callable[[], Case]] = {
    "forward, softmax [4, 2048]": partial(_forward, _spec(), 4, 2048, jitted=True),
    "forward, eager [4, 2048]": partial(_forward, _spec(), 4, 2048, jitted=False),
    "forward, bias, hardmax [4, 2048]": partial(
        _forward, _spec(window=32, attend="hardmax"), 4, 2048, jitted=True
    ),
    "forward, linear [4, 2048]": partial(_forward, _spec(attend="linear"), 4, 2048, jitted=True),
    "forward, short [32768, 8]": partial(_forward, _spec(), 32768, 8, jitted=True),
    "forward, short, eager [32768, 8]": partial(_forward, _spec(), 32768, 8, jitted=False),
    "forward, M = 2048 [2048, 8]": partial(_forward, _spec(hidden=2048), 2048, 8, jitted=True),
    "forward, V = 8192 [2048, 8]": partial(_forward, _spec(outputs=8192), 2048, 8, jitted=True),
    "dense decoding, 16384 tokens": partial(_dense, 2**14 - 16),
    "decoding, 32 lanes": partial(_lanes, 32),
    "verification, 2^20 tokens": partial(_verification, "specialised", 8, 2, 2**20),
    "verification as matrices, 2^18 tokens": partial(_verification, "cached", 128, 8, 2**18),
    "weights of a machine, K = 64, S = 16": partial(_machine, 64, 16),
    "a file of weights, 384 MiB": partial(_file, 2**19),
    "fine-tuning [8192, 8]": partial(_fine_tuning, _spec(), 8192, 8),
    "fine-tuning, M = 2048 [1024, 8]": partial(_fine_tuning, _spec(hidden=2048), 1024, 8),
    "fine-tuning [2, 2048]": partial(_fine_tuning, _spec(), 2, 2048),
    "fine-tuning, 256 copies [8, 8]": partial(_copies, 256, 8, 8),
    "pretraining, T = 896": partial(_pretraining, 896),
    "distances of logits [4096, 32768]": partial(_distances, 4096, 32768),
    "from hidden states [2048, 256], V = 32768": partial(_hidden, 2048, 32_768, 256),
    "an exact tail, V = 4096, n = 10^6": partial(_tail, 4096, 10**6),
    "an enclosure, n = 20000": partial(_enclosure, 20_000),
    "results of 100000 trials": partial(_trials, 100_000),
}

if __name__ == "__main__":
    print(json.dumps(_peak(CASES[sys.argv[1]]())))
