"""The pretrained base: a small transformer that really learns in context, and ships with its gate.

It speaks one alphabet of 16 symbols: contexts are symbols 0 to 7, outputs 8 to 15, and a prompt is
c_1 y_1 ... c_N y_N c. The weights are a safetensors file; a JSON sidecar states its SHA-256, the
spec, the window, how it was trained and what the gate measured.

Letters: m contexts, V outputs, N demonstrations, T tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from constructions.spec import Layer, TransformerSpec
from icl_sim.data.bayes import posterior_predictive
from icl_sim.data.tasks import Demonstrations, empirical_law, random_table, sample_demonstrations
from icl_sim.divergence import total_variation
from icl_sim.errors import InputError
from icl_sim.execution.signatures import checked
from icl_sim.storage.weights import SEAL, load_weights, save_weights
from icl_sim.training import Examples, TrainConfig
from icl_sim.training.pretraining_sequences import (
    ALPHABET,
    CONTEXTS,
    OUTPUTS,
    interleaved,
    streams,
)
from icl_sim.transformer import Params, forward, load_params

NAME = "base"
LIMIT = 0.08  # of TV to Bayes
GATE_SIZES = (16, 64, 95, 256)
GATE_TABLES = 48
RIGHT = 0.8  # of the answers in streams that earlier tokens determine
GATE_STREAMS = ("copies", "echoes", "triples", "sums")

_LAYER = Layer(heads=4, key_size=16, value_size=16, hidden=96, gate="silu", scale=0.25, window=32)
SPEC = TransformerSpec(ALPHABET, 64, ALPHABET, (_LAYER,) * 3, norm="rms")
LENGTH = 192
WINDOW = 3 * LENGTH - 1
RECIPE = TrainConfig(learning_rate=3e-3, steps=3000, warmup=50, beta2=0.98, clip=1.0)
# What fine-tuning the base means, by the leaves that it moves. The rates are the largest of
# {1, 2, 5} x 10^-k at which no copy overshoots at the start; with the cosine to zero all are
# converged after the steps given: more of them change nothing.
CONFIGS = {
    "full": TrainConfig(learning_rate=1e-3, steps=400),
    "lora": TrainConfig(learning_rate=5e-3, steps=400, adapt="lora"),
    "head": TrainConfig(learning_rate=5e-2, steps=400, adapt="head"),
}


@dataclass(frozen=True, eq=False)
class Base:
    """A pretrained network and what is known of it.

    Args:
      spec, params: the network; tokens in, logits out.
      window: T, the longest prompt that it was trained on, in tokens.
      about: the sidecar.
    """

    spec: TransformerSpec
    params: dict[str, jax.Array]
    window: int
    about: dict[str, Any]


@dataclass(frozen=True)
class GateDistances:
    """Mean total variation over tables and contexts, at one N.

    Attributes:
      icl_to_bayes: of the base in context to exact Bayes.
      unigram_to_bayes: of the smoothed law of the outputs, regardless of context, to exact Bayes.
      icl_to_truth, bayes_to_truth: of the two to the table's own laws.
    """

    icl_to_bayes: float
    unigram_to_bayes: float
    icl_to_truth: float
    bayes_to_truth: float


@dataclass(frozen=True)
class Gate:
    """Whether a base estimates in context.

    Attributes:
      passed: at every size icl_to_bayes is below ``limit`` and below unigram_to_bayes, and every
        stream's share of right answers is at least ``least``.
      limit: of total variation to Bayes.
      tables: the number of tables measured, and of streams of each kind.
      sizes: N, demonstrations -> distances.
      least: of the share of right answers.
      streams: kind of stream -> share of the answers in its second half that the likeliest next
        symbol gets right.
    """

    passed: bool
    limit: float
    tables: int
    sizes: Mapping[int, GateDistances]
    least: float = RIGHT
    streams: Mapping[str, float] = field(default_factory=dict)


@checked
@lru_cache(maxsize=8)
def load_base(path: str | Path | None = None) -> Base:
    """The base that ships with the package, or the one saved at ``path`` (without a suffix).

    Raises:
      InputError: a missing file, weights that do not match the sidecar's SHA-256, or leaves that do
        not fit its spec.

    >>> base = load_base()
    >>> base.window >= 2 * 95 + 1, base.about["gate"]["passed"]
    (True, True)
    """
    spec, leaves, about = load_weights(_shipped() if path is None else path)
    window = about.get("window")
    if not isinstance(window, int) or window < 1:
        raise InputError(f"base: expected a window of at least one token, got {window!r}")
    with jax.ensure_compile_time_eval():  # the first call may come from a traced function
        return Base(spec, load_params(spec, leaves), window, about)


def save_base(base: Base, path: str | Path) -> None:
    """Writes ``path``.safetensors and ``path``.json.

    Raises:
      InputError: they cannot be written.
    """
    about = {name: base.about[name] for name in base.about.keys() - {"sha256", "spec", SEAL}}
    save_weights(path, base.spec, base.params, **about | {"window": base.window})


def _shipped() -> Path:
    return Path(str(files("icl_sim").joinpath("data", NAME)))


def table_prompts(base: Base, data: Demonstrations) -> jax.Array:
    """int32 [m, 2 N + 1]: the demonstrations, then each context.

    Args:
      data: contexts and outputs [N], or [m, N] where each query has demonstrations of its own.

    Raises:
      InputError: a table larger than the base's vocabulary, or a prompt over its window.
    """
    m, V = data.counts.shape
    check_table(m, V)
    N = data.contexts.shape[-1]
    if base.window < 2 * N + 1:
        raise InputError(
            f"prompt: expected at most {(base.window - 1) // 2} demonstrations, {base.window} "
            f"tokens, the base's window, got {N}; show fewer of them"
        )
    shown = jnp.broadcast_to(interleaved(data.contexts, data.outputs), (m, 2 * N))
    return jnp.concatenate([shown, jnp.arange(m, dtype=jnp.int32)[:, None]], axis=1)


def table_examples(counts: Any) -> Examples:
    """A table's demonstrations as training examples in the base's alphabet.

    Args:
      counts: [m, V].
    """
    m, V = counts.shape
    check_table(m, V)
    wide = jnp.zeros((m, ALPHABET), jnp.float32)
    wide = wide.at[:, CONTEXTS : CONTEXTS + V].set(jnp.asarray(counts).astype(jnp.float32))
    return Examples(jnp.arange(m, dtype=jnp.int32)[:, None], wide)


def output_laws(spec: TransformerSpec, params: Params, prompts: jax.Array, V: int) -> jax.Array:
    """float32 [m, V]: the law after each prompt, given that it is one of the table's outputs."""
    logits = forward(spec, params, prompts)[:, -1, CONTEXTS : CONTEXTS + V]
    return jax.nn.softmax(logits, axis=-1)


def in_context_laws(base: Base, params: Params, data: Demonstrations) -> jax.Array:
    """float32 [m, V]: what ``params`` predict with the demonstrations in the prompt."""
    return output_laws(base.spec, params, table_prompts(base, data), data.counts.shape[1])


def bare_laws(base: Base, params: Params, m: int, V: int) -> jax.Array:
    """float32 [m, V]: what ``params`` predict after each one-symbol prompt [c]."""
    check_table(m, V)
    return output_laws(base.spec, params, jnp.arange(m, dtype=jnp.int32)[:, None], V)


def check_table(m: int, V: int) -> None:
    """Raises InputError unless the base's alphabet has room for m contexts and V outputs."""
    if not (1 <= m <= CONTEXTS and 2 <= V <= OUTPUTS):
        raise InputError(
            f"base: expected a table of at most {CONTEXTS} contexts and 2 to {OUTPUTS} outputs, "
            f"its vocabulary, got {m} and {V}"
        )


def gate(base: Base) -> Gate:
    """Whether the base learns in context: its distance to exact Bayes, its answers in streams.

    Tables and streams are drawn as in pretraining, from seeds that pretraining does not use.
    """
    tables = [random_table(10_000 + i, concentration=None).law for i in range(GATE_TABLES)]
    laws = jnp.asarray(np.stack(tables), jnp.float32)
    sizes = {}
    for N in GATE_SIZES:
        keys = jax.random.split(jax.random.fold_in(jax.random.key(2**31 - 1), N), GATE_TABLES)
        distances = np.asarray(_gate_distances(base.spec, base.params, base.window, N, keys, laws))
        sizes[N] = GateDistances(*(round(float(d), 4) for d in distances.mean(axis=(0, 2))))
    right = {kind: _share_right(base.spec, base.params, kind) for kind in GATE_STREAMS}
    passed = all(s.icl_to_bayes < min(LIMIT, s.unigram_to_bayes) for s in sizes.values())
    passed = passed and all(share >= RIGHT for share in right.values())
    return Gate(passed, LIMIT, GATE_TABLES, sizes, streams=right)


def _share_right(spec: TransformerSpec, params: Params, kind: str) -> float:
    make = streams(LENGTH)[kind]
    keys = jax.random.split(jax.random.key(2**31 - 1), GATE_TABLES)

    def counted(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        tokens, judged = make(key)
        likeliest = forward(spec, params, tokens[:-1]).argmax(axis=-1)
        judged = judged & (jnp.arange(LENGTH - 1) >= LENGTH // 2)
        return (judged & (likeliest == tokens[1:])).sum(), judged.sum()

    right, all_of_them = jax.jit(lambda keys: jax.lax.map(counted, keys))(keys)
    return round(int(right.sum()) / int(all_of_them.sum()), 4)


def _gate_distances(
    spec: TransformerSpec, params: Params, window: int, N: int, keys: jax.Array, laws: jax.Array
) -> jax.Array:
    """float32 [tables, 4, m], in the order of `GateDistances`."""
    base = Base(spec, dict(params), window, {})

    def one(inputs: tuple[jax.Array, jax.Array]) -> jax.Array:
        key, law = inputs
        data = sample_demonstrations(key, law, total=N)
        icl = in_context_laws(base, params, data)
        bayes = posterior_predictive(data.counts, most=N)
        unigram = empirical_law(data.counts.sum(axis=0, keepdims=True), smoothing=0.5)
        unigram = jnp.broadcast_to(unigram, law.shape)
        others = jnp.stack([bayes, unigram, law, law])
        return total_variation(jnp.stack([icl, bayes, icl, bayes]), others)

    return jax.jit(lambda pairs: jax.lax.map(one, pairs))((keys, laws))
