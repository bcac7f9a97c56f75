"""Run by test_trials.py in fresh processes: one digest of all results for each mesh size.

Arguments: output file, mesh sizes with commas; then, for one of two processes, its index and port.
"""

from __future__ import annotations

import hashlib
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
from program_training import SPEC

from icl_sim import divergence
from icl_sim.execution.trials import run_blocks
from icl_sim.training import Examples, TrainConfig, train
from icl_sim.transformer import Transformer, init

FROM_HIDDEN = [getattr(divergence, name) for name in divergence.__all__ if "_hidden" in name]


def rounding(key, shift, scale):
    """Floats whose last bits are the kernels' choice; the sum's change with the lanes of a vmap."""
    left, right = jax.random.split(key)
    x, w = jnp.split(jax.random.normal(left, (40 * 16,), jnp.float32).reshape(40, 16), [24])
    attended = jax.nn.softmax(x @ w @ x.T * scale, axis=-1) @ x
    total = jnp.exp(jax.random.normal(right, (50,), jnp.float32)).sum()
    return {"attended": attended[0], "total": total, "largest": jnp.argmax(attended) + shift}


def distances(key, w):
    """All distances of two models in 200 contexts, float32 [4, 200]."""
    x = jax.random.normal(key, (200, 16), jnp.float32)
    return jnp.stack([distance(x, w, x + 1, w) for distance in FROM_HIDDEN])


def tuned(key, rate):
    """Weights after three steps of Adam: it divides by scalars, which XLA may rewrite."""
    params = init(Transformer(SPEC), key)
    counts = jnp.arange(2 * 16, dtype=jnp.float32).reshape(2, 16) * rate
    examples = Examples(jnp.arange(2, dtype=jnp.int32)[:, None], counts)
    return train(SPEC, params, examples, TrainConfig(steps=3), key).params


def results_digest(mesh):
    digest = hashlib.sha256()
    w = jax.random.normal(jax.random.key(8), (16, 1000), jnp.float32)
    options = {"key": jax.random.key(4), "trials": 19, "block": 1, "mesh": mesh}
    digest.update(run_blocks(distances, args=(w,), **options).tobytes())
    for first, trials in [(0, 1500), (1500, 37)]:
        results = run_blocks(
            rounding,
            key=jax.random.key(3),
            trials=trials,
            first=first,
            args=(np.int32(7), jnp.float32(0.3)),
            blocks_per_dispatch=3,
            mesh=mesh,
        )
        for name in sorted(results):
            digest.update(results[name].tobytes())
    key = jax.random.key(4)
    trained = run_blocks(tuned, key=key, trials=20, args=(np.float32(2),), block=4, mesh=mesh)
    for name in sorted(trained):
        digest.update(trained[name].tobytes())
    return digest.hexdigest()


def main(output, sizes, process=None, port=None):
    if process is not None:
        jax.distributed.initialize(f"127.0.0.1:{port}", 2, int(process))
    digests = []
    for size in map(int, sizes.split(",")):
        kinds = (jax.sharding.AxisType.Auto,)
        devices = jax.devices()[:size]
        digests.append(results_digest(jax.make_mesh((size,), ("d",), kinds, devices=devices)))
    pathlib.Path(output).write_text("\n".join(digests))
    if process is not None:
        jax.distributed.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
