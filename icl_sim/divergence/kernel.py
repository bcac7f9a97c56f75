"""The distance of logits as a Pallas kernel, for GPUs (by Triton) and TPUs (by Mosaic).

One program takes R rows of both models. It goes through them twice in parts of L, once for the
maxima and normalizers and once for the distance (`Divergence.online`). On a TPU the rows are in
vector memory by then, on a GPU the second reading finds them in the cache: the programs that run at
the same time hold fewer bytes than it. So main memory is read once.

JAX announces that a version after those supported here will no longer compile Pallas by Triton; its
other compiler for GPUs has another interface, and knows the newest GPUs only. Where Triton is gone,
a GPU computes block after block by XLA, as it does for float64: the same distances, with some more
passes over memory.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from icl_sim.divergence.measures import Divergence
from icl_sim.divergence.rows import finite

_LARGEST_PART = 1024
_LANES = 128  # of a TPU; a part is a multiple
_TPU_ROWS = 8
_TPU_MEMORY = 12 * 2**20  # bytes of vector memory for two arrays, each buffered twice


def kernels(
    measure: Divergence, shape: tuple[int, ...], dtype: Any
) -> dict[str, Callable[[jax.Array, jax.Array], jax.Array]]:
    """Functions ([m, V], [m, V]) -> [m] by platform, for the platforms that have one.

    On a machine with CPUs only there are none: tracing them would import Pallas for nothing.

    Args:
      measure: of logits.
      shape: [m, V].
      dtype: of the distances.
    """
    if dtype != jnp.float32 or jax.default_backend() == "cpu":
        return {}
    ways: dict[str, Any] = {}
    if has_triton():
        ways["cuda"] = partial(run, measure, rows=1, triton=True)
    if 4 * 4 * _TPU_ROWS * shape[1] <= _TPU_MEMORY:
        ways["tpu"] = partial(run, measure, rows=_TPU_ROWS)
    return ways


def has_triton() -> bool:
    """Whether this version of JAX compiles Pallas by Triton."""
    try:
        from jax.experimental.pallas import triton
    except ImportError:
        return False
    return hasattr(triton, "CompilerParams") and hasattr(triton, "load")


def run(
    measure: Divergence,
    a: jax.Array,
    b: jax.Array,
    *,
    rows: int,
    triton: bool = False,
    interpret: bool = False,
) -> jax.Array:
    """The measure of each pair of rows, [m, V] and [m, V] -> float32 [m].

    Args:
      measure: of logits.
      rows: R.
      triton: compile by Triton; by default the compiler of the platform.
      interpret: run on any device, slowly, as a test does.
    """
    from jax.experimental import pallas as pl  # its import takes as long as all of this package

    m, V = a.shape
    L = min(_LARGEST_PART, max(_LANES, 1 << (V - 1).bit_length()))
    parts = -(-V // L)
    options: dict[str, Any] = {}
    if triton:
        from jax.experimental.pallas import triton as pallas_triton

        options["compiler_params"] = pallas_triton.CompilerParams(num_warps=4)

    def body(a_ref: Any, b_ref: Any, out_ref: Any) -> None:
        def part(j: jax.Array) -> tuple[jax.Array, jax.Array]:
            start = pl.multiple_of(j * L, L)
            inside = start + lax.broadcasted_iota(jnp.int32, (rows, L), 1) < V

            def read(ref: Any) -> jax.Array:
                # Beyond the array, Triton must not read; a TPU finds anything there.
                here = ref.at[:, pl.ds(start, L)]
                found = pallas_triton.load(here, mask=inside, other=0.0) if triton else here[...]
                return jnp.where(inside, finite(found.astype(jnp.float32)), -jnp.inf)

            return read(a_ref), read(b_ref)

        out_ref[:, :] = measure.online(part, parts, rows, jnp.float32)

    whole_rows = pl.BlockSpec((rows, parts * L), lambda i: (i, 0))
    out: jax.Array = pl.pallas_call(
        body,
        grid=(-(-m // rows),),
        in_specs=[whole_rows, whole_rows],
        out_specs=pl.BlockSpec((rows, 1), lambda i: (i, 0)),
        out_shape=jax.ShapeDtypeStruct((m, 1), jnp.float32),
        interpret=interpret,
        **options,
    )(a, b)
    return out[:, 0]
