"""``compare``: every route from the same data, side by side."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from icl_sim.cli import flags, listing, output
from icl_sim.errors import InputError
from icl_sim.execution.progress import ProgressBar

if TYPE_CHECKING:
    from icl_sim.comparison import Comparison, Distance, LanguageComparison

BASE = "smollm2"  # of a user's file
FILE = ("prompt_column", "completion_column", "choices", "template", "header", "held_out")
TABLES = {"tasks": 12, "contexts": 8, "vocab": 8}


def add(commands: Any) -> None:
    """Adds the command and its flags."""
    about = "every route from the same data, side by side"
    parser = flags.add_command(commands, "compare", run, about)
    parser.add_argument("--task", default=None, metavar="T", help="of list (english)")
    sizes = "demonstrations (16 64 256, as far as the task has data)"
    parser.add_argument("--sizes", type=int, nargs="+", default=None, metavar="N", help=sizes)
    routes = "of list, of the task's kind (the usual ones)"
    parser.add_argument("--predictors", nargs="+", default=None, metavar="P", help=routes)
    tasks = "tables (12); through a language model, tasks or splits of a file (2)"
    parser.add_argument("--tasks", type=int, default=None, metavar="N", help=tasks)
    parser.add_argument("--seeds", type=int, default=1, metavar="S", help="data sets of each (1)")
    parser.add_argument("--contexts", type=int, default=None, metavar="M", help="of tables (8)")
    parser.add_argument("--vocab", type=int, default=None, metavar="V", help="of tables (8)")
    group = parser.add_argument_group("through a language model")
    group.add_argument(
        "--base", default=None, metavar="MODEL", help="smollm2, base, a directory, a .gguf"
    )
    group.add_argument("--data", default=None, metavar="FILE", help=".csv, .tsv, .jsonl, .parquet")
    group.add_argument("--prompt-column", default=None, metavar="C", help="of the file (found)")
    group.add_argument("--completion-column", default=None, metavar="C", help="of the file (found)")
    choices = "the completions there are (those of the file, if they are few)"
    group.add_argument("--choices", nargs="+", default=None, metavar="A", help=choices)
    template = "how a pair is written, with {prompt} and {completion}; \\n is a line break"
    group.add_argument("--template", default=None, metavar="T", help=template)
    header = "an instruction in front of everything (none)"
    group.add_argument("--header", default=None, metavar="TEXT", help=header)
    group.add_argument("--held-out", type=int, default=None, metavar="M", help="prompts (100)")
    flags.add_cache(parser)
    flags.add_out(parser, default=None, about="records and report")


def run(arguments: Any) -> int:
    """Prints the matrix of every size; with --out, writes the report too."""
    flags.require_out(arguments)
    if arguments.base is not None or arguments.data is not None:
        return _through_language_model(arguments)
    for name in FILE:
        if getattr(arguments, name) is not None:
            raise InputError(f"--{name.replace('_', '-')}: expected --data FILE beside it")
    _refuse_typos(arguments, "classification", "table")
    flags.keep_compiled(arguments)
    from icl_sim.report.findings import Findings
    from icl_sim.reproduction import compare_routes

    asked: dict[str, Any] = flags.chosen(arguments, "sizes", "seeds", "seed", "out", "resume")
    for name, usual in TABLES.items():
        given = getattr(arguments, name)
        asked[name] = usual if given is None else given
    if arguments.predictors is not None:
        asked["predictors"] = arguments.predictors
    with ProgressBar() as progress:
        found = compare_routes(arguments.task or "english", progress=progress, **asked)
    page = output.pages(Findings(comparisons=(found,)), arguments.out) if arguments.out else None
    if arguments.json:
        output.print_json(found)
        return 0
    _show_matrices(found)
    for size, rows in (found.bounds or {}).items():
        for name, bound in rows.items():
            print(
                f"N = {size}: {name} within {bound:.1e} of its algorithm, certified for each answer"
            )
    versions = ", ".join(f"{name} {version(name)}" for name in ("icl-sim", "jax", "numpy"))
    print(f"{found.about}; {versions}; digest {found.digest}\nagain: {found.command}")
    if page:
        print(f"report: {page}")
    return 0


def _through_language_model(arguments: Any) -> int:
    if arguments.data is None and any(getattr(arguments, name) is not None for name in FILE):
        raise InputError("compare: expected --data FILE beside flags of a file, got none")
    if arguments.data is not None and arguments.task is not None:
        raise InputError("compare: expected --data or --task, got both")
    _refuse_typos(arguments, "language")
    flags.keep_compiled(arguments)
    from icl_sim.report.findings import Findings
    from icl_sim.reproduction import compare_language_routes

    with ProgressBar() as progress:
        found = compare_language_routes(
            arguments.base or BASE,
            **flags.chosen(arguments, "task", "data", *FILE, "sizes", "predictors", "tasks"),
            **flags.chosen(arguments, "seeds", "contexts", "vocab", "seed", "out", "resume"),
            progress=progress,
        )
    page = output.pages(Findings(language=(found,)), arguments.out) if arguments.out else None
    if arguments.json:
        output.print_json(found)
        return 0
    print("\n".join(found.summary))
    print(f"template: {found.template!r}")
    for note in found.notes:
        print(note)
    _show_matrices(found)
    print(f"the largest noise of order, template or seed, N = {max(found.sizes)}")
    for name, noises in found.floors[max(found.sizes)].items():
        told = ", ".join(f"{noise} {cell.mean:.4f}" for noise, cell in noises.items())
        print(f"{name}: {told}")
    for name, rate in found.rates.items():
        told = f"{rate.slope:.2f} ({rate.low:.2f} to {rate.high:.2f})"
        print(f"exponent in N of the distance to the truth, {name}: {told}")
    if page:
        print(f"report: {page}")
    return 0


def _refuse_typos(arguments: Any, *kinds: str) -> None:
    routes = arguments.predictors or ()
    listing.refuse_typos(task=arguments.task, predictors=routes, kinds=kinds)


def _show_matrices(found: Comparison | LanguageComparison) -> None:
    for size, matrix in found.matrix.items():
        rows = [
            (row, *(f"{cells[column].mean:.4f}" for column in matrix), _interval(cells["truth"]))
            for row, cells in matrix.items()
        ]
        print(f"{found.task}, N = {size}: mean total variation of each row to each column")
        output.print_table(("", *matrix, "95 % to truth"), rows)
        print()


def _interval(cell: Distance) -> str:
    return f"[{cell.low:.4f}, {cell.high:.4f}]"
