"""``compare``: every route from the same data, side by side."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from icl_sim.cli import flags, output
from icl_sim.execution.progress import ProgressBar

if TYPE_CHECKING:
    from icl_sim.comparison import Distance


def add(commands: Any) -> None:
    """Adds the command and its flags."""
    about = "every route from the same data, side by side"
    parser = flags.add_command(commands, "compare", run, about)
    parser.add_argument("--task", default="english", metavar="T", help="of list (english)")
    sizes = "demonstrations (16 64 256, as far as the task has data)"
    parser.add_argument("--sizes", type=int, nargs="+", default=None, metavar="N", help=sizes)
    routes = "of list, of the task's kind (the usual ones)"
    parser.add_argument("--predictors", nargs="+", default=None, metavar="P", help=routes)
    parser.add_argument("--tasks", type=int, default=12, metavar="N", help="tables (12)")
    parser.add_argument("--seeds", type=int, default=1, metavar="S", help="data sets of each (1)")
    parser.add_argument("--contexts", type=int, default=8, metavar="M", help="of a table (8)")
    parser.add_argument("--vocab", type=int, default=8, metavar="V", help="outputs of a table (8)")
    flags.add_out(parser, default=None, about="records and report")


def run(arguments: Any) -> int:
    """Prints the matrix of every size; with --out, writes the report too."""
    flags.require_out(arguments)
    from icl_sim.report.findings import Findings
    from icl_sim.reproduction import compare_routes

    names = {} if arguments.predictors is None else {"predictors": arguments.predictors}
    with ProgressBar() as progress:
        found = compare_routes(
            arguments.task,
            **flags.chosen(arguments, "sizes", "tasks", "seeds", "contexts", "vocab"),
            **flags.chosen(arguments, "seed", "out", "resume"),
            progress=progress,
            **names,
        )
    page = output.pages(Findings(comparisons=(found,)), arguments.out) if arguments.out else None
    if arguments.json:
        output.print_json(found)
        return 0
    for size, matrix in found.matrix.items():
        rows = [
            (row, *(f"{cells[column].mean:.4f}" for column in matrix), _interval(cells["truth"]))
            for row, cells in matrix.items()
        ]
        print(f"{found.task}, N = {size}: mean total variation of each row to each column")
        output.print_table(("", *matrix, "95 % to truth"), rows)
        print()
    versions = ", ".join(f"{name} {version(name)}" for name in ("icl-sim", "jax", "numpy"))
    print(f"{found.about}; {versions}; digest {found.digest}\nagain: {found.command}")
    if page:
        print(f"report: {page}")
    return 0


def _interval(cell: Distance) -> str:
    return f"[{cell.low:.4f}, {cell.high:.4f}]"
