"""What a run's bits depend on besides its own configuration."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import Any

PACKAGES = ("jax", "jaxlib", "numpy", "scipy")
FIELDS = ("device", "machine", "precision", "versions", "x64")


def provenance() -> dict[str, Any]:
    """Versions, kind of device, precision: two runs that differ here are not to be mixed.

    How many devices there are is no part of it: it changes no bit.

    Returns:
      versions: of the packages that compute; machine: the processor's architecture; device: what
      JAX computes on; x64: whether 64-bit types are on; precision: of matrix products, if it was
      set.

    >>> tuple(sorted(provenance())) == FIELDS
    True
    """
    import jax

    precision = jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]
    return {
        "versions": {name: version(name) for name in PACKAGES},
        "machine": platform.machine(),
        "device": jax.local_devices()[0].device_kind,
        "x64": bool(jax.config.jax_enable_x64),  # type: ignore[attr-defined]
        "precision": None if precision is None else str(precision),
    }
