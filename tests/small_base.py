"""One layer over six contexts and five outputs, its weights, and counts to tune them on."""

from __future__ import annotations

import jax
import numpy as np

from constructions.spec import Layer, TransformerSpec
from icl_sim.transformer import Transformer, init

SPEC = TransformerSpec(
    input_size=6,
    width=24,
    output_size=5,
    norm="rms",
    layers=(Layer(hidden=20, gate="silu"),),
)
MODEL = Transformer(SPEC)
BASE = init(MODEL, jax.random.key(0))
COUNTS = np.random.default_rng(0).multinomial(9, [0.4, 0.3, 0.2, 0.1, 0.0], size=6)
