"""``check-run``: a stock machine's transcript, made anywhere, against the interpreter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from icl_sim.cli import flags, output
from icl_sim.errors import InputError

MOST_BYTES = 2**28


def add(commands: Any) -> None:
    """Adds the command and its flags."""
    about = "check the transcript of a stock machine, prompt and run, token by token"
    parser = flags.add_command(commands, "check-run", run, about)
    flags.add_ring(parser)
    about = "the prompt is that of prompt --after, and ends with a step"
    parser.add_argument("--continued", action="store_true", help=about)
    parser.add_argument("file", metavar="FILE", help="the text that a model was given and wrote")


def run(arguments: Any) -> int:
    """Names the first wrong token; the exit code is 1 if there is one."""
    from icl_sim.emulation.machine_files import find_machine
    from icl_sim.emulation.transcripts import check_transcript

    machine = find_machine(arguments.machine.strip())
    ring = flags.chosen(arguments, "bits", "construction", "dtype", "continued")
    found = check_transcript(machine, read_text(arguments.file), **ring)
    if arguments.json:
        output.print_json(found)
    elif found.agrees:
        end = "the run has ended" if found.ended else "the run goes on"
        print(f"{found.machine}: {found.tokens:,} tokens, all right; {end}")
    else:
        print(
            f"{found.machine}: token {found.wrong:,} behind {found.behind}: expected "
            f"{found.expected}, got {found.got}"
        )
    return int(not found.agrees)


def read_text(name: str) -> str:
    """The text of a transcript's file.

    Raises:
      InputError: it cannot be read, is too large, or is no text.
    """
    path = Path(name)
    try:
        if path.stat().st_size > MOST_BYTES:
            raise InputError(f"{name}: expected at most {MOST_BYTES:,} bytes, got more")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{name}: cannot be read, {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{name}: expected text in UTF-8, got other bytes") from None
