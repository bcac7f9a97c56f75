"""``sample-size``: how many demonstrations suffice."""

from __future__ import annotations

from typing import Any

from icl_sim.cli import flags, output


def add(commands: Any) -> None:
    """Adds the command and its flags."""
    about = "how many demonstrations suffice per context"
    parser = flags.add_command(commands, "sample-size", run, about)
    parser.add_argument("--vocab", type=int, required=True, metavar="V")
    parser.add_argument("--eps", type=str, required=True, metavar="E", help="total variation")
    parser.add_argument(
        "--delta", type=float, required=True, metavar="D", help="failure probability"
    )
    parser.add_argument("--contexts", type=int, required=True, metavar="M")
    parser.add_argument("--length", type=int, default=1, metavar="L", help="output tokens (1)")
    parser.add_argument(
        "--dim", type=int, default=None, metavar="D", help="of linear classification"
    )


def run(arguments: Any) -> int:
    """Prints every size that is defined."""
    from icl_sim.bounds import sample_size

    parameters = ("vocab", "eps", "delta", "contexts", "length", "dim")
    size = sample_size(**flags.chosen(arguments, *parameters))
    if arguments.json:
        output.print_json(size)
        return 0
    for name, value in vars(size).items():
        if value is not None:
            print(f"{name:>14}  {value:,}" if isinstance(value, int) else f"{name:>14}  {value}")
    return 0
