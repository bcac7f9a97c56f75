"""The parser, and the flags that several commands share."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Collection
from typing import Any, NoReturn

from icl_sim.errors import InputError, did_you_mean
from icl_sim.execution.profiles import PROFILES
from icl_sim.execution.seeds import checked_seed
from icl_sim.execution.supervisor import RESTARTS, TIMEOUT

# The flags of which any asks for a supervisor.
PLACES = ("processes", "coordinator", "process", "restarts", "join_timeout")


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, instead of argparse's dump of the usage.

    Attributes:
      known: options of any command, none of which is a typo for another.
    """

    known: Collection[str] = ()

    def error(self, message: str) -> NoReturn:
        """Raises InputError."""
        if found := re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)", message):
            message += did_you_mean(found[1], re.findall(r"[\w-]+", found[2]))
        elif found := re.match(r"unrecognized arguments: ([^\s=]*)", message):
            places, options = self._takes()
            near = "" if found[1] in self.known else did_you_mean(found[1], options)
            message += near or f": {self.prog} takes {', '.join(places + options)}"
        raise InputError(f"{message}; see {self.prog} --help")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse's, but what a command does not take it refuses itself: it knows its own."""
        found, rest = super().parse_known_args(args, namespace)
        if rest and self._subparsers is None:
            self.error(f"unrecognized arguments: {' '.join(rest)}")
        return found, rest

    def meet(self, known: Collection[str] | None = None) -> None:
        """Tells every command's parser below which options there are."""
        self.known = set(_options(self)) if known is None else known
        for below in _commands(self):
            below.meet(self.known)

    def _takes(self) -> tuple[list[str], list[str]]:
        """Names of the arguments by their place, and of the options."""
        places = [str(action.metavar or action.dest) for action in self._get_positional_actions()]
        return places, [name for name in self._option_string_actions if name.startswith("--")]

    def _print_message(self, message: str, file: Any = None) -> None:
        """Help and version; argparse's own says nothing of a standard output that takes none."""
        print(message, end="", file=file or sys.stderr, flush=True)


def _commands(parser: Parser) -> list[Parser]:
    below = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    return [command for action in below for command in action.choices.values()]


def _options(parser: Parser) -> list[str]:
    """The long options of a parser and of all its commands."""
    own = [name for name in parser._option_string_actions if name.startswith("--")]
    return own + [name for command in _commands(parser) for name in _options(command)]


def add_command(
    commands: Any, name: str, run: Callable[[Any], int], about: str
) -> argparse.ArgumentParser:
    """The parser of one command, with the flags that every command takes.

    Args:
      commands: what `add_subparsers` returned.
      name: as it is typed.
      run: arguments -> exit code.
      about: one line for --help.
    """
    parser: argparse.ArgumentParser = commands.add_parser(name, help=about, description=about)
    parser.set_defaults(command=run)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument(
        "--plugin",
        action="append",
        default=[],
        metavar="FILE.py",
        help="run it first: what it registers is known; several times",
    )
    parser.add_argument("--seed", type=_seed, default=0, help="root of all randomness (0)")
    return parser


def _seed(text: str) -> int:
    try:
        return checked_seed(int(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def add_profile(parser: argparse.ArgumentParser) -> None:
    """How much of the audit is run."""
    about = "smoke (seconds a statement, the default), standard (minutes) or full (hours)"
    parser.add_argument("--profile", choices=PROFILES, default="smoke", help=about)


def add_ring(parser: argparse.ArgumentParser) -> None:
    """The machine that a stock checkpoint runs, and the size of its ring of cells."""
    parser.add_argument("machine", metavar="MACHINE", help="name, bbchallenge line, or file")
    parser.add_argument(
        "--bits", type=int, default=8, metavar="B", help="the ring has 2^B cells (8)"
    )
    parser.add_argument(
        "--construction",
        choices=("stock", "stock-pairs", "stock-single"),
        default="stock",
        help="stock, a token a step (default); stock-pairs, two tokens a step and a rule; "
        "stock-single, with the machine in the weights",
    )
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16", "float16"),
        default="float32",
        help="the arithmetic that the checkpoint is certified for (float32)",
    )


def add_cache(parser: argparse.ArgumentParser) -> None:
    """Whether compiled programs are kept for the next run."""
    about = "keep no compiled programs, and use none that are kept"
    parser.add_argument("--no-cache", action="store_true", help=about)


def keep_compiled(arguments: Any) -> None:
    """Compiled programs are kept from here on, unless the flag says no."""
    from icl_sim.execution import compilation_cache

    if not arguments.no_cache:
        compilation_cache.keep_compiled()


def add_out(parser: argparse.ArgumentParser, *, default: str | None, about: str) -> None:
    """Where a run leaves what it found, whether it goes on from there, and where it runs."""
    parser.add_argument("--out", default=default, metavar="DIR", help=f"{about} go here")
    parser.add_argument("--resume", action="store_true", help="continue the run in --out")
    _add_places(parser)


def chosen(arguments: Any, *names: str) -> dict[str, Any]:
    """What was asked for by the flags of these names, as keyword arguments.

    >>> chosen(argparse.Namespace(seed=0, tasks=4, json=True), "tasks", "seed")
    {'tasks': 4, 'seed': 0}
    """
    return {name: getattr(arguments, name) for name in names}


def require_out(arguments: Any) -> None:
    """Raises InputError if a run is to be resumed that has no directory."""
    if arguments.resume and arguments.out is None:
        raise InputError("--resume: expected --out DIR, the run to continue")


def _add_places(parser: argparse.ArgumentParser) -> None:
    """The flags of a command that may run in several processes."""
    group = parser.add_argument_group("several processes or hosts")
    group.add_argument(
        "--processes", type=int, default=None, metavar="N", help="alone: N on this machine"
    )
    group.add_argument(
        "--coordinator",
        default=None,
        metavar="HOST:PORT|auto",
        help="where process 0 listens; auto: ask SLURM, Kubernetes, Open MPI or the Cloud TPU",
    )
    group.add_argument("--process", type=int, default=None, metavar="I", help="this host's, from 0")
    group.add_argument(
        "--restarts",
        type=int,
        default=None,
        metavar="R",
        help=f"how often to resume after a process died ({RESTARTS})",
    )
    group.add_argument(
        "--join-timeout",
        type=int,
        default=None,
        metavar="S",
        help=f"seconds until all have joined ({TIMEOUT})",
    )
