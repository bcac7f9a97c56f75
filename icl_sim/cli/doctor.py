"""``doctor``: whether this machine's arithmetic is what certificates assume."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import Any

from icl_sim.cli import flags, output

PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "scipy", "scikit-learn", "symspellpy")


def add(commands: Any) -> None:
    """Adds the command and its flags."""
    about = "versions, devices and arithmetic of this machine"
    flags.add_command(commands, "doctor", run, about)


def run(arguments: Any) -> int:
    """Prints what `examine` finds; the exit code is 1 if products are not exact."""
    findings = examine()
    if arguments.json:
        output.print_json(findings)
    else:
        for name, value in findings.items():
            print(f"{name:>24}  {value}")
    return int(not findings["exact products"])


def examine() -> dict[str, Any]:
    """Versions, devices, the memory of one request, and whether matrix products keep 24 bits.

    ``exact products`` multiplies 1 + 2^-12 by itself inside a matrix product of ordinary precision:
    float32 keeps the 2^-11 and the last bits that TF32 (11 bits) and bfloat16 (8 bits) drop.
    """
    import jax
    import jax.numpy as jnp

    from icl_sim.execution.memory_guard import budget, format_bytes

    fine = jnp.full((16, 16), 1 + 2.0**-12, jnp.float32)
    product = jnp.dot(fine, fine, precision=jax.lax.Precision.HIGHEST)
    exact = bool((product == jnp.float32(16 * (1 + 2.0**-12) ** 2)).all())
    findings: dict[str, Any] = {"python": platform.python_version()}
    findings |= {name: version(name) for name in PACKAGES}
    findings["devices"] = ", ".join(map(str, jax.devices()))
    findings["memory of a request"] = format_bytes(budget())
    if jax.default_backend() != "cpu":
        findings["memory on the host"] = format_bytes(budget(host=True))
    findings["exact products"] = exact
    return findings
