"""Whether params are those of a spec: names, shapes and dtypes, known when tracing too."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import jax.numpy as jnp
import numpy as np

from constructions.spec import TransformerSpec, param_shapes
from icl_sim.errors import InputError, require_type

_FAULTS = 3  # how many of them a message names


@lru_cache(maxsize=256)
def _shapes(spec: TransformerSpec) -> dict[str, tuple[int, ...]]:
    return param_shapes(spec)


def check_leaves(spec: TransformerSpec, params: Mapping[str, Any]) -> None:
    """Raises InputError unless each leaf is of the spec, and all are of one floating dtype.

    Besides the leaves of `param_shapes`, a forward pass takes those of runs of equal layers stacked
    (see `icl_sim.transformer.stack_layers`), and low-rank corrections ``NAME.a`` and ``NAME.b`` of
    a leaf NAME.
    """
    require_type(spec, TransformerSpec, name="spec")
    require_type(params, Mapping, name="params")
    shapes, faults, found = _shapes(spec), [], set()
    for name, leaf in params.items():
        shape, dtype = np.shape(leaf), getattr(leaf, "dtype", None)
        if dtype is None or not jnp.issubdtype(dtype, jnp.floating):
            faults.append(f"{name}: expected floating point, got {dtype or type(leaf).__name__}")
        if name.endswith((".a", ".b")) and name[:-2] in params:
            if f"{name[:-2]}.a" not in params or f"{name[:-2]}.b" not in params:
                faults.append(f"{name}: expected both factors of the correction")
            continue
        first, _, kind = name.partition(".")
        if first.startswith("run_") and first[4:].isdecimal() and kind:
            start, layers = int(first[4:]), shape[0] if shape else 0
            of_layers = [f"layer_{i}.{kind}" for i in range(start, start + layers)]
        else:
            of_layers = [name]
        found |= set(of_layers)
        expected = {shapes.get(one) for one in of_layers}
        if None in expected or not of_layers:
            faults.append(f"{name} is no leaf of the spec")
        elif expected != {shape if of_layers == [name] else shape[1:]}:
            faults.append(f"{name}: expected shape {expected.pop()}, got {shape}")
    faults += [f"missing {name} {shapes[name]}" for name in shapes if name not in found]
    dtypes = {str(getattr(leaf, "dtype", "")) for leaf in params.values()}
    if len(dtypes) > 1:
        faults.append(f"expected one dtype, got {', '.join(sorted(dtypes))}")
    if faults:
        more = f" and {len(faults) - _FAULTS} more" if len(faults) > _FAULTS else ""
        raise InputError(f"params do not fit the spec: {'; '.join(faults[:_FAULTS])}{more}")
