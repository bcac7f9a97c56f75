"""Run by test_pretraining.py in fresh processes, on as many devices as XLA_FLAGS say.

Arguments: pretraining or fine-tuning, output file, checkpoint directory or "-", steps.  The output
is a SHA-256 of params and losses.
"""

import hashlib
import pathlib
import sys

import jax
import numpy as np

from constructions.spec import Layer, TransformerSpec
from icl_sim.checkpoints import Checkpoints
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


def fine_tuning(steps, checkpoints=None, progress=None):
    rng = np.random.default_rng(0)
    examples = Examples(
        np.tile(np.arange(8, dtype=np.int32)[:, None], (3, 1, 1)),
        rng.integers(0, 5, (3, 8, 16)).astype(np.float32),
    )
    model = Transformer(SPEC)
    return fine_tune_copies(
        model,
        init(model, jax.random.key(1)),
        examples,
        config=TrainConfig(steps=steps, batch=6, adapt="lora"),
        keys=jax.random.split(jax.random.key(2), 3),
        chunk=CHUNK,
        checkpoints=checkpoints,
        progress=progress,
    )


RUNS = {"pretraining": pretraining, "fine-tuning": fine_tuning}


def digest(result):
    sums = hashlib.sha256(np.asarray(result.losses).tobytes())
    for name in sorted(result.params):
        sums.update(np.asarray(result.params[name]).tobytes())
    return sums.hexdigest()


def main(kind, output, directory, steps):
    if directory == "-":
        result = RUNS[kind](int(steps))
    else:
        with Checkpoints(directory, config={"steps": int(steps)}) as checkpoints:
            result = RUNS[kind](int(steps), checkpoints)
    pathlib.Path(output).write_text(digest(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
