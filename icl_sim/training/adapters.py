"""Which leaves move: all of them, low-rank corrections of them, or the readout alone.

The trained leaves are a flat dict of their own; `merge` makes params of the base and of it.

LoRA: W' = W + 2 A B, where W is read as a matrix [fan-in, fan-out], A is [fan-in, r], B is
[r, fan-out]; B starts at zero, so that training starts at the base. A head's projections are the
columns of one matrix: w_q [H, D, K] is read as [D, H K], w_o [H, U, D] as [H U, D].
Source: Hu et al., LoRA (arXiv:2106.09685), with alpha = 2 r, by default on
every matrix but the embedding.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from constructions.spec import TransformerSpec, param_shapes
from icl_sim.errors import InputError
from icl_sim.training.config import TrainConfig
from icl_sim.transformer.sublayers import LORA_SCALE, Params


def trainable(params: Params, config: TrainConfig, key: jax.Array) -> dict[str, jax.Array]:
    """The leaves that ``config`` trains, as they are before the first step; key consumed.

    Params may be stacked (see `icl_sim.transformer.stack_layers`); so are their corrections then.
    """
    if config.adapt == "full":
        return dict(params)
    if config.adapt == "head":
        _require_head(params)
        return {"w_out": params["w_out"]}
    leaves = {}
    for i, name in enumerate(_corrected(params, config)):
        *stack, rows, columns = _matrix_shape(name, params[name].shape)
        dtype = params[name].dtype
        key_of = jax.random.fold_in(key, i)
        noise = jax.random.normal(key_of, (*stack, rows, config.rank), dtype)
        leaves[f"{name}.a"] = noise * jnp.asarray(rows**-0.5, dtype)
        leaves[f"{name}.b"] = jnp.zeros((*stack, config.rank, columns), dtype)
    return leaves


def trainable_size(spec: TransformerSpec, config: TrainConfig) -> int:
    """How many numbers ``config`` trains."""
    shapes = param_shapes(spec)
    if config.adapt == "full":
        return sum(map(math.prod, shapes.values()))
    if config.adapt == "head":
        _require_head(shapes)
        return math.prod(shapes["w_out"])
    matrices = (_matrix_shape(name, shapes[name]) for name in _corrected(shapes, config))
    return config.rank * sum(map(sum, matrices))


def trainable_names(params: Params, config: TrainConfig) -> list[str]:
    """Sorted names of the leaves that ``config`` trains."""
    if config.adapt == "full":
        return sorted(params)
    if config.adapt == "head":
        return ["w_out"]
    return sorted(f"{name}.{part}" for name in _corrected(params, config) for part in "ab")


def merge(params: Params, leaves: Params, config: TrainConfig) -> dict[str, jax.Array]:
    """The base ``params`` with the trained ``leaves`` in place: a flat dict as wide as params.

    `icl_sim.transformer.forward` also takes {**params, **leaves} as it is, and then multiplies by
    the thin factors instead of forming W'.
    """
    if config.adapt != "lora":
        return {**params, **leaves}
    merged = dict(params)
    for name in _corrected(params, config):
        a, b = leaves[f"{name}.a"], leaves[f"{name}.b"]
        product = jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)
        scale = jnp.asarray(LORA_SCALE, product.dtype)
        merged[name] = params[name] + scale * _unmatrix(name, product, params[name].shape)
    return merged


def _corrected(params: Mapping[str, Any], config: TrainConfig) -> list[str]:
    """Sorted names of the matrices that LoRA corrects."""
    kinds = {_kind(name) for name in params if _is_matrix(name)}
    if unknown := sorted(set(config.leaves) - kinds):
        raise InputError(f"leaves: expected some of {', '.join(sorted(kinds))}, got {unknown[0]}")
    chosen = set(config.leaves) or kinds
    return sorted(name for name in params if _is_matrix(name) and _kind(name) in chosen)


def _require_head(params: Mapping[str, Any]) -> None:
    if "w_out" not in params:
        raise InputError(
            "adapt: expected full or lora, got head: the readout is tied to the embedding"
        )


def _kind(name: str) -> str:
    return name.rpartition(".")[2]


def _is_matrix(name: str) -> bool:
    return _kind(name).startswith("w_")


def _matrix_shape(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The layers of a stacked leaf, if it is one; then rows and columns."""
    stack, shape = (shape[:1], shape[1:]) if name.startswith("run_") else ((), shape)
    if len(shape) == 2:
        return (*stack, *shape)
    H, first, second = shape
    matrix = (H * first, second) if _kind(name) == "w_o" else (first, H * second)
    return (*stack, *matrix)


def _unmatrix(name: str, matrix: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    heads = len(shape) - name.startswith("run_") == 3
    if not heads or _kind(name) == "w_o":
        return matrix.reshape(shape)
    *stack, H, D, K = shape
    return jnp.moveaxis(matrix.reshape(*stack, D, H, K), -2, -3)
