"""Reads the command line and runs its command: here, in a worker, or under a supervisor."""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import icl_sim
from icl_sim.cli import (
    check_run,
    compare,
    doctor,
    emulate,
    export,
    generate,
    listing,
    prompt_text,
    report,
    reproduce,
    sample_size,
    train,
    verify,
)
from icl_sim.cli.exit_codes import exit_code, tell
from icl_sim.cli.flags import PLACES, Parser
from icl_sim.errors import InputError
from icl_sim.execution import hosts
from icl_sim.execution.plugins import load_plugins
from icl_sim.execution.supervisor import RESTARTS, TIMEOUT, supervise

# In the order of --help.
COMMANDS = (
    reproduce,
    verify,
    sample_size,
    emulate,
    prompt_text,
    check_run,
    compare,
    train,
    generate,
    listing,
    export,
    report,
    doctor,
)
ABOUT = (
    "In-context learning against fine-tuning: hand-written transformers, genuine training, and "
    "certified verdicts on the claims of arXiv:2506.08060."
)

FIRST = """\
icl-sim --help                                    all commands
icl-sim verify C1.token                           one claim of the paper, judged in a minute
icl-sim emulate bb4 --trace trace.html            a Turing machine through a frozen transformer
icl-sim compare --task english --sizes 64         prompted and fine-tuned from the same data
icl-sim sample-size --vocab 32 --eps .15 --delta .1 --contexts 1"""


def run(argv: Sequence[str]) -> int:
    """Runs ``argv[1:]`` and returns the exit code."""

    def command() -> int:
        if not argv[1:]:
            print(FIRST)
            return 0
        # A bbchallenge line may begin with an undefined transition, which is no option.
        words = [f" {word}" if word.startswith("---") else word for word in argv[1:]]
        for word in words:
            if re.fullmatch("--[a-z-]+=--", word):  # which argparse takes for no value at all
                raise InputError(f"{word[:-3]}: expected a value, got --")
        arguments = _parser().parse_args(words)
        if hosts.is_worker():
            return _work(arguments)
        _say_what_is_not_resumed(arguments)
        if any(getattr(arguments, name, None) is not None for name in PLACES):
            return _supervise(argv[1:], arguments)
        _require_devices()
        load_plugins(arguments.plugin)
        return int(arguments.command(arguments))

    return exit_code("icl-sim", command, interrupted="--resume continues a run that has --out")


def _say_what_is_not_resumed(arguments: Any) -> None:
    """A run that is to be resumed may be a new one, as in a script, or a directory misspelt."""
    out = getattr(arguments, "out", None)
    if getattr(arguments, "resume", False) and out is not None and not os.path.exists(out):
        tell(f"icl-sim: --resume: there is no {out} yet, so it starts from the beginning")


def _require_devices() -> None:
    """Raises InputError if JAX, as its environment variables set it, has nothing to compute on."""
    if not (settings := [name for name in os.environ if name.startswith("JAX_")]):
        return  # then JAX takes what there is, and commands that need none start faster
    try:
        import jax

        jax.devices()
    except Exception as error:  # JAX has an assertion, a ValueError and a RuntimeError for it
        raise InputError(
            f"expected settings of JAX that work here, got {type(error).__name__} {error} from "
            f"{', '.join(sorted(settings))}: fix or unset them"
        ) from error


def _parser() -> Parser:
    parser = Parser(prog="icl-sim", description=ABOUT)
    parser.add_argument("--version", action="version", version=f"icl-sim {icl_sim.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)
    for command in COMMANDS:
        command.add(commands)
    parser.meet()
    return parser


def _work(arguments: Any) -> int:
    """The command in one of several processes."""
    try:
        hosts.join(identity(arguments))
        load_plugins(arguments.plugin)
        code = int(arguments.command(arguments))
        hosts.leave()
        return code
    except Exception as error:
        if not hosts.lost_peer(error):
            raise
        traceback.print_exc(file=sys.__stderr__)  # which is the log by now
        return hosts.LOST


def identity(arguments: Any) -> str:
    """What a run computes and with which versions, without where it does; equal on all its hosts.

    >>> here, there = (
    ...     _parser().parse_args(["verify", "C1", "--out", out, "--process", process])
    ...     for out, process in (("a", "0"), ("b", "1"))
    ... )
    >>> identity(here) == identity(there)
    True
    >>> identity(here) == identity(_parser().parse_args(["verify", "C2"]))
    False
    """
    place = (*PLACES, "out", "resume", "json", "command")
    what = {name: value for name, value in vars(arguments).items() if name not in place}
    versions = [icl_sim.__version__, *map(version, ("jax", "jaxlib", "numpy"))]
    return repr((arguments.command.__module__, arguments.command.__name__, what, versions))


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
        tell=lambda line: tell(f"icl-sim: {line}"),
    )
