"""Frozen features of a transformer: what a head, or the linearized model, is linear in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from constructions.spec import TransformerSpec
from icl_sim.transformer.activation_memory import require_memory
from icl_sim.transformer.forward_pass import forward, hidden


def head_features(spec: TransformerSpec, params: Mapping[str, Any], inputs: Any) -> jax.Array:
    """What the readout sees at the last token, [..., D]: logits = features @ params["w_out"].

    Args:
      spec, params: the model.
      inputs: [..., T] tokens or [..., T, I] vectors.

    >>> from icl_sim.transformer import Transformer, init
    >>> spec = TransformerSpec(3, 4, 2, layers=(), norm="rms")
    >>> params = init(Transformer(spec), jax.random.key(0))
    >>> z = head_features(spec, params, jnp.array([[0], [2]]))
    >>> same = z @ params["w_out"] == forward(spec, params, jnp.array([[0], [2]]))[:, -1]
    >>> z.shape, bool(same.all())
    ((2, 4), True)
    """
    require_memory(spec, params, inputs)
    leaves = {name: jnp.asarray(leaf) for name, leaf in params.items()}
    return hidden(spec, leaves, inputs)[..., -1, :]


def jacobian_features(
    spec: TransformerSpec, params: Mapping[str, Any], inputs: Any, names: tuple[str, ...]
) -> tuple[jax.Array, jax.Array]:
    """The model linearized in some of its leaves: f(x) + J(x) (theta - theta_0).

    Args:
      spec, params: the model at theta_0.
      inputs: [E, T] tokens or [E, T, I] vectors.
      names: the leaves that theta stands for.

    Returns:
      (logits [E, V], jacobian [E, V, P]) at the last token; P entries of the leaves in the order of
      ``names``, each flattened.

    Source: the linearization of Jacot et al. 2018 (arXiv:1806.07572).
    """
    theta = {name: jnp.asarray(params[name]) for name in names}

    def logits(theta: dict[str, jax.Array], row: jax.Array) -> jax.Array:
        return forward(spec, {**params, **theta}, row)[-1]

    rows = jnp.asarray(inputs)
    jacobian = jax.vmap(jax.jacrev(logits), in_axes=(None, 0))(theta, rows)
    flat = [jacobian[name].reshape(len(rows), spec.output_size, -1) for name in names]
    return jax.vmap(logits, in_axes=(None, 0))(theta, rows), jnp.concatenate(flat, axis=-1)
