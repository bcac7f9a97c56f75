"""A real language model: SmolLM2-135M read, sampled and fine-tuned, each in a process of its own.

The model comes by scripts/smollm2. tokens_per_s counts the tokens of one call, tokens_per_cpu_s the
same over the CPU seconds of all threads; peak_MiB is the most memory that the process ever held,
weights included. With peers, `transformers` does the same in PyTorch, eager attention, from the
directory that `to_pretrained` writes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.measure import NOT_INSTALLED, Row
from icl_sim.decoding.token_sampling import sample_tokens
from icl_sim.errors import InputError
from icl_sim.pretrained import find_model, from_pretrained, to_pretrained
from icl_sim.training import TrainConfig, completions, tune_sequences
from icl_sim.transformer import FAST, Arithmetic, hidden, stack_layers

READ, ROWS, LENGTH, WRITTEN, STEPS = 512, 4, 128, 64, 4
TRAINING = Arithmetic(precision=FAST.precision, block=FAST.block, scan=True, remat=True)
Case = tuple[int, Callable[[], Any]]  # tokens of a call, and the call


def run(*, rounds: int = 3, peers: bool = False) -> list[Row]:
    """One row a case: name, median_s, tokens_per_s, tokens_per_cpu_s, peak_MiB."""
    try:
        find_model("smollm2")
    except InputError as error:
        return [{"name": "SmolLM2-135M", "note": f"not measured: {error}"}]
    rows = [_apart(name, rounds) for name in CASES]
    if peers:
        rows += [_apart(name, rounds) for name in PEERS]
    return rows


def _apart(name: str, rounds: int) -> Row:
    command = [sys.executable, "-m", "benchmarks.language", name, str(rounds)]
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)  # noqa: S603
    if done.returncode:
        missing = "ModuleNotFoundError" in done.stderr
        note = NOT_INSTALLED if missing else done.stderr.strip().splitlines()[-1]
        return {"name": name, "note": note}
    row: Row = json.loads(done.stdout.splitlines()[-1])
    return {"name": name} | row


def _measured(case: Case, rounds: int) -> Row:
    tokens, call = case
    call()
    walls, cpus = [], []
    for _ in range(rounds):
        wall, cpu = time.perf_counter(), time.process_time()
        call()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    with open("/proc/self/status") as file:
        peak = next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 1024
    wall, cpu = float(np.median(walls)), float(np.median(cpus))
    return {
        "median_s": wall,
        "tokens_per_s": tokens / wall,
        "tokens_per_cpu_s": tokens / cpu,
        "peak_MiB": peak,
    }


def _tokens(shape: tuple[int, ...], size: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, size, shape).astype(np.int32)


def _reading() -> Case:
    model, params, _ = from_pretrained("smollm2", tokenizer=False)
    stack = stack_layers(model.spec, params)
    step = jax.jit(partial(hidden, model.spec, how=FAST))
    tokens = _tokens((1, READ), model.spec.input_size)
    return READ, lambda: jax.block_until_ready(step(stack, tokens))


def _writing() -> Case:
    model, params, _ = from_pretrained("smollm2", tokenizer=False)
    stack = stack_layers(model.spec, params)
    prompt = _tokens((LENGTH,), model.spec.input_size)
    return WRITTEN, lambda: sample_tokens(model, stack, [prompt], steps=WRITTEN, how=FAST)


def _tuning(**options: Any) -> Case:
    model, params, _ = from_pretrained("smollm2", tokenizer=False)
    rows = _tokens((ROWS, LENGTH), model.spec.input_size)
    examples = completions([(row[:-8], row[-8:]) for row in rows])
    config = TrainConfig(learning_rate=1e-4, steps=STEPS, **options)
    tune = partial(tune_sequences, model, params, examples, config=config, how=TRAINING)
    return STEPS * ROWS * LENGTH, lambda: tune(key=jax.random.key(0))


CASES: dict[str, Callable[[], Case]] = {
    f"read 1 x {READ}": _reading,
    f"write {WRITTEN} behind {LENGTH}": _writing,
    f"fine-tune LoRA r = 8, {ROWS} x {LENGTH}": partial(_tuning, adapt="lora", rank=8),
    f"fine-tune all, {ROWS} x {LENGTH}": _tuning,
}


def _peer(training: bool) -> Case:
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    with tempfile.TemporaryDirectory() as folder:
        model, params, tokenizer = from_pretrained("smollm2")
        to_pretrained(model, Path(folder), params=params, tokenizer=tokenizer)
        stock = transformers.AutoModelForCausalLM.from_pretrained(
            folder, attn_implementation="eager", dtype=torch.float32
        )
    size = model.spec.input_size
    del model, params
    if not training:
        tokens = torch.from_numpy(_tokens((1, READ), size)).long()

        def read() -> None:
            with torch.no_grad():
                stock.model(tokens)

        return READ, read
    tokens = torch.from_numpy(_tokens((ROWS, LENGTH), size)).long()
    labels = torch.where(torch.arange(LENGTH) < LENGTH - 8, -100, tokens)
    optimizer = torch.optim.Adam(stock.parameters(), lr=1e-4)

    def step() -> None:
        optimizer.zero_grad()
        stock(tokens, labels=labels).loss.backward()
        optimizer.step()

    return ROWS * LENGTH, step


PEERS: dict[str, Callable[[], Case]] = {
    f"transformers: read 1 x {READ}": partial(_peer, False),
    f"transformers: fine-tune all, {ROWS} x {LENGTH}": partial(_peer, True),
}


if __name__ == "__main__":
    name, rounds = sys.argv[1:]
    print(json.dumps(_measured((CASES | PEERS)[name](), int(rounds))))
