"""A Flax shell over the forward pass, and the one door for weights.

`Transformer` declares the very leaves of `param_shapes`, so the params of a hand-written
construction and those of a trained network are the same flat dict.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from constructions.certificate import Certificate
from constructions.construction import Construction
from constructions.residual import Residual
from constructions.spec import TransformerSpec, check_params, is_gain, param_shapes
from icl_sim.errors import InputError
from icl_sim.execution.memory_guard import placed, require
from icl_sim.execution.signatures import checked
from icl_sim.transformer.activations import Activations, forward_with_activations
from icl_sim.transformer.forward_pass import forward


class Transformer(nn.Module):
    """Flax shell over `forward`: the same leaves, under the same names, with an initializer.

    Weights start normal with deviation 1/sqrt(fan-in) (1 for the embedding rows), biases at zero
    and norm gains at one; every leaf is ``dtype``. A construction's certificate comes along, for
    decoding; it says nothing about other weights than its own. A model from a stock checkpoint
    keeps its ``origin``, for writing it again.

    >>> from constructions import Layer
    >>> spec = TransformerSpec(3, 4, 3, (Layer(hidden=2, gate="relu"),))
    >>> model = Transformer(spec)
    >>> variables = model.init(jax.random.key(0), np.array([0, 1]))
    >>> sorted(variables["params"]) == sorted(param_shapes(spec))
    True
    """

    spec: TransformerSpec
    dtype: Any = jnp.float32
    certificate: Certificate | None = None
    origin: Any = None

    @nn.compact
    def __call__(
        self, inputs: Any, *, capture: Residual | bool = False, **arguments: Any
    ) -> jax.Array | tuple[jax.Array, Activations]:
        """`forward` with this module's params and its keyword arguments.

        Args:
          inputs: see `forward`.
          capture: True returns (output, `Activations`): the residual stream and the attention of
            each layer. A construction's ``residual`` does too, and names the slices of the stream.
          arguments: those of `forward`.
        """
        params = {
            name: self.param(name, _initializer(self.spec, name), shape, self.dtype)
            for name, shape in param_shapes(self.spec).items()
        }
        if capture is False:
            return forward(self.spec, params, inputs, **arguments)
        residual = None if capture is True else capture
        return forward_with_activations(self.spec, params, inputs, residual=residual, **arguments)


def init(model: Transformer, key: jax.Array) -> dict[str, jax.Array]:
    """Fresh params of ``model``: a flat dict of leaves. The key is consumed.

    Raises:
      InputError: more weights than memory lasts for.
    """
    weights = sum(map(math.prod, param_shapes(model.spec).values()))
    # The largest leaf's random bits, besides the leaves.
    require("initial weights", lambda weights: 8 * weights, weights=weights)
    empty = (1,) if model.spec.inputs == "tokens" else (1, model.spec.input_size)
    kind = jnp.int32 if model.spec.inputs == "tokens" else model.dtype
    return dict(model.init(key, jnp.zeros(empty, kind))["params"])


@checked
def load(construction: Construction) -> tuple[Transformer, dict[str, jax.Array]]:
    """The trained class and, as its params, the construction's weights.

    What a certificate promises for float64 is computed in float64.

    Returns:
      (model, params): ``model.apply({"params": params}, inputs)`` runs the construction.

    Raises:
      InputError: a missing, extra, misshapen or mistyped leaf, or a certificate for float64 while
        JAX computes in float32.

    >>> from constructions import CONSTRUCTIONS
    >>> model, params = load(CONSTRUCTIONS["lookup"]())
    """
    spec, certificate = construction.spec, construction.certificate
    params = load_params(spec, construction.params)
    if certificate.dtype != "float64":
        return Transformer(spec, certificate=certificate), params
    if not jax.config.jax_enable_x64:  # type: ignore[attr-defined]
        raise InputError(
            f"{construction.name}: expected float64, which its certificate is for, got JAX in "
            "float32: set JAX_ENABLE_X64=1, or build it with dtype='float32'"
        )
    wide = {name: leaf.astype(jnp.float64) for name, leaf in params.items()}
    return Transformer(spec, dtype=jnp.float64, certificate=certificate), wide


def load_params(
    spec: TransformerSpec, params: Mapping[str, Any], *, dtype: Any = np.float32
) -> dict[str, jax.Array]:
    """The one checked door for weights: ``params`` as JAX arrays if they fit ``spec`` exactly.

    Raises:
      InputError: a missing, extra or misshapen leaf, a leaf that is not ``dtype``, or more of them
        than memory lasts for.
    """
    require("weights", lambda bytes: bytes, bytes=placed(params))
    try:
        leaves = {name: np.asarray(leaf) for name, leaf in params.items()}
        check_params(spec, leaves)
    except ValueError as error:
        raise InputError(str(error)) from None
    for name, leaf in leaves.items():
        if leaf.dtype != np.dtype(dtype):
            raise InputError(f"{name}: expected {np.dtype(dtype)}, got {leaf.dtype}: convert it")
        if not np.isfinite(leaf).all():
            raise InputError(f"{name}: expected finite weights, got NaN or infinity")
    return dict(jax.device_put(leaves))  # jnp.asarray compiles a program for every shape


def _initializer(spec: TransformerSpec, name: str) -> nn.initializers.Initializer:
    kind = name.rpartition(".")[2]
    if is_gain(name) and spec.norm != "rms_offset":
        return nn.initializers.ones
    if kind.startswith(("norm_", "b_")) or kind == "bias":
        return nn.initializers.zeros
    if kind in ("embed", "position_table"):
        return nn.initializers.normal(1.0)
    if kind == "w_o":
        # [H, U, D]: the heads' outputs are summed, so the fan-in is H U.
        return nn.initializers.variance_scaling(1.0, "fan_in", "normal", in_axis=(0, 1))
    batch = (0,) if kind in ("w_q", "w_k", "w_v") else ()
    return nn.initializers.variance_scaling(1.0, "fan_in", "normal", batch_axis=batch)
