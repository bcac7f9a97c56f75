"""What a forward pass holds on its way: the residual stream and each head's attention."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from constructions.residual import Residual
from constructions.spec import Layer, TransformerSpec
from icl_sim.errors import InputError, did_you_mean
from icl_sim.execution.memory_guard import require
from icl_sim.transformer.arithmetic import CERTIFIED, Arithmetic
from icl_sim.transformer.forward_pass import embed, forward, layer_leaves, positions
from icl_sim.transformer.leaves import check_leaves
from icl_sim.transformer.sublayers import Params, attention, residual_layer

Key = tuple[str, int]


class Activations(Mapping[Key, jax.Array]):
    """The captured arrays by (name, layer), as TransformerLens users know them.

    ``resid_pre`` and ``resid_post`` [..., T, D] are the residual stream before and after a layer,
    ``attn_out`` [..., T, D] the sum of its heads, ``pattern`` [..., H, T, S] the weight of key s
    for query t in each head. Layers count on through the loops. A third part of a key names a
    slice of the residual stream: ``found["resid_post", 0, "previous"]``.

    Args:
      arrays: what was captured.
      residual: names the slices of the stream; None if they have no names.
    """

    def __init__(self, arrays: Mapping[Key, jax.Array], *, residual: Residual | None) -> None:
        self._arrays = dict(arrays)
        self.residual = residual

    def __getitem__(self, key: Any) -> jax.Array:
        """The array of (name, layer), or its columns of (name, layer, slice).

        Raises:
          InputError: nothing was captured under this name, or the stream has no such slice.
        """
        name, layer, *part = key
        if (name, layer) not in self._arrays:
            names = sorted({name for name, _ in self._arrays})
            raise InputError(
                f"captured: expected (NAME, LAYER), NAME one of {', '.join(names)} and LAYER below "
                f"{1 + max((i for _, i in self._arrays), default=-1)}, got {key!r}"
                + did_you_mean(str(name), names)
            )
        array = self._arrays[name, layer]
        if not part:
            return array
        if self.residual is None or name == "pattern":
            raise InputError(
                f"captured {key!r}: expected a stream whose slices are named, got none: pass "
                "capture=construction.residual"
            )
        return array[..., self.residual[part[0]]]

    def __iter__(self) -> Iterator[Key]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __repr__(self) -> str:
        return f"Activations({', '.join(f'{n} {i}: {a.shape}' for (n, i), a in self.items())})"


def forward_with_activations(
    spec: TransformerSpec,
    params: Mapping[str, Any],
    inputs: Any,
    *,
    residual: Residual | None = None,
    prefix: Any = None,
    offset: Any = 0,
    segments: Any = None,
    how: Arithmetic = CERTIFIED,
) -> tuple[jax.Array, Activations]:
    """`forward`'s output, and what it held on the way; the arguments are `forward`'s.

    What it held is computed operation by operation beside the compiled pass, and may differ from it
    in the last bits.

    Args:
      residual: names the slices of the stream.

    Raises:
      InputError: as `forward`, or more activations than memory lasts for.
    """
    check_leaves(spec, params)
    shape = np.shape(inputs)[: None if spec.inputs == "tokens" else -1]
    batch = math.prod(shape[:-1])

    def cost(tokens: int) -> int:
        rows = sum(layer.heads * tokens + 3 * spec.width for layer in spec.layers)
        return 4 * batch * tokens * rows * spec.loops

    require("captured activations", cost, tokens=shape[-1])
    params = {name: jnp.asarray(leaf) for name, leaf in params.items()}
    index = positions(shape[-1], offset, segments)
    x = embed(spec, params, inputs, index=index, how=how)
    found: dict[Key, jax.Array] = {}
    for i in range(spec.loops * len(spec.layers)):
        at = i % len(spec.layers)
        found["resid_pre", i] = x
        x, kept = _layer(
            spec, spec.layers[at], layer_leaves(params, at), x, (index, prefix, segments), how
        )
        found |= {(name, i): array for name, array in (kept or {}).items()}
        found["resid_post", i] = x
    outputs = forward(
        spec, params, inputs, prefix=prefix, offset=offset, segments=segments, how=how
    )
    return outputs, Activations(found, residual=residual)


def _layer(
    spec: TransformerSpec,
    layer: Layer,
    leaf: Params,
    x: jax.Array,
    place: tuple[jax.Array, Any, Any],
    how: Arithmetic,
) -> tuple[jax.Array, dict[str, jax.Array] | None]:
    """The stream after a layer, and what its attention held."""
    index, prefix, segments = place

    def attend(h: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        kept: dict[str, jax.Array] = {}
        out = attention(
            spec,
            layer,
            leaf,
            h,
            index=index,
            prefix=prefix,
            segments=segments,
            how=how,
            watch=lambda pattern: kept.update(pattern=pattern),
        )
        return out, {**kept, "attn_out": out}

    return residual_layer(spec, layer, leaf, x, attend, how)
