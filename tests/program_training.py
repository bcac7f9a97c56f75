"""Run by test_pretraining.py in fresh processes, on as many devices as XLA_FLAGS say.

Arguments: pretraining or fine-tuning, output file, checkpoint directory or "-", steps; then, for
one of two processes, its index and port. The output is a SHA-256 of all that training returns.
"""

from __future__ import annotations

import hashlib
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np

from constructions.spec import Layer, TransformerSpec
from icl_sim.storage.checkpoints import Checkpoints
from icl_sim.training import Examples, TrainConfig, fine_tune_copies
from icl_sim.training.pretraining import pretrain
from icl_sim.transformer import Transformer, init

_LAYER = Layer(heads=1, key_size=4, value_size=4, hidden=8, gate="silu", scale=0.5, window=4)
SPEC = TransformerSpec(16, 8, 16, (_LAYER,), norm="rms")
LENGTH = 16
CHUNK = 4


def pretraining(steps, checkpoints=None, mesh=None, progress=None, seed=3):
    config = TrainConfig(learning_rate=3e-3, steps=steps, warmup=2, clip=1.0, beta2=0.98)
    return pretrain(
        SPEC,
        seed=seed,
        length=LENGTH,
        config=config,
        chunk=CHUNK,
        mesh=mesh,
        checkpoints=checkpoints,
        progress=progress,
    )


COPIES = 9  # two whole blocks, and one of a single copy


def largest(params, target):
    """The largest weight of the head, and its distance from the target."""
    top = params["w_out"].max()
    return jnp.stack([top, jnp.abs(top - target)])


def fine_tuning(steps, checkpoints=None, mesh=None, progress=None):
    rng = np.random.default_rng(0)
    examples = Examples(
        np.tile(np.arange(8, dtype=np.int32)[:, None], (COPIES, 1, 1)),
        rng.integers(0, 5, (COPIES, 8, 16)).astype(np.float32),
    )
    model = Transformer(SPEC)
    return fine_tune_copies(
        model,
        init(model, jax.random.key(1)),
        examples,
        config=TrainConfig(steps=steps, batch=6, adapt="lora"),
        keys=jax.random.split(jax.random.key(2), COPIES),
        chunk=CHUNK,
        measure=largest,
        targets=np.arange(COPIES, dtype=np.float32),
        mesh=mesh,
        checkpoints=checkpoints,
        progress=progress,
    )


RUNS = {"pretraining": pretraining, "fine-tuning": fine_tuning}


def digest(result):
    sums = hashlib.sha256()
    for leaf in jax.tree.leaves(result):
        sums.update(np.asarray(leaf).tobytes())
    return sums.hexdigest()


def main(kind, output, directory, steps, process=None, port=None):
    if process is not None:
        jax.distributed.initialize(f"127.0.0.1:{port}", 2, int(process))
    if directory == "-":
        result = RUNS[kind](int(steps))
    else:
        with Checkpoints(directory, config={"steps": int(steps)}) as checkpoints:
            result = RUNS[kind](int(steps), checkpoints)
    pathlib.Path(output).write_text(digest(result))
    if process is not None:
        jax.distributed.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
