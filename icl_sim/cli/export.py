"""``export``: everything that others may want as files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from icl_sim.cli import flags, output
from icl_sim.errors import InputError
from icl_sim.execution.progress import Progress, ProgressBar, quiet


def add(commands: Any) -> None:
    """Adds the command and its flags."""
    about = "write each construction's weights and card, or a run's records, as files"
    parser = flags.add_command(commands, "export", run, about)
    parser.add_argument("directory", metavar="DIR")
    parser.add_argument(
        "--records", default=None, metavar="RUN", help="this run's records to DIR/records.parquet"
    )


def run(arguments: Any) -> int:
    """Writes weights, sidecars and cards of every construction, or the records of a run."""
    if arguments.records is not None:
        return _records(arguments)
    with ProgressBar() as progress:
        written = export(arguments.directory, progress=progress)
    if arguments.json:
        output.print_json({"constructions": written})
    else:
        print(f"{sum(map(len, written.values()))} files in {arguments.directory}:")
        for name in written:
            print(f"  {name}: .safetensors, .json, .html")
    return 0


def export(directory: str | Path, *, progress: Progress = quiet) -> dict[str, list[str]]:
    """Writes NAME.safetensors, NAME.json and NAME.html of every construction of the catalog.

    The weights are those of the catalog's small defaults. `icl_sim.storage.weights.load_weights`
    reads them back, and the construction's ``certify`` proves what was read.

    Returns:
      {name: paths written}.

    Raises:
      InputError: the directory cannot be written.
    """
    from constructions import CONSTRUCTIONS
    from icl_sim.report.card import write_card
    from icl_sim.storage.weights import save_weights

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


def _records(arguments: Any) -> int:
    from icl_sim.storage.parquet import write_parquet

    path = Path(arguments.directory) / "records.parquet"
    rows, columns = write_parquet(arguments.records, path)
    if arguments.json:
        output.print_json({"path": str(path), "rows": rows, "columns": columns})
    else:
        print(f"{path}: {rows:,} rows, {len(columns)} columns")
    return 0
