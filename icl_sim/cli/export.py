"""``export``: everything that others may want as files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from icl_sim.cli import flags, output
from icl_sim.errors import InputError, did_you_mean, same_name
from icl_sim.execution.progress import Progress, ProgressBar, quiet

if TYPE_CHECKING:
    from constructions.construction import Construction

FORMATS = ("safetensors", "transformers", "gguf")


def add(commands: Any) -> None:
    """Adds the command and its flags."""
    about = "write each construction's weights and card, or a run's records, as files"
    parser = flags.add_command(commands, "export", run, about)
    parser.add_argument("directory", metavar="DIR", help="where to; made if it is not there")
    parser.add_argument(
        "names", nargs="*", default=[], metavar="NAME", help="constructions; all that fit"
    )
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default=FORMATS[0],
        help="safetensors, with a card of each; directories for transformers; files for llama.cpp",
    )
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="an option of the one NAME: states=8, machine=parity, dtype=bfloat16; may be repeated",
    )
    parser.add_argument(
        "--records", default=None, metavar="RUN", help="this run's records to DIR/records.parquet"
    )


def run(arguments: Any) -> int:
    """Writes weights, sidecars and cards of every construction, or the records of a run."""
    if arguments.records is not None:
        return _records(arguments)
    options = dict(map(_option, arguments.option))
    write = {"transformers": export_stock, "gguf": export_gguf}.get(arguments.format, export)
    with ProgressBar() as progress:
        written = write(
            arguments.directory, names=arguments.names, options=options, progress=progress
        )
    if arguments.json:
        output.print_json({"constructions": written})
    else:
        print(f"{sum(map(len, written.values()))} files in {arguments.directory}:")
        if not arguments.names and arguments.format == FORMATS[0]:
            print(f"  all of them, and the machines: {Path(arguments.directory) / 'gallery.html'}")
        for name, paths in written.items():
            print(f"  {name}: {', '.join(Path(path).name for path in paths)}")
    return 0


def export(
    directory: str | Path,
    *,
    names: Sequence[str] = (),
    options: Mapping[str, Any] = MappingProxyType({}),
    progress: Progress = quiet,
) -> dict[str, list[str]]:
    """Writes NAME.safetensors, NAME.json and NAME.html of constructions of the catalog.

    With all of them comes gallery.html, which leads to every card and to every machine's run.

    The weights are those of the catalog's small defaults. `icl_sim.storage.weights.load_weights`
    reads them back, and the construction's ``certify`` proves what was read.

    Args:
      directory: where to; made if it is not there.
      names: which; by default all.
      options: of the one construction that is named.
      progress: called after each.

    Returns:
      {name: paths written}.

    Raises:
      InputError: the directory cannot be written, or an unknown name or option.
    """
    from constructions import PROGRAMS
    from icl_sim.report.card import write_card
    from icl_sim.report.gallery import construction_item, write_gallery
    from icl_sim.storage.weights import save_weights

    folder = _folder(directory)
    written: dict[str, list[str]] = {}
    chosen, shown = _chosen(names), []
    for done, name in enumerate(chosen, start=1):
        built = _build(name, chosen, options)
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
        shown.append(construction_item(built, card.name))
        progress("constructions", done, len(chosen))
    if not names:
        write_gallery(folder, shown, PROGRAMS)
    return written


def export_stock(
    directory: str | Path,
    *,
    names: Sequence[str] = (),
    options: Mapping[str, Any] = MappingProxyType({}),
    progress: Progress = quiet,
) -> dict[str, list[str]]:
    """Writes a directory NAME that `transformers` loads, for each construction.

    Args:
      directory, options, progress: as for `export`.
      names: which; by default all that some stock architecture holds.

    Returns:
      {name: paths written}.

    Raises:
      InputError: as for `export`, or a construction that is no stock architecture's.
    """
    from icl_sim.pretrained import to_pretrained

    def write(built: Construction) -> list[str]:
        folder = to_pretrained(built, Path(directory) / built.name)
        return sorted(map(str, folder.iterdir()))

    return _write_stock(names, options, progress, write)


def export_gguf(
    directory: str | Path,
    *,
    names: Sequence[str] = (),
    options: Mapping[str, Any] = MappingProxyType({}),
    progress: Progress = quiet,
) -> dict[str, list[str]]:
    """Writes NAME.gguf, which llama.cpp runs, for each machine that is a Llama.

    Args, Returns and Raises are those of `export_stock`.
    """
    from icl_sim.pretrained import to_gguf

    folder = _folder(directory)

    def write(built: Construction) -> list[str]:
        return [str(to_gguf(built, folder / f"{built.name}.gguf"))]

    return _write_stock(names, options, progress, write)


def _write_stock(
    names: Sequence[str],
    options: Mapping[str, Any],
    progress: Progress,
    write: Callable[[Construction], list[str]],
) -> dict[str, list[str]]:
    from icl_sim.pretrained import FAMILIES, stock_config

    chosen, written = _chosen(names), dict[str, list[str]]()
    for done, name in enumerate(chosen, start=1):
        built = _build(name, chosen, options)
        try:
            stock_config(FAMILIES["llama"], built.spec)
        except InputError as error:
            if names:
                raise InputError(f"{name}: expected a stock architecture: {error}") from None
        else:
            written[name] = write(built)
        progress("constructions", done, len(chosen))
    return written


def _folder(directory: str | Path) -> Path:
    folder = Path(directory)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{directory}: expected a directory that can be written, got {error.strerror}"
        ) from None
    return folder


def _chosen(names: Sequence[str]) -> list[str]:
    from constructions import CONSTRUCTIONS

    names = [same_name(name, CONSTRUCTIONS) for name in names]
    for name in names:
        if name not in CONSTRUCTIONS:
            raise InputError(
                f"NAME: expected one of {', '.join(CONSTRUCTIONS)}, got {name!r}"
                + did_you_mean(name, CONSTRUCTIONS)
            )
    return list(dict.fromkeys(names)) or list(CONSTRUCTIONS)


def _build(name: str, chosen: Sequence[str], options: Mapping[str, Any]) -> Construction:
    """The construction, with the options if it is the one that is named."""
    from constructions import CONSTRUCTIONS

    if options and len(chosen) > 1:
        raise InputError(f"--option: expected one NAME that it is for, got {len(chosen)}")
    try:
        return CONSTRUCTIONS[name](**options)
    except ValueError as error:
        named = any(isinstance(value, str) for value in options.values())
        hint = "--option: expected KEY=N, or KEY=NAME where a name is asked for: " * named
        raise InputError(f"{hint}{name}: {error}") from None


def _option(text: str) -> tuple[str, Any]:
    """A size, a flag, a name, or a machine by its name."""
    name, _, value = text.partition("=")
    if not name or not value:
        raise InputError(f"--option: expected KEY=N, or KEY=NAME, got {text!r}")
    if name == "machine":
        from icl_sim.emulation.machine_files import find_machine

        return name, find_machine(value)
    try:
        return name, int(value)
    except ValueError:
        return name, {"true": True, "false": False}.get(value.lower(), value)


def _records(arguments: Any) -> int:
    from icl_sim.storage.parquet import write_parquet

    path = Path(arguments.directory) / "records.parquet"
    rows, columns = write_parquet(arguments.records, path)
    if arguments.json:
        output.print_json({"path": str(path), "rows": rows, "columns": columns})
    else:
        print(f"{path}: {rows:,} rows, {len(columns)} columns")
    return 0
