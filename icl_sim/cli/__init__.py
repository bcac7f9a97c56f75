"""The command line: one file a command, its flags beside its call.

A command's file has ``add(commands)``, which adds its parser, and ``run(arguments)``, which calls
the library, prints what it found and returns the exit code. Only this package prints. Heavy imports
stand inside the functions, so that ``--help`` and bad input are answered at once.
"""

from __future__ import annotations

from icl_sim.cli.command_line import run
from icl_sim.cli.exit_codes import exit_code, open_streams

__all__ = ["exit_code", "open_streams", "run"]
