"""Which leaves move: all of them, low-rank corrections of them, or the readout alone.

The trained leaves are a flat dict of their own; `merge` makes params of the base and of it.

LoRA: W' = W + 2 A B, where W is read as a matrix [fan-in, fan-out], A is [fan-in, r], B is
[r, fan-out]; B starts at zero, so that training starts at the base. A head's projections are the
columns of one matrix: w_q [H, D, K] is read as [D, H K], w_o [H, U, D] as [H U, D].
Source: Hu et al., LoRA (arXiv:2106.09685), with alpha = 2 r, on every matrix but the embedding.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from constructions.spec import TransformerSpec, param_shapes
from icl_sim.training.config import TrainConfig
from icl_sim.transformer import Params

_SCALE = 2.0


def trainable(params: Params, config: TrainConfig, key: jax.Array) -> dict[str, jax.Array]:
    """The leaves that ``config`` trains, as they are before the first step; key consumed."""
    if config.adapt == "full":
        return dict(params)
    if config.adapt == "head":
        return {"w_out": params["w_out"]}
    leaves = {}
    for i, name in enumerate(name for name in sorted(params) if _is_matrix(name)):
        rows, columns = _matrix_shape(name, params[name].shape)
        dtype = params[name].dtype
        noise = jax.random.normal(jax.random.fold_in(key, i), (rows, config.rank), dtype)
        leaves[f"{name}.a"] = noise * jnp.asarray(rows**-0.5, dtype)
        leaves[f"{name}.b"] = jnp.zeros((config.rank, columns), dtype)
    return leaves


def trainable_size(spec: TransformerSpec, config: TrainConfig) -> int:
    """How many numbers ``config`` trains."""
    shapes = param_shapes(spec)
    if config.adapt == "full":
        return sum(map(math.prod, shapes.values()))
    if config.adapt == "head":
        return math.prod(shapes["w_out"])
    matrices = (_matrix_shape(name, shape) for name, shape in shapes.items() if _is_matrix(name))
    return config.rank * sum(map(sum, matrices))


def trainable_names(params: Params, config: TrainConfig) -> list[str]:
    """Sorted names of the leaves that ``config`` trains."""
    if config.adapt == "full":
        return sorted(params)
    if config.adapt == "head":
        return ["w_out"]
    return sorted(f"{name}.{part}" for name in params if _is_matrix(name) for part in "ab")


def merge(params: Params, leaves: Params, config: TrainConfig) -> dict[str, jax.Array]:
    """The base ``params`` with the trained ``leaves`` in place: a flat dict as wide as params."""
    if config.adapt != "lora":
        return {**params, **leaves}
    merged = dict(params)
    for name in params:
        if _is_matrix(name):
            a, b = leaves[f"{name}.a"], leaves[f"{name}.b"]
            product = jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)
            scale = jnp.asarray(_SCALE, product.dtype)
            merged[name] = params[name] + scale * _unmatrix(name, product, params[name].shape)
    return merged


def _kind(name: str) -> str:
    return name.rpartition(".")[2]


def _is_matrix(name: str) -> bool:
    return _kind(name).startswith("w_")


def _matrix_shape(name: str, shape: tuple[int, ...]) -> tuple[int, int]:
    if len(shape) == 2:
        return shape[0], shape[1]
    H, first, second = shape
    return (H * first, second) if _kind(name) == "w_o" else (first, H * second)


def _unmatrix(name: str, matrix: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    if len(shape) == 2 or _kind(name) == "w_o":
        return matrix.reshape(shape)
    H, D, K = shape
    return matrix.reshape(D, H, K).transpose(1, 0, 2)
