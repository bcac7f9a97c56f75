"""Named cases that every engine runs: reference, jit, Flax (and cached decoding where it applies).

`ARCHITECTURES` has one case for each switch of the spec; `LOOKUPS` are problems for the lookup.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from constructions.rotary import Rotary
from constructions.spec import Layer, TransformerSpec, blank

BASE = TransformerSpec(
    input_size=5,
    width=6,
    output_size=4,
    layers=(Layer(heads=2, key_size=3, value_size=2, hidden=7),),
)


def _with_layer(spec=BASE, **changes):
    return replace(spec, layers=tuple(replace(layer, **changes) for layer in spec.layers))


@dataclass(frozen=True)
class Architecture:
    spec: TransformerSpec
    arguments: dict = field(default_factory=dict)
    unit: float = 1.0

    def params(self, seed=0):
        """Small multiples of the unit (norm gains positive integers): exact in every dtype."""
        rng = np.random.default_rng(seed)
        params = {
            name: rng.integers(1 if "norm" in name else -2, 3, leaf.shape).astype(np.float32)
            for name, leaf in blank(self.spec).items()
        }
        return {n: leaf if "norm" in n else self.unit * leaf for n, leaf in params.items()}

    def inputs(self, length=9, seed=1):
        rng = np.random.default_rng(seed)
        if self.spec.inputs == "vectors":
            return rng.integers(-2, 3, (length, self.spec.input_size)).astype(np.float32)
        return rng.integers(0, self.spec.input_size, length).astype(np.int32)


ARCHITECTURES = {
    "softmax": Architecture(_with_layer(scale=0.25)),
    "hardmax": Architecture(_with_layer(attend="hardmax")),
    "linear": Architecture(_with_layer(attend="linear", scale=0.5)),
    "prefix mask": Architecture(_with_layer(mask="prefix", scale=0.25), {"prefix": 4}),
    "prefix of nothing": Architecture(_with_layer(mask="prefix", attend="hardmax"), {"prefix": 0}),
    "relative bias": Architecture(_with_layer(window=3, scale=0.25)),
    "relative bias and prefix": Architecture(
        _with_layer(window=4, mask="prefix", attend="hardmax"), {"prefix": 5}
    ),
    "relu": Architecture(_with_layer(gate="relu", attend="hardmax")),
    "silu": Architecture(_with_layer(gate="silu", attend="hardmax")),
    "no heads": Architecture(_with_layer(heads=0, key_size=0, value_size=0)),
    "no hidden units": Architecture(_with_layer(hidden=0, attend="hardmax")),
    "no layers": Architecture(replace(BASE, layers=())),
    "rms norm": Architecture(replace(_with_layer(scale=0.25, gate="silu"), norm="rms")),
    "positions": Architecture(
        replace(_with_layer(attend="hardmax"), positions=("index", "square", "bits4")),
        {"offset": 11},
    ),
    "vectors": Architecture(replace(_with_layer(attend="linear"), inputs="vectors")),
    "simplex": Architecture(replace(_with_layer(attend="hardmax"), readout="simplex")),
    "loops": Architecture(replace(_with_layer(attend="hardmax", gate="hard_sigmoid"), loops=3)),
    "mixed layers": Architecture(
        replace(
            BASE,
            layers=(
                Layer(heads=3, key_size=2, value_size=4, attend="hardmax", window=2),
                Layer(hidden=3, gate="relu"),
                Layer(heads=1, key_size=5, value_size=1, attend="linear", scale=2.0**-24, hidden=2),
            ),
        )
    ),
}

LLAMA_LAYER = Layer(
    heads=2,
    kv_heads=1,
    key_size=8,
    value_size=8,
    hidden=32,
    scale=8**-0.5,
    rotary=Rotary(100.0),
    mlp_bias="none",
    gate="silu",
)
# What stock decoders need, each switch alone, then the families' own combinations.
_HALVES = {"key_size": 4, "value_size": 4, "scale": 0.25}
_NORMED = replace(_with_layer(gate="silu", scale=0.25), norm="rms")
ARCHITECTURES |= {
    "rms offset": Architecture(replace(_NORMED, norm="rms_offset", epsilon=1e-5)),
    "layer norm": Architecture(replace(_NORMED, norm="layer", epsilon=1e-5)),
    "post norm": Architecture(replace(_NORMED, post_norm=True)),
    "post layer norm": Architecture(replace(_NORMED, norm="layer", post_norm=True)),
    "head norm": Architecture(_with_layer(replace(BASE, norm="rms"), head_norm=True, scale=0.5)),
    "rotary": Architecture(_with_layer(**_HALVES, rotary=Rotary(100.0)), {"offset": 3}),
    "rotary linear": Architecture(_with_layer(**_HALVES, rotary=Rotary(50.0, "linear", 4.0))),
    "rotary llama3": Architecture(
        _with_layer(**_HALVES, rotary=Rotary(4.0, "llama3", 8.0, low=1.0, high=4.0, length=20))
    ),
    "rotary yarn": Architecture(
        _with_layer(**_HALVES, rotary=Rotary(9.0, "yarn", 4.0, low=1.0, high=8.0, length=40))
    ),
    "grouped heads": Architecture(_with_layer(heads=6, kv_heads=2, scale=0.25)),
    "grouped heads, hardmax": Architecture(_with_layer(heads=4, kv_heads=1, attend="hardmax")),
    "reach": Architecture(_with_layer(reach=3, scale=0.25)),
    "plain mlp": Architecture(_with_layer(mlp="plain", gate="relu", attend="hardmax")),
    "gelu": Architecture(_with_layer(mlp="plain", gate="gelu", attend="hardmax")),
    "gelu_tanh": Architecture(_with_layer(gate="gelu_tanh", attend="hardmax")),
    "mlp without bias": Architecture(_with_layer(mlp_bias="none", attend="hardmax")),
    "mlp with every bias": Architecture(_with_layer(mlp_bias="all", attend="hardmax")),
    "qkv bias": Architecture(_with_layer(projection_bias="qkv", attend="hardmax")),
    "every projection bias": Architecture(_with_layer(projection_bias="all", attend="hardmax")),
    "tied": Architecture(
        replace(_with_layer(attend="hardmax"), readout="tied", output_size=5, embed_scale=2.0)
    ),
    "learned positions": Architecture(
        replace(_with_layer(attend="hardmax"), position_rows=14, position_offset=2), {"offset": 3}
    ),
    "equal layers": Architecture(
        replace(_NORMED, layers=2 * _with_layer(**_HALVES, rotary=Rotary(), gate="silu").layers),
        unit=0.25,
    ),
    "gpt2": Architecture(
        TransformerSpec(
            input_size=5,
            width=6,
            output_size=5,
            layers=2
            * (
                Layer(
                    heads=2,
                    key_size=3,
                    value_size=3,
                    hidden=7,
                    scale=3**-0.5,
                    projection_bias="all",
                    mlp="plain",
                    mlp_bias="all",
                    gate="gelu_tanh",
                ),
            ),
            norm="layer",
            epsilon=1e-5,
            readout="tied",
            position_rows=12,
        ),
        unit=0.25,
    ),
    "gemma": Architecture(
        TransformerSpec(
            input_size=5,
            width=6,
            output_size=5,
            layers=tuple(
                Layer(
                    heads=4,
                    kv_heads=2,
                    key_size=4,
                    value_size=4,
                    hidden=7,
                    scale=0.5,
                    reach=reach,
                    rotary=rotary,
                    head_norm=True,
                    mlp_bias="none",
                    gate="gelu_tanh",
                )
                for reach, rotary in ((4, Rotary()), (0, Rotary(1e6, "linear", 8.0)))
            ),
            norm="rms_offset",
            post_norm=True,
            readout="tied",
            embed_scale=6**0.5,
        ),
        unit=0.25,
    ),
}


def random_stream(rng, vocab, length):
    return {"stream": rng.integers(0, vocab, length).tolist()}


def random_pairs(rng, contexts, vocab, length):
    pairs = np.stack([rng.integers(0, contexts, length), rng.integers(0, vocab, length)], 1)
    return {"pairs": pairs.tolist(), "query": int(rng.integers(contexts))}


LOOKUPS = {
    "bigram stream": ({"vocab": 4}, lambda rng: random_stream(rng, 4, 200)),
    "binary order 3": ({"vocab": 2, "order": 3}, lambda rng: random_stream(rng, 2, 150)),
    "order 2": ({"vocab": 5, "order": 2}, lambda rng: random_stream(rng, 5, 120)),
    "stream shorter than the order": (
        {"vocab": 3, "order": 4},
        lambda rng: random_stream(rng, 3, int(rng.integers(1, 4))),
    ),
    "pairs": ({"vocab": 8, "contexts": 6}, lambda rng: random_pairs(rng, 6, 8, 90)),
    "no data": ({"vocab": 3, "contexts": 2}, lambda rng: random_pairs(rng, 2, 3, 0)),
    "one context": ({"vocab": 2, "contexts": 1}, lambda rng: random_pairs(rng, 1, 2, 7)),
    "smoothed pairs": (
        {"vocab": 5, "contexts": 7, "smoothing": 0.5},
        lambda rng: random_pairs(rng, 7, 5, 20),
    ),
    "smoothed order 2": (
        {"vocab": 3, "order": 2, "smoothing": 1.0},
        lambda rng: random_stream(rng, 3, 30),
    ),
}
