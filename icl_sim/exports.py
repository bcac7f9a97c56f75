"""Everything that others may want as files: each construction's weights, sidecar and card."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from constructions import CONSTRUCTIONS
from icl_sim.errors import InputError
from icl_sim.report.card import write_card
from icl_sim.storage.weights import save_weights


def export(
    directory: str | Path,
    *,
    progress: Callable[[str, int, int], None] = lambda label, done, total: None,
) -> dict[str, list[str]]:
    """Writes NAME.safetensors, NAME.json and NAME.html of every construction of the catalog.

    The weights are those of the catalog's small defaults. `icl_sim.storage.weights.load_weights`
    reads them back, and the construction's ``certify`` proves what was read.

    Returns:
      {name: paths written}.

    Raises:
      InputError: the directory cannot be written.
    """
    folder = Path(directory)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{directory}: expected a directory that can be written, got {error.strerror}"
        ) from None
    written: dict[str, list[str]] = {}
    for done, (name, build) in enumerate(CONSTRUCTIONS.items(), start=1):
        built = build()
        certificate = built.certificate
        about: dict[str, Any] = {
            "name": built.name,
            "kind": built.kind,
            "source": built.source,
            "proof": built.proof,
            "residual": built.residual.sizes,
            "certificate": {
                "dtype": certificate.dtype,
                "limits": dict(certificate.limits),
                "unit": certificate.unit,
                "error": certificate.error(**certificate.limits),
                "weights": certificate.weights,
            },
        }
        files = save_weights(folder / name, built.spec, built.params, **about)
        card = write_card(built, folder / f"{name}.html")
        written[name] = [str(path) for path in (*files, card)]
        progress("constructions", done, len(CONSTRUCTIONS))
    return written
