"""What this installation holds, and whether its arithmetic is what certificates assume."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import Any

PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "scipy", "scikit-learn", "symspellpy")


def inventory() -> dict[str, list[Any]]:
    """Names of everything a user can ask for.

    Returns:
      constructions: name, kind, certificate and source of each; machines, programs (SUBLEQ, for
      the looped construction), claims, predictors (all kinds) and tasks (of ``compare``): names;
      kinds: of each kind of predictor what it reads and answers, its predictors and tasks.
    """
    from constructions import CONSTRUCTIONS
    from constructions.programs.named import PROGRAMS
    from constructions.programs.subleq import SUBLEQ
    from icl_sim.claims import CLAIMS
    from icl_sim.data.tasks import TASKS
    from icl_sim.data.vectors import VECTOR_TASKS
    from icl_sim.predictors import KINDS, predictor_names

    tasks = {"classification": sorted(VECTOR_TASKS), "table": sorted(TASKS)}
    built = {name: build() for name, build in CONSTRUCTIONS.items()}
    return {
        "constructions": [
            {
                "name": name,
                "kind": construction.kind,
                "certificate": construction.certificate.summary(),
                "source": construction.source,
            }
            for name, construction in built.items()
        ],
        "machines": sorted(PROGRAMS),
        "programs": sorted(SUBLEQ),
        "claims": [
            {"id": s.id, "verdict derived": s.derived, "statement": s.statement}
            for claim in CLAIMS.values()
            for s in claim.statements
        ],
        "predictors": predictor_names(),
        "tasks": sorted(name for names in tasks.values() for name in names),
        "kinds": [
            {
                "kind": kind.name,
                "reads": kind.reads,
                "answers": kind.answers,
                "predictors": predictor_names(kind.name),
                "tasks": tasks.get(kind.name, []),
            }
            for kind in KINDS.values()
        ],
    }


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
