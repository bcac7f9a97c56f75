"""What each value of a switch computes in JAX: one table a switch, and no value beyond them.

Decoding takes gates, norms and position features from here; its attention is its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from constructions.spec import TransformerSpec
from constructions.support import ANY, require_supported
from icl_sim.errors import InputError

Array = jax.Array


def _softmax(scores: Array, seen: Array) -> tuple[Array, Array | None]:
    scores = jnp.where(seen, scores, -jnp.inf)
    best = jax.lax.stop_gradient(scores.max(axis=-1, keepdims=True))
    weight = jnp.exp(scores - best)
    return weight, weight.sum(axis=-1, keepdims=True)


def _hardmax(scores: Array, seen: Array) -> tuple[Array, Array | None]:
    scores = jnp.where(seen, scores, -jnp.inf)
    best = jax.lax.stop_gradient(scores.max(axis=-1, keepdims=True))
    weight = (scores == best).astype(scores.dtype)
    return weight, weight.sum(axis=-1, keepdims=True)


def _linear(scores: Array, seen: Array) -> tuple[Array, Array | None]:
    return jnp.where(seen, scores, 0), None


def _rms(x: Array, gain: Array, epsilon: float) -> Array:
    mean_square = jnp.mean(x * x, axis=-1, keepdims=True)
    return x * jax.lax.rsqrt(mean_square + epsilon) * lift(gain, x.ndim)


def _layer_norm(x: Array, leaves: Any, name: str, epsilon: float) -> Array:
    centered = x - jnp.mean(x, axis=-1, keepdims=True)
    return _rms(centered, leaves[name], epsilon) + lift(leaves[f"{name}_bias"], x.ndim)


def norm(spec: TransformerSpec, x: Array, leaves: Any, name: str) -> Array:
    """The norm of that name, in float32 at least; `TransformerSpec.norm` defines them."""
    kind = jnp.promote_types(x.dtype, jnp.float32)
    own = {n: leaves[n].astype(kind) for n in (name, f"{name}_bias") if n in leaves}
    return NORMS[spec.norm](x.astype(kind), own, name, spec.epsilon).astype(x.dtype)


def lift(x: Array, ndim: int) -> Array:
    """The array with leading axes of size one, up to ``ndim``."""
    return x.reshape((1,) * (ndim - x.ndim) + x.shape)


# Weights [..., T, S] of scores and of what may be seen, and what to divide by, if anything.
WEIGHTS = {"softmax": _softmax, "hardmax": _hardmax, "linear": _linear}
# Half arrays [..., T, S] that live at once: the scores and the weights, and the hard one's
# comparison with what it is made of.
HALF_ARRAYS = {"softmax": 4, "hardmax": 6, "linear": 2}
MASKS: dict[str, Callable[[Array, Array, Any], Array]] = {
    "causal": lambda t, s, prefix: s <= t,
    "prefix": lambda t, s, prefix: (s <= t) | (s < prefix),
}
GATES: dict[str, Callable[[Array], Array]] = {
    "hard_sigmoid": lambda z: jnp.clip(z, 0, 1),
    "relu": jax.nn.relu,
    "silu": jax.nn.silu,
    "gelu": lambda z: jax.nn.gelu(z, approximate=False),
    "gelu_tanh": lambda z: jax.nn.gelu(z, approximate=True),
}
# Of the residual stream, the leaves, the norm's name among them, and epsilon.
NORMS: dict[str, Callable[[Array, Any, str, float], Array]] = {
    "none": lambda x, leaves, name, epsilon: x,
    "rms": lambda x, leaves, name, epsilon: _rms(x, leaves[name], epsilon),
    "rms_offset": lambda x, leaves, name, epsilon: _rms(x, 1 + leaves[name], epsilon),
    "layer": _layer_norm,
}
FEATURES: dict[str, Callable[[Array, int, Any], list[Array]]] = {
    "index": lambda p, size, dtype: [p.astype(dtype)],
    "square": lambda p, size, dtype: [p.astype(dtype) * p.astype(dtype)],
    "bits": lambda p, size, dtype: [(2 * ((p >> k) & 1) - 1).astype(dtype) for k in range(size)],
}
LAWS: dict[str, Callable[[Array], Array]] = {
    "logits": lambda outputs: jax.nn.softmax(outputs, axis=-1),
    "simplex": lambda outputs: outputs,
    "tied": lambda outputs: jax.nn.softmax(outputs, axis=-1),
}
KNOWN = {
    "inputs": ("tokens", "vectors"),
    "positions": FEATURES,
    "attend": WEIGHTS,
    "mask": MASKS,
    "window": ANY,
    "gate": GATES,
    "norm": NORMS,
    "readout": LAWS,
    "loops": ANY,
    "kv_heads": ANY,
    "reach": ANY,
    "rotary": ANY,
    "head_norm": ANY,
    "projection_bias": ("none", "qkv", "all"),
    "mlp": ("gated", "plain"),
    "mlp_bias": ("none", "inner", "all"),
    "post_norm": ANY,
    "position_rows": ANY,
    "position_offset": ANY,
}


def require_known(spec: TransformerSpec) -> None:
    """Raises InputError if the forward pass does not know a switch of the spec."""
    require_supported(
        spec,
        known=KNOWN,
        engine="forward pass",
        instead="constructions.forward is the definition, in NumPy",
        error=InputError,
    )
