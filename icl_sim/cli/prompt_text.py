"""``prompt``: a machine and its tape as the prompt of a stock checkpoint."""

from __future__ import annotations

from typing import Any

from icl_sim.cli import flags, output
from icl_sim.cli.check_run import read_text
from icl_sim.errors import InputError


def add(commands: Any) -> None:
    """Adds the command and its flags."""
    about = "print the prompt with which an exported stock machine runs a machine"
    parser = flags.add_command(commands, "prompt", run, about)
    flags.add_ring(parser)
    parser.add_argument("--tape", default=None, metavar="T", help="input, a character a symbol")
    parser.add_argument(
        "--after", default=None, metavar="FILE", help="go on where this transcript ends"
    )
    parser.add_argument(
        "--max-steps", type=int, default=0, metavar="N", help="refuse if they are not certain"
    )


def run(arguments: Any) -> int:
    """Prints the prompt."""
    from icl_sim.emulation.machine_files import find_machine
    from icl_sim.emulation.transcripts import continue_prompt, prompt_text

    machine = find_machine(arguments.machine.strip())
    ring = flags.chosen(arguments, "bits", "construction", "dtype")
    if arguments.after is not None and arguments.tape is not None:
        raise InputError("--after: expected no --tape beside it, which the transcript holds")
    if arguments.after is not None:
        transcript = read_text(arguments.after)
        text = continue_prompt(machine, transcript, steps=arguments.max_steps, **ring)
    else:
        tape = "".join(machine.input) if arguments.tape is None else arguments.tape
        text = prompt_text(machine, tape, steps=arguments.max_steps, **ring)
    if arguments.json:
        output.print_json({"machine": machine.name, "prompt": text})
    else:
        print(text)
    return 0
