"""How a forward pass is computed: as certified, or as fast as the machine goes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp


@dataclass(frozen=True)
class Arithmetic:
    """What a forward pass may do besides what the spec says.

    Args:
      dtype: of activations and of the operands of products; None: that of the params. Norms,
        softmax and rotation angles are computed in float32 at least.
      precision: of float32 products on hardware that has faster ones.
      block: causal attention by blocks of at least this many queries, each beside the keys that it
        may see and not beside those that the mask hides: down to half the work, and sums that round
        otherwise; 0: all queries at once.
      scan: equal layers are stacked and scanned, so that a deep model compiles as one layer.
      remat: layers are computed again in the backward pass instead of kept.

    >>> Arithmetic().precision is jax.lax.Precision.HIGHEST
    True
    """

    dtype: Any = None
    precision: jax.lax.Precision = jax.lax.Precision.HIGHEST
    block: int = 0
    scan: bool = False
    remat: bool = False


# What certificates speak of: TF32 and bfloat16 products break the margins of hand-written weights.
CERTIFIED = Arithmetic()
# Language models: the same on a CPU up to the order of sums.
FAST = Arithmetic(precision=jax.lax.Precision.DEFAULT, block=64, scan=True)
# Language models on accelerators: bfloat16 products over float32 masters.
HALF = Arithmetic(dtype=jnp.bfloat16, precision=jax.lax.Precision.DEFAULT, block=64, scan=True)
