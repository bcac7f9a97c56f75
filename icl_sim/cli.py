"""The command line: parses, calls one function of `icl_sim.commands`, turns errors into exit codes.

Exit codes: 0 done, 1 a claim or check failed, 2 bad input, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from absl.flags import argparse_flags

from icl_sim import commands
from icl_sim.errors import InputError
from icl_sim.execution import hosts
from icl_sim.execution.supervisor import RESTARTS, TIMEOUT, supervise

PROFILES = ("smoke", "standard", "full")
# The flags of which any asks for a supervisor.
_PLACES = ("processes", "coordinator", "process", "restarts", "join_timeout")


class _Parser(argparse_flags.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        # One line instead of argparse's usage dump.
        raise InputError(f"{message}; see {self.prog} --help")


def run(argv: Sequence[str]) -> int:
    """Runs ``argv[1:]`` and returns the exit code."""

    def command() -> int:
        # A bbchallenge line may begin with an undefined transition, which is no option.
        words = [f" {word}" if word.startswith("---") else word for word in argv[1:]]
        arguments = _parser().parse_args(words)
        if hosts.is_worker():
            return _work(arguments)
        if any(getattr(arguments, name, None) is not None for name in _PLACES):
            return _supervise(argv[1:], arguments)
        return int(arguments.command(arguments))

    return exit_code("icl-sim", command, interrupted="--resume continues a run")


def exit_code(program: str, command: Callable[[], int], *, interrupted: str = "") -> int:
    """Runs a command; what it raises becomes one line on stderr, with the program's name."""
    try:
        code = command()
        sys.stdout.flush()
        return code
    except InputError as error:
        print(f"{program}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except FloatingPointError as error:
        print(f"{program}: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "RESOURCE_EXHAUSTED" not in str(error):
            raise
        reason = " ".join(str(error).split())
        print(f"{program}: more memory than there is ({reason}): ask for less", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # The reader went away, as `head` does; what is left to be flushed has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        if not hosts.is_worker():  # their supervisor says it
            line = "; ".join(filter(None, (f"{program}: interrupted", interrupted)))
            print(line, file=sys.stderr)
        return 130


def _work(arguments: Any) -> int:
    """The command in one of several processes."""
    try:
        hosts.join()
        code = int(arguments.command(arguments))
        hosts.leave()
        return code
    except Exception as error:
        if not hosts.lost_peer(error):
            raise
        traceback.print_exc(file=sys.__stderr__)  # which is the log by now
        return hosts.LOST


def _supervise(argv: Sequence[str], arguments: Any) -> int:
    """The command in several processes, started and watched from here."""
    return supervise(
        argv,
        coordinator=arguments.coordinator,
        processes=arguments.processes,
        process=arguments.process,
        restarts=RESTARTS if arguments.restarts is None else arguments.restarts,
        timeout=TIMEOUT if arguments.join_timeout is None else arguments.join_timeout,
        resume=arguments.out is not None,
        tell=lambda line: print(f"icl-sim: {line}", file=sys.stderr, flush=True),
    )


def _add_places(sub: argparse.ArgumentParser) -> None:
    """The flags of a command that may run in several processes."""
    group = sub.add_argument_group("several processes or hosts")
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


def _parser() -> _Parser:
    parser = _Parser(prog="icl-sim", description=_ABOUT)
    subcommands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)

    def command(
        name: str, function: Callable[[Any], int], about: str, among: Any = subcommands
    ) -> argparse.ArgumentParser:
        sub: argparse.ArgumentParser = among.add_parser(name, help=about, description=about)
        sub.set_defaults(command=function)
        sub.add_argument("--json", action="store_true", help="one JSON object on stdout")
        sub.add_argument("--seed", type=int, default=0, help="root of all randomness (0)")
        return sub

    def runs(sub: argparse.ArgumentParser, out: str | None) -> None:
        sub.add_argument("--profile", choices=PROFILES, default="smoke")
        sub.add_argument("--out", default=out, metavar="DIR", help="records and report go here")
        sub.add_argument("--resume", action="store_true", help="continue the run in --out")
        _add_places(sub)

    runs(
        command("reproduce", commands.run_reproduce, "judge every claim and write the report"),
        "out",
    )
    verify = command("verify", commands.run_verify, "judge claims or single statements")
    verify.add_argument("names", nargs="*", metavar="CLAIM | STATEMENT", help="e.g. C1, C1.sum")
    runs(verify, None)
    size = command(
        "sample-size", commands.run_sample_size, "how many demonstrations suffice per context"
    )
    size.add_argument("--vocab", type=int, required=True, metavar="V")
    size.add_argument("--eps", type=str, required=True, metavar="E", help="total variation")
    size.add_argument("--delta", type=float, required=True, metavar="D", help="failure probability")
    size.add_argument("--contexts", type=int, required=True, metavar="M")
    size.add_argument("--length", type=int, default=1, metavar="L", help="output tokens (1)")
    size.add_argument("--dim", type=int, default=None, metavar="D", help="of linear classification")
    emulate = command(
        "emulate", commands.run_emulate, "run a machine through a transformer's weights"
    )
    emulate.add_argument("machine", metavar="MACHINE", help="name, bbchallenge line, or file")
    emulate.add_argument(
        "--tape", default="", metavar="T", help="input, a character a symbol; looped: numbers"
    )
    emulate.add_argument(
        "--construction", default="universal", metavar="NAME", help="single, universal or looped"
    )
    emulate.add_argument(
        "--engine", default=None, metavar="NAME", help="dense, cached, specialised or verify"
    )
    emulate.add_argument("--max-steps", type=int, default=None, metavar="N")
    emulate.add_argument("--trace", default=None, metavar="FILE.html", help="write a viewer")
    emulate.add_argument("--out", default="out", metavar="DIR", help="checkpoints of long runs")
    emulate.add_argument("--resume", action="store_true", help="take up a long run")
    compare = command(
        "compare", commands.run_compare, "every route from the same data, side by side"
    )
    compare.add_argument("--task", default="english", metavar="T")
    compare.add_argument(
        "--sizes",
        type=int,
        nargs="+",
        default=None,
        metavar="N",
        help="demonstrations (16 64 256, as far as the task has data)",
    )
    compare.add_argument("--predictors", nargs="+", default=None, metavar="P")
    compare.add_argument("--tasks", type=int, default=12, metavar="N", help="tables (12)")
    compare.add_argument("--seeds", type=int, default=1, metavar="S", help="data sets of each (1)")
    compare.add_argument("--contexts", type=int, default=8, metavar="M")
    compare.add_argument("--vocab", type=int, default=8, metavar="V")
    compare.add_argument("--out", default=None, metavar="DIR", help="records and report go here")
    compare.add_argument("--resume", action="store_true", help="continue the run in --out")
    _add_places(compare)
    about = "pretrain a base, or fine-tune it"
    train = subcommands.add_parser("train", help=about, description=about)
    kinds = train.add_subparsers(required=True, metavar="base|sft", parser_class=_Parser)
    base = command(
        "base",
        commands.run_train_base,
        "pretrain a base; it is written if it passes the gate",
        kinds,
    )
    base.add_argument("--steps", type=int, default=None, metavar="N", help="of pretraining")
    base.add_argument(
        "--replicas", type=int, default=0, metavar="R", help="seeds gated as well (0)"
    )
    sft = command(
        "sft", commands.run_train_sft, "fine-tune the base on tables, all copies at once", kinds
    )
    sft.add_argument("--task", default="english", metavar="T")
    sft.add_argument("--sizes", type=int, nargs="+", default=[16, 64], metavar="N")
    sft.add_argument("--tasks", type=int, default=4, metavar="N", help="tables (4)")
    sft.add_argument("--seeds", type=int, default=1, metavar="S", help="data sets of each (1)")
    sft.add_argument("--adapt", default="full", metavar="full|lora|head")
    sft.add_argument("--rank", type=int, default=None, metavar="R", help="of LoRA (4)")
    sft.add_argument("--optimizer", default=None, metavar="adam|sgd")
    sft.add_argument("--learning-rate", type=float, default=None, metavar="X")
    sft.add_argument("--steps", type=int, default=None, metavar="N")
    for sub in (base, sft):
        sub.add_argument("--out", default="out", metavar="DIR", help="results and report go here")
        sub.add_argument("--resume", action="store_true", help="continue the run in --out")
        _add_places(sub)
    command("list", commands.run_list, "what this installation holds")
    files = command(
        "export",
        commands.run_export,
        "write each construction's weights and card, or a run's records, as files",
    )
    files.add_argument("directory", metavar="DIR")
    files.add_argument(
        "--records", default=None, metavar="RUN", help="this run's records to DIR/records.parquet"
    )
    report = command("report", commands.run_report, "write the report of a run from its records")
    report.add_argument("directory", metavar="DIR", help="the --out of reproduce or verify")
    command("doctor", commands.run_doctor, "versions, devices and arithmetic of this machine")
    return parser


_ABOUT = (
    "In-context learning against fine-tuning: hand-written transformers, genuine training, and "
    "certified verdicts on the claims of arXiv:2506.08060."
)
