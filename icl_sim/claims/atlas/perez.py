"""Perez et al. 2021: attention as memory needs precision, and how far a float's reaches."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from constructions.spec import Layer, Params, TransformerSpec, param_shapes
from icl_sim.claims.claim import FALSE, HOLDS, Claim, Outcome, Run, Statement
from icl_sim.transformer import forward

BITS = {"bfloat16": 8, "float16": 11, "float32": 24}  # of the significand, the hidden one included
AROUND = 8  # positions looked at on either side of the horizon

_forward = jax.jit(forward, static_argnums=0)


def horizon(bits: int) -> int:
    """The last position that is surely found: floor(2^(p/2)).

    >>> [horizon(bits) for bits in BITS.values()]
    [16, 45, 4096]
    """
    return math.isqrt(2**bits)


def addressed() -> tuple[TransformerSpec, Params]:
    """A head in which position i asks for key i: it copies each token to itself.

    Columns: two for the token, its index, the index's square, a one, and two for what is found. The
    score 2 i j - j^2 is i^2 at j = i and i^2 - (i - j)^2 elsewhere.
    """
    layer = Layer(heads=1, key_size=2, value_size=2, attend="hardmax", scale=1.0)
    spec = TransformerSpec(2, 7, 2, (layer,), positions=("index", "square"))
    params = {name: np.zeros(shape, np.float32) for name, shape in param_shapes(spec).items()}
    params["embed"][:, :2] = np.eye(2)
    params["embed"][:, 4] = 1
    params["positions"][0, 2] = params["positions"][1, 3] = 1
    params["layer_0.w_q"][0, 2, 0], params["layer_0.w_q"][0, 4, 1] = 2, -1
    params["layer_0.w_k"][0, 2, 0] = params["layer_0.w_k"][0, 3, 1] = 1
    params["layer_0.w_v"][0, :2] = params["layer_0.w_o"][0, :, 5:] = np.eye(2)
    params["w_out"][5:] = np.eye(2)
    return spec, params


def horizon_experiment(run: Run, *, last: Callable[[int], int] = horizon) -> Outcome:
    """Perez.horizon: is each position found up to the horizon, and one of the next two not?

    Neighbors hold different tokens, so that a tie between two of them is seen. All positions up
    to the horizon are looked at where it is near, and those around it where it is far.
    """
    rows = [_row(dtype, bits, last) for dtype, bits in BITS.items()]
    broken = [row for row in rows if row["found_to"] - row["horizon"] not in (0, 1)]
    return Outcome(
        verdict=FALSE if broken else HOLDS,
        why="found up to position "
        + ", ".join(f"{row['found_to']} ({row['dtype']})" for row in rows),
        figures={"horizons": rows},
    )


def _row(dtype: str, bits: int, last: Callable[[int], int]) -> dict[str, Any]:
    reach = last(bits)
    first = 0 if reach < 100 else reach - AROUND
    spec, params = addressed()
    tokens = np.arange(first, reach + AROUND, dtype=np.int32) % 2
    leaves = {name: jnp.asarray(leaf, dtype) for name, leaf in params.items()}
    found = np.asarray(_forward(spec, leaves, tokens, offset=first), np.float32)
    wrong = np.flatnonzero(found[np.arange(len(tokens)), tokens] != 1)
    return {
        "dtype": dtype,
        "bits": bits,
        "horizon": reach,
        "looked_from": first,
        "found_to": first + int(wrong[0]) - 1 if len(wrong) else first + len(tokens),
    }


CLAIM = Claim(
    id="Perez",
    title="attention is Turing-complete",
    abstract="We show that the Transformer with hard-attention is Turing complete exclusively "
    "based on its capacity to compute and access internal dense representations of the data. "
    "(JMLR 22, 2021)",
    statements=(
        Statement(
            id="Perez.horizon",
            statement="With p bits an address by 2 i j - j^2 finds position i for all i up to "
            "2^(p/2), and not the next two: 16 in bfloat16, 45 in float16, 4096 in float32.",
            reading="There arithmetic is exact and memory unbounded. Ours is the horizon of one "
            "such address where it is not; digits reach further (`universal`).",
            premises="One head with the largest score; positions and their squares as features.",
            formula="Scores are exact while i^2 <= 2^p; soon after two of them are one float.",
            lower="One of the two positions after it is not found, in the three floats.",
            basis="PROOF, EXACT",
            derived=HOLDS,
            sources="Perez, Barcelo and Marinkovic 2021 (JMLR 22); docs/atlas.md",
            experiment=horizon_experiment,
        ),
    ),
)
