"""Laws of examples with a known halfspace, and examples drawn from them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from icl_sim.halfspaces import (
    Examples,
    basis,
    gaussian,
    heavy_light,
    margin,
    real_law,
    uniform_basis,
)

LAWS = [
    gaussian(2),
    gaussian(7),
    margin(3, 0.3),
    margin(12, 0.1),
    basis((0.5, 0.3, 0.2)),
    uniform_basis(6),
    heavy_light(2, 0.05),
    real_law("iris-0-1"),
]


def examples(law, n, seed=0, dtype=np.float64):
    drawn = law.sample(jax.random.key(seed), n)
    return Examples(*(jnp.asarray(np.asarray(part), dtype) for part in drawn))
