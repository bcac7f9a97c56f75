"""Fine-tuning of the base's head, done by a hand-written transformer in its forward pass.

The prompt holds the base's frozen features of each context, and the data as laws and weights of
the examples; `constructions.learners.softmax_head` runs the training. Its answer is that of
`HEAD_SGD` by Optax, which is registered beside it as ``head-sgd``.
"""

from __future__ import annotations

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np

from constructions.certificate import UNIT
from constructions.construction import Construction
from constructions.learners.descent_bound import law_distance
from constructions.learners.softmax_head import softmax_head
from icl_sim.data.tasks import Demonstrations
from icl_sim.training import TrainConfig
from icl_sim.training.base_model import CONTEXTS, load_base, table_examples
from icl_sim.transformer import forward, head_features

HEAD_SGD = TrainConfig(
    optimizer="sgd",
    learning_rate=2e-2,
    steps=100,
    schedule="cosine",
    momentum=0.9,
    weight_decay=1e-3,
    adapt="head",
)


def emulator(data: Demonstrations, key: jax.Array) -> jax.Array:
    """The laws of the base after ``HEAD_SGD``, computed without any training."""
    del key
    m, V = data.counts.shape
    built, posed = _emulation(m)
    counts = jnp.asarray(table_examples(data.counts).counts)
    shown = _shown(counts, posed)
    logits = forward(built.spec, built.params, built.fill(**posed | shown))[-m:]
    # Without data nothing is fitted, and decay must not move the base.
    logits = jnp.where(counts.sum() > 0, logits, jnp.asarray(posed["logits"][-m:], jnp.float32))
    return jax.nn.softmax(logits[:, CONTEXTS : CONTEXTS + V], axis=-1)


def emulator_bound(data: Demonstrations) -> float:
    """Total variation of these laws from ``HEAD_SGD`` computed exactly, at most.

    That of the laws on all classes is certified by `Construction.bound`. The emulator's are
    conditional on the outputs S: with P(S) <= Q(S), of which either may be the exact one,
    sum_S (q/Q(S) - p/P(S))^+ <= sum_S (q - p)^+ / Q(S), so theirs is at most that over the larger
    of the two, and over the exact P(S).
    """
    m, V = data.counts.shape
    built, posed = _emulation(m)
    counts = jnp.asarray(table_examples(data.counts).counts)
    problem = posed | {name: np.asarray(x, np.float64) for name, x in _shown(counts, posed).items()}
    if not np.asarray(counts).any():
        f, unit = posed["logits"][-m:], UNIT["float32"]
        return law_distance(np.eye(f.shape[1]), f, unit * np.abs(f), unit)
    asked = built.oracle(problem)[:, CONTEXTS : CONTEXTS + V].sum(axis=1)
    return min(1.0, built.bound(problem) / float(asked.min()))


def _shown(counts: jax.Array, posed: dict[str, np.ndarray]) -> dict[str, jax.Array]:
    """The demonstrations as laws and weights of the examples."""
    each = counts.sum(axis=1, keepdims=True)
    weights = (each / jnp.maximum(counts.sum(), 1)).T
    return {
        "labels": counts / jnp.maximum(each, 1),
        "weights": jnp.broadcast_to(weights, posed["weights"].shape),
    }


@lru_cache(maxsize=8)
def _emulation(m: int) -> tuple[Construction, dict[str, np.ndarray]]:
    """The construction, and what its ``fill`` takes, without data."""
    base = load_base()
    with jax.ensure_compile_time_eval():  # the first call may come from a traced function
        contexts = jnp.arange(m, dtype=jnp.int32)[:, None]
        z = np.asarray(head_features(base.spec, base.params, contexts), np.float64)
        head = np.asarray(base.params["w_out"], np.float64)
        rates = np.asarray(HEAD_SGD.rate(jnp.arange(HEAD_SGD.steps)), np.float64)
    logits, classes = np.concatenate([z, z]) @ head, head.shape[1]
    # In an orthonormal basis of their span the features have the same inner products in fewer
    # terms, and the prompt knows them by nothing else.
    z = z @ np.linalg.qr(z.T)[0]
    built = softmax_head(
        classes=classes,
        features=z.shape[1],
        steps=HEAD_SGD.steps,
        learning_rate=rates.tolist(),
        momentum=HEAD_SGD.momentum,
        weight_decay=HEAD_SGD.weight_decay,
        queries=m,
        norm=float(np.linalg.norm(z, axis=1).max()),
    )
    problem = {
        "features": z,
        "queries": z,
        "labels": np.zeros((m, classes)),
        "weights": np.zeros(m),
        "logits": logits,
    }
    built.encode(problem)  # checked here, once: data change neither length nor features
    return built, built.parse(problem)
